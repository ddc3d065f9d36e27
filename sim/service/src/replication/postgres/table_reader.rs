//! How rows of the published tables become rows of ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fixtures::{Column, ColumnDefault, Row, Schema, Table, Value};
use serde::{Deserialize, Serialize};

use super::catalog::Catalog;
use super::pgoutput::{Cell, Tuple};
use super::types::{SourceType, TypeRow};
use crate::changes::ReplicaIdentity;
use crate::durable::Layout;
use crate::json::TimeFormat;
use crate::sync_config::ValueFormat;

/// The published tables, and how the sync configuration wants their rows to be read.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    pub(super) catalog: Catalog,
    pub(super) layout: Layout,
    format: TimeFormat,
    tables: Vec<TableReader>,
}

#[derive(Clone, Debug)]
struct TableReader {
    types: Vec<SourceType>,
    /// The columns that identify a row.
    key: Vec<usize>,
    /// Whether the first column is the `id` that schemas leave out.
    implied: bool,
}

/// [`Layout::text`] as JSON. The store keeps it, so its keys stay as they are.
#[derive(Serialize, Deserialize)]
struct LayoutText {
    iso8601: bool,
    domains: bool,
    catalog: Catalog,
}

/// A row of the server with its key. `None` stands for a value that did not change.
pub(super) type KeyedCells = (Arc<str>, Vec<Option<Value>>);

impl Tables {
    pub(super) fn new(catalog: Catalog, value_format: ValueFormat) -> Self {
        let type_rows: BTreeMap<u32, TypeRow> = catalog
            .types
            .iter()
            .map(|(oid, kind, base, element, category, delimiter)| {
                let (kind, base, element) = (*kind, *base, *element);
                (*oid, TypeRow { kind, base, element, category: *category, delimiter: *delimiter })
            })
            .collect();
        let mut tables = Vec::new();
        let mut schema = Schema { tables: Vec::new() };
        let (mut bytea, mut identities) = (Vec::new(), Vec::new());
        for (index, table) in catalog.tables.iter().enumerate() {
            let types: Vec<SourceType> = table
                .columns
                .iter()
                .map(|column| SourceType::of(column.oid, &type_rows, value_format.unwrap_domains))
                .collect();
            let key = table.key();
            // Schemas leave `id` out when it is the first column, text, and the whole key.
            let implied = key == [0] && table.columns[0].name == "id" && types[0] == SourceType::Text;
            let first = usize::from(implied);
            let columns = table.columns.iter().zip(&types).skip(first).map(|(column, ty)| Column {
                name: column.name.clone(),
                ty: ty.column_type(),
                not_null: false,
                default: ColumnDefault::Null,
            });
            let of_bytes = types.iter().enumerate().filter(|(_, ty)| **ty == SourceType::Bytea);
            bytea.extend(of_bytes.map(|(column, _)| (index, column - first)));
            schema.tables.push(Table { name: table.name.clone(), columns: columns.collect(), unique: Vec::new() });
            identities.push(match table.identity {
                'f' => ReplicaIdentity::Full,
                _ => ReplicaIdentity::PrimaryKey,
            });
            tables.push(TableReader { types, key, implied });
        }
        let text = LayoutText {
            iso8601: value_format.time_format == TimeFormat::Iso8601,
            domains: value_format.unwrap_domains,
            catalog: catalog.clone(),
        };
        let text = serde_json::to_string(&text).expect("a catalog is plain data");
        let layout = Layout { schema: Arc::new(schema), identities, bytea, text };
        Self { catalog, layout, format: value_format.time_format, tables }
    }

    /// Reads [`Layout::text`] back; `None` when it was written under another value format, or is not one.
    pub(super) fn restore(text: &str, value_format: ValueFormat) -> Option<Self> {
        let stored: LayoutText = serde_json::from_str(text).ok()?;
        let same = stored.iso8601 == (value_format.time_format == TimeFormat::Iso8601)
            && stored.domains == value_format.unwrap_domains;
        same.then(|| Self::new(stored.catalog, value_format))
    }

    /// The row of a new tuple. Unchanged values are taken from the old one if it has them.
    pub(super) fn cells(&self, table: usize, new: &Tuple, old: Option<&Tuple>) -> KeyedCells {
        let reader = &self.tables[table];
        let cell = |column: usize| -> Option<&Cell> {
            match new.cells.get(column) {
                Some(Cell::Unchanged) => {
                    let known = |old: &&Tuple| !old.key || reader.key.contains(&column);
                    old.filter(known).and_then(|old| old.cells.get(column)).filter(|cell| **cell != Cell::Unchanged)
                }
                other => other,
            }
        };
        let key = key_text(reader.key.iter().map(|column| cell(*column)));
        let first = usize::from(reader.implied);
        let values = (first..reader.types.len()).map(|column| match cell(column) {
            None | Some(Cell::Unchanged) => None,
            Some(Cell::Null) => Some(Value::Null),
            Some(Cell::Text(text)) => Some(reader.types[column].value(&text_of(text), self.format)),
        });
        (key, values.collect())
    }

