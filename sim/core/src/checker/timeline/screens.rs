//! Follows what each device shows, event by event, and names the commit that each apply corresponds to.
//!
//! A device's visible rows are followed from its applies and its own writes: an apply lists the rows that may have
//! changed, and a row that it does not list stays as it was shown. At a full apply nothing of the device's own is
//! pending, so what it shows must be what its user sees after some commit.

use std::collections::{BTreeMap, BTreeSet};

use fixtures::{Row, Value};

use super::partial::Shown;
use super::{Applied, Differing, State, Timeline, Wrong};
use crate::history::{Apply, Event, Lifecycle, LocalOp, Op, RowId, Scope, What, Who};
use crate::row_hash::row_hash;

/// How many wrong states of a device are described row by row.
const DESCRIBED: usize = 4;
/// How many rows of a wrong state are described.
const DESCRIBED_ROWS: usize = 6;

/// What one device shows.
#[derive(Clone, Default)]
struct Screen {
    /// The hash of each row as shown.
    rows: Vec<u64>,
    /// Their sum.
    sum: u64,
    /// Rows that the device wrote or that are not known to be as after the prefix, as shown.
    images: BTreeMap<RowId, Option<Row>>,
    /// The commit that it shows.
    prefix: u64,
    /// The least commit that it may show, where several have this state.
    sure: u64,
    /// By how much the hash differs from that commit's, where the state is wrong.
    error: u64,
    /// The greatest commit of its own that it has completed.
    own: u64,
    /// The last operation of the checkpoint that it shows.
    last_op_id: u64,
    /// The greatest commit that partial applies showed.
    partial: u64,
    /// Rows that the device wrote with values of no lawful type, so that what it shows of them is not known.
    untyped: BTreeSet<RowId>,
    described: usize,
    /// Rows that the device wrote since its last full apply.
    own_rows: BTreeSet<RowId>,
    /// A torn partial apply was reported since its last full apply.
    is_torn: bool,
}

