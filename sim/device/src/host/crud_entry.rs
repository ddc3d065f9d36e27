//! An operation of the upload queue: as the core's JSON, as the history has it, and as it goes over the wire.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use fixtures::{App, Value};
use serde::Deserialize;
use serde_json::value::RawValue;
use sim_core::history::{LocalOp, Op};

use crate::error::DeviceError;
use crate::recorder::Recorder;

#[derive(Deserialize)]
struct CrudEntry<'a> {
    op: Op,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    table: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<Columns<'a>>,
    #[serde(borrow, default)]
    old: Option<Columns<'a>>,
}

/// A JSON object's members in order, values unread.
struct Columns<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Columns<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> serde::de::Visitor<'de> for Members {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(key) = map.next_key::<BorrowedKey<'de>>()? {
                    members.push((key.0, map.next_value::<&'de RawValue>()?));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Members).map(Columns)
    }
}

#[derive(Deserialize)]
struct BorrowedKey<'a>(#[serde(borrow)] Cow<'a, str>);

impl CrudEntry<'_> {
    /// Whether the upload carries the old value of this column: those that change, and for a group all of it; a
    /// DELETE carries the whole row.
    fn sends_old(&self, app: &App, table: usize, column: usize) -> bool {
        let changes = |column: usize| {
            let name = &app.schema.tables[table].columns[column].name;
            self.data.as_ref().is_some_and(|columns| columns.0.iter().any(|(member, _)| **member == **name))
        };
        self.op == Op::Delete
            || changes(column)
            || app.policy.group_of(table, column).is_some_and(|group| group.columns.iter().any(|one| changes(*one)))
    }
}

/// An operation as the history has it, with its table and its row's id.
pub(super) fn local_op(
    app: &App,
    recorder: &Recorder,
    op_id: i64,
    data: &str,
) -> Result<(LocalOp, usize, Arc<str>), DeviceError> {
    let entry: CrudEntry<'_> = serde_json::from_str(data)?;
    let table = app.schema.table_index(&entry.table).expect("the client has only the schema's tables");
    let mut op = LocalOp {
        op_id,
        op: entry.op,
        row: recorder.row(table, &entry.id),
        data: Vec::new(),
        old: Vec::new(),
        unknown: Vec::new(),
    };
    let schema = &app.schema.tables[table];
    for (name, raw) in entry.data.iter().flat_map(|columns| &columns.0) {
        let json: serde_json::Value = serde_json::from_str(raw.get())?;
        match schema.column_index(name) {
            Some(column) => match Value::from_json(schema.columns[column].ty, &json) {
                Ok(value) => op.data.push((column, value)),
                Err(_) => op.unknown.push(name.to_string()),
            },
            None => op.unknown.push(name.to_string()),
        }
    }
    for (name, raw) in entry.old.iter().flat_map(|columns| &columns.0) {
        if let Some(column) = schema.column_index(name)
            && entry.sends_old(app, table, column)
            && let Ok(value) = Value::from_json(schema.columns[column].ty, &serde_json::from_str(raw.get())?)
        {
            op.old.push((column, value));
        }
    }
    Ok((op, table, Arc::from(&*entry.id)))
}

/// The wire form of operations (op id and JSON each): a JSON array.
pub(super) fn wire_ops(app: &App, entries: &[(i64, String)]) -> Result<String, DeviceError> {
    let mut out = String::with_capacity(entries.iter().map(|(_, data)| data.len() + 32).sum());
    out.push('[');
    for (index, (op_id, data)) in entries.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_wire_op(app, &mut out, *op_id, data)?;
    }
    out.push(']');
    Ok(out)
}

fn write_wire_op(app: &App, out: &mut String, op_id: i64, data: &str) -> Result<(), DeviceError> {
    let entry: CrudEntry<'_> = serde_json::from_str(data)?;
    let table = app.schema.table_index(&entry.table);
    let op = match entry.op {
        Op::Put => "PUT",
        Op::Patch => "PATCH",
        Op::Delete => "DELETE",
    };
    let id = serde_json::to_string(&entry.id)?;
    let name = serde_json::to_string(&entry.table)?;
    let _ = write!(out, "{{\"op_id\":{op_id},\"op\":\"{op}\",\"table\":{name},\"id\":{id}");
    if let Some(data) = &entry.data {
        write_members(out, "data", data.0.iter());
    }
    if let (Some(old), Some(table)) = (&entry.old, table) {
        let schema = &app.schema.tables[table];
        let is_sent = |name: &str| schema.column_index(name).is_some_and(|column| entry.sends_old(app, table, column));
        write_members(out, "old", old.0.iter().filter(|(name, _)| is_sent(name)));
    }
    out.push('}');
    Ok(())
}

fn write_members<'a>(out: &mut String, key: &str, members: impl Iterator<Item = &'a (Cow<'a, str>, &'a RawValue)>) {
    let _ = write!(out, ",\"{key}\":{{");
    for (index, (name, raw)) in members.enumerate() {
        let name = serde_json::to_string(name).expect("a string is JSON");
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(out, "{comma}{name}:{}", raw.get());
    }
    out.push('}');
}
