//! Which rows a device is likely to see at a moment, as far as that follows from a plan alone.
//!
//! It errs on the side of "not yet": an intent whose row is not there would be skipped and claim nothing.

use rand::Rng as _;

use crate::layout::Layout;
use crate::plan::{Expr, Intent};
use crate::seed::Rng;

/// How long two devices must be undisturbed for a change to pass from one to the server, or from it to the other:
/// an upload trigger, a retry and some round trips.
const DELIVERY_US: i64 = 8_000_000;
/// How many of a table's rows everybody writes.
const HOT_ROWS: usize = 2;
/// How long after its deletion a row is forgotten.
const FORGET_US: i64 = 120_000_000;

/// Who does what the server does by itself.
pub(crate) const SERVER: u32 = u32::MAX;

/// The rows of a plan and when each device may reach them.
#[derive(Debug)]
pub(crate) struct Tracker<'a> {
    layout: &'a Layout,
    /// The names of all users.
    names: &'a [String],
    /// The user of each device.
    users: Vec<u32>,
    rows: Vec<RowState>,
    /// Live rows of each table, the oldest first.
    live: Vec<Vec<u32>>,
    /// Deleted rows of each table.
    deleted: Vec<Vec<u32>>,
    /// When each device may be hindered, by start.
    hindered: Vec<Vec<(i64, i64)>>,
}

/// What is known of a row.
#[derive(Debug, Default)]
struct RowState {
    table: usize,
    /// Whether it was ever inserted.
    made: bool,
    /// Whether it is among the live rows of its table.
    listed: bool,
    /// Who inserted it; `None`: it was there from the beginning.
    maker: Option<u32>,
    made_us: i64,
    gone: Option<(u32, i64)>,
    /// Only its maker is sure to see it: it may yet be merged into another.
    private: bool,
    owner: Option<u32>,
    links: Vec<Link>,
    /// Elements of its sets: (column, element, who added it).
    elements: Vec<(usize, Expr, Option<u32>)>,
}

/// A reference of a row, and who wrote it; `None`: it was there, or the server did.
#[derive(Clone, Copy, Debug)]
struct Link {
    column: usize,
    parent: u32,
    by: Option<u32>,
}

impl RowState {
    fn names(&self, column: usize, parent: u32) -> bool {
        self.links.iter().any(|link| link.column == column && link.parent == parent)
    }
}

/// Who picks a row, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Viewer {
    pub(crate) device: u32,
    pub(crate) at_us: i64,
}

impl<'a> Tracker<'a> {
    pub(crate) fn new(layout: &'a Layout, names: &'a [String], users: Vec<u32>) -> Self {
        let none = vec![Vec::new(); layout.tables.len()];
        let hindered = vec![Vec::new(); users.len()];
        Self { layout, names, users, rows: Vec::new(), live: none.clone(), deleted: none, hindered }
    }

    /// Notes when changes may not pass: of one device, or of all.
    pub(crate) fn hinder(&mut self, device: Option<u32>, from_us: i64, to_us: i64) {
        match device {
            Some(device) => self.hindered[device as usize].push((from_us, to_us)),
            None => self.hindered.iter_mut().for_each(|spans| spans.push((from_us, to_us))),
        }
    }

    /// To be called once all hindrances are known.
    pub(crate) fn sort_hindrances(&mut self) {
        self.hindered.iter_mut().for_each(|spans| spans.sort_unstable());
    }

    /// Registers a symbolic row that nobody has inserted yet.
    pub(crate) fn name_row(&mut self, table: usize) {
        self.rows.push(RowState { table, ..RowState::default() });
    }

    /// Makes a named row one that is there from the beginning.
    pub(crate) fn seed(&mut self, row: u32, owner: Option<u32>, set: &[(usize, &Expr)]) {
        let state = &mut self.rows[row as usize];
        state.made = true;
        state.listed = true;
        state.owner = owner;
        let table = state.table;
        self.live[table].push(row);
        self.note(row, None, set.iter().copied());
    }

    pub(crate) fn table_of(&self, row: u32) -> usize {
        self.rows[row as usize].table
    }

    /// Whether the row is there from the beginning and is this user's, or everybody's.
    pub(crate) fn is_seed_of(&self, row: u32, owner: Option<u32>) -> bool {
        let state = &self.rows[row as usize];
        state.made && (state.owner.is_none() || state.owner == owner)
    }

    /// Every live row of a table, the oldest first.
    pub(crate) fn all(&self, table: usize) -> Vec<u32> {
        self.live[table].clone()
    }

