//! A sync configuration that is resolved against a schema, and the names of its buckets.

use std::sync::Arc;

use fixtures::{Schema, Value};

use super::error::ConfigError;
use super::expression::Expression;
use super::projection::{ProjectedValue, Projection};
use super::query::{DataQuery, ParameterQuery};
use crate::json::{TimeFormat, write_parameter, write_value};

/// A sync configuration, resolved against a schema.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncConfig {
    /// The document as it was given. Two configurations are the same when their texts are.
    pub text: Arc<str>,
    /// How row data writes instants.
    pub time_format: TimeFormat,
    /// Whether bucket names start with `<generation>#`.
    pub versioned: bool,
    /// The `streams` of a checkpoint line.
    pub streams: Vec<Stream>,
    /// Where buckets come from.
    pub definitions: Vec<Definition>,
    /// The distinct select lists of all data queries.
    pub projections: Vec<Projection>,
    /// Per table of the schema: data queries as (definition, query).
    pub data_by_table: Vec<Vec<(usize, usize)>>,
    /// Per table of the schema: parameter queries as (definition, query).
    pub lookups_by_table: Vec<Vec<(usize, usize)>>,
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

impl SyncConfig {
    /// Leaves the values of these `bytea` columns, as (table, column), out of row data unless they are NULL.
    ///
    /// # Errors
    /// When a query does more with such a column than select it.
    pub fn leave_out_bytea(&mut self, bytea: &[(usize, usize)], schema: &Schema) -> Result<(), ConfigError> {
        let refuse = |table: usize, column: usize| {
            let table = &schema.tables[table];
            let place = format!("a query on `{}`", table.name);
            let problem = format!("`{}` is bytea: it can be selected, and nothing else", table.columns[column].name);
            Err(ConfigError { place, problem })
        };
        let bytea_in = |table: usize, expression: &Expression| {
            let mut columns = Vec::new();
            expression.columns(&mut columns);
            columns.into_iter().find(|column| bytea.contains(&(table, *column)))
        };
        for definition in &self.definitions {
            for data in &definition.data {
                let all = data.row_filters.iter().chain(data.keys.iter().map(|key| &key.of));
                if let Some(column) = all.filter_map(|one| bytea_in(data.table, one)).next() {
                    return refuse(data.table, column);
                }
            }
            for parameters in &definition.parameters {
                let ParameterQuery::Lookup(lookup) = parameters else { continue };
                let keys = lookup.keys.iter().map(|(row_side, _)| &row_side.of);
                let all = lookup.row_filters.iter().chain(&lookup.stored).chain(keys);
                if let Some(column) = all.filter_map(|one| bytea_in(lookup.table, one)).next() {
                    return refuse(lookup.table, column);
                }
            }
        }
        for projection in &mut self.projections {
            for (_, source) in &mut projection.columns {
                match source {
                    ProjectedValue::Column(column) if bytea.contains(&(projection.table, *column)) => {
                        *source = ProjectedValue::Bytea(*column);
                    }
                    ProjectedValue::Computed(expression) => {
                        if let Some(column) = bytea_in(projection.table, expression) {
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
}
