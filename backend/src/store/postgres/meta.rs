//! Stamps, tombstones and authors as JSON.
//!
//! Columns and registers are stored by name, so that an application may add and reorder columns. A column that no longer
//! exists is left out, a new one has no stamp. Reals are texts, because JSON readers round them.

use std::collections::BTreeMap;
use std::sync::Arc;

use fixtures::{Row, Type, Value};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::record::{Author, RowMeta, Stamp, Tombstone, Writer};
use crate::rules::{Register, Rules, TableRules};

/// An operation: subject, client, epoch, operation id.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct WriterJson(String, String, u32, i64);

/// A register's stamp: instant, index of the writer, contributions.
#[derive(Debug, Deserialize, Serialize)]
struct StampJson(i64, usize, #[serde(default, skip_serializing_if = "Vec::is_empty")] Vec<(usize, Json)>);

#[derive(Debug, Deserialize, Serialize)]
struct MetaJson {
    /// The writers, which stamps name by index.
    writers: Vec<WriterJson>,
    /// Registers, by the names of their columns joined with `+`.
    stamps: BTreeMap<String, StampJson>,
    /// Columns of the row as the backend last wrote it; NULLs are left out.
    written: BTreeMap<String, Json>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    defaulted: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    heartbeats: BTreeMap<String, i64>,
}

#[derive(Debug, Deserialize, Serialize)]
struct TombstoneJson {
    at_us: i64,
    writer: WriterJson,
    image: BTreeMap<String, Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    meta: Option<MetaJson>,
}

pub(super) fn writer_json(writer: &Writer) -> WriterJson {
    WriterJson(writer.subject.to_string(), writer.client.to_string(), writer.epoch, writer.op)
}

fn writer(json: WriterJson) -> Arc<Writer> {
    let WriterJson(subject, client, epoch, op) = json;
    Arc::new(Writer { subject: subject.into(), client: client.into(), epoch, op })
}

/// `None` is the server.
pub(super) fn author_json(author: &Author) -> Option<String> {
    let writer = author.writer()?;
    Some(serde_json::to_string(&writer_json(writer)).expect("texts and numbers always serialize"))
}

pub(super) fn author(json: Option<&str>) -> Result<Author, serde_json::Error> {
    match json {
        None => Ok(Author::Server),
        Some(text) => Ok(Author::Client(writer(serde_json::from_str(text)?))),
    }
}

fn value_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Int(int) | Value::Time(int) => Json::from(*int),
        Value::Real(real) => Json::from(real.to_string()),
        Value::Text(text) => Json::from(&**text),
    }
}

/// `None`: the stored value does not fit the type, because the column's type has changed.
fn value(ty: Type, json: &Json) -> Option<Value> {
    match (ty, json) {
        (_, Json::Null) => Some(Value::Null),
        (Type::Text, Json::String(text)) => Some(Value::text(text)),
        (Type::Real | Type::Double, Json::String(text)) => text.parse().ok().map(Value::Real),
        (Type::SmallInt | Type::Integer | Type::BigInt | Type::Boolean, json) => json.as_i64().map(Value::Int),
        (Type::Timestamptz, json) => json.as_i64().map(Value::Time),
        _ => None,
    }
}

fn register_key(table: &TableRules, register: &Register) -> String {
    let names: Vec<&str> = register.columns.iter().map(|column| table.columns[*column].name.as_str()).collect();
    names.join("+")
}

fn columns_json(table: &TableRules, row: &Row) -> BTreeMap<String, Json> {
    let columns = table.columns.iter().zip(row.iter()).filter(|(_, value)| !value.is_null());
    columns.map(|(column, value)| (column.name.clone(), value_json(value))).collect()
}

