//! Why a sync configuration is refused.

/// Why a sync configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sync config, {place}: {problem}")]
pub struct ConfigError {
    /// The place in the document, as a path of keys.
    pub place: String,
    /// What is wrong or not supported.
    pub problem: String,
}

impl ConfigError {
    pub(super) fn new(place: &str, problem: &str) -> Self {
        Self { place: place.to_owned(), problem: problem.to_owned() }
    }
}
