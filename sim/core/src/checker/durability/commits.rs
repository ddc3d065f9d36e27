//! The replay of the change feed: what each commit did, held against what its transaction meant to do.

use fixtures::{Row, Value};

use super::edit::Edit;
use super::judge::Judge;
use super::parts::{self, is_refusal};
use super::readable;
use super::records::Records;
use super::registers::layouts;
use super::state::{Net, Register, Write};
use super::stats::{Stats, count};
use super::transaction::JudgedTx;
use super::undelivered;
use crate::checker::context::Context;
use crate::checker::server_sets;
use crate::checker::timeline::Timeline;
use crate::history::{
    Change, Commit, LocalOp, LocalTx, OpAnswer, Origin, Phase, RowId, Scope, TxOutcome, Upload, What, Who,
};
use crate::plan::EPOCH_US;
use crate::verdict::Finding;

/// Judges the history.
#[must_use]
pub fn check(ctx: &Context<'_>, timeline: &Timeline<'_>) -> Finding {
    examine(ctx, timeline).0
}

/// Judges the history, and counts.
#[must_use]
pub fn examine(ctx: &Context<'_>, timeline: &Timeline<'_>) -> (Finding, Stats) {
    let beside = [undelivered::check(ctx, timeline), readable::check(ctx)];
    let written = server_sets::without(ctx);
    let ctx = &Context { history: written.as_ref().unwrap_or(ctx.history), ..*ctx };
    let layouts = layouts(ctx.app);
    let records = Records::of(ctx);
    let mut judge = Judge::new(ctx, timeline, &layouts, &records);
    judge.run();
    let mut finding = judge.finding;
    for anomaly in beside.into_iter().flat_map(|finding| finding.anomalies) {
        finding.invalid(anomaly);
    }
    (finding, judge.stats)
}

