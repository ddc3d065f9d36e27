//! The YAML document of a sync configuration: its keys, and how they become definitions.

use fixtures::Schema;
use serde_norway::{Mapping, Value as Yaml};

use super::query::{NamedParameterQuery, Output, ParameterQuery, data_query, parameter_query};
use super::{ConfigError, Definition, Reading, Stream, SyncConfig};
use crate::row::TimeFormat;

pub(super) fn parse(text: &str, schema: &Schema) -> Result<SyncConfig, ConfigError> {
    let yaml: Yaml = serde_norway::from_str(text).map_err(|error| refuse("document", &error.to_string()))?;
    let document = mapping(&yaml, "document")?;
    known_keys(document, "document", &["config", "bucket_definitions", "streams"])?;
    let options = Options::parse(document.get("config"))?;
    let mut config = SyncConfig {
        text: text.into(),
        time_format: options.time_format,
        versioned: options.versioned,
        streams: Vec::new(),
        definitions: Vec::new(),
        projections: Vec::new(),
        data_by_table: vec![Vec::new(); schema.tables.len()],
        lookups_by_table: vec![Vec::new(); schema.tables.len()],
    };
    if let Some(definitions) = document.get("bucket_definitions") {
        for (name, body) in mapping(definitions, "bucket_definitions")? {
            let name = string(name, "bucket_definitions")?;
            bucket_definition(&mut config, name, body, schema)?;
        }
    }
    if let Some(streams) = document.get("streams") {
        if options.edition < 2 {
            return Err(refuse("streams", "needs `config: {edition: 2}`"));
        }
        for (name, body) in mapping(streams, "streams")? {
            let name = string(name, "streams")?;
            super::streams::sync_stream(&mut config, name, body, schema)?;
        }
    }
    if config.definitions.is_empty() {
        return Err(refuse("document", "`bucket_definitions` or `streams` must define something"));
    }
    for (index, definition) in config.definitions.iter().enumerate() {
        for (query, data) in definition.data.iter().enumerate() {
            config.data_by_table[data.table].push((index, query));
        }
        for (query, parameters) in definition.parameters.iter().enumerate() {
            if let ParameterQuery::Lookup(lookup) = parameters {
                config.lookups_by_table[lookup.table].push((index, query));
            }
        }
    }
    Ok(config)
}

/// How a configuration wants values to be read, which is known before any table is.
pub(super) fn reading(text: &str) -> Result<Reading, ConfigError> {
    let yaml: Yaml = serde_norway::from_str(text).map_err(|error| refuse("document", &error.to_string()))?;
    let options = Options::parse(mapping(&yaml, "document")?.get("config"))?;
    Ok(Reading { time_format: options.time_format, domains: options.edition >= 2 })
}

struct Options {
    edition: i64,
    time_format: TimeFormat,
    versioned: bool,
}

impl Options {
    fn parse(yaml: Option<&Yaml>) -> Result<Self, ConfigError> {
        let empty = Mapping::new();
        let options = yaml.map_or(Ok(&empty), |yaml| mapping(yaml, "config"))?;
        let known = ["edition", "storage_version", "timestamps_iso8601", "versioned_bucket_ids"];
        known_keys(options, "config", &known)?;
        let integer = |key: &str, default: i64| match options.get(key) {
            None => Ok(default),
            Some(value) => value.as_i64().ok_or_else(|| refuse(&format!("config.{key}"), "must be an integer")),
        };
        let flag = |key: &str, default: bool| match options.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| refuse(&format!("config.{key}"), "must be true or false")),
        };
        let edition = integer("edition", 1)?;
        if !(1..=2).contains(&edition) {
            return Err(refuse("config.edition", &format!("edition {edition} is not known: 1 and 2 are")));
        }
        let storage_version = integer("storage_version", 2)?;
        if !(1..=2).contains(&storage_version) {
            let problem = format!("storage version {storage_version} is not known: 1 and 2 are");
            return Err(refuse("config.storage_version", &problem));
        }
        let iso = flag("timestamps_iso8601", edition >= 2)?;
        Ok(Self {
            edition,
            time_format: if iso { TimeFormat::Iso8601 } else { TimeFormat::Legacy },
            versioned: flag("versioned_bucket_ids", edition >= 2)? || storage_version >= 2,
        })
    }
}

