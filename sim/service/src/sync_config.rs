//! The sync configuration: which rows are in which buckets, and which buckets a request gets.
//!
//! Understood are `bucket_definitions` (sync rules) in editions 1 and 2, and single-table sync streams in edition
//! 2. A parameter query without FROM is evaluated for each request; one with FROM is indexed as rows are
//! replicated. What a configuration asks for and this service does not know is refused by name.

mod document;
pub mod expression;
pub mod query;
pub mod resolve;
pub mod select;
mod streams;

use std::sync::Arc;

use fixtures::{Row, Schema, Value};

use crate::row::{TimeFormat, write_parameter, write_string, write_value};
use expression::{Expression, Input, RequestValues};
use query::{DataQuery, LookupQuery, Output, ParameterQuery, combinations};
use select::Source;

/// Why a sync configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sync config, {place}: {problem}")]
pub struct ConfigError {
    /// The place in the document, as a path of keys.
    pub place: String,
    /// What is wrong or not known.
    pub problem: String,
}

/// A sync configuration, resolved against a schema.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncConfig {
    /// The document, as it was given: two configurations are the same when their texts are.
    pub text: Arc<str>,
    /// How row data writes instants.
    pub time_format: TimeFormat,
    /// Whether bucket names start with `<generation>#`.
    pub versioned: bool,
    /// What the `streams` of a checkpoint line list.
    pub streams: Vec<Stream>,
    /// The sources of buckets.
    pub definitions: Vec<Definition>,
    /// The distinct select lists of all data queries.
    pub projections: Vec<Projection>,
    /// Per table of the schema: data queries as (definition, query).
    pub data_by_table: Vec<Vec<(usize, usize)>>,
    /// Per table of the schema: parameter queries as (definition, query).
    pub lookups_by_table: Vec<Vec<(usize, usize)>>,
}

/// How a sync configuration wants the source's values to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// How instants and times are written.
    pub time_format: TimeFormat,
    /// Whether a domain is read as its inner type (from edition 2 on) or as text.
    pub domains: bool,
}

impl Reading {
    /// What a configuration says about it; its queries are not looked at.
    ///
    /// # Errors
    /// When the document or its `config` is malformed.
    pub fn of(text: &str) -> Result<Self, ConfigError> {
        document::reading(text)
    }
}

/// What a client subscribes to: a sync stream, or a bucket definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// Whether every client is subscribed to it.
    pub default: bool,
    /// Whether a client can subscribe to it by name; a bucket definition cannot be subscribed to.
    pub by_name: bool,
}

/// One source of buckets: a bucket definition, or one query of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Index of the stream that it belongs to.
    pub stream: usize,
    /// What bucket names start with, after the generation.
    pub name: String,
    /// 0 to 3; lower is sooner.
    pub priority: u8,
    /// How a request finds its buckets; any query may contribute.
    pub parameters: Vec<ParameterQuery>,
    /// How a row finds its buckets.
    pub data: Vec<DataQuery>,
}

/// A select list over one table.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// The table.
    pub table: usize,
    /// The table on the client.
    pub object_type: Arc<str>,
    /// The row on the client; `None` when it is the source's id.
    pub object_id: Option<Expression>,
    /// `"name":` and where the value comes from.
    pub columns: Vec<(String, Source)>,
}

