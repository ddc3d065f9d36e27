//! The published tables as PostgreSQL's catalog has them, and how their rows become ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fixtures::{Column, Default as ColumnDefault, Row, Schema, Table, Value};
use serde::{Deserialize, Serialize};

use super::pgoutput::{Cell, Relation, Tuple};
use super::types::{Kind, TypeRow};
use crate::durable::engine::Layout;
use crate::replication::ReplicaIdentity;
use crate::row::TimeFormat;
use crate::sync_config::Reading;

/// The only PostgreSQL schema that sync queries can name.
pub(super) const NAMESPACE: &str = "public";

/// The published tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Catalog {
    pub(super) tables: Vec<CatalogTable>,
    /// `pg_type`, as far as the columns need it: (oid, kind, base, element, category, delimiter).
    pub(super) types: Vec<(u32, char, u32, u32, char, char)>,
}

/// A published table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CatalogTable {
    pub(super) id: u32,
    pub(super) name: String,
    /// `d`, `f`, `i` or `n`, see [`Relation::identity`].
    pub(super) identity: char,
    /// The publication's row filter, as SQL.
    pub(super) filter: Option<String>,
    pub(super) columns: Vec<CatalogColumn>,
}

/// A published column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CatalogColumn {
    pub(super) name: String,
    pub(super) oid: u32,
    /// Whether it is part of the primary key.
    pub(super) primary: bool,
    /// Whether it is part of the index that is the replica identity.
    pub(super) identity: bool,
}

/// A catalog put to use, under what the sync configuration says about reading.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    pub(super) catalog: Catalog,
    pub(super) layout: Layout,
    format: TimeFormat,
    tables: Vec<TableReader>,
}

#[derive(Clone, Debug)]
struct TableReader {
    kinds: Vec<Kind>,
    /// The columns of the key by which rows are told apart.
    key: Vec<usize>,
    /// Whether the first column is the `id` that schemas imply.
    implied: bool,
}

/// What [`Layout::text`] is.
#[derive(Serialize, Deserialize)]
struct LayoutText {
    iso8601: bool,
    domains: bool,
    catalog: Catalog,
}

/// A row of the server's with its key; `None` stands for a value that did not change.
pub(super) type KeyedCells = (Arc<str>, Vec<Option<Value>>);

impl Catalog {
    /// What differs between a table here and how the log describes it, in words; `None` when nothing does.
    pub(super) fn differs(&self, relation: &Relation) -> Option<String> {
        let Some(table) = self.tables.iter().find(|table| table.name == relation.name) else {
            return Some(format!("table {} is new", relation.name));
        };
        let columns = table.columns.iter().map(|column| (column.name.as_str(), column.oid));
        if !columns.eq(relation.columns.iter().map(|(name, oid, _)| (name.as_str(), *oid))) {
            return Some(format!("the columns of table {} changed", table.name));
        }
        if table.id != relation.id {
            return Some(format!("table {} was made anew", table.name));
        }
        (table.identity != relation.identity).then(|| format!("the replica identity of {} changed", table.name))
    }
}

impl CatalogTable {
    /// The columns of the key by which rows are told apart: what the log tells of a row that is updated or deleted.
    fn key(&self) -> Vec<usize> {
        let those = |wanted: fn(&CatalogColumn) -> bool| -> Vec<usize> {
            self.columns.iter().enumerate().filter(|(_, column)| wanted(column)).map(|(index, _)| index).collect()
        };
        let key = if self.identity == 'i' { those(|one| one.identity) } else { those(|one| one.primary) };
        if key.is_empty() { those(|_| true) } else { key }
    }
}

impl Tables {
    pub(super) fn new(catalog: Catalog, reading: Reading) -> Self {
        let types: BTreeMap<u32, TypeRow> = catalog
            .types
            .iter()
            .map(|(oid, kind, base, element, category, delimiter)| {
                let (kind, base, element) = (*kind, *base, *element);
                (*oid, TypeRow { kind, base, element, category: *category, delimiter: *delimiter })
            })
            .collect();
        let mut tables = Vec::new();
        let mut schema = Schema { tables: Vec::new() };
        let (mut blobs, mut identities) = (Vec::new(), Vec::new());
        for (index, table) in catalog.tables.iter().enumerate() {
            let kinds: Vec<Kind> =
                table.columns.iter().map(|column| Kind::of(column.oid, &types, reading.domains)).collect();
            let key = table.key();
            // `id` goes without saying when it is what schemas imply: the first column, text, and the whole key.
            let implied = key == [0] && table.columns[0].name == "id" && kinds[0] == Kind::Text;
            let first = usize::from(implied);
            let columns = table.columns.iter().zip(&kinds).skip(first).map(|(column, kind)| Column {
                name: column.name.clone(),
                ty: kind.column_type(),
                not_null: false,
                default: ColumnDefault::Null,
            });
            let of_bytes = kinds.iter().enumerate().filter(|(_, kind)| **kind == Kind::Bytea);
            blobs.extend(of_bytes.map(|(column, _)| (index, column - first)));
            schema.tables.push(Table { name: table.name.clone(), columns: columns.collect(), unique: Vec::new() });
            identities.push(match table.identity {
                'f' => ReplicaIdentity::Full,
                _ => ReplicaIdentity::PrimaryKey,
            });
            tables.push(TableReader { kinds, key, implied });
        }
        let text = LayoutText {
            iso8601: reading.time_format == TimeFormat::Iso8601,
            domains: reading.domains,
            catalog: catalog.clone(),
        };
        let text = serde_json::to_string(&text).expect("a catalog is plain data");
        let layout = Layout { schema: Arc::new(schema), identities, blobs, text };
        Self { catalog, layout, format: reading.time_format, tables }
    }

