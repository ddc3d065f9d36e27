//! A small application with every kind of rule in it: a warehouse.

use std::sync::Arc;

use backend::Rules;
use fixtures::{
    Column, ColumnDefault, Exclusive, Group, MadeBy, OnMissingParent, OnParentDelete, Policy, Reference, Rule, Schema,
    Table, TablePolicy, Tree, Type, Unique, Value,
};

/// One table: name, columns as `name type[!] [=default]`, one a line.
fn table(name: &str, columns: &str, unique: &[&[usize]]) -> Table {
    let columns = columns
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next().expect("a column has a name");
            let ty = words.next().expect("a column has a type");
            let default = match words.next().map(|word| word.trim_start_matches('=')) {
                None => ColumnDefault::Null,
                Some("now") => ColumnDefault::Now,
                Some(word) => ColumnDefault::Literal(match word.parse() {
                    Ok(int) => Value::Int(int),
                    Err(_) => Value::text(word),
                }),
            };
            Column {
                name: name.to_owned(),
                ty: match ty.trim_end_matches('!') {
                    "text" => Type::Text,
                    "int" => Type::Integer,
                    "double" => Type::Double,
                    "instant" => Type::Timestamptz,
                    other => panic!("{other} is no type of the test application"),
                },
                not_null: ty.ends_with('!'),
                default,
            }
        })
        .collect();
    Table { name: name.to_owned(), columns, unique: unique.iter().map(|key| key.to_vec()).collect() }
}

fn schema() -> Schema {
    Schema {
        tables: vec![
            table(
                "boxes",
                "label text!
                 weight int =0
                 tags text
                 x double
                 y double
                 shelf text
                 inside text
                 state text =new
                 touched instant =now
                 made instant =now
                 opened instant",
                &[],
            ),
            table("shelves", "name text!\ntouched instant =now", &[]),
            table("stickers", "box text!\nwords text!\ntouched instant =now", &[]),
            table("knobs", "key text!\nvalue text\ntouched instant =now", &[&[0]]),
            table("belts", "running int =0\nspeed int\nbeat instant\ntouched instant =now", &[]),
            table("memos", "words text\nknob text\nshelf text\ncode text\ntouched instant =now", &[&[3]]),
        ],
    }
}

fn reference(
    (table, column, parent): (usize, usize, usize),
    on_missing_parent: OnMissingParent,
    on_parent_delete: OnParentDelete,
) -> Reference {
    Reference { table, column, parent, on_missing_parent, on_parent_delete, made_by: MadeBy::Backend }
}

fn policy(schema: &Schema) -> Policy {
    let column =
        |table: usize, name: &str| schema.tables[table].column_index(name).expect("a column of the application");
    let tables = schema
        .tables
        .iter()
        .enumerate()
        .map(|(index, table)| {
            let clock = column(index, "touched");
            let mut rules = vec![Rule::Latest; table.columns.len()];
            rules[clock] = Rule::Max;
            let mut groups = Vec::new();
            match table.name.as_str() {
                "boxes" => {
                    rules[column(index, "weight")] = Rule::Counter { min: 0, max: 100 };
                    rules[column(index, "tags")] = Rule::Set;
                    rules[column(index, "made")] = Rule::KeepServer;
                    rules[column(index, "opened")] = Rule::Max;
                    groups
                        .push(Group { name: "spot".to_owned(), columns: vec![column(index, "x"), column(index, "y")] });
                }
                "belts" => groups.push(Group { name: "motion".to_owned(), columns: vec![0, 1] }),
                _ => {}
            }
            TablePolicy {
                clock: Some(clock),
                edit_revives: table.name == "memos",
                rules,
                groups,
                server_sets: Vec::new(),
            }
        })
        .collect();
    Policy {
        tables,
        references: vec![
            reference((0, column(0, "shelf"), 1), OnMissingParent::Null, OnParentDelete::Null),
            reference((0, column(0, "inside"), 0), OnMissingParent::Null, OnParentDelete::Null),
            reference((2, 0, 0), OnMissingParent::Refuse, OnParentDelete::Cascade),
            reference((5, column(5, "knob"), 3), OnMissingParent::Keep, OnParentDelete::Keep),
            reference((5, column(5, "shelf"), 1), OnMissingParent::Refuse, OnParentDelete::Refuse),
        ],
        trees: vec![Tree { table: 0, column: column(0, "inside") }],
        uniques: vec![Unique { table: 3, columns: vec![0], merge: true }],
        exclusives: vec![Exclusive { name: "one-belt".to_owned(), table: 4, running: 0, heartbeat: 2, lease_s: 90 }],
        invariants: Vec::new(),
    }
}

/// The application, compiled.
pub(crate) fn rules() -> Arc<Rules> {
    let schema = schema();
    Arc::new(Rules::new(&schema, &policy(&schema)))
}
