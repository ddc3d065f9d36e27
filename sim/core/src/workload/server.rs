//! Writes of the server's own: what an administrator or a batch job does, past the backend and its rules.
//!
//! It keeps to what nobody could call a mistake of theirs: no row is left without its parent, no second leader
//! starts, no unique key is taken twice. Everything else is free: columns, counters and sets as a whole, rows that
//! come and go.

use rand::Rng as _;
use serde_json::Value as Json;

use crate::plan::{Expr, Intent};
use crate::seed::Rng;
use crate::workload::author::{Author, Columns};
use crate::workload::crud::{self, Edges};
use crate::workload::tracker::{SERVER, Viewer};

/// How often something to do is looked for.
const TRIES: u32 = 8;

impl Author<'_> {
    /// A transaction of the server's own.
    pub(crate) fn server_write(&mut self, rng: &mut Rng, at_us: i64) -> Vec<Intent> {
        let mut intents = Vec::new();
        for _ in 0..crud::size(rng, 2.0).min(4) {
            for _ in 0..TRIES {
                // For whom it is done decides which rows it is done to, and whose new rows are.
                let device = rng.random_range(0..self.users.len()) as u32;
                if let Some(intent) = self.server_intent(rng, Viewer { device, at_us }, &intents) {
                    self.push(&mut intents, Viewer { device: SERVER, at_us }, intent);
                    break;
                }
            }
        }
        intents
    }

    fn server_intent(&mut self, rng: &mut Rng, who: Viewer, before: &[Intent]) -> Option<Intent> {
        let table = rng.random_range(0..self.layout.tables.len());
        let written: Vec<u32> = before.iter().flat_map(Intent::rows).collect();
        match rng.random_range(0..10) {
            0 if self.is_nobodys_parent(table) && self.tracker.count(table) > 2 => {
                let row = self.tracker.pick(rng, who, table, 0.2, &written)?;
                Some(Intent::Delete { row })
            }
            1 | 2 if self.layout.tables[table].unique.is_none() => {
                let mut set = self.insert_columns(rng, who, table, &Edges::default())?;
                let layout = self.layout;
                let running = layout.tables[table].running.iter();
                let running: Vec<&str> =
                    running.map(|column| self.app.schema.tables[table].columns[*column].name.as_str()).collect();
                set.retain(|(name, _)| !running.contains(&name.as_str()));
                let row = self.new_row(table);
                Some(Intent::Insert { row, set, replace: false })
            }
            _ => {
                let row = self.tracker.pick(rng, who, table, self.hot, &written)?;
                let set = self.server_columns(rng, who, table);
                (!set.is_empty()).then_some(Intent::Set { row, set })
            }
        }
    }

    /// Whether no row of any table may name a row of this one.
    fn is_nobodys_parent(&self, table: usize) -> bool {
        !self.layout.tables.iter().any(|child| child.references.iter().any(|(_, parent)| *parent == table))
    }

    /// A few columns and new values; in half of the cases the row's clock as well, as a careful job does.
    fn server_columns(&mut self, rng: &mut Rng, who: Viewer, table: usize) -> Columns {
        let layout = self.layout;
        let layout = &layout.tables[table];
        let is_structure = |column: &usize| {
            layout.running.contains(column) || layout.references.iter().any(|(child, _)| child == column)
        };
        let writable: Vec<usize> = (layout.plain.iter().filter(|column| !is_structure(column)))
            .chain(&layout.sets)
            .chain(&layout.counters)
            .copied()
            .collect();
        let mut columns = Vec::new();
        if writable.is_empty() {
            return Vec::new();
        }
        for _ in 0..rng.random_range(1..=3) {
            let column = writable[rng.random_range(0..writable.len())];
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        columns.sort_unstable();
        let mut set = Vec::new();
        for column in columns {
            let declared = &self.app.schema.tables[table].columns[column];
            let value = if layout.counters.contains(&column) {
                Expr::Value(Json::from(rng.random_range(0..20)))
            } else {
                self.draw(rng, who, table, column, false)
            };
            if !(declared.not_null && value == Expr::Value(Json::Null)) {
                set.push((declared.name.clone(), value));
            }
        }
        if rng.random_bool(0.5)
            && let Some(clock) = layout.clock.filter(|_| !set.is_empty())
        {
            set.push((self.app.schema.tables[table].columns[clock].name.clone(), Expr::Now));
        }
        set
    }
}
