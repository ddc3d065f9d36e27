//! The uploads on their way to a backend that does not say whose its commits are.
//!
//! They pass one at a time. A commit is that upload's which sends what the commit writes: the one under way, or else one
//! that may still take effect. Several commits of one upload are all its own. A commit on the rows of the upload under
//! way that nobody sent is decided when the answer is there: it is the upload's if it was accepted, and has no other
//! effect on that row; else it is somebody else's.

mod operation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backend::record::{Cause, Change, Origin};
use backend::wire::UploadRequest;
use fixtures::App;
use sim_network::RequestTag;
use tokio::sync::OwnedMutexGuard;

use self::operation::Operation;
use crate::plan_rows::RowKey;

/// All uploads of a plan that may have an effect which was not seen.
pub(super) struct UploadsUnderWay {
    app: Arc<App>,
    inner: Mutex<Inner>,
    gate: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Inner {
    uploads: Vec<Upload>,
    next_number: u64,
    /// What was seen of each transaction, by client and number.
    seen: BTreeMap<TxKey, Seen>,
    /// Commits on the rows of an upload that nobody sent.
    undecided: Vec<Undecided>,
}

type TxKey = (Arc<str>, i64);

/// What commits did of a transaction.
#[derive(Default)]
struct Seen {
    operations: BTreeSet<i64>,
    rows: BTreeSet<RowKey>,
}

/// One delivery of a transaction.
struct Upload {
    number: u64,
    sent: Option<RequestTag>,
    origin: Origin,
    operations: Vec<Operation>,
    standing: Standing,
}

/// How likely it is that an upload takes effect now, most likely first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// The backend has it.
    UnderWay,
    /// It had no answer.
    Unanswered,
    /// It was answered that the server failed.
    Failed,
    /// It was accepted, before all of it was seen.
    Accepted,
    /// It was refused.
    Refused,
}

/// What an answer says of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    Refused,
    /// The server failed: it may yet be acted on.
    Failed,
}

/// A commit on the rows of an upload under way that holds other values than were sent.
struct Undecided {
    seq: u64,
    changes: Vec<Change>,
    /// The transactions that were under way.
    of: Vec<TxKey>,
}

/// A commit that was taken for somebody else's, and whose it is.
pub(super) struct Claim {
    pub(super) seq: u64,
    pub(super) origin: Origin,
    pub(super) sent: Option<RequestTag>,
    /// The operation of each change, where that is clear.
    pub(super) operations: Vec<Option<i64>>,
}

/// What is known when an upload has been answered.
#[derive(Default)]
pub(super) struct Ended {
    /// Transactions that are accepted, by the answer, and of which the log has no commit.
    pub(super) without_commit: Vec<(Origin, Option<RequestTag>)>,
    pub(super) claims: Vec<Claim>,
}

/// The turn of one upload. No other upload passes until it is dropped.
pub(crate) struct UploadTurn {
    numbers: Vec<u64>,
    _gate: OwnedMutexGuard<()>,
}