impl<'a> Judge<'a, '_> {
    fn run(&mut self) {
        self.begin();
        for (event, entry) in self.ctx.history.events.iter().enumerate() {
            match (&entry.who, &entry.what) {
                (_, What::Commit(commit)) => self.commit(event, commit),
                (Who::Client(device), What::Upload(upload)) => self.answered(event, entry.at_us, *device, upload),
                _ => {}
            }
        }
        self.ends();
    }

    /// Rows that were there before the feed begins: those whose first change has an image before it, and those that
    /// no change names but the server shows in the end.
    fn begin(&mut self) {
        let is_server_read = self
            .ctx
            .history
            .events
            .iter()
            .any(|event| event.who == Who::Server && matches!(event.what, What::Read { scope: Scope::Final, .. }));
        let mut known = vec![false; self.rows.len()];
        for event in &self.ctx.history.events {
            match &event.what {
                What::Commit(commit) => {
                    for change in &commit.changes {
                        let Some(known) = known.get_mut(change.row as usize) else { continue };
                        if !*known {
                            *known = true;
                            self.set_live(change.row, change.before.clone());
                        }
                    }
                }
                // What only a device shows was never on the server, where the server was read as well.
                What::Read { scope: Scope::Final, rows } if event.who == Who::Server || !is_server_read => {
                    for (row, image) in rows {
                        if known.get(*row as usize) == Some(&false) && image.is_some() {
                            self.set_live(*row, image.clone());
                        }
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn commit(&mut self, event: usize, commit: &'a Commit) {
        let tx = commit.origin.and_then(|origin| self.local_tx(origin));
        let (Some(origin), Some((tx_event, tx))) = (commit.origin, tx) else {
            if let Some(origin) = commit.origin {
                self.finding.unknown(format!(
                    "commit {} is of client/{} transaction {}, which no device is known to have accepted",
                    commit.seq, origin.device, origin.tx_id
                ));
            }
            return self.server_commit(commit);
        };
        // A note of a refusal decides nothing about a later commit that says that the transaction took effect.
        let mut effects = self.timeline.commits_of(origin.device, origin.tx_id);
        let first = effects.find(|seq| self.timeline.commit(*seq).is_some_and(|commit| !is_refusal(commit)));
        if is_refusal(commit) || (commit.changes.is_empty() && first != Some(commit.seq)) {
            return;
        }
        // An answer that says committed, without a note in a ledger, says nothing of when: a later commit does.
        if commit.changes.is_empty() && commit.ledger.is_empty() && self.changes_later(origin, commit.seq) {
            return;
        }
        for (losing, survivor) in &commit.aliases {
            if losing != survivor {
                self.ids.merge(*losing, *survivor);
                count(&mut self.stats.concurrent, "unique", 1);
            }
        }
        let at = |ops| JudgedTx {
            event,
            seq: commit.seq,
            received_us: commit.received_us,
            device: origin.device,
            tx_event,
            tx,
            ops,
            stamp: 0,
            nets: Vec::new(),
            claimed: false,
        };
        let part = parts::operations_of(self.timeline, commit, origin, tx);
        self.stats.accepted += part.as_ref().map_or(tx.ops.len(), Vec::len) as u64;
        if is_attributed(commit, tx) {
            for index in part.unwrap_or_else(|| (0..tx.ops.len()).collect()) {
                let op = &tx.ops[index];
                let changes = commit.changes.iter().filter(|change| change.op_id == Some(op.op_id));
                self.judge(at(&tx.ops[index..=index]), changes, &commit.ledger);
            }
        } else if let Some(part) = part {
            let runs: Vec<&[LocalOp]> =
                part.chunk_by(|one, next| one + 1 == *next).map(|run| &tx.ops[run[0]..=run[run.len() - 1]]).collect();
            for (index, ops) in runs.iter().enumerate() {
                // What no operation names goes with the first.
                let is_of = |ops: &[LocalOp], change: &Change| {
                    ops.iter().any(|op| change.op_id.map_or(op.row == change.row, |id| id == op.op_id))
                };
                let mine = |change: &&Change| {
                    let run = runs.iter().position(|ops| is_of(ops, change)).unwrap_or(0);
                    run == index
                };
                self.judge(at(ops), commit.changes.iter().filter(mine), &commit.ledger);
            }
            if runs.is_empty() {
                self.judge(at(&[]), commit.changes.iter(), &commit.ledger);
            }
        } else {
            self.judge(at(&tx.ops), commit.changes.iter(), &commit.ledger);
        }
    }

    /// Whether a later commit of the transaction changes something.
    fn changes_later(&self, origin: Origin, seq: u64) -> bool {
        let later = self.timeline.commits_of(origin.device, origin.tx_id).filter(|later| *later > seq);
        later.filter_map(|later| self.timeline.commit(later)).any(|commit| !commit.changes.is_empty())
    }

    /// An answer that claims a commit which the feed does not have: the transaction did nothing, or nothing new.
    pub(super) fn answered(&mut self, event: usize, at_us: i64, device: u32, upload: &'a Upload) {
        let claims = upload.phase == Phase::Ok && matches!(upload.outcome, None | Some(TxOutcome::Committed));
        if !claims || self.is_effective(device, upload.tx_id) {
            return;
        }
        let Some((tx_event, tx)) = self.local_tx(Origin { device, tx_id: upload.tx_id }) else { return };
        if !self.claimed.insert((device, upload.tx_id)) {
            return;
        }
        for answer in &upload.ops {
            let named = tx.ops.iter().find(|op| op.op_id == answer.op_id).map(|op| op.row);
            if let (Some(losing), Some(survivor)) = (named, answer.merged_into) {
                self.ids.merge(losing, survivor);
            }
        }
        let seq = self.timeline.committed_before(event);
        let received_us = EPOCH_US.saturating_add(at_us);
        self.stats.accepted += tx.ops.len() as u64;
        let at = JudgedTx {
            event,
            seq,
            received_us,
            device,
            tx_event,
            tx,
            ops: &tx.ops,
            stamp: 0,
            nets: Vec::new(),
            claimed: true,
        };
        self.judge(at, std::iter::empty(), &upload.ops);
    }

    /// Whether the feed has a commit of the transaction that does more than note its refusal.
    pub(super) fn is_effective(&self, device: u32, tx_id: i64) -> bool {
        self.timeline
            .commits_of(device, tx_id)
            .filter_map(|seq| self.timeline.commit(seq))
            .any(|commit| !is_refusal(commit))
    }

    /// What the commit did to a row.
    pub(super) fn net<'n>(&self, at: &'n JudgedTx<'_>, row: RowId) -> Option<&'n Net> {
        let (stamp, index) = self.rows[row as usize].mark;
        if stamp == at.stamp { at.nets.get(index) } else { None }
    }

    fn local_tx(&self, origin: Origin) -> Option<(usize, &'a LocalTx)> {
        let event = self.timeline.local_tx(origin.device, origin.tx_id)?;
        match &self.ctx.history.events[event].what {
            What::Tx(tx) => Some((event, tx)),
            _ => None,
        }
    }

    /// The entry of a row among what the commit did, made from the row as it is if there is none yet.
    fn net_mut<'n>(
        &mut self,
        at: &'n mut JudgedTx<'_>,
        row: RowId,
        before: impl FnOnce() -> Option<Row>,
    ) -> &'n mut Net {
        if self.rows[row as usize].mark.0 != at.stamp {
            self.rows[row as usize].mark = (at.stamp, at.nets.len());
            let before = before();
            at.nets.push(Net { row, after: before.clone(), before, edit: None, gone: false });
        }
        &mut at.nets[self.rows[row as usize].mark.1]
    }

    /// Judges operations by what they changed.
    fn judge(&mut self, mut at: JudgedTx<'a>, changes: impl Iterator<Item = &'a Change>, answers: &'a [OpAnswer]) {
        self.judgements += 1;
        at.stamp = self.judgements;
        for change in changes {
            let net = self.net_mut(&mut at, change.row, || change.before.clone());
            net.after.clone_from(&change.after);
            net.gone |= change.after.is_none();
        }
        let mut edits: Vec<Edit<'a>> = Vec::new();
        for op in at.ops {
            if op.row as usize >= self.rows.len() {
                continue;
            }
            // A row that is there has not been merged yet: the transaction may delete it, and merge its insert after.
            let is_there = self.rows[op.row as usize].live.is_some();
            let row = if is_there { op.row } else { self.target(op.row) };
            let live = self.rows[row as usize].live.clone();
            let received_us = at.received_us;
            let net = self.net_mut(&mut at, row, || live);
            let index = *net.edit.get_or_insert(edits.len());
            if index == edits.len() {
                edits.push(Edit::new(row, op.row));
            }
            edits[index].fold(op, self.layout(row), received_us);
        }
        for edit in &edits {
            let anomalies = self.finding.anomalies.len();
            let counts = self.edit(&at, edit);
            if self.finding.anomalies.len() == anomalies {
                self.test_answer(&at, edit, counts, answers);
            }
        }
        for index in 0..at.nets.len() {
            self.unintended(&at, index, &edits);
        }
        let nets = std::mem::take(&mut at.nets);
        for net in nets {
            let touched = net.before != net.after || net.edit.is_some();
            let heartbeat = self.heartbeat_written(&net);
            let by = net.edit.map(|edit| edits[edit].op_id).or_else(|| at.ops.last().map(|op| op.op_id));
            let (layout, by) = (self.layout(net.row), by.map(|op_id| at.write(op_id)));
            let sets = &mut self.rows[net.row as usize].sets;
            sets.follow(layout, net.before.as_ref(), net.after.as_ref(), by, at.seq);
            self.set_live(net.row, net.after);
            let state = &mut self.rows[net.row as usize];
            if touched {
                state.touched_us = at.received_us;
            }
            if heartbeat {
                state.heartbeat_us = at.received_us;
            }
        }
    }

    fn heartbeat_written(&self, net: &Net) -> bool {
        let layout = self.layout(net.row);
        let Some(after) = &net.after else { return false };
        layout.heartbeat.iter().enumerate().any(|(column, heartbeat)| {
            *heartbeat && net.before.as_ref().is_none_or(|before| before.get(column) != after.get(column))
        })
    }

    /// A write of the server itself: it may override anything, and no device has accepted it.
    fn server_commit(&mut self, commit: &Commit) {
        for change in &commit.changes {
            if change.row as usize >= self.rows.len() {
                continue;
            }
            let layout = self.layout(change.row);
            let state = &mut self.rows[change.row as usize];
            state.sets.follow(layout, change.before.as_ref(), change.after.as_ref(), None, commit.seq);
            match (&change.before, &change.after) {
                (Some(before), Some(after)) => {
                    for (index, register) in layout.registers.iter().enumerate() {
                        if index < state.registers.len()
                            && register.columns.iter().any(|at| before.get(*at) != after.get(*at))
                        {
                            state.registers[index] = Register {
                                by: None,
                                also: None,
                                course: None,
                                low: i64::MIN,
                                high: commit.received_us,
                            };
                            // Whose value it was is overridden by the server, which may.
                            state.writes.forget(index);
                            state.alike.retain(|(at, _)| *at != index);
                        }
                    }
                    // What the server wrote is no longer what an insert left to it.
                    for (column, filled) in state.filled.iter_mut().enumerate() {
                        *filled &= before.get(column) == after.get(column);
                    }
                }
                (_, None) => {
                    state.deletion = Some(super::state::Deletion {
                        by: None,
                        also: None,
                        cascade: false,
                        low: i64::MIN,
                        high: commit.received_us,
                        registers: Vec::new(),
                        image: state.live.clone(),
                    });
                    state.registers.clear();
                    state.filled.clear();
                    state.writes.clear();
                }
                (None, Some(_)) => {
                    state.registers.clear();
                    state.filled.clear();
                    state.writes.clear();
                    state.deletion = None;
                }
            }
            // It is unknown whether the server's own write keeps a lease.
            (state.touched_us, state.heartbeat_us) = (commit.received_us, i64::MIN);
            self.set_live(change.row, change.after.clone());
        }
    }

    /// Sets what a row is, and keeps the list of running rows.
    pub(super) fn set_live(&mut self, row: RowId, image: Option<Row>) {
        let layout = self.layout(row);
        for (column, exclusive) in layout.running.iter().enumerate() {
            let Some(exclusive) = exclusive else { continue };
            if image.as_ref().is_some_and(|image| image.get(column) == Some(&Value::Int(1))) {
                self.running[*exclusive].insert(row);
            } else {
                self.running[*exclusive].remove(&row);
            }
        }
        self.rows[row as usize].live = image;
    }

    /// Whether the commit deleted the row that the value names (though it may have created it again), or found it
    /// absent.
    pub(super) fn parent_went(&self, at: &JudgedTx<'_>, table: usize, id: &Value) -> bool {
        let Some(id) = id.as_text() else { return false };
        match self.find(table, id) {
            None => true,
            Some(parent) => match self.net(at, parent) {
                Some(net) => {
                    let deletes = |op: &LocalOp| op.op == crate::history::Op::Delete && self.target(op.row) == parent;
                    net.after.is_none() || net.before.is_none() || at.ops.iter().any(deletes)
                }
                None => self.rows[parent as usize].live.is_none(),
            },
        }
    }

    /// As [`Judge::parent_went`], of a row that there has been: what never was cannot go and take another row along.
    pub(super) fn known_parent_went(&self, at: &JudgedTx<'_>, table: usize, id: &Value) -> bool {
        id.as_text().is_some_and(|text| self.find(table, text).is_some()) && self.parent_went(at, table, id)
    }

    /// Whether the commit started another row of the exclusive invariant after this one's lease had ended.
    pub(super) fn took_over(&self, at: &JudgedTx<'_>, row: RowId, exclusive: usize) -> bool {
        let rule = &self.ctx.app.policy.exclusives[exclusive];
        let lease_us = rule.lease_s.saturating_mul(1_000_000);
        let ended = at.received_us.saturating_sub(self.rows[row as usize].heartbeat_us) >= lease_us;
        ended
            && at.nets.iter().any(|net| {
                net.row != row
                    && self.table(net.row) == rule.table
                    && net.after.as_ref().is_some_and(|after| after[rule.running] == Value::Int(1))
            })
    }

    /// Notes that the server itself set a register, in the course of this transaction.
    pub(super) fn forget_writer(&mut self, at: &JudgedTx<'_>, row: RowId, register: usize) {
        let course = at.tx.ops.first().map(|op| at.write(op.op_id));
        let registers = self.layout(row).registers.len();
        let state = &mut self.rows[row as usize];
        state.alike.retain(|(at, _)| *at != register);
        if state.registers.is_empty() {
            state.registers = vec![super::state::SERVER; registers];
        }
        if let Some(register) = state.registers.get_mut(register) {
            *register =
                Register { by: None, also: None, course, low: i64::MIN, high: at.received_us.max(register.high) };
        }
    }

    /// Every operation of a write's transaction, as writes.
    pub(super) fn tx_writes(&self, one: Write) -> Vec<Write> {
        match &self.ctx.history.events[one.event].what {
            What::Tx(tx) => tx.ops.iter().map(|op| Write { op_id: op.op_id, ..one }).collect(),
            _ => Vec::new(),
        }
    }

    /// The last device whose write is in the row.
    pub(super) fn last_writer(&self, row: RowId) -> Option<Write> {
        self.rows[row as usize].registers.iter().filter_map(|register| register.by).max_by_key(|by| by.seq)
    }
}

/// Whether the feed says of each change by which operation of the transaction it came: then each is judged by itself,
/// on the rows as the one before left them.
fn is_attributed(commit: &Commit, tx: &LocalTx) -> bool {
    let known = |op_id: i64| tx.ops.iter().any(|op| op.op_id == op_id);
    let is_noted = !(commit.changes.is_empty() && commit.ledger.is_empty());
    is_noted && commit.changes.iter().all(|change| change.op_id.is_some_and(known))
}