impl Timeline<'_> {
    pub(super) fn follow_devices(&mut self) {
        let mut screens: Vec<Screen> = self.devices.iter().map(|_| Screen::default()).collect();
        let live = self.history.header.time.is_virtual();
        // Which device begins as the copy that a step restores.
        let copies: BTreeMap<u32, usize> = (self.history.header.devices.iter().enumerate())
            .filter_map(|(index, device)| Some((device.copy?.key, index)))
            .collect();
        for (event, Event { who, what, .. }) in self.history.events.iter().enumerate() {
            let Who::Client(device) = *who else { continue };
            let Some(screen) = screens.get_mut(device as usize) else { continue };
            match what {
                What::Tx(tx) if tx.failed.is_none() => {
                    for op in &tx.ops {
                        self.write(device, screen, op);
                    }
                }
                What::Lifecycle(Lifecycle::CopyTaken(key)) => {
                    if let Some(copy) = copies.get(key) {
                        self.devices[*copy].start = screen.prefix;
                        screens[*copy] = screen.clone();
                    }
                }
                What::Complete { tx_id } => {
                    screen.own = screen.own.max(self.own_commit(device, *tx_id, event));
                }
                What::Apply(apply) => {
                    let applied = if let Some(priority) = apply.priority {
                        self.partial(device, screen, event, apply, priority)
                    } else {
                        self.full(device, screen, event, apply, live)
                    };
                    if apply.priority.is_none() && applied.state == State::Prefix {
                        let shown = self.checkpoints.entry(apply.last_op_id).or_insert(applied.prefix);
                        *shown = (*shown).max(applied.prefix);
                    }
                    self.devices[device as usize].applied.push(applied);
                }
                What::Read { scope: Scope::Look, rows } => {
                    for (row, image) in rows {
                        let shown = screen.rows.get(*row as usize).copied().unwrap_or(0);
                        if row_hash(*row, image.as_ref()) != shown && !screen.untyped.contains(row) {
                            let expected = self.image(device, screen, *row);
                            self.misread.push((event, *row, expected));
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// The commit that a device has seen through when it completes a transaction; 0 if it was refused. A repeat that
    /// arrives and commits only later does not count.
    fn own_commit(&self, device: u32, tx_id: i64, completed: usize) -> u64 {
        let known =
            self.commits_of(device, tx_id).filter(|seq| self.commit_event(*seq).is_some_and(|event| event < completed));
        known.last().or_else(|| self.commits_of(device, tx_id).next()).unwrap_or(0)
    }

    fn image(&self, device: u32, screen: &Screen, row: RowId) -> Option<Row> {
        screen.images.get(&row).cloned().unwrap_or_else(|| self.view(device).row_at(row, screen.prefix).cloned())
    }

    /// The device's own write becomes visible on it at once.
    fn write(&self, device: u32, screen: &mut Screen, op: &LocalOp) {
        let Some(table) = self.history.table_of(op.row) else { return };
        if !op.unknown.is_empty() {
            screen.untyped.insert(op.row);
        }
        screen.own_rows.insert(op.row);
        let before = self.image(device, screen, op.row);
        screen.show(op.row, written(op, before.as_ref(), self.widths[table]));
    }

    fn full(&self, device: u32, screen: &mut Screen, event: usize, apply: &Apply, live: bool) -> Applied {
        if apply.whole {
            screen.rows.clear();
            screen.images.clear();
            screen.sum = 0;
        }
        for (row, image) in &apply.rows {
            screen.show(*row, image.clone());
        }
        screen.untyped.clear();
        let (sure, state) = self.locate(device, screen, event, apply, live);
        let prefix = if state == State::Prefix { self.shown_again(device, screen, event, apply, sure) } else { sure };
        screen.sure = sure;
        screen.last_op_id = apply.last_op_id;
        let view = self.view(device);
        screen.error = screen.sum.wrapping_sub(view.state_at(prefix));
        screen.prefix = prefix;
        if screen.error == 0 {
            screen.images.clear();
        }
        screen.own_rows.clear();
        screen.is_torn = false;
        Applied { event, priority: None, prefix, state }
    }

    fn locate(&self, device: u32, screen: &mut Screen, event: usize, apply: &Apply, live: bool) -> (u64, State) {
        if self.blind.is_some() {
            return (screen.own.max(screen.partial).max(screen.sure), State::Unknown);
        }
        let view = self.view(device);
        let floor = screen.sure.max(screen.own).max(screen.partial);
        // Commits without a visible effect up to what was committed when the data arrived count as seen.
        let arrived = self.arrived(event, apply);
        let settled = |seq: u64| view.unchanged_until(seq, arrived.max(seq));
        if let Some(seq) = view.find(screen.sum, floor) {
            let early = live && self.commit_event(seq).is_some_and(|commit| commit > event);
            return (settled(seq), if early { State::Future } else { State::Prefix });
        }
        if let Some(seq) = view.find(screen.sum, screen.sure) {
            let state =
                if screen.own > seq { State::MissingOwn { own: screen.own } } else { State::Back { from: floor } };
            return (settled(seq), state);
        }
        if let Some(seq) = view.find_before(screen.sum, screen.sure) {
            return (seq, State::Back { from: screen.sure });
        }
        if screen.error != 0
            && let Some(seq) = view.find(screen.sum.wrapping_sub(screen.error), floor)
        {
            return (settled(seq), State::Repeated);
        }
        let nearest = self.nearest(device, apply, floor).unwrap_or(screen.sure);
        (nearest, State::Wrong(self.describe(device, screen, nearest)))
    }

    /// The last commit when an apply's data arrived.
    fn arrived(&self, event: usize, apply: &Apply) -> u64 {
        let arrived = self.commits.partition_point(|(_, at)| self.history.events[*at].at_us <= apply.arrived_us);
        arrived.checked_sub(1).map_or(0, |index| self.commits[index].0).min(self.committed_before(event))
    }

    /// The last commit with the state that the device shows, where the server came back to that state: a checkpoint
    /// with operations that the device did not have shows what was last committed when it arrived, unless a checkpoint
    /// that is no older shows what was before.
    fn shown_again(&self, device: u32, screen: &Screen, event: usize, apply: &Apply, sure: u64) -> u64 {
        let (view, arrived) = (self.view(device), self.arrived(event, apply));
        let again = view.find_before(screen.sum, arrived.saturating_add(1)).filter(|again| *again > sure);
        let later = self.checkpoints.range(apply.last_op_id..).next().map(|(_, shown)| *shown);
        match again {
            Some(again) if apply.last_op_id > screen.last_op_id && later.is_none_or(|shown| shown >= again) => {
                view.unchanged_until(again, arrived.max(again))
            }
            // It still shows what it showed.
            _ if view.state_at(screen.prefix) == screen.sum => screen.prefix.max(sure),
            _ => sure,
        }
    }

    /// The first commit from `floor` on after which every listed row is as shown.
    fn nearest(&self, device: u32, apply: &Apply, floor: u64) -> Option<u64> {
        let view = self.view(device);
        let hashes = || apply.rows.iter().map(|(row, image)| (*row, row_hash(*row, image.as_ref())));
        let mut seq = floor;
        for (row, hash) in hashes() {
            seq = seq.max(view.find_image(row, hash, floor)?);
        }
        hashes().all(|(row, hash)| view.hash_at(row, seq) == hash).then_some(seq)
    }

    fn describe(&self, device: u32, screen: &mut Screen, prefix: u64) -> Wrong {
        let view = self.view(device);
        let mut wrong = Wrong { rows: Vec::new(), count: 0 };
        if screen.described >= DESCRIBED {
            return wrong;
        }
        screen.described += 1;
        for row in 0..RowId::try_from(self.history.rows.len()).unwrap_or(RowId::MAX) {
            let hash = screen.rows.get(row as usize).copied().unwrap_or(0);
            let expected = view.version_at(row, prefix);
            if expected.map_or(0, |version| version.hash) == hash {
                continue;
            }
            wrong.count += 1;
            if wrong.rows.len() < DESCRIBED_ROWS {
                wrong.rows.push(Differing {
                    row,
                    shown: screen.images.get(&row).cloned(),
                    shown_since: view.find_image(row, hash, 0),
                    expected_since: expected.map_or(0, |version| version.seq),
                });
            }
        }
        wrong
    }

    /// A partial apply shows some rows early: each must be the server's at a commit no earlier than what the device
    /// had of it.
    fn partial(&mut self, device: u32, screen: &mut Screen, event: usize, apply: &Apply, priority: u32) -> Applied {
        let mut wrong = Wrong { rows: Vec::new(), count: 0 };
        let mut found = Vec::new();
        let view = self.view(device);
        for (row, image) in &apply.rows {
            let hash = row_hash(*row, image.as_ref());
            if screen.rows.get(*row as usize).copied().unwrap_or(0) == hash {
                continue;
            }
            let floor = self.seen_row(device, event, *row);
            screen.show(*row, image.clone());
            match view.find_image(*row, hash, floor) {
                Some(seq) => found.push((*row, seq)),
                None if self.blind.is_some() => {}
                None => {
                    wrong.count += 1;
                    if wrong.rows.len() < DESCRIBED_ROWS {
                        wrong.rows.push(Differing {
                            row: *row,
                            shown: Some(image.clone()),
                            shown_since: view.find_image(*row, hash, 0),
                            expected_since: view.version_at(*row, floor).map_or(0, |version| version.seq),
                        });
                    }
                }
            }
        }
        for (row, seq) in found {
            screen.partial = screen.partial.max(seq);
            self.devices[device as usize].partial.entry(row).or_default().push((event, seq));
        }
        // A device whose own writes have not come back yet shows these beside what is synced.
        let is_back = apply.queued == 0 && apply.target.is_none_or(|target| apply.write_checkpoint >= Some(target));
        let is_comparable = is_back && screen.error == 0 && !screen.is_torn;
        let torn = || {
            let (changed, own) = (&screen.images, &screen.own_rows);
            let shown = Shown { prefix: screen.prefix, hashes: &screen.rows, changed, own };
            self.torn(device, priority, &shown, DESCRIBED_ROWS)
        };
        let state = match (wrong.count, &self.blind) {
            (_, Some(_)) => State::Unknown,
            (0, None) => match is_comparable.then(torn).flatten() {
                Some((at, wrong)) => State::Torn { at, wrong },
                None => State::Prefix,
            },
            _ => State::Wrong(wrong),
        };
        screen.is_torn |= matches!(state, State::Torn { .. });
        Applied { event, priority: Some(priority), prefix: screen.prefix, state }
    }
}

impl Screen {
    fn show(&mut self, row: RowId, image: Option<Row>) {
        let index = row as usize;
        if self.rows.len() <= index {
            self.rows.resize(index + 1, 0);
        }
        let hash = row_hash(row, image.as_ref());
        self.sum = self.sum.wrapping_sub(self.rows[index]).wrapping_add(hash);
        self.rows[index] = hash;
        self.images.insert(row, image);
    }
}

/// A row on a device after one of its own operations: an insert names every column that is not NULL.
#[must_use]
pub fn written(op: &LocalOp, before: Option<&Row>, columns: usize) -> Option<Row> {
    let mut row: Vec<Value> = match (op.op, before) {
        (Op::Delete, _) | (Op::Patch, None) => return None,
        (Op::Put, _) => vec![Value::Null; columns],
        (Op::Patch, Some(before)) => before.to_vec(),
    };
    for (column, value) in &op.data {
        if let Some(cell) = row.get_mut(*column) {
            *cell = value.clone();
        }
    }
    Some(row.into())
}
