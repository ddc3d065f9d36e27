//! What a token claims, and whether that is good now. The caller gives the time.

use fixtures::Value;
use serde_json::{Map, Value as Json};

use crate::error::WireError;
use crate::sync_config::sqlite::sql_value;

/// The tolerated difference between clocks when `exp` and `nbf` are checked.
const TOLERANCE_S: f64 = 60.0;
/// The longest lifetime of a token.
const LIFETIME_MAX_S: f64 = 86_400.0;

/// The claims of a good token.
#[derive(Clone, Debug)]
pub struct Token {
    /// The payload.
    pub payload: Json,
    /// `exp`, in seconds since 1970.
    pub expires_s: i64,
    /// `sub` as a SQL value: `request.user_id()`.
    pub user_id: Value,
    /// `sub` as text, for the write checkpoint key.
    pub subject: String,
}

pub(super) fn check_claims(payload: Map<String, Json>, audience: &[String], now_us: i64) -> Result<Token, WireError> {
    let refused = |code: &'static str, text: &str| Err(WireError::unauthorized(code, text));
    for claim in ["sub", "iat", "exp", "aud"] {
        if !payload.contains_key(claim) {
            let code = if claim == "aud" { "PSYNC_S2105" } else { "PSYNC_S2101" };
            return refused(code, &format!("missing required \"{claim}\" claim"));
        }
    }
    let number = |claim: &str| match payload.get(claim).and_then(Json::as_f64) {
        Some(seconds) => Ok(seconds),
        None => Err(WireError::unauthorized("PSYNC_S2101", format!("\"{claim}\" claim must be a number"))),
    };
    #[expect(clippy::cast_precision_loss, reason = "a second is judged, with a tolerance of a minute")]
    let now_s = (now_us / 1_000_000) as f64;
    let (issued, expires) = (number("iat")?, number("exp")?);
    if payload.contains_key("nbf") && number("nbf")? > now_s + TOLERANCE_S {
        return refused("PSYNC_S2101", "\"nbf\" claim timestamp check failed");
    }
    if expires <= now_s - TOLERANCE_S {
        return refused("PSYNC_S2103", "JWT has expired");
    }
    let intended = match &payload["aud"] {
        Json::String(one) => audience.contains(one),
        Json::Array(all) => all.iter().filter_map(Json::as_str).any(|one| audience.iter().any(|own| own == one)),
        _ => false,
    };
    if !intended {
        return refused("PSYNC_S2105", &format!("Unexpected \"aud\" claim value: {}", payload["aud"]));
    }
    let lifetime = expires - issued;
    if lifetime > LIFETIME_MAX_S {
        let text = format!("Token must expire in a maximum of {LIFETIME_MAX_S} seconds, got {lifetime}s");
        return refused("PSYNC_S2104", &text);
    }
    if !matches!(payload.get("parameters"), None | Some(Json::Null | Json::Object(_))) {
        return refused("PSYNC_S2101", "Payload parameters must be an object");
    }
    let subject = match &payload["sub"] {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    #[expect(clippy::cast_possible_truncation, reason = "a time in seconds is far from the limits")]
    let expires_s = expires as i64;
    Ok(Token { expires_s, user_id: sql_value(payload.get("sub")), subject, payload: Json::Object(payload) })
}