    /// How many rows of a table there are.
    pub(crate) fn count(&self, table: usize) -> usize {
        self.live[table].len()
    }

    /// A row of the table that the viewer is likely to see, with the chance `hot` one that everybody writes.
    pub(crate) fn pick(&mut self, rng: &mut Rng, who: Viewer, table: usize, hot: f64, avoid: &[u32]) -> Option<u32> {
        for _ in 0..10 {
            let count = self.live[table].len();
            if count == 0 {
                return None;
            }
            let among = if rng.random_bool(hot) { count.min(HOT_ROWS) } else { count };
            let index = rng.random_range(0..among);
            let row = self.live[table][index];
            if self.is_visible(row, who) {
                if !avoid.contains(&row) {
                    return Some(row);
                }
            } else if self.rows[row as usize].gone.is_some_and(|(_, at)| at + FORGET_US < who.at_us) {
                self.live[table].remove(index);
                self.rows[row as usize].listed = false;
            }
        }
        None
    }

    /// A row of the table that the viewer itself has deleted.
    pub(crate) fn pick_deleted(&self, rng: &mut Rng, who: Viewer, table: usize) -> Option<u32> {
        let deleted = &self.deleted[table];
        let row = *deleted.get(rng.random_range(0..deleted.len().max(1)))?;
        let gone = self.rows[row as usize].gone;
        (gone.is_some_and(|(device, _)| device == who.device) && self.is_mine(row, who)).then_some(row)
    }

    /// The rows whose column names the parent and that the viewer is likely to see.
    pub(crate) fn children(&self, who: Viewer, table: usize, column: usize, parent: u32) -> Vec<u32> {
        let named = |row: &u32| self.rows[*row as usize].names(column, parent) && self.is_visible(*row, who);
        self.live[table].iter().copied().filter(named).collect()
    }

    /// Whether rows name this one that would keep the server from deleting it.
    pub(crate) fn is_held_by_children(&self, row: u32) -> bool {
        let table = self.table_of(row);
        let naming = |(child_table, column): &(usize, usize)| {
            self.live[*child_table].iter().any(|child| {
                let child = &self.rows[*child as usize];
                child.gone.is_none() && child.names(*column, row)
            })
        };
        self.layout.tables[table].held_by.iter().any(naming)
    }

    /// Whether, by what the device wrote itself and what was there, a row is another one or below it in a tree.
    pub(crate) fn is_known_below(&self, device: u32, column: usize, row: u32, other: u32) -> bool {
        let mut at = row;
        for _ in 0..=self.rows.len() {
            if at == other {
                return true;
            }
            let links = &self.rows[at as usize].links;
            let known = |link: &&Link| link.column == column && link.by.is_none_or(|by| by == device);
            let Some(link) = links.iter().find(known) else { return false };
            at = link.parent;
        }
        true
    }

    /// An element of the row's set that the viewer is likely to see.
    pub(crate) fn element(&self, rng: &mut Rng, who: Viewer, row: u32, column: usize) -> Option<Expr> {
        let known: Vec<&Expr> = self.rows[row as usize]
            .elements
            .iter()
            .filter(|(of, _, by)| *of == column && by.is_none_or(|by| by == who.device))
            .map(|(_, element, _)| element)
            .collect();
        known.get(rng.random_range(0..known.len().max(1))).map(|element| (*element).clone())
    }

    /// Takes note of what a device does.
    pub(crate) fn apply(
        &mut self,
        who: Viewer,
        intent: &Intent,
        private: bool,
        columns: &dyn Fn(usize, &str) -> Option<usize>,
    ) {
        let device = who.device;
        match intent {
            Intent::Insert { row, set, .. } | Intent::Ensure { row, set, .. } => {
                let table = self.table_of(*row);
                let state = &mut self.rows[*row as usize];
                if !state.made || state.gone.is_some() {
                    if state.made {
                        self.deleted[table].retain(|other| other != row);
                    }
                    if !state.listed {
                        self.live[table].push(*row);
                    }
                    *state = RowState {
                        table,
                        made: true,
                        listed: true,
                        maker: Some(device),
                        made_us: who.at_us,
                        private,
                        // What the server makes says itself whose it is.
                        owner: self.users.get(device as usize).copied().filter(|_| self.layout.tables[table].owned),
                        ..RowState::default()
                    };
                }
                let set = set.iter().filter_map(|(name, expr)| columns(table, name).map(|column| (column, expr)));
                self.note(*row, Some(device), set);
            }
            Intent::Set { row, set } => {
                let table = self.table_of(*row);
                let set = set.iter().filter_map(|(name, expr)| columns(table, name).map(|column| (column, expr)));
                self.note(*row, Some(device), set);
            }
            Intent::Add { row, column, element } => {
                if let Some(column) = columns(self.table_of(*row), column) {
                    self.rows[*row as usize].elements.push((column, element.clone(), Some(device)));
                }
            }
            Intent::Remove { row, column, element } => {
                let column = columns(self.table_of(*row), column);
                self.rows[*row as usize].elements.retain(|(of, known, _)| Some(*of) != column || known != element);
            }
            Intent::Delete { row } => self.delete(*row, who),
            Intent::Increment { .. } | Intent::MoveAfter { .. } | Intent::Read { .. } => {}
        }
    }

