//! An application's schema and policy, compiled for decisions: names become indices, columns belong to registers.
//!
//! A *register* is a column or a group of columns that resolves as one value. Each register has a stamp.

use std::collections::BTreeMap;
use std::sync::Arc;

use fixtures::{Column, Exclusive, Policy, Reference, Rule, Schema, Tree, Unique, Value};

use crate::sets;

/// Everything that decisions need to know about the application.
#[derive(Clone, Debug)]
pub struct Rules {
    /// One entry a table, in schema order.
    pub tables: Vec<TableRules>,
    /// Columns that name a row.
    pub references: Vec<Reference>,
    /// Every unique key of the schema, with whether colliding inserts merge.
    pub uniques: Vec<Unique>,
    /// Parent columns that must form no cycle.
    pub trees: Vec<Tree>,
    /// "At most one row is running" invariants.
    pub exclusives: Vec<Exclusive>,
    by_name: BTreeMap<String, usize>,
}

/// The rules of one table.
#[derive(Clone, Debug)]
pub struct TableRules {
    /// The table's index in the schema.
    pub index: usize,
    /// The table's name.
    pub name: Arc<str>,
    /// Its columns, in schema order, without `id`.
    pub columns: Vec<Column>,
    /// Its columns and groups, as far as they resolve as one value.
    pub registers: Vec<Register>,
    /// The register of each column.
    pub register_of: Vec<usize>,
    /// The column that carries the writer's clock.
    pub clock: Option<usize>,
    /// Columns that only the database writes: no statement may name them.
    pub generated: Vec<usize>,
    /// Whether an edit of a deleted row brings it back.
    pub edit_revives: bool,
    /// Indices into [`Rules::references`] of this table's own columns.
    pub references: Vec<usize>,
    /// Indices into [`Rules::references`] of which this table is the parent.
    pub children: Vec<usize>,
    /// Indices into [`Rules::uniques`].
    pub uniques: Vec<usize>,
    /// Indices into [`Rules::trees`].
    pub trees: Vec<usize>,
    /// Indices into [`Rules::exclusives`].
    pub exclusives: Vec<usize>,
    by_name: BTreeMap<String, usize>,
}

/// One column or one group of columns.
#[derive(Clone, Debug)]
pub struct Register {
    /// The column's or the group's name, as records carry it.
    pub name: Arc<str>,
    /// Its columns, ascending.
    pub columns: Vec<usize>,
    /// How it resolves. Groups have [`Rule::Latest`].
    pub rule: Rule,
}

impl Register {
    /// Whether two values of the register are equal: sets by their members, everything else by typed value.
    #[must_use]
    pub fn holds_same(&self, a: &Value, b: &Value) -> bool {
        a == b || (self.rule == Rule::Set && sets::same_members(a, b) == Some(true))
    }

    /// Whether concurrent writes to it combine.
    #[must_use]
    pub fn is_additive(&self) -> bool {
        matches!(self.rule, Rule::Counter { .. } | Rule::Set)
    }
}

impl Rules {
    /// Compiles an application's schema and policy.
    ///
    /// # Panics
    /// When the policy has fewer tables than the schema. `App::load` and tests build both from one source.
    #[must_use]
    pub fn new(schema: &Schema, policy: &Policy) -> Self {
        let mut uniques = policy.uniques.clone();
        for (table, definition) in schema.tables.iter().enumerate() {
            for columns in &definition.unique {
                if !uniques.iter().any(|unique| unique.table == table && &unique.columns == columns) {
                    uniques.push(Unique { table, columns: columns.clone(), merge: false });
                }
            }
        }
        let tables: Vec<TableRules> =
            (0..schema.tables.len()).map(|index| TableRules::new(index, schema, policy, &uniques)).collect();
        let by_name = tables.iter().map(|table| (table.name.to_string(), table.index)).collect();
        Self {
            tables,
            references: policy.references.clone(),
            uniques,
            trees: policy.trees.clone(),
            exclusives: policy.exclusives.clone(),
            by_name,
        }
    }

    /// The table with this name.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&TableRules> {
        self.by_name.get(name).map(|index| &self.tables[*index])
    }
}

impl TableRules {
    fn new(index: usize, schema: &Schema, policy: &Policy, uniques: &[Unique]) -> Self {
        let table = &schema.tables[index];
        let rules = policy.tables.get(index).expect("the policy has an entry for every table of its schema");
        let mut registers: Vec<Register> = Vec::new();
        let mut register_of = vec![0; table.columns.len()];
        for (column, definition) in table.columns.iter().enumerate() {
            if rules.groups.iter().any(|group| group.columns.contains(&column)) {
                continue;
            }
            let rule = rules.rules.get(column).copied().unwrap_or(Rule::Latest);
            register_of[column] = registers.len();
            registers.push(Register { name: Arc::from(definition.name.as_str()), columns: vec![column], rule });
        }
        for group in &rules.groups {
            for column in &group.columns {
                register_of[*column] = registers.len();
            }
            let mut columns = group.columns.clone();
            columns.sort_unstable();
            registers.push(Register { name: Arc::from(group.name.as_str()), columns, rule: Rule::Latest });
        }
        let matching = |len: usize, belongs: &dyn Fn(usize) -> bool| (0..len).filter(|i| belongs(*i)).collect();
        Self {
            index,
            name: Arc::from(table.name.as_str()),
            registers,
            register_of,
            clock: rules.clock,
            generated: matching(table.columns.len(), &|column| rules.is_generated(column)),
            edit_revives: rules.edit_revives,
            references: matching(policy.references.len(), &|i| policy.references[i].table == index),
            children: matching(policy.references.len(), &|i| policy.references[i].parent == index),
            uniques: matching(uniques.len(), &|i| uniques[i].table == index),
            trees: matching(policy.trees.len(), &|i| policy.trees[i].table == index),
            exclusives: matching(policy.exclusives.len(), &|i| policy.exclusives[i].table == index),
            by_name: table.columns.iter().enumerate().map(|(i, column)| (column.name.clone(), i)).collect(),
            columns: table.columns.clone(),
        }
    }

    /// The index of the column with this name; `None` for `id`, which is implicit.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The register that the column belongs to.
    #[must_use]
    pub fn register(&self, column: usize) -> &Register {
        &self.registers[self.register_of[column]]
    }

    /// The names of some columns, for messages.
    #[must_use]
    pub fn column_names(&self, columns: &[usize]) -> String {
        let names: Vec<&str> = columns.iter().map(|column| self.columns[*column].name.as_str()).collect();
        names.join(", ")
    }

    /// Whether the register is the clock column. It is bookkeeping: nobody's edit is lost with it.
    #[must_use]
    pub fn is_clock(&self, register: usize) -> bool {
        self.clock.is_some_and(|clock| self.registers[register].columns == [clock])
    }
}
