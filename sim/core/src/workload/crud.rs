//! `crud-mix`: transactions that need no activity, from schema, rules and generators alone. Rare shapes included.

use rand::Rng as _;
use serde_json::Value as Json;

use crate::plan::{Expr, Intent};
use crate::seed::Rng;
use crate::workload::author::{Author, Columns};
use crate::workload::tracker::Viewer;

/// A column that clients have and the server does not.
const CLIENT_ONLY: &str = "client_only";
/// How many attempts at finding something to do.
const ATTEMPTS: u32 = 4;

/// Which rare shapes a plan has. Drawn for each plan, so that plans differ in kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Edges {
    no_change: bool,
    least_insert: bool,
    null: bool,
    null_required: bool,
    out_of_range: bool,
    unknown_column: bool,
    id_again: bool,
    replace: bool,
    whole_counter: bool,
    large_json: bool,
    pub(crate) odd_text: bool,
    pub(crate) large_text: bool,
    /// Whether one transaction has hundreds of statements.
    pub(crate) large_transaction: bool,
}

impl Edges {
    pub(crate) fn draw(rng: &mut Rng, rare: bool, large: f64) -> Self {
        // Everything is drawn, whatever is wanted, so that one switch leaves the others' draws as they were.
        let mut shape = || rng.random_bool(0.25);
        let all = Self {
            no_change: shape(),
            least_insert: shape(),
            null: shape(),
            null_required: shape(),
            out_of_range: shape(),
            unknown_column: shape(),
            id_again: shape(),
            replace: shape(),
            whole_counter: shape(),
            large_json: false,
            odd_text: shape(),
            large_text: false,
            large_transaction: false,
        };
        let large_of = [(true, false, false), (false, true, false), (false, false, true), (true, true, true)];
        let (text, json, transaction) = large_of[rng.random_range(0..large_of.len())];
        let is_large = rng.random_bool(large);
        let large = Self {
            large_text: is_large && text,
            large_json: is_large && json,
            large_transaction: is_large && transaction,
            ..Self::default()
        };
        if rare {
            Self {
                large_text: large.large_text,
                large_json: large.large_json,
                large_transaction: large.large_transaction,
                ..all
            }
        } else {
            large
        }
    }
}

/// A size with this mean, geometric, at least 1.
pub(crate) fn size(rng: &mut Rng, mean: f64) -> u32 {
    let more = 1.0 - 1.0 / mean;
    let mut size = 1;
    while size < 50 && rng.random_bool(more) {
        size += 1;
    }
    size
}

