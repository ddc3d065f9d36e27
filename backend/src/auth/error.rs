//! Why a token is not accepted.

/// Why a token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No `Authorization: Bearer …`.
    #[error("the Authorization header holds no bearer token")]
    Missing,
    /// Not a JWT.
    #[error("the token is not a JWT: {0}")]
    Malformed(String),
    /// An algorithm that is not allowed here.
    #[error("tokens signed with {0} are not accepted here")]
    Algorithm(String),
    /// An unknown key.
    #[error("no key is called {0:?}")]
    Key(String),
    /// The signature does not match the key.
    #[error("the signature does not match the key")]
    Signature,
    /// A claim is missing or of another type.
    #[error("a claim is missing or malformed: {0}")]
    Claim(String),
    /// `exp` has passed.
    #[error("the token expired {0} s ago")]
    Expired(i64),
    /// `nbf` is in the future.
    #[error("the token becomes valid in {0} s")]
    NotYet(i64),
    /// `aud` names another audience.
    #[error("the token is for another audience: {0}")]
    Audience(String),
}

impl AuthError {
    /// A stable name for the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing-token",
            Self::Malformed(_) => "malformed-token",
            Self::Algorithm(_) => "algorithm",
            Self::Key(_) => "unknown-key",
            Self::Signature => "bad-signature",
            Self::Claim(_) => "claim",
            Self::Expired(_) => "expired",
            Self::NotYet(_) => "not-yet-valid",
            Self::Audience(_) => "wrong-audience",
        }
    }
}