fn meta_json(rules: &Rules, table: &TableRules, meta: &RowMeta) -> MetaJson {
    let mut writers: Vec<WriterJson> = Vec::new();
    let mut index_of = |writer: &Writer| {
        let json = writer_json(writer);
        writers.iter().position(|known| *known == json).unwrap_or_else(|| {
            writers.push(json);
            writers.len() - 1
        })
    };
    let mut stamps = BTreeMap::new();
    for (register, stamp) in table.registers.iter().zip(&meta.stamps) {
        let Some(stamp) = stamp else { continue };
        let by = index_of(&stamp.writer);
        let contributions =
            stamp.contributions.iter().map(|(writer, value)| (index_of(writer), value_json(value))).collect();
        stamps.insert(register_key(table, register), StampJson(stamp.at_us, by, contributions));
    }
    MetaJson {
        stamps,
        written: columns_json(table, &meta.written),
        defaulted: meta.defaulted.iter().map(|column| table.columns[*column].name.clone()).collect(),
        heartbeats: meta.heartbeats.iter().map(|(index, at)| (rules.exclusives[*index].name.clone(), *at)).collect(),
        writers,
    }
}

/// A column without a stored value counts as written NULL, so that its present value counts as the server's.
fn meta(rules: &Rules, table: &TableRules, json: MetaJson) -> RowMeta {
    let writers: Vec<Arc<Writer>> = json.writers.into_iter().map(writer).collect();
    let stamp = |register: &Register| {
        let StampJson(at_us, by, contributions) = json.stamps.get(&register_key(table, register))?;
        let ty = table.columns[register.columns[0]].ty;
        let contributions =
            contributions.iter().filter_map(|(by, json)| Some((writers.get(*by)?.clone(), value(ty, json)?))).collect();
        Some(Stamp { at_us: *at_us, writer: writers.get(*by)?.clone(), contributions })
    };
    let written = table
        .columns
        .iter()
        .map(|column| json.written.get(&column.name).and_then(|json| value(column.ty, json)).unwrap_or(Value::Null));
    let exclusive = |name: &String| rules.exclusives.iter().position(|exclusive| exclusive.name == *name);
    RowMeta {
        stamps: table.registers.iter().map(stamp).collect(),
        written: written.collect(),
        defaulted: json.defaulted.iter().filter_map(|name| table.column(name)).collect(),
        heartbeats: json.heartbeats.iter().filter_map(|(name, at)| Some((exclusive(name)?, *at))).collect(),
    }
}

/// A row's metadata as text.
pub(super) fn write_meta(rules: &Rules, table: usize, meta: &RowMeta) -> String {
    let json = meta_json(rules, &rules.tables[table], meta);
    serde_json::to_string(&json).expect("texts and numbers always serialize")
}

/// A row's metadata from text.
pub(super) fn read_meta(rules: &Rules, table: usize, text: &str) -> Result<RowMeta, serde_json::Error> {
    Ok(meta(rules, &rules.tables[table], serde_json::from_str(text)?))
}

/// A tombstone as text, without its receive time.
pub(super) fn write_tombstone(rules: &Rules, table: usize, tombstone: &Tombstone) -> String {
    let table = &rules.tables[table];
    let json = TombstoneJson {
        at_us: tombstone.at_us,
        writer: writer_json(&tombstone.writer),
        image: columns_json(table, &tombstone.image),
        meta: tombstone.meta.as_ref().map(|meta| meta_json(rules, table, meta)),
    };
    serde_json::to_string(&json).expect("texts and numbers always serialize")
}

/// A tombstone from text.
pub(super) fn read_tombstone(
    rules: &Rules,
    table: usize,
    received_us: i64,
    text: &str,
) -> Result<Tombstone, serde_json::Error> {
    let table = &rules.tables[table];
    let json: TombstoneJson = serde_json::from_str(text)?;
    let image: Row = table
        .columns
        .iter()
        .map(|column| json.image.get(&column.name).and_then(|json| value(column.ty, json)).unwrap_or(Value::Null))
        .collect();
    Ok(Tombstone {
        at_us: json.at_us,
        received_us,
        writer: writer(json.writer),
        meta: json.meta.map(|stored| Arc::new(meta(rules, table, stored))),
        image,
    })
}