impl SyncConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// The first thing that is malformed or not known, with its place.
    pub fn parse(text: &str, schema: &Schema) -> Result<Self, ConfigError> {
        document::parse(text, schema)
    }

    /// Says which columns, as (table, column), hold bytes: their values are left out of row data unless NULL.
    ///
    /// # Errors
    /// When a query does more with such a column than select it.
    pub fn leave_out(&mut self, blobs: &[(usize, usize)], schema: &Schema) -> Result<(), ConfigError> {
        let refuse = |table: usize, column: usize| {
            let table = &schema.tables[table];
            let place = format!("a query on `{}`", table.name);
            let problem = format!("`{}` is bytea: it can be selected, and nothing else", table.columns[column].name);
            Err(ConfigError { place, problem })
        };
        let blob_in = |table: usize, expression: &Expression| {
            let mut columns = Vec::new();
            expression.columns(&mut columns);
            columns.into_iter().find(|column| blobs.contains(&(table, *column)))
        };
        for definition in &self.definitions {
            for data in &definition.data {
                let all = data.filters.iter().chain(data.keys.iter().map(|key| &key.of));
                if let Some(column) = all.filter_map(|one| blob_in(data.table, one)).next() {
                    return refuse(data.table, column);
                }
            }
            for parameters in &definition.parameters {
                let ParameterQuery::Lookup(lookup) = parameters else { continue };
                let all = lookup.filters.iter().chain(&lookup.stored).chain(lookup.keys.iter().map(|(row, _)| &row.of));
                if let Some(column) = all.filter_map(|one| blob_in(lookup.table, one)).next() {
                    return refuse(lookup.table, column);
                }
            }
        }
        for projection in &mut self.projections {
            for (_, source) in &mut projection.columns {
                match source {
                    Source::Column(column) if blobs.contains(&(projection.table, *column)) => {
                        *source = Source::Blob(*column);
                    }
                    Source::Computed(expression) => {
                        if let Some(column) = blob_in(projection.table, expression) {
                            return refuse(projection.table, column);
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The name of a bucket.
    #[must_use]
    pub fn bucket_name<'v>(
        &self,
        generation: u32,
        definition: usize,
        parameters: impl Iterator<Item = &'v Value>,
    ) -> String {
        let mut name = String::with_capacity(48);
        if self.versioned {
            write_value(&mut name, &Value::Int(i64::from(generation)), fixtures::Type::BigInt, self.time_format);
            name.push('#');
        }
        name.push_str(&self.definitions[definition].name);
        name.push('[');
        for (index, parameter) in parameters.enumerate() {
            if index > 0 {
                name.push(',');
            }
            write_parameter(&mut name, parameter);
        }
        name.push(']');
        name
    }

    /// Calls back with the parameters of every bucket that the row is in by this query.
    pub fn buckets_of_row(&self, query: &DataQuery, id: &str, row: &Row, found: &mut dyn FnMut(&[Value])) {
        let input = Input::Row(id, row, self.time_format);
        if !query.filters.iter().all(|filter| filter.holds(input)) {
            return;
        }
        let values = query.keys.iter().map(|key| key.values(input));
        for combination in combinations(values.map(without_null)) {
            found(&combination);
        }
    }
}

impl Projection {
    /// The row's id on the client.
    #[must_use]
    pub fn client_id(&self, id: &Arc<str>, row: &Row, format: TimeFormat) -> Arc<str> {
        match &self.object_id {
            None => id.clone(),
            Some(expression) => match expression.evaluate(Input::Row(id, row, format)) {
                Value::Text(text) => text,
                Value::Null => Arc::from(""),
                other => Arc::from(crate::row::value_text(&other, format)),
            },
        }
    }

    /// Appends the row data.
    pub fn write(&self, out: &mut String, schema: &Schema, id: &str, row: &Row, format: TimeFormat) {
        let columns = &schema.tables[self.table].columns;
        out.push('{');
        let mut first = true;
        for (name, source) in &self.columns {
            if matches!(source, Source::Blob(column) if !row[*column].is_null()) {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            out.push_str(name);
            match source {
                Source::Blob(_) => out.push_str("null"),
                Source::Id => write_string(out, id),
                Source::Column(column) => write_value(out, &row[*column], columns[*column].ty, format),
                Source::Computed(expression) => {
                    let value = expression.evaluate(Input::Row(id, row, format));
                    write_value(out, &value, fixtures::Type::Double, format);
                }
            }
        }
        out.push('}');
    }
}

impl LookupQuery {
    /// The index entry of a row: its keys, and what it contributes. No key: no request can find it.
    #[must_use]
    pub fn index_entry(&self, id: &str, row: &Row, format: TimeFormat) -> (Vec<String>, Vec<Value>) {
        let input = Input::Row(id, row, format);
        if !self.filters.iter().all(|filter| filter.holds(input)) {
            return (Vec::new(), Vec::new());
        }
        let keys = lookup_keys(self.keys.iter().map(|(row_side, _)| row_side.values(input)));
        (keys, self.stored.iter().map(|expression| expression.evaluate(input)).collect())
    }

    /// The keys under which a request looks.
    #[must_use]
    pub fn request_keys(&self, request: &RequestValues) -> Vec<String> {
        let input = Input::Request(request);
        if !self.gates.iter().all(|gate| gate.holds(input)) {
            return Vec::new();
        }
        lookup_keys(self.keys.iter().map(|(_, request_side)| request_side.values(input)))
    }

    /// The parameters of the buckets that an index entry stands for.
    #[must_use]
    pub fn outputs(&self, stored: &[Value], request: &RequestValues) -> Vec<Vec<Value>> {
        combinations(self.outputs.iter().map(|output| match output {
            Output::Stored(index) => vec![stored[*index].clone()],
            Output::Request(term) => term.values(Input::Request(request)),
        }))
    }
}

fn lookup_keys(sides: impl Iterator<Item = Vec<Value>>) -> Vec<String> {
    let key_of = |values: &Vec<Value>| {
        let mut key = String::from("[");
        for value in values {
            write_parameter(&mut key, value);
            key.push(',');
        }
        key
    };
    combinations(sides.map(without_null)).iter().map(key_of).collect()
}

/// NULL matches nothing.
fn without_null(mut values: Vec<Value>) -> Vec<Value> {
    values.retain(|value| !value.is_null());
    values
}
