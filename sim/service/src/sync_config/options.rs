//! The `config` key of a sync configuration: its edition, and how it wants values to be read.

use serde_norway::{Mapping, Value as Yaml};

use super::error::ConfigError;
use super::yaml;
use crate::json::TimeFormat;

/// How a sync configuration wants the source's values to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueFormat {
    /// How instants and times are written.
    pub time_format: TimeFormat,
    /// Whether a domain is read as its base type (from edition 2 on) or as text.
    pub unwrap_domains: bool,
}

impl ValueFormat {
    /// What a configuration says about it. Its queries are not read, because the tables are not known yet.
    ///
    /// # Errors
    /// When the document or its `config` is malformed.
    pub fn of(text: &str) -> Result<Self, ConfigError> {
        let document = yaml::parse(text)?;
        let options = Options::parse(yaml::mapping(&document, "document")?.get("config"))?;
        Ok(Self { time_format: options.time_format, unwrap_domains: options.edition >= 2 })
    }
}

pub(super) struct Options {
    pub(super) edition: i64,
    pub(super) time_format: TimeFormat,
    /// Whether bucket names start with the generation.
    pub(super) versioned: bool,
}

impl Options {
    pub(super) fn parse(yaml: Option<&Yaml>) -> Result<Self, ConfigError> {
        let empty = Mapping::new();
        let options = yaml.map_or(Ok(&empty), |yaml| yaml::mapping(yaml, "config"))?;
        let known = ["edition", "storage_version", "timestamps_iso8601", "versioned_bucket_ids"];
        yaml::known_keys(options, "config", &known)?;
        let refuse = |key: &str, problem: &str| ConfigError::new(&format!("config.{key}"), problem);
        let integer = |key: &str, default: i64| match options.get(key) {
            None => Ok(default),
            Some(value) => value.as_i64().ok_or_else(|| refuse(key, "must be an integer")),
        };
        let flag = |key: &str, default: bool| match options.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| refuse(key, "must be true or false")),
        };
        let edition = integer("edition", 1)?;
        if !(1..=2).contains(&edition) {
            return Err(refuse("edition", &format!("edition {edition} is not known: 1 and 2 are")));
        }
        let storage_version = integer("storage_version", 2)?;
        if !(1..=2).contains(&storage_version) {
            let problem = format!("storage version {storage_version} is not known: 1 and 2 are");
            return Err(refuse("storage_version", &problem));
        }
        let iso8601 = flag("timestamps_iso8601", edition >= 2)?;
        Ok(Self {
            edition,
            time_format: if iso8601 { TimeFormat::Iso8601 } else { TimeFormat::Legacy },
            versioned: flag("versioned_bucket_ids", edition >= 2)? || storage_version >= 2,
        })
    }
}
