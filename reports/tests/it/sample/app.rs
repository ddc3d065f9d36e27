//! An application with one table.

use fixtures::{App, Column, ColumnDefault, Policy, Rule, Schema, Table, TablePolicy, Type, Value};

/// The index of the column of texts.
pub(crate) const TITLE: usize = 0;
/// The index of the column of numbers.
pub(crate) const STARS: usize = 1;
/// The index of the column of clocks.
pub(crate) const CLOCK: usize = 2;

/// An application with one table of made-up columns.
pub(crate) fn app() -> App {
    let column = |name: &str, ty, default| Column { name: name.to_owned(), ty, not_null: false, default };
    let columns = vec![
        column("title", Type::Text, ColumnDefault::Null),
        column("stars", Type::Integer, ColumnDefault::Literal(Value::Int(0))),
        column("changed_at", Type::Timestamptz, ColumnDefault::Now),
    ];
    let mut app = App::builtin("flowstate").expect("FlowState is built in");
    app.name = "notebook".to_owned();
    app.schema = Schema { tables: vec![Table { name: "notes".to_owned(), columns, unique: Vec::new() }] };
    app.policy = Policy {
        tables: vec![TablePolicy {
            clock: Some(CLOCK),
            edit_revives: false,
            rules: vec![Rule::Latest, Rule::Latest, Rule::Max],
            groups: Vec::new(),
            server_sets: Vec::new(),
        }],
        references: Vec::new(),
        trees: Vec::new(),
        uniques: Vec::new(),
        exclusives: Vec::new(),
        invariants: Vec::new(),
    };
    app
}
