//! Typed access to YAML values, with errors that name the place in the document.

use serde_norway::{Mapping, Value as Yaml};

use super::error::ConfigError;

pub(super) fn parse(text: &str) -> Result<Yaml, ConfigError> {
    serde_norway::from_str(text).map_err(|error| ConfigError::new("document", &error.to_string()))
}

pub(super) fn mapping<'y>(yaml: &'y Yaml, place: &str) -> Result<&'y Mapping, ConfigError> {
    yaml.as_mapping().ok_or_else(|| ConfigError::new(place, "must be a mapping"))
}

pub(super) fn string<'y>(yaml: &'y Yaml, place: &str) -> Result<&'y str, ConfigError> {
    yaml.as_str().ok_or_else(|| ConfigError::new(place, "must be a text"))
}

/// A string or a list of strings.
pub(super) fn strings<'y>(yaml: Option<&'y Yaml>, place: &str) -> Result<Vec<&'y str>, ConfigError> {
    match yaml {
        None => Ok(Vec::new()),
        Some(Yaml::Sequence(items)) => items.iter().map(|item| string(item, place)).collect(),
        Some(other) => Ok(vec![string(other, place)?]),
    }
}

/// Refuses a mapping with any other key.
pub(super) fn known_keys(mapping: &Mapping, place: &str, known: &[&str]) -> Result<(), ConfigError> {
    for key in mapping.keys() {
        let key = string(key, place)?;
        if !known.contains(&key) {
            let problem = format!("`{key}` is not known; known are `{}`", known.join("`, `"));
            return Err(ConfigError::new(place, &problem));
        }
    }
    Ok(())
}

/// The `priority` of a bucket definition or a stream.
pub(super) fn priority(body: &Mapping, place: &str) -> Result<u8, ConfigError> {
    match body.get("priority") {
        None => Ok(3),
        Some(value) => value
            .as_u64()
            .and_then(|level| u8::try_from(level).ok())
            .filter(|level| *level <= 3)
            .ok_or_else(|| ConfigError::new(&format!("{place}.priority"), "must be 0, 1, 2 or 3")),
    }
}
