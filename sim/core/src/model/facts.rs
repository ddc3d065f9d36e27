//! What the model needs to know of an application, looked up once: registers, and which rules concern a table.

use fixtures::{App, Exclusive, Reference, Rule, Tree, Unique};

/// An upload policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// Each column or group by its own rule.
    FieldMerge,
    /// An operation older than the row is superseded whole.
    RowLatest,
    /// An operation whose base is not the row is superseded whole.
    VersionCheck,
    /// A column that changed since the operation's base keeps the server's value.
    ServerWins,
    /// The baseline: whatever arrives is executed.
    ArrivalOrder,
}

impl Discipline {
    /// The policy with this name, as a history's header writes it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "field-merge" => Self::FieldMerge,
            "row-latest" => Self::RowLatest,
            "version-check" => Self::VersionCheck,
            "server-wins" => Self::ServerWins,
            "arrival-order" => Self::ArrivalOrder,
            _ => return None,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FieldMerge => "field-merge",
            Self::RowLatest => "row-latest",
            Self::VersionCheck => "version-check",
            Self::ServerWins => "server-wins",
            Self::ArrivalOrder => "arrival-order",
        }
    }
}

/// What resolves as one: a column, or the columns of a group.
#[derive(Clone, Debug)]
pub struct Register<'a> {
    /// The column's or the group's name.
    pub name: &'a str,
    /// Column indices, ascending.
    pub columns: Vec<usize>,
    /// How it resolves when base and current value differ.
    pub rule: Rule,
    /// Whether it is the column that carries the writer's clock: bookkeeping, not somebody's edit.
    pub clock: bool,
}

/// One table.
#[derive(Clone, Debug)]
pub(super) struct TableFacts<'a> {
    pub(super) registers: Vec<Register<'a>>,
    /// The register of each column.
    pub(super) register_of: Vec<usize>,
    /// The column with the writer's clock.
    pub(super) clock: Option<usize>,
    /// Rules that concern the table, each with its index in the policy.
    pub(super) uniques: Vec<(usize, &'a Unique)>,
    /// References that are columns of this table.
    pub(super) references: Vec<(usize, &'a Reference)>,
    /// References that name rows of this table.
    pub(super) children: Vec<(usize, &'a Reference)>,
    pub(super) trees: Vec<&'a Tree>,
    pub(super) exclusives: Vec<(usize, &'a Exclusive)>,
}

/// Every table, in schema order.
pub(super) fn tables(app: &App) -> Vec<TableFacts<'_>> {
    let policy = &app.policy;
    (0..app.schema.tables.len())
        .map(|table| {
            let (registers, register_of) = registers(app, table);
            TableFacts {
                registers,
                register_of,
                clock: policy.tables[table].clock,
                uniques: policy.uniques.iter().enumerate().filter(|(_, unique)| unique.table == table).collect(),
                references: policy.references.iter().enumerate().filter(|(_, one)| one.table == table).collect(),
                children: policy.references.iter().enumerate().filter(|(_, one)| one.parent == table).collect(),
                trees: policy.trees.iter().filter(|tree| tree.table == table).collect(),
                exclusives: policy.exclusives.iter().enumerate().filter(|(_, one)| one.table == table).collect(),
            }
        })
        .collect()
}

fn registers(app: &App, table: usize) -> (Vec<Register<'_>>, Vec<usize>) {
    let rules = &app.policy.tables[table];
    let columns = &app.schema.tables[table].columns;
    let mut registers: Vec<Register<'_>> = Vec::with_capacity(columns.len());
    let mut register_of = Vec::with_capacity(columns.len());
    for (column, declared) in columns.iter().enumerate() {
        let group = app.policy.group_of(table, column);
        let first = group.map_or(column, |group| group.columns[0]);
        if first < column {
            register_of.push(register_of[first]);
            continue;
        }
        register_of.push(registers.len());
        let clock = group.is_none() && rules.clock == Some(column);
        registers.push(Register {
            name: group.map_or(declared.name.as_str(), |group| group.name.as_str()),
            columns: group.map_or_else(|| vec![column], |group| group.columns.clone()),
            rule: match (group, clock) {
                (Some(_), _) => Rule::Latest,
                (None, true) => Rule::Max,
                (None, false) => rules.rules[column],
            },
            clock,
        });
    }
    (registers, register_of)
}
