//! The published tables as PostgreSQL's catalog has them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::pgoutput::Relation;
use super::session::{ANSWER_LIMIT, PostgresError, Session, literal, text};

/// The only PostgreSQL schema that sync queries can name.
pub(super) const NAMESPACE: &str = "public";

/// The published tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Catalog {
    pub(super) tables: Vec<CatalogTable>,
    pub(super) types: Vec<CatalogType>,
}

/// A row of `pg_type`: (oid, kind, base, element, category, delimiter).
pub(super) type CatalogType = (u32, char, u32, u32, char, char);

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

impl Catalog {
    /// Reads the tables of a publication.
    pub(super) async fn read(session: &mut Session, publication: &str) -> Result<Self, PostgresError> {
        let sql = format!(
            "SELECT c.oid, n.nspname, c.relname, c.relreplident, p.rowfilter, a.attname, a.atttypid, \
             coalesce((SELECT true FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary \
                AND a.attnum = ANY (i.indkey)), false), \
             coalesce((SELECT true FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident \
                AND a.attnum = ANY (i.indkey)), false) \
             FROM pg_publication_tables p \
             JOIN pg_namespace n ON n.nspname = p.schemaname \
             JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename \
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                AND a.attgenerated = '' AND a.attname = ANY (p.attnames) \
             WHERE p.pubname = {} ORDER BY c.oid, a.attnum",
            literal(publication)
        );
        let unexpected = || PostgresError::Unexpected("the published tables");
        let mut catalog = Self::default();
        for row in session.ask(&sql, ANSWER_LIMIT).await? {
            let field = |column: usize| text(&row, column).ok_or_else(unexpected);
            let number = |column: usize| field(column)?.parse::<u32>().map_err(|_| unexpected());
            let id = number(0)?;
            if field(1)? != NAMESPACE {
                tracing::debug!(schema = field(1)?, table = field(2)?, "published, but sync queries cannot name it");
                continue;
            }
            if catalog.tables.last().is_none_or(|last| last.id != id) {
                catalog.tables.push(CatalogTable {
                    id,
                    name: field(2)?.to_owned(),
                    identity: field(3)?.chars().next().ok_or_else(unexpected)?,
                    filter: text(&row, 4).map(str::to_owned),
                    columns: Vec::new(),
                });
            }
            let column = CatalogColumn {
                name: field(5)?.to_owned(),
                oid: number(6)?,
                primary: field(7)? == "t",
                identity: field(8)? == "t",
            };
            catalog.tables.last_mut().ok_or_else(unexpected)?.columns.push(column);
        }
        catalog.types = read_types(session, &catalog.tables).await?;
        Ok(catalog)
    }

    /// How a table here differs from what the log says about it, in words; `None` when it does not.
    pub(super) fn difference(&self, relation: &Relation) -> Option<String> {
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

/// The types of the columns.
async fn read_types(session: &mut Session, tables: &[CatalogTable]) -> Result<Vec<CatalogType>, PostgresError> {
    let mut all = BTreeMap::new();
    let sql = "SELECT oid, typtype, typbasetype, typelem, typcategory, typdelim FROM pg_type";
    for row in session.ask(sql, ANSWER_LIMIT).await? {
        let number = |column: usize| text(&row, column).and_then(|text| text.parse::<u32>().ok());
        let letter = |column: usize| text(&row, column).and_then(|text| text.chars().next());
        if let (Some(oid), Some(kind), Some(base), Some(element), Some(category), Some(delimiter)) =
            (number(0), letter(1), number(2), number(3), letter(4), letter(5))
        {
            all.insert(oid, (oid, kind, base, element, category, delimiter));
        }
    }
    // Only the types of the columns, and what those are made of: a new type elsewhere is no change of these tables.
    let mut wanted: Vec<u32> = tables.iter().flat_map(|table| table.columns.iter().map(|column| column.oid)).collect();
    let mut kept = BTreeMap::new();
    while let Some(oid) = wanted.pop() {
        if let Some(found) = all.get(&oid)
            && kept.insert(oid, *found).is_none()
        {
            wanted.extend([found.2, found.3]);
        }
    }
    Ok(kept.into_values().collect())
}

impl CatalogTable {
    /// The columns that identify a row, which the log holds of a row that is updated or deleted.
    pub(super) fn key(&self) -> Vec<usize> {
        let those = |wanted: fn(&CatalogColumn) -> bool| -> Vec<usize> {
            self.columns.iter().enumerate().filter(|(_, column)| wanted(column)).map(|(index, _)| index).collect()
        };
        let key = if self.identity == 'i' { those(|one| one.identity) } else { those(|one| one.primary) };
        if key.is_empty() { those(|_| true) } else { key }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_about_a_table() {
        let column = |name: &str, oid, primary| CatalogColumn { name: name.to_owned(), oid, primary, identity: false };
        let columns = vec![column("id", 25, true), column("n", 23, false)];
        let table = CatalogTable { id: 7, name: "boxes".to_owned(), identity: 'd', filter: None, columns };
        let catalog = Catalog { tables: vec![table], types: Vec::new() };
        let check = |id, identity, columns: &[(&str, u32)], expect: Option<&str>| {
            let columns = columns.iter().map(|(name, oid)| ((*name).to_owned(), *oid, false)).collect();
            let relation =
                Relation { id, namespace: NAMESPACE.to_owned(), name: "boxes".to_owned(), identity, columns };
            assert_eq!(catalog.difference(&relation).as_deref(), expect);
        };
        check(7, 'd', &[("id", 25), ("n", 23)], None);
        check(8, 'd', &[("id", 25), ("n", 23)], Some("table boxes was made anew"));
        check(7, 'f', &[("id", 25), ("n", 23)], Some("the replica identity of boxes changed"));
        check(7, 'd', &[("id", 25), ("n", 20)], Some("the columns of table boxes changed"));
        check(7, 'd', &[("id", 25)], Some("the columns of table boxes changed"));
    }
}
