//! Why a server does not believe a token: which claim, and what to change.

use sim_stack::existing_stack::ExistingStack;
use sim_stack::existing_stack::http::Reply;
use sim_stack::existing_stack::token::Token;

/// Which part of a token a server minds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Minds {
    Key,
    Signature,
    Algorithm,
    Expiry,
    Lifetime,
    Audience,
    Header,
    /// It could not fetch the keys itself.
    Keys,
    /// It does not say.
    Unsaid,
}

/// The diagnosis and the fix of a 401. `who` is the server, and `settings` where it takes audience and keys from.
pub(super) fn refused(
    who: &str,
    settings: &str,
    reply: &Reply,
    token: &Token,
    target: &ExistingStack,
) -> (String, String) {
    let json = reply.json();
    let (code, said) = words(&json);
    let minds = match minds(code, said) {
        // Servers that do not say: the token itself may tell.
        Minds::Unsaid if token.expired_s().is_some() => Minds::Expiry,
        minds => minds,
    };
    let told = if code.is_empty() { reply.told() } else { format!("{code} {said}") };
    let key = token.key_words();
    let (diagnosis, fix) = match minds {
        Minds::Key => (
            format!("kid: the token names {key}, which {who} does not know"),
            format!(
                "sign with a key that {who} has, or give it this one ({settings}); after a rotation, have it read its keys again"
            ),
        ),
        Minds::Signature => (
            format!("signature: {who} has a {key}, and it is another one than signed the token"),
            format!("sign with the private half (or the secret) of the key that {who} has under that kid ({settings})"),
        ),
        Minds::Algorithm => (
            format!("alg: {who} does not take {} by {key}", token.algorithm),
            format!("sign with the algorithm that the key is for, or allow it ({settings})"),
        ),
        Minds::Expiry => (
            match token.expired_s() {
                Some(ago) => format!("exp: the token expired {ago} s ago"),
                None => format!("exp: {who} takes the token for expired, though it is good by this machine's clock"),
            },
            "mint a new token; if it is new, set the clocks of the machines right (NTP)".to_owned(),
        ),
        Minds::Lifetime => (
            format!("exp: the token lives longer than {who} allows"),
            "mint tokens that live a day (86400 s) at most, counted from iat to exp".to_owned(),
        ),
        Minds::Audience => (
            format!("aud: the token is for {}, and {who} is not called that", token.audience()),
            format!("mint tokens for an audience of {who}, or add {} to its audiences ({settings})", token.audience()),
        ),
        Minds::Header => {
            (format!("{who} saw no bearer token"), "let proxies in between pass the Authorization header on".to_owned())
        }
        Minds::Keys => (
            format!("{who} cannot fetch the keys of tokens"),
            format!("let it reach the backend's /.well-known/jwks.json, by the name that it has there ({settings})"),
        ),
        Minds::Unsaid => (
            format!(
                "{who} refuses the token and does not say why; it names {key}, aud {}, sub {:?}",
                token.audience(),
                token.subject()
            ),
            format!("compare these with the settings ({settings}), and look at the log of {who}"),
        ),
    };
    let expected = if minds == Minds::Audience && token.audience() != format!("{:?}", target.audience) {
        format!(" (--audience is {:?})", target.audience)
    } else {
        String::new()
    };
    (format!("401, {diagnosis}{expected} [{told}]"), fix)
}

/// Code and sentence, as the service and the backend put them.
fn words(json: &serde_json::Value) -> (&str, &str) {
    let error = &json["error"];
    let text = |name: &str| error[name].as_str().unwrap_or_default();
    let said = if text("description").is_empty() { text("reason") } else { text("description") };
    (text("code"), said)
}

fn minds(code: &str, said: &str) -> Minds {
    let lower = said.to_ascii_lowercase();
    match code {
        "unknown-key" => Minds::Key,
        "bad-signature" => Minds::Signature,
        "algorithm" => Minds::Algorithm,
        "expired" | "PSYNC_S2103" => Minds::Expiry,
        "wrong-audience" | "PSYNC_S2105" => Minds::Audience,
        "PSYNC_S2104" => Minds::Lifetime,
        "missing-token" | "PSYNC_S2106" => Minds::Header,
        "PSYNC_S2201" | "PSYNC_S2204" => Minds::Keys,
        "PSYNC_S2101" if lower.contains("keystore") || lower.contains("kid") => Minds::Key,
        "PSYNC_S2101" if lower.contains("signature") => Minds::Signature,
        "PSYNC_S2101" if lower.contains("algorithm") => Minds::Algorithm,
        _ => Minds::Unsaid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_mind() {
        let table = [
            (
                "PSYNC_S2101",
                "Could not find an appropriate key in the keystore. No key matched the token KID",
                Minds::Key,
            ),
            ("PSYNC_S2101", "signature verification failed", Minds::Signature),
            ("PSYNC_S2101", "Unexpected token algorithm HS256", Minds::Algorithm),
            ("PSYNC_S2101", "Token is not a well-formed JWT. Check the token format.", Minds::Unsaid),
            ("PSYNC_S2103", "JWT has expired", Minds::Expiry),
            ("PSYNC_S2104", "Token must expire in a maximum of 86400 seconds", Minds::Lifetime),
            ("PSYNC_S2105", "Unexpected \"aud\" claim value: \"x\"", Minds::Audience),
            ("PSYNC_S2204", "", Minds::Keys),
            ("unknown-key", "no key is called \"x\"", Minds::Key),
            ("", "", Minds::Unsaid),
        ];
        for (code, said, expect) in table {
            assert_eq!(minds(code, said), expect, "{code} {said}");
        }
    }
}