    /// Deletes a row, and whatever the server may delete with it.
    fn delete(&mut self, row: u32, who: Viewer) {
        let state = &mut self.rows[row as usize];
        if state.gone.is_some() {
            return;
        }
        state.gone = Some((who.device, who.at_us));
        let table = state.table;
        self.deleted[table].push(row);
        let layout = self.layout;
        for (child_table, child_layout) in layout.tables.iter().enumerate() {
            for (column, _) in child_layout.cascades.iter().filter(|(_, parent)| *parent == table) {
                let named = |child: &u32| self.rows[*child as usize].names(*column, row);
                let children: Vec<u32> = self.live[child_table].iter().copied().filter(named).collect();
                for child in children {
                    self.delete(child, who);
                }
            }
        }
    }

    /// Takes note of column values.
    fn note<'e>(&mut self, row: u32, by: Option<u32>, set: impl Iterator<Item = (usize, &'e Expr)>) {
        let state = &mut self.rows[row as usize];
        let table = &self.layout.tables[state.table];
        for (column, expr) in set {
            if table.references.iter().any(|(reference, _)| *reference == column) {
                state.links.retain(|link| link.column != column);
                if let Expr::Id(parent) = expr {
                    state.links.push(Link { column, parent: *parent, by });
                }
            } else if table.owner == Some(column) {
                if let Expr::Value(serde_json::Value::String(user)) = expr {
                    state.owner = self.names.iter().position(|name| name == user).map(|index| index as u32);
                }
            } else if table.sets.contains(&column) {
                state.elements.retain(|(of, ..)| *of != column);
                if let Expr::Value(serde_json::Value::String(text)) = expr
                    && let Ok(elements) = serde_json::from_str::<Vec<serde_json::Value>>(text)
                {
                    state.elements.extend(elements.into_iter().map(|element| (column, Expr::Value(element), by)));
                }
            }
        }
    }

    /// Whether the viewer is likely to see the row.
    pub(crate) fn is_visible(&self, row: u32, who: Viewer) -> bool {
        let state = &self.rows[row as usize];
        if !state.made || !self.is_mine(row, who) {
            return false;
        }
        if let Some((by, at)) = state.gone {
            // Somebody else's delete is not here yet if one of the two has been cut off ever since.
            let held = by != who.device && (self.is_held(by, at, who.at_us) || self.is_held(who.device, at, who.at_us));
            if !held {
                return false;
            }
        }
        match state.maker {
            None => true,
            Some(maker) if maker == who.device => true,
            Some(_) if state.private => false,
            Some(maker) => {
                // Most rows are old or new; only what is between needs a look at the faults.
                if state.made_us + 2 * DELIVERY_US > who.at_us {
                    return false;
                }
                let at_server_us = if maker == SERVER { state.made_us } else { self.passes(maker, state.made_us) };
                self.passes(who.device, at_server_us) <= who.at_us
            }
        }
    }

    fn is_mine(&self, row: u32, who: Viewer) -> bool {
        self.rows[row as usize].owner.is_none_or(|owner| owner == self.users[who.device as usize])
    }

    /// When a change that is ready at `from_us` has surely passed between the device and the server.
    fn passes(&self, device: u32, from_us: i64) -> i64 {
        let mut from_us = from_us;
        for (start, end) in &self.hindered[device as usize] {
            if *end > from_us && *start < from_us + DELIVERY_US {
                from_us = *end;
            }
        }
        from_us + DELIVERY_US
    }

    /// Whether the device is hindered during all of this time.
    fn is_held(&self, device: u32, from_us: i64, to_us: i64) -> bool {
        let spans = self.hindered.get(device as usize).map_or(&[][..], Vec::as_slice);
        spans.iter().any(|(start, end)| *start <= from_us && to_us <= *end)
    }
}
