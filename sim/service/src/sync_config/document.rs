//! The YAML document of a sync configuration: its keys, and how they become definitions.

use fixtures::Schema;
use serde_norway::Value as Yaml;

use super::compile::{NamedParameterQuery, data_query, parameter_query};
use super::config::{Definition, Stream, SyncConfig};
use super::error::ConfigError;
use super::options::Options;
use super::query::{Output, ParameterQuery};
use super::streams::sync_stream;
use super::yaml::{self, known_keys, mapping, priority, string, strings};

impl SyncConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// The first thing that is malformed or not supported, with its place.
    pub fn parse(text: &str, schema: &Schema) -> Result<Self, ConfigError> {
        let yaml = yaml::parse(text)?;
        let document = mapping(&yaml, "document")?;
        known_keys(document, "document", &["config", "bucket_definitions", "streams"])?;
        let options = Options::parse(document.get("config"))?;
        let mut config = Self {
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
                return Err(ConfigError::new("streams", "needs `config: {edition: 2}`"));
            }
            for (name, body) in mapping(streams, "streams")? {
                let name = string(name, "streams")?;
                sync_stream(&mut config, name, body, schema)?;
            }
        }
        if config.definitions.is_empty() {
            return Err(ConfigError::new("document", "`bucket_definitions` or `streams` must define something"));
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
        let mut parsed = parameter_query(sql, schema).map_err(|problem| ConfigError::new(&place, &problem))?;
        match &names {
            None => names = Some(parsed.names.clone()),
            Some(first) => reorder(&mut parsed, first).map_err(|problem| ConfigError::new(&place, &problem))?,
        }
        parameters.push(parsed.query);
    }
    if parameters.is_empty() {
        parameters.push(ParameterQuery::Static { request_filters: Vec::new(), outputs: Vec::new(), priority: None });
    }
    let names = names.unwrap_or_default();
    let queries = strings(body.get("data"), &format!("{place}.data"))?;
    if queries.is_empty() {
        return Err(ConfigError::new(&place, "`data` must list at least one query"));
    }
    let mut data = Vec::new();
    for (index, sql) in queries.iter().enumerate() {
        let query = data_query(sql, schema, &names, &mut config.projections)
            .map_err(|problem| ConfigError::new(&format!("{place}.data.{index}"), &problem))?;
        data.push(query);
    }
    let stream = config.streams.len();
    config.streams.push(Stream { name: name.to_owned(), default: true, by_name: false });
    config.definitions.push(Definition { stream, name: name.to_owned(), priority, parameters, data });
    Ok(())
}

/// Orders the outputs of a parameter query as in the first query of the definition.
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