    /// The key of an old tuple, and the whole row if it is there.
    pub(super) fn old(&self, table: usize, old: &Tuple) -> (Arc<str>, Option<Row>) {
        let (key, cells) = self.cells(table, old, None);
        let row = if old.key { None } else { cells.into_iter().collect::<Option<Vec<Value>>>().map(Row::from) };
        (key, row)
    }

    /// A row of a query that selects the table's columns.
    pub(super) fn row(&self, table: usize, columns: Vec<Option<Bytes>>) -> (Arc<str>, Row) {
        let cells = columns.into_iter().map(|text| text.map_or(Cell::Null, Cell::Text)).collect();
        let (key, values) = self.cells(table, &Tuple { key: false, cells }, None);
        (key, values.into_iter().map(|value| value.unwrap_or(Value::Null)).collect())
    }
}

/// Reads [`Layout::text`], for the settings of a store's writer; `None` when it can no longer be used.
#[must_use]
pub fn read_layout(text: &str, value_format: ValueFormat) -> Option<Layout> {
    Tables::restore(text, value_format).map(|tables| tables.layout)
}

/// The text of a single column, or a JSON array of the texts of several columns.
fn key_text<'c>(mut cells: impl ExactSizeIterator<Item = Option<&'c Cell>>) -> Arc<str> {
    let text = |cell: Option<&Cell>| match cell {
        Some(Cell::Text(text)) => Some(text_of(text)),
        _ => None,
    };
    if cells.len() == 1 {
        return Arc::from(cells.next().and_then(text).unwrap_or_default());
    }
    let all: Vec<Option<String>> = cells.map(text).collect();
    Arc::from(serde_json::to_string(&all).expect("texts are JSON"))
}

/// The server was asked to write UTF-8.
fn text_of(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::postgres::catalog::{CatalogColumn, CatalogTable};

    fn tables(identity: char, columns: &[(&str, u32, bool)]) -> Tables {
        let columns = columns
            .iter()
            .map(|(name, oid, primary)| CatalogColumn {
                name: (*name).to_owned(),
                oid: *oid,
                primary: *primary,
                identity: false,
            })
            .collect();
        let table = CatalogTable { id: 7, name: "boxes".to_owned(), identity, filter: None, columns };
        let value_format = ValueFormat { time_format: TimeFormat::Legacy, unwrap_domains: false };
        Tables::new(Catalog { tables: vec![table], types: Vec::new() }, value_format)
    }

    fn tuple(key: bool, cells: &[Option<&'static str>]) -> Tuple {
        let cell = |text: &Option<&'static str>| match text {
            None => Cell::Null,
            Some("?") => Cell::Unchanged,
            Some(text) => Cell::Text(Bytes::from_static(text.as_bytes())),
        };
        Tuple { key, cells: cells.iter().map(cell).collect() }
    }

    fn text((key, cells): &KeyedCells) -> String {
        let cell =
            |cell: &Option<Value>| cell.as_ref().map_or_else(|| "?".to_owned(), |value| value.to_json().to_string());
        format!("{key}: {}", cells.iter().map(cell).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn keys_and_rows() {
        let implied = tables('d', &[("id", 25, true), ("n", 23, false), ("big", 25, false)]);
        assert_eq!(implied.layout.schema.tables[0].columns.len(), 2);
        let new = tuple(false, &[Some("a"), Some("1"), Some("?")]);
        assert_eq!(text(&implied.cells(0, &new, None)), "a: 1 ?");
        let old = tuple(true, &[Some("b"), None, None]);
        assert_eq!(text(&implied.cells(0, &new, Some(&old))), "a: 1 ?", "a key tuple does not hold other columns");
        let old = tuple(false, &[Some("b"), Some("5"), Some("x")]);
        assert_eq!(text(&implied.cells(0, &new, Some(&old))), "a: 1 \"x\"");
        assert_eq!(implied.old(0, &old).1.map(|row| row.len()), Some(2));
        let numbered = tables('d', &[("id", 23, true), ("n", 23, false)]);
        assert_eq!(numbered.layout.schema.tables[0].columns.len(), 2, "an id that is not text is a column");
        assert_eq!(text(&numbered.cells(0, &tuple(false, &[Some("4"), None]), None)), "4: 4 null");
        let two = tables('d', &[("a", 25, true), ("b", 25, true)]);
        assert_eq!(text(&two.cells(0, &tuple(false, &[Some("x"), Some("y")]), None)), "[\"x\",\"y\"]: \"x\" \"y\"");
        let none = tables('f', &[("a", 25, false), ("b", 25, false)]);
        assert_eq!(&*none.cells(0, &tuple(false, &[Some("x"), None]), None).0, "[\"x\",null]");
    }

    #[test]
    fn a_layout_comes_back_under_the_same_value_format_only() {
        let tables = tables('d', &[("id", 25, true), ("bin", 17, false)]);
        assert_eq!(tables.layout.bytea, [(0, 0)]);
        let legacy = ValueFormat { time_format: TimeFormat::Legacy, unwrap_domains: false };
        let restored = Tables::restore(&tables.layout.text, legacy).expect("it was written under the same format");
        assert_eq!(restored.layout, tables.layout);
        assert!(Tables::restore(&tables.layout.text, ValueFormat { unwrap_domains: true, ..legacy }).is_none());
        assert!(Tables::restore("", legacy).is_none());
    }
}
