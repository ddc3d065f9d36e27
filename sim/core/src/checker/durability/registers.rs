//! What resolves as one: a column, or a column group.

use fixtures::{App, MadeBy, OnMissingParent, OnParentDelete, Policy, Rule};

/// The registers of one table, and what its columns are besides.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    /// Every register of the table.
    pub(super) registers: Vec<Register<'a>>,
    /// The register of each column.
    pub(super) of_column: Vec<usize>,
    /// The column that carries the writer's clock. It is a stamp, not an edit: no claim is made on it.
    pub(super) clock: Option<usize>,
    /// Whether an edit of a deleted row brings it back.
    pub(super) edit_revives: bool,
    /// What each column refers to.
    pub(super) parents: Vec<Option<Parent>>,
    /// Whether each column is a tree's parent column.
    pub(super) trees: Vec<bool>,
    /// The exclusive invariant whose running flag each column is.
    pub(super) running: Vec<Option<usize>>,
    /// Whether each column's writes keep a lease.
    pub(super) heartbeat: Vec<bool>,
    /// Whether each column may not be NULL on the server.
    pub(super) not_null: Vec<bool>,
}

/// One register.
#[derive(Debug)]
pub(super) struct Register<'a> {
    /// The column's or the group's name, as conflict records name it.
    pub(super) name: &'a str,
    /// Its columns.
    pub(super) columns: Vec<usize>,
    /// How it resolves.
    pub(super) rule: Rule,
}

/// What a column refers to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parent {
    /// The table.
    pub(super) table: usize,
    /// On a write that names no row.
    pub(super) missing: OnMissingParent,
    /// On the deletion of the row that it names.
    pub(super) deleted: OnParentDelete,
    /// Who does that: the database leaves no records and owes none.
    pub(super) made_by: MadeBy,
}

impl Layout<'_> {
    /// Whether the register is the clock column.
    pub(super) fn is_clock(&self, register: &Register<'_>) -> bool {
        self.clock.is_some_and(|clock| register.columns == [clock])
    }
}

impl Register<'_> {
    pub(super) fn is_group(&self) -> bool {
        self.columns.len() > 1
    }
}

/// The layout of each table.
pub(super) fn layouts(app: &App) -> Vec<Layout<'_>> {
    (0..app.schema.tables.len()).map(|table| layout(app, table)).collect()
}

fn layout(app: &App, index: usize) -> Layout<'_> {
    let table = &app.schema.tables[index];
    let policy = &app.policy.tables[index];
    let width = table.columns.len();
    let mut registers: Vec<Register<'_>> = policy
        .groups
        .iter()
        .map(|group| Register { name: &group.name, columns: group.columns.clone(), rule: Rule::Latest })
        .collect();
    let mut of_column = vec![usize::MAX; width];
    for (register, group) in registers.iter().enumerate() {
        group.columns.iter().for_each(|column| of_column[*column] = register);
    }
    for (column, register) in of_column.iter_mut().enumerate().filter(|(_, register)| **register == usize::MAX) {
        *register = registers.len();
        registers.push(Register {
            name: &table.columns[column].name,
            columns: vec![column],
            rule: policy.rules[column],
        });
    }
    let mut layout = Layout {
        registers,
        of_column,
        clock: policy.clock,
        edit_revives: policy.edit_revives,
        parents: vec![None; width],
        trees: vec![false; width],
        running: vec![None; width],
        heartbeat: vec![false; width],
        not_null: table.columns.iter().map(|column| column.not_null).collect(),
    };
    mark(&app.policy, index, &mut layout);
    layout
}

fn mark(policy: &Policy, table: usize, layout: &mut Layout<'_>) {
    for reference in policy.references_of(table) {
        layout.parents[reference.column] = Some(Parent {
            table: reference.parent,
            missing: reference.on_missing_parent,
            deleted: reference.on_parent_delete,
            made_by: reference.made_by,
        });
    }
    for tree in policy.trees.iter().filter(|tree| tree.table == table) {
        layout.trees[tree.column] = true;
    }
    for (index, exclusive) in policy.exclusives.iter().enumerate().filter(|(_, exclusive)| exclusive.table == table) {
        layout.running[exclusive.running] = Some(index);
        layout.heartbeat[exclusive.heartbeat] = true;
    }
}
