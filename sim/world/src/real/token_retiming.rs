//! Moves the times of tokens, for servers that go by the machine's clock while the plan's clock shows another time.
//!
//! A token is signed again by the same key: what has a minute left by the plan's clock has a minute left by the
//! machine's. Whatever else is wrong with it stays wrong.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sim_stack::signer::Claims;

use super::token_keys::TokenKeys;
use crate::token::sign;

/// Moves the times of the request's token by the difference of the two clocks.
pub(super) fn retime(headers: &mut HeaderMap, keys: &TokenKeys, plan_us: i64, machine_us: i64) {
    let Some(token) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer ")) else {
        return;
    };
    let Some(moved) = moved(token, keys, (machine_us - plan_us).div_euclid(1_000_000)) else { return };
    if let Ok(value) = format!("Bearer {moved}").parse() {
        headers.insert(AUTHORIZATION, value);
    }
}

/// `None` where we did not sign it.
fn moved(token: &str, keys: &TokenKeys, by_s: i64) -> Option<String> {
    let signer = keys.signer(jsonwebtoken::decode_header(token).ok()?.kid)?;
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?).ok()?;
    Some(sign(&signer, &claims.sub, &claims.aud, claims.iat + by_s, claims.exp + by_s))
}