impl UploadsUnderWay {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app, inner: Mutex::default(), gate: Arc::default() }
    }

    /// An upload goes to the backend, as soon as no other is there.
    pub(super) async fn begin(&self, sent: Option<RequestTag>, body: &[u8]) -> UploadTurn {
        let gate = self.gate.clone().lock_owned().await;
        let mut inner = self.inner();
        for upload in inner.uploads.iter_mut().filter(|upload| upload.standing == Standing::UnderWay) {
            upload.standing = Standing::Unanswered;
        }
        let mut numbers = Vec::new();
        // A body that is no upload changes nothing.
        if let Ok(request) = serde_json::from_slice::<UploadRequest>(body) {
            for transaction in request.transactions {
                let number = inner.next_number;
                inner.next_number += 1;
                let origin = Origin {
                    // Nothing asks for the token's subject.
                    subject: Arc::from(""),
                    client_id: Arc::from(request.client_id.as_str()),
                    tx_id: transaction.tx_id,
                };
                let operations = transaction.ops.iter().filter_map(|op| Operation::of(&self.app, op)).collect();
                inner.uploads.push(Upload { number, sent, origin, operations, standing: Standing::UnderWay });
                numbers.push(number);
            }
        }
        drop(inner);
        UploadTurn { numbers, _gate: gate }
    }

    /// An upload was answered, and the log was read since.
    pub(super) fn end(&self, turn: &UploadTurn, answer: Answer) -> Ended {
        let mut inner = self.inner();
        let mut ended = Ended::default();
        if answer == Answer::Accepted {
            ended.claims = inner.claims(&self.app, turn);
            for upload in inner.uploads.iter().filter(|upload| turn.numbers.contains(&upload.number)) {
                if !inner.seen.contains_key(&key(&upload.origin)) {
                    ended.without_commit.push((upload.origin.clone(), upload.sent));
                }
            }
            for (origin, _) in &ended.without_commit {
                inner.seen.entry(key(origin)).or_default();
            }
        }
        let settled: Vec<TxKey> = inner
            .uploads
            .iter()
            .filter(|upload| turn.numbers.contains(&upload.number))
            .map(|upload| key(&upload.origin))
            .collect();
        if answer != Answer::Failed {
            inner.undecided.retain(|commit| !commit.of.iter().any(|of| settled.contains(of)));
        }
        let Inner { uploads, seen, .. } = &mut *inner;
        // Earlier deliveries of the same transaction, which had no answer, are settled with it.
        uploads.retain_mut(|upload| {
            let is_of_turn = turn.numbers.contains(&upload.number);
            if !is_of_turn {
                return answer != Answer::Accepted || !settled.contains(&key(&upload.origin));
            }
            upload.standing = match answer {
                Answer::Accepted => Standing::Accepted,
                Answer::Refused => Standing::Refused,
                Answer::Failed => Standing::Failed,
            };
            let seen = seen.get(&key(&upload.origin));
            let is_seen = |op: &Operation| seen.is_some_and(|seen| seen.operations.contains(&op.op_id));
            answer != Answer::Accepted || !upload.operations.iter().all(is_seen)
        });
        ended
    }

    /// The transaction that made these changes; sets the operation of each change, where that is clear. `seq` is the
    /// number of the commit.
    pub(super) fn attribute(&self, seq: u64, changes: &mut [Change]) -> Option<(Origin, Option<RequestTag>)> {
        let mut inner = self.inner();
        let Some(upload) = inner.maker(&self.app, changes) else {
            inner.note_undecided(&self.app, seq, changes);
            return None;
        };
        let upload = &inner.uploads[upload];
        let (origin, sent) = (upload.origin.clone(), upload.sent);
        let operations = upload.operations_of(&self.app, changes);
        for (change, op_id) in changes.iter_mut().zip(operations) {
            if let Some(op_id) = op_id {
                (change.by, change.cause) = (Some(op_id), Cause::Client);
            }
        }
        let explained = upload.explained(&self.app, changes).map(|op| op.op_id).collect::<Vec<i64>>();
        inner.note_seen(&origin, explained, changes);
        Some((origin, sent))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(origin: &Origin) -> TxKey {
    (origin.client_id.clone(), origin.tx_id)
}

impl Inner {
    /// The upload that sent what the changes write: the likeliest, and nobody where two are as likely.
    fn maker(&self, app: &App, changes: &[Change]) -> Option<usize> {
        let mut best: Option<(bool, Standing)> = None;
        let mut makers: Vec<usize> = Vec::new();
        for (index, upload) in self.uploads.iter().enumerate() {
            let Some(rank) = self.rank(app, upload, changes) else { continue };
            if best.is_none_or(|best| rank < best) {
                best = Some(rank);
                makers.clear();
            }
            if best == Some(rank) {
                makers.push(index);
            }
        }
        let first = *makers.first()?;
        // Transactions of one request take effect in their order.
        let is_one = |index: &usize| {
            let (one, first) = (&self.uploads[*index], &self.uploads[first]);
            one.origin == first.origin || one.standing == Standing::UnderWay
        };
        makers.iter().all(is_one).then_some(first)
    }

    /// How likely the upload made the changes, likeliest first; `None` where it sent none of what they write. Apart from the
    /// one under way, an upload whose effect was not seen comes before those whose effect was.
    fn rank(&self, app: &App, upload: &Upload, changes: &[Change]) -> Option<(bool, Standing)> {
        let is_under_way = upload.standing == Standing::UnderWay;
        let seen = self.seen.get(&key(&upload.origin));
        let mut explained = upload.explained(app, changes).peekable();
        if explained.peek().is_none() {
            let takes_along = |change: &Change| upload.operations.iter().any(|op| op.takes_along(app, change));
            return (is_under_way && changes.iter().any(takes_along)).then_some((false, upload.standing));
        }
        let is_new = explained.any(|op| !seen.is_some_and(|seen| seen.operations.contains(&op.op_id)));
        Some((!(is_new || is_under_way), upload.standing))
    }

    fn note_seen(&mut self, origin: &Origin, operations: impl IntoIterator<Item = i64>, changes: &[Change]) {
        let seen = self.seen.entry(key(origin)).or_default();
        seen.operations.extend(operations);
        seen.rows.extend(changes.iter().map(|change| (change.table, change.id.clone())));
    }

    /// Keeps a commit that the upload under way may have made, with other values than it sent.
    fn note_undecided(&mut self, app: &App, seq: u64, changes: &[Change]) {
        let may_make = |upload: &&Upload| {
            let may_be = |change: &Change| upload.operations.iter().any(|op| op.may_have_become(app, change));
            upload.standing == Standing::UnderWay && changes.iter().any(may_be)
        };
        let of: Vec<TxKey> = self.uploads.iter().filter(may_make).map(|upload| key(&upload.origin)).collect();
        if !of.is_empty() {
            self.undecided.push(Undecided { seq, changes: changes.to_vec(), of });
        }
    }

    /// The undecided commits that an accepted upload must have made: it has no other effect on their rows.
    fn claims(&mut self, app: &App, turn: &UploadTurn) -> Vec<Claim> {
        let mut claims = Vec::new();
        for number in &turn.numbers {
            let Some(upload) = self.uploads.iter().find(|upload| upload.number == *number) else { continue };
            let of = key(&upload.origin);
            let seen = self.seen.get(&of);
            let is_without_effect = |change: &Change| {
                let row = (change.table, change.id.clone());
                upload.operations.iter().any(|op| op.may_have_become(app, change))
                    && !seen.is_some_and(|seen| seen.rows.contains(&row))
            };
            let mine: Vec<usize> = (0..self.undecided.len())
                .filter(|index| {
                    let commit = &self.undecided[*index];
                    commit.of.contains(&of) && commit.changes.iter().any(is_without_effect)
                })
                .collect();
            let mut claimed = Vec::new();
            for index in mine.into_iter().rev() {
                let commit = self.undecided.remove(index);
                let operations = upload.operations_of(app, &commit.changes);
                claims.push(Claim { seq: commit.seq, origin: upload.origin.clone(), sent: upload.sent, operations });
                claimed.extend(commit.changes);
            }
            if !claimed.is_empty() {
                let origin = upload.origin.clone();
                self.note_seen(&origin, [], &claimed);
            }
        }
        claims
    }
}

impl Upload {
    /// The operations whose effect is among the changes.
    fn explained<'a>(&'a self, app: &'a App, changes: &'a [Change]) -> impl Iterator<Item = &'a Operation> {
        self.operations.iter().filter(|op| changes.iter().any(|change| op.explains(app, change)))
    }

    /// The operation of each change: in their order where a row has as many changes as operations, else by what is
    /// written where only one operation sent that.
    fn operations_of(&self, app: &App, changes: &[Change]) -> Vec<Option<i64>> {
        let mut by_row: BTreeMap<RowKey, Vec<usize>> = BTreeMap::new();
        for (index, change) in changes.iter().enumerate() {
            by_row.entry((change.table, change.id.clone())).or_default().push(index);
        }
        let mut of = vec![None; changes.len()];
        for (row, indices) in by_row {
            let operations: Vec<&Operation> = self.operations.iter().filter(|op| op.row == row).collect();
            let is_in_order = operations.len() == indices.len()
                && operations.iter().zip(&indices).all(|(op, index)| op.may_make(&changes[*index]));
            if is_in_order {
                for (op, index) in operations.iter().zip(indices) {
                    of[index] = Some(op.op_id);
                }
                continue;
            }
            for index in indices {
                let mut makers = operations.iter().filter(|op| op.explains(app, &changes[index]));
                if let (Some(maker), None) = (makers.next(), makers.next()) {
                    of[index] = Some(maker.op_id);
                }
            }
        }
        of
    }
}
