//! What a table's columns are for a workload: worked out once for an application.

use fixtures::{App, Generator, OnMissingParent, OnParentDelete, Rule, ValueShape};

/// All tables of an application.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) tables: Vec<TableLayout>,
}

/// One table. Columns are indices of the schema.
#[derive(Clone, Debug)]
pub(crate) struct TableLayout {
    /// The column of the writer's clock: the device writes it by itself.
    pub(crate) clock: Option<usize>,
    /// Columns that an insert must name: not null, and without a default.
    pub(crate) required: Vec<usize>,
    /// Columns that a write sets as a whole.
    pub(crate) plain: Vec<usize>,
    /// Sets.
    pub(crate) sets: Vec<usize>,
    /// Counters.
    pub(crate) counters: Vec<usize>,
    /// Integer columns that PostgreSQL stores in 4 bytes.
    pub(crate) small_integers: Vec<usize>,
    /// Columns that are JSON or free text, for large values.
    pub(crate) roomy: Vec<usize>,
    /// The first unique key.
    pub(crate) unique: Option<Vec<usize>>,
    /// (column, parent table).
    pub(crate) references: Vec<(usize, usize)>,
    /// Those of them whose rows the server deletes along with their parent.
    pub(crate) cascades: Vec<(usize, usize)>,
    /// (table, column) of the rows that keep the server from deleting the row that they name.
    pub(crate) held_by: Vec<(usize, usize)>,
    /// Columns that say that the row is running, of which at most one may.
    pub(crate) running: Vec<usize>,
    /// Columns that must name a parent that is there, and cannot be NULL or are refused without it.
    pub(crate) needs_parent: Vec<(usize, usize)>,
    /// Columns that only the database writes.
    pub(crate) generated: Vec<usize>,
    /// The column that names the user whose row it is.
    pub(crate) owner: Option<usize>,
    /// Whether a row is one user's: by its own column or through its parent.
    pub(crate) owned: bool,
}

impl Layout {
    pub(crate) fn of(app: &App) -> Self {
        let mut tables: Vec<TableLayout> =
            (0..app.schema.tables.len()).map(|table| TableLayout::of(app, table)).collect();
        // A child of an owned row is owned: again until nothing changes, for grandchildren.
        while let Some(child) = (0..tables.len()).find(|&child| {
            !tables[child].owned && tables[child].references.iter().any(|(_, parent)| tables[*parent].owned)
        }) {
            tables[child].owned = true;
        }
        Self { tables }
    }
}

impl TableLayout {
    fn of(app: &App, table: usize) -> Self {
        let schema = &app.schema.tables[table];
        let policy = &app.policy.tables[table];
        let generators: &[Generator] = &app.generators[table];
        let columns = |wanted: &dyn Fn(usize) -> bool| -> Vec<usize> {
            (0..schema.columns.len()).filter(|column| wanted(*column)).collect()
        };
        let unique =
            app.policy.uniques.iter().find(|unique| unique.table == table).map(|unique| unique.columns.clone());
        let keyed = |column: usize| unique.as_ref().is_some_and(|unique| unique.contains(&column));
        let is_clock = |column: usize| policy.clock == Some(column);
        let owner = columns(&|column| generators[column].shape == ValueShape::User).first().copied();
        let plain = columns(&|column| {
            matches!(policy.rules[column], Rule::Latest | Rule::Max)
                && !is_clock(column)
                && !policy.is_generated(column)
                && !keyed(column)
                && owner != Some(column)
                && !matches!(generators[column].shape, ValueShape::SetOfRows(_))
        });
        let references: Vec<(usize, usize)> =
            app.policy.references_of(table).map(|reference| (reference.column, reference.parent)).collect();
        let roomy = columns(&|column| {
            plain.contains(&column) && matches!(generators[column].shape, ValueShape::Words { .. } | ValueShape::Json)
        });
        let cascades = app.policy.references_of(table).filter(|it| it.on_parent_delete == OnParentDelete::Cascade);
        let held_by = app.policy.children_of(table).filter(|it| it.on_parent_delete == OnParentDelete::Refuse);
        let needs_parent = app.policy.references_of(table).filter(|reference| {
            reference.on_missing_parent == OnMissingParent::Refuse || schema.columns[reference.column].not_null
        });
        Self {
            clock: policy.clock,
            required: columns(&|column| {
                schema.columns[column].not_null && schema.columns[column].default == fixtures::ColumnDefault::Null
            }),
            sets: columns(&|column| {
                policy.rules[column] == Rule::Set
                    && matches!(generators[column].shape, ValueShape::Set(_) | ValueShape::SetOfRows(_))
            }),
            counters: columns(&|column| matches!(policy.rules[column], Rule::Counter { .. })),
            small_integers: columns(&|column| {
                schema.columns[column].ty == fixtures::Type::Integer && plain.contains(&column)
            }),
            running: app.policy.exclusives.iter().filter(|it| it.table == table).map(|it| it.running).collect(),
            needs_parent: needs_parent.map(|reference| (reference.column, reference.parent)).collect(),
            cascades: cascades.map(|reference| (reference.column, reference.parent)).collect(),
            held_by: held_by.map(|reference| (reference.table, reference.column)).collect(),
            owner,
            owned: owner.is_some(),
            plain,
            roomy,
            unique,
            references,
            generated: columns(&|column| policy.is_generated(column)),
        }
    }
}