impl Author<'_> {
    /// A transaction of `size` intents.
    pub(crate) fn crud(&mut self, rng: &mut Rng, who: Viewer, size: u32, edges: &Edges) -> Vec<Intent> {
        let mut intents = Vec::with_capacity(size as usize);
        while intents.len() < size as usize {
            let before = intents.len();
            for _ in 0..ATTEMPTS {
                self.crud_intent(rng, who, edges, &mut intents);
                if intents.len() > before {
                    break;
                }
            }
            if intents.len() == before {
                let table = self.any_table(rng);
                if self.crud_insert(rng, who, table, edges, &mut intents).is_none() {
                    break;
                }
            }
        }
        if rng.random_bool(0.1) {
            let rows: Vec<u32> = intents.iter().filter_map(target).take(3).collect();
            if !rows.is_empty() {
                self.push(&mut intents, who, Intent::Read { rows });
            }
        }
        intents
    }

    /// Edits and inserts of the plainest kind, which nothing refuses.
    pub(crate) fn plain_edits(&mut self, rng: &mut Rng, who: Viewer, size: u32) -> Vec<Intent> {
        let mut intents = Vec::new();
        for _ in 0..size {
            let tables = self.layout.tables.len();
            let first = rng.random_range(0..tables);
            for table in (0..tables).map(|table| (first + table) % tables) {
                let layout = self.layout;
                let layout = &layout.tables[table];
                if layout.unique.is_some() || !layout.needs_parent.is_empty() {
                    continue;
                }
                let set = self.crud_columns(rng, who, table, &Edges::default());
                let row = if rng.random_bool(0.5) { self.tracker.pick(rng, who, table, 0.0, &[]) } else { None };
                match row {
                    Some(row) if !set.is_empty() => {
                        self.push(&mut intents, who, Intent::Set { row, set });
                        break;
                    }
                    _ => {
                        if self.crud_insert(rng, who, table, &Edges::default(), &mut intents).is_some() {
                            break;
                        }
                    }
                }
            }
        }
        intents
    }

    /// Some rows that the viewer is likely to see.
    pub(crate) fn any_rows(&mut self, rng: &mut Rng, who: Viewer, most: usize) -> Vec<u32> {
        let mut rows = Vec::new();
        for _ in 0..most {
            let table = self.any_table(rng);
            rows.extend(self.tracker.pick(rng, who, table, self.hot, &rows));
        }
        rows
    }

    fn any_table(&self, rng: &mut Rng) -> usize {
        rng.random_range(0..self.layout.tables.len())
    }

    /// Adds an intent, if one can be made.
    fn crud_intent(&mut self, rng: &mut Rng, who: Viewer, edges: &Edges, intents: &mut Vec<Intent>) -> Option<()> {
        let table = self.any_table(rng);
        let few = self.tracker.count(table) < 3;
        match rng.random_range(0..100) {
            0..5 if !few => {
                let row = self.tracker.pick(rng, who, table, 0.2, &[])?;
                if self.tracker.is_held_by_children(row) && !rng.random_bool(0.1) {
                    return None;
                }
                self.push(intents, who, Intent::Delete { row });
                Some(())
            }
            5..30 => self.crud_insert(rng, who, table, edges, intents),
            30..50 => self.crud_merge(rng, who, table, edges, intents),
            50..55 => self.crud_rare(rng, who, table, edges, intents),
            _ => {
                let row = self.tracker.pick(rng, who, table, self.hot, &[])?;
                let set = self.crud_columns(rng, who, table, edges);
                if set.is_empty() {
                    return None;
                }
                self.push(intents, who, Intent::Set { row, set });
                Some(())
            }
        }
    }

    /// A few columns of a row that is there, and new values.
    fn crud_columns(&mut self, rng: &mut Rng, who: Viewer, table: usize, edges: &Edges) -> Columns {
        let layout = self.layout;
        let layout = &layout.tables[table];
        let mut set = Vec::new();
        if layout.plain.is_empty() {
            return set;
        }
        let mut columns = Vec::new();
        for _ in 0..rng.random_range(1..=3) {
            let column = layout.plain[rng.random_range(0..layout.plain.len())];
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        columns.sort_unstable();
        for column in columns {
            let declared = &self.app.schema.tables[table].columns[column];
            let value = if edges.null && !declared.not_null && rng.random_bool(0.1) {
                Expr::Value(Json::Null)
            } else if edges.large_json && layout.roomy.contains(&column) && rng.random_bool(0.2) {
                Expr::Value(Json::from(self.large_json(rng)))
            } else if layout.running.contains(&column) {
                Expr::Value(Json::from(i64::from(rng.random_bool(0.3))))
            } else {
                self.draw(rng, who, table, column, false)
            };
            if declared.not_null && value == Expr::Value(Json::Null) {
                continue;
            }
            set.push((declared.name.clone(), value));
        }
        set
    }

    /// Something that adds up rather than replaces: a set or a counter.
    fn crud_merge(
        &mut self,
        rng: &mut Rng,
        who: Viewer,
        table: usize,
        edges: &Edges,
        intents: &mut Vec<Intent>,
    ) -> Option<()> {
        let layout = self.layout;
        let layout = &layout.tables[table];
        let kinds = layout.sets.len() + layout.counters.len();
        if kinds == 0 {
            return None;
        }
        let row = self.tracker.pick(rng, who, table, self.hot, &[])?;
        let chosen = rng.random_range(0..kinds);
        let name = |author: &Self, column: usize| author.app.schema.tables[table].columns[column].name.clone();
        let intent = if let Some(&column) = layout.sets.get(chosen) {
            if edges.whole_counter && rng.random_bool(0.2) {
                // Additions and removals at once.
                let value = self.draw(rng, who, table, column, false);
                self.push(intents, who, Intent::Set { row, set: vec![(name(self, column), value)] });
                return Some(());
            }
            let known = if rng.random_bool(0.35) { self.tracker.element(rng, who, row, column) } else { None };
            match known {
                Some(element) => Intent::Remove { row, column: name(self, column), element },
                None => {
                    let element = self.draw_element(rng, who, table, column)?;
                    Intent::Add { row, column: name(self, column), element }
                }
            }
        } else {
            let column = layout.counters[chosen - layout.sets.len()];
            if edges.whole_counter && rng.random_bool(0.2) {
                let value = Expr::Value(Json::from(rng.random_range(0..20)));
                Intent::Set { row, set: vec![(name(self, column), value)] }
            } else {
                let by = if edges.no_change && rng.random_bool(0.2) { 0 } else { rng.random_range(1..=2) };
                Intent::Increment { row, column: name(self, column), by }
            }
        };
        self.push(intents, who, intent);
        Some(())
    }

    /// An insert: of what the table needs, and some more.
    pub(crate) fn crud_insert(
        &mut self,
        rng: &mut Rng,
        who: Viewer,
        table: usize,
        edges: &Edges,
        intents: &mut Vec<Intent>,
    ) -> Option<()> {
        let set = self.insert_columns(rng, who, table, edges)?;
        let again = edges.id_again && rng.random_bool(0.15);
        let again = if again { self.tracker.pick_deleted(rng, who, table) } else { None };
        let row = again.unwrap_or_else(|| self.new_row(table));
        let columns = &self.app.schema.tables[table].columns;
        let intent = match &self.layout.tables[table].unique {
            Some(unique) => {
                let key = unique.iter().map(|column| columns[*column].name.clone()).collect();
                Intent::Ensure { row, key, set }
            }
            None => Intent::Insert { row, set, replace: false },
        };
        self.push(intents, who, intent);
        Some(())
    }

    /// Columns for a new row; `None` if it needs a parent and none is there.
    pub(crate) fn insert_columns(
        &mut self,
        rng: &mut Rng,
        who: Viewer,
        table: usize,
        edges: &Edges,
    ) -> Option<Columns> {
        let layout = self.layout;
        let layout = &layout.tables[table];
        let least = edges.least_insert && rng.random_bool(0.3);
        let share = if rng.random_bool(0.2) { 0.9 } else { 0.25 };
        let mut set = Vec::new();
        for (column, declared) in self.app.schema.tables[table].columns.iter().enumerate() {
            let key = layout.unique.as_ref().is_some_and(|unique| unique.contains(&column));
            let needs_parent = layout.needs_parent.iter().find(|(child, _)| *child == column);
            let must =
                layout.required.contains(&column) || key || layout.owner == Some(column) || needs_parent.is_some();
            if layout.clock == Some(column)
                || layout.generated.contains(&column)
                || (!must && (least || !rng.random_bool(share)))
            {
                continue;
            }
            let value = if let Some((_, parent)) = needs_parent {
                Expr::Id(self.tracker.pick(rng, who, *parent, self.hot, &[])?)
            } else if layout.running.contains(&column) {
                Expr::Value(Json::from(i64::from(rng.random_bool(0.3))))
            } else {
                self.draw(rng, who, table, column, true)
            };
            if must || value != Expr::Value(Json::Null) {
                set.push((declared.name.clone(), value));
            }
        }
        Some(set)
    }

    /// One of the plan's rare shapes, if it has any.
    fn crud_rare(
        &mut self,
        rng: &mut Rng,
        who: Viewer,
        table: usize,
        edges: &Edges,
        intents: &mut Vec<Intent>,
    ) -> Option<()> {
        let layout = self.layout;
        let layout = &layout.tables[table];
        let app = self.app;
        let name = |column: usize| app.schema.tables[table].columns[column].name.clone();
        match rng.random_range(0..5) {
            0 if edges.no_change => {
                // The same again within a transaction, clock included, changes nothing.
                let row = self.tracker.pick(rng, who, table, self.hot, &[])?;
                let mut set = self.crud_columns(rng, who, table, edges);
                set.extend(layout.clock.map(|clock| (name(clock), Expr::Now)));
                if set.is_empty() {
                    return None;
                }
                self.push(intents, who, Intent::Set { row, set: set.clone() });
                self.push(intents, who, Intent::Set { row, set });
            }
            1 if edges.unknown_column => {
                let row = self.tracker.pick(rng, who, table, self.hot, &[])?;
                let value = Expr::Value(Json::from(self.mark.text(rng, 1, 2)));
                self.push(intents, who, Intent::Set { row, set: vec![(CLIENT_ONLY.to_owned(), value)] });
            }
            // These two are refused whole; one in several keeps refusals few.
            2 if edges.null_required && rng.random_bool(0.3) => {
                let columns = &app.schema.tables[table].columns;
                let required: Vec<usize> = (0..columns.len()).filter(|column| columns[*column].not_null).collect();
                let column = *required.get(rng.random_range(0..required.len().max(1)))?;
                let row = self.tracker.pick(rng, who, table, self.hot, &[])?;
                self.push(intents, who, Intent::Set { row, set: vec![(name(column), Expr::Value(Json::Null))] });
            }
            3 if edges.out_of_range && rng.random_bool(0.3) => {
                let column = *layout.small_integers.get(rng.random_range(0..layout.small_integers.len().max(1)))?;
                let row = self.tracker.pick(rng, who, table, self.hot, &[])?;
                let value = Expr::Value(Json::from(rng.random_range(i64::from(i32::MAX) + 1..=i64::MAX)));
                self.push(intents, who, Intent::Set { row, set: vec![(name(column), value)] });
            }
            4 if edges.replace && layout.unique.is_none() => {
                let row = self.tracker.pick(rng, who, table, self.hot, &[])?;
                let set = self.insert_columns(rng, who, table, edges)?;
                self.push(intents, who, Intent::Insert { row, set, replace: true });
            }
            _ => return None,
        }
        Some(())
    }

    fn large_json(&mut self, rng: &mut Rng) -> String {
        let items = rng.random_range(200..800);
        let items: Vec<Json> =
            (0..items).map(|n| serde_json::json!({ "n": n, "word": "a plain word", "of": [n, null] })).collect();
        serde_json::json!({ "note": self.mark.text(rng, 1, 2), "items": items }).to_string()
    }
}

/// The row that an intent writes.
fn target(intent: &Intent) -> Option<u32> {
    match intent {
        Intent::Insert { row, .. }
        | Intent::Ensure { row, .. }
        | Intent::Set { row, .. }
        | Intent::Add { row, .. }
        | Intent::Remove { row, .. }
        | Intent::Increment { row, .. }
        | Intent::MoveAfter { row, .. } => Some(*row),
        Intent::Delete { .. } | Intent::Read { .. } => None,
    }
}