fn bucket_definition(config: &mut SyncConfig, name: &str, body: &Yaml, schema: &Schema) -> Result<(), ConfigError> {
    let place = format!("bucket_definitions.{name}");
    let body = mapping(body, &place)?;
    known_keys(body, &place, &["priority", "accept_potentially_dangerous_queries", "parameters", "data"])?;
    let priority = priority(body, &place)?;
    let mut names: Option<Vec<String>> = None;
    let mut parameters = Vec::new();
    for (index, sql) in strings(body.get("parameters"), &format!("{place}.parameters"))?.iter().enumerate() {
        let place = format!("{place}.parameters.{index}");
        let mut parsed = parameter_query(sql, schema).map_err(|problem| refuse(&place, &problem))?;
        match &names {
            None => names = Some(parsed.names.clone()),
            Some(first) => reorder(&mut parsed, first).map_err(|problem| refuse(&place, &problem))?,
        }
        parameters.push(parsed.query);
    }
    if parameters.is_empty() {
        parameters.push(ParameterQuery::Static { gates: Vec::new(), outputs: Vec::new(), priority: None });
    }
    let names = names.unwrap_or_default();
    let queries = strings(body.get("data"), &format!("{place}.data"))?;
    if queries.is_empty() {
        return Err(refuse(&place, "`data` must list at least one query"));
    }
    let mut data = Vec::new();
    for (index, sql) in queries.iter().enumerate() {
        let query = data_query(sql, schema, &names, &mut config.projections)
            .map_err(|problem| refuse(&format!("{place}.data.{index}"), &problem))?;
        data.push(query);
    }
    let stream = config.streams.len();
    config.streams.push(Stream { name: name.to_owned(), default: true, by_name: false });
    config.definitions.push(Definition { stream, name: name.to_owned(), priority, parameters, data });
    Ok(())
}

/// Puts the outputs of a parameter query into the order of the definition's first one.
fn reorder(parsed: &mut NamedParameterQuery, first: &[String]) -> Result<(), String> {
    let order: Option<Vec<usize>> =
        first.iter().map(|name| parsed.names.iter().position(|other| other == name)).collect();
    let order = order.filter(|order| order.len() == parsed.names.len()).ok_or_else(|| {
        let all = first.join("`, `");
        format!("all parameter queries of a definition must have the same outputs: `{all}`")
    })?;
    match &mut parsed.query {
        ParameterQuery::Static { outputs, .. } => {
            *outputs = order.iter().map(|index| outputs[*index].clone()).collect();
        }
        ParameterQuery::Lookup(lookup) => {
            let outputs: Vec<Output> = order.iter().map(|index| lookup.outputs[*index].clone()).collect();
            lookup.outputs = outputs;
        }
    }
    Ok(())
}

pub(super) fn priority(body: &Mapping, place: &str) -> Result<u8, ConfigError> {
    match body.get("priority") {
        None => Ok(3),
        Some(value) => value
            .as_u64()
            .and_then(|level| u8::try_from(level).ok())
            .filter(|level| *level <= 3)
            .ok_or_else(|| refuse(&format!("{place}.priority"), "must be 0, 1, 2 or 3")),
    }
}

pub(super) fn refuse(place: &str, problem: &str) -> ConfigError {
    ConfigError { place: place.to_owned(), problem: problem.to_owned() }
}

pub(super) fn mapping<'y>(yaml: &'y Yaml, place: &str) -> Result<&'y Mapping, ConfigError> {
    yaml.as_mapping().ok_or_else(|| refuse(place, "must be a mapping"))
}

pub(super) fn string<'y>(yaml: &'y Yaml, place: &str) -> Result<&'y str, ConfigError> {
    yaml.as_str().ok_or_else(|| refuse(place, "must be a text"))
}

/// A text or a list of texts.
pub(super) fn strings<'y>(yaml: Option<&'y Yaml>, place: &str) -> Result<Vec<&'y str>, ConfigError> {
    match yaml {
        None => Ok(Vec::new()),
        Some(Yaml::Sequence(items)) => items.iter().map(|item| string(item, place)).collect(),
        Some(other) => Ok(vec![string(other, place)?]),
    }
}

pub(super) fn known_keys(mapping: &Mapping, place: &str, known: &[&str]) -> Result<(), ConfigError> {
    for key in mapping.keys() {
        let key = string(key, place)?;
        if !known.contains(&key) {
            return Err(refuse(place, &format!("`{key}` is not known; known are `{}`", known.join("`, `"))));
        }
    }
    Ok(())
}
