//! Transactions that never reached a commit: refused, still queued, or gone.

use super::judge::Judge;
use super::report::Loss;
use super::state::Write;
use crate::history::{Barrier, LocalTx, Op, Phase, TxOutcome, Upload, What, Who};

/// What is known of a transaction without a commit.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    refused: Option<usize>,
    /// The refusal is the backend's own word for it, not an HTTP status.
    worded: bool,
    /// The ledger notes that it is refused.
    noted: bool,
    completed: Option<usize>,
    /// An attempt was sent and may have been acted on, but was not answered.
    unanswered: bool,
    /// Its device's storage was lost while it was still queued there.
    gone: bool,
}

impl<'a> Judge<'a, '_> {
    /// Judges every accepted transaction that neither the feed nor an answer calls committed.
    pub(super) fn ends(&mut self) {
        let history = self.ctx.history;
        let mut open: std::collections::BTreeMap<(u32, i64), End> = std::collections::BTreeMap::new();
        let mut settled = None;
        // Where a backend keeps a ledger, its refusals are in it.
        let ledger = self.timeline.commits().any(|(_, commit)| !commit.ledger.is_empty());
        for (event, entry) in history.events.iter().enumerate() {
            let Who::Client(device) = entry.who else {
                if let What::Barrier { barrier: Barrier::Settle | Barrier::SettleAgain, phase: Phase::Ok, .. } =
                    &entry.what
                {
                    settled = Some(event);
                }
                continue;
            };
            match &entry.what {
                What::Tx(tx) if tx.failed.is_none() && !tx.ops.is_empty() => {
                    let Some(tx_id) = tx.tx_id else { continue };
                    if !self.is_effective(device, tx_id) && !self.claimed.contains(&(device, tx_id)) {
                        let refusal = self.timeline.commits_of(device, tx_id).next().is_some();
                        open.insert((device, tx_id), End { noted: refusal, ..End::default() });
                    }
                }
                What::Upload(upload) => {
                    if upload.outcome == Some(TxOutcome::Refused) {
                        self.refused(event, device, upload, &mut open);
                    } else if let Some(end) = open.get_mut(&(device, upload.tx_id)) {
                        end.unanswered |= upload.phase == Phase::Info;
                    }
                }
                What::Complete { tx_id } => {
                    if let Some(end) = open.get_mut(&(device, *tx_id)) {
                        end.completed = Some(event);
                    }
                }
                _ => {}
            }
        }
        let installations = self.installations.clone();
        for ((device, tx_id), end) in open {
            let queued = self.timeline.local_tx(device, tx_id);
            let gone = end.completed.is_none() && queued.is_some_and(|queued| installations.is_lost(device, queued));
            self.end(device, tx_id, End { worded: end.worded && ledger, gone, ..end }, settled);
        }
    }

    /// A refusal was answered: then the feed must have nothing of the transaction.
    fn refused(
        &mut self,
        event: usize,
        device: u32,
        upload: &Upload,
        open: &mut std::collections::BTreeMap<(u32, i64), End>,
    ) {
        let tx_id = upload.tx_id;
        if let Some(end) = open.get_mut(&(device, tx_id)) {
            end.refused.get_or_insert(event);
            end.worded |= upload.status == Some(200);
            return;
        }
        let effective = self
            .timeline
            .commits_of(device, tx_id)
            .filter_map(|seq| self.timeline.commit(seq))
            .find(|commit| !commit.changes.is_empty());
        if let Some(commit) = effective
            && let Some((tx_event, tx)) = self.accepted(device, tx_id)
            && let Some(op) = tx.ops.first()
        {
            let write = Write { device, event: tx_event, op_id: op.op_id, seq: commit.seq };
            let what = format!(
                "was changed by commit {} of client/{device} transaction {tx_id}, which was answered refused",
                commit.seq
            );
            let because = "A refused transaction has no effect, and its device rolls it back".to_owned();
            self.report(
                None,
                Loss { code: "refused-yet-effective", row: op.row, register: None, writes: vec![write] },
                &what,
                because,
            );
        }
    }

    fn accepted(&self, device: u32, tx_id: i64) -> Option<(usize, &'a LocalTx)> {
        let event = self.timeline.local_tx(device, tx_id)?;
        match &self.ctx.history.events[event].what {
            What::Tx(tx) => Some((event, tx)),
            _ => None,
        }
    }

    fn end(&mut self, device: u32, tx_id: i64, end: End, settled: Option<usize>) {
        let Some((tx_event, tx)) = self.accepted(device, tx_id) else { return };
        self.stats.accepted += tx.ops.len() as u64;
        let settled = settled.is_some_and(|settled| tx_event < settled);
        let because = match (end.refused, end.completed) {
            (Some(_), _) if end.worded && !end.noted => {
                return self.vanished(device, tx_event, tx, Some("refusal-not-on-record"),
                    "It was answered refused, and the ledger, which has the outcome of every other transaction, has nothing of it".to_owned());
            }
            // Whether an attempt was sent makes no difference: what was not answered may have had its effect or not.
            (None, None) if end.gone && !end.noted => {
                self.stats.lost_with_device += tx.ops.len() as u64;
                return;
            }
            // The outcome was on its way to a device that is no more.
            _ if end.gone => {
                self.stats.refused += tx.ops.len() as u64;
                return;
            }
            (Some(refused), Some(completed)) if refused < completed => {
                self.stats.refused += tx.ops.len() as u64;
                return;
            }
            (refused, _) if settled && (refused.is_some() || end.noted) => {
                return self.vanished(
                    device,
                    tx_event,
                    tx,
                    Some("refusal-not-delivered"),
                    "It was refused, but the device never stored the outcome".to_owned(),
                );
            }
            (_, Some(_)) => {
                "The device took the transaction out of its queue though no answer called it committed or refused"
            }
            (_, None) if settled && end.unanswered => {
                "The run settled with every queue empty; its attempts were never answered, the change feed has no commit of it, and the device never completed it"
            }
            (_, None) if settled => "The run settled with every queue empty, and it was never uploaded",
            _ => {
                self.finding.unknown(format!(
                    "client/{device} transaction {tx_id} is still queued, and the run did not settle after it"
                ));
                return;
            }
        };
        self.vanished(device, tx_event, tx, None, because.to_owned());
    }

    /// Every operation of the transaction is lost.
    fn vanished(&mut self, device: u32, event: usize, tx: &LocalTx, code: Option<&'static str>, because: String) {
        for op in &tx.ops {
            let write = Write { device, event, op_id: op.op_id, seq: 0 };
            let (usual, verb) = match op.op {
                Op::Put => ("lost-insert", "insert"),
                Op::Patch => ("lost-update", "update"),
                Op::Delete => ("lost-delete", "delete"),
            };
            let layout = self.layout(op.row);
            let register = match op.op {
                Op::Patch => op
                    .data
                    .iter()
                    .find(|(column, _)| layout.clock != Some(*column))
                    .map(|(column, _)| layout.of_column[*column]),
                _ => None,
            };
            let what = format!("lost the {verb} of client/{device} op {}", op.op_id);
            self.report(
                None,
                Loss { code: code.unwrap_or(usual), row: op.row, register, writes: vec![write] },
                &what,
                because.clone(),
            );
        }
    }
}