    /// Reads [`Layout::text`] back; `None` when it was written under another reading, or is not one.
    pub(super) fn restore(text: &str, reading: Reading) -> Option<Self> {
        let stored: LayoutText = serde_json::from_str(text).ok()?;
        let same = stored.iso8601 == (reading.time_format == TimeFormat::Iso8601) && stored.domains == reading.domains;
        same.then(|| Self::new(stored.catalog, reading))
    }

    /// The row of a new tuple. What it leaves out is looked for in the old one.
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
        let values = (first..reader.kinds.len()).map(|column| match cell(column) {
            None | Some(Cell::Unchanged) => None,
            Some(Cell::Null) => Some(Value::Null),
            Some(Cell::Text(text)) => Some(reader.kinds[column].value(&text_of(text), self.format)),
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

/// One text stands for itself; several, or none, are a JSON array.
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

/// The server writes UTF-8, as it was asked to.
fn text_of(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let reading = Reading { time_format: TimeFormat::Legacy, domains: false };
        Tables::new(Catalog { tables: vec![table], types: Vec::new() }, reading)
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
        assert_eq!(text(&implied.cells(0, &new, Some(&old))), "a: 1 ?", "a key tuple tells nothing of other columns");
        let old = tuple(false, &[Some("b"), Some("5"), Some("x")]);
        assert_eq!(text(&implied.cells(0, &new, Some(&old))), "a: 1 \"x\"");
        assert_eq!(implied.old(0, &old).1.map(|row| row.len()), Some(2));
        let numbered = tables('d', &[("id", 23, true), ("n", 23, false)]);
        assert_eq!(numbered.layout.schema.tables[0].columns.len(), 2, "an id that is no text is told");
        assert_eq!(text(&numbered.cells(0, &tuple(false, &[Some("4"), None]), None)), "4: 4 null");
        let two = tables('d', &[("a", 25, true), ("b", 25, true)]);
        assert_eq!(text(&two.cells(0, &tuple(false, &[Some("x"), Some("y")]), None)), "[\"x\",\"y\"]: \"x\" \"y\"");
        let none = tables('f', &[("a", 25, false), ("b", 25, false)]);
        assert_eq!(&*none.cells(0, &tuple(false, &[Some("x"), None]), None).0, "[\"x\",null]");
    }

    #[test]
    fn what_changed_about_a_table() {
        let tables = tables('d', &[("id", 25, true), ("n", 23, false)]);
        let check = |id, identity, columns: &[(&str, u32)], expect: Option<&str>| {
            let columns = columns.iter().map(|(name, oid)| ((*name).to_owned(), *oid, false)).collect();
            let relation =
                Relation { id, namespace: NAMESPACE.to_owned(), name: "boxes".to_owned(), identity, columns };
            assert_eq!(tables.catalog.differs(&relation).as_deref(), expect);
        };
        check(7, 'd', &[("id", 25), ("n", 23)], None);
        check(8, 'd', &[("id", 25), ("n", 23)], Some("table boxes was made anew"));
        check(7, 'f', &[("id", 25), ("n", 23)], Some("the replica identity of boxes changed"));
        check(7, 'd', &[("id", 25), ("n", 20)], Some("the columns of table boxes changed"));
        check(7, 'd', &[("id", 25)], Some("the columns of table boxes changed"));
    }

    #[test]
    fn a_layout_comes_back_under_the_same_reading_only() {
        let tables = tables('d', &[("id", 25, true), ("bin", 17, false)]);
        assert_eq!(tables.layout.blobs, [(0, 0)]);
        let legacy = Reading { time_format: TimeFormat::Legacy, domains: false };
        let restored = Tables::restore(&tables.layout.text, legacy).expect("it was written just so");
        assert_eq!(restored.layout, tables.layout);
        assert!(Tables::restore(&tables.layout.text, Reading { domains: true, ..legacy }).is_none());
        assert!(Tables::restore("", legacy).is_none());
    }
}
