//! A database that others use as well: which rows are the plan's own, and whose a commit is.
//!
//! Our own backend leaves notes in the log, which say it. To others uploads pass one at a time, and a commit is of the
//! upload that means a row of it, by values where several do. A commit that changes a row of the plan's and is of none
//! of its uploads is somebody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use backend::record::{Cause, Change, Origin};
use backend::wire::{UploadRequest, WireOp};
use fixtures::{Schema, Value};
use tokio::sync::OwnedMutexGuard;

use sim_network::RequestTag;

/// A row: its table and its id.
pub(crate) type OwnRow = (usize, Arc<str>);

/// What of a database is one plan's.
pub(crate) struct Share {
    schema: Arc<Schema>,
    rows: BTreeSet<OwnRow>,
    clients: BTreeSet<String>,
    endpoint: Endpoint,
    uploads: Mutex<Vec<Upload>>,
    /// Transactions of which a commit was told: client and number.
    told: Mutex<BTreeSet<(Arc<str>, i64)>>,
    gate: Arc<tokio::sync::Mutex<()>>,
    has_noted: AtomicBool,
    /// Rows of others that a commit of ours changed.
    strayed: Mutex<BTreeSet<String>>,
}

/// What is known of whoever takes uploads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// It notes each commit in the log.
    Notes,
    /// It makes one transaction of all operations that come together.
    Transactions,
    /// It makes one of each operation.
    Operations,
}

/// One delivery of a transaction, until it is known what came of it.
struct Upload {
    number: u64,
    sent: Option<RequestTag>,
    origin: Origin,
    ops: Vec<Op>,
    commits: usize,
}

/// One operation of it.
struct Op {
    op_id: i64,
    row: OwnRow,
    kind: Kind,
    data: Vec<(usize, Value)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Put,
    Patch,
    Delete,
}

/// An upload that passes; no other does until it goes.
pub(super) struct Passage {
    numbers: Vec<u64>,
    _gate: OwnedMutexGuard<()>,
}

impl Share {
    pub(crate) fn new(
        schema: Arc<Schema>,
        rows: impl IntoIterator<Item = OwnRow>,
        clients: impl IntoIterator<Item = String>,
        endpoint: Endpoint,
    ) -> Self {
        Self {
            schema,
            rows: rows.into_iter().collect(),
            clients: clients.into_iter().collect(),
            endpoint,
            uploads: Mutex::default(),
            told: Mutex::default(),
            gate: Arc::default(),
            has_noted: AtomicBool::new(false),
            strayed: Mutex::default(),
        }
    }

    /// Whether a row is the plan's.
    pub(super) fn owns(&self, table: usize, id: &str) -> bool {
        self.rows.contains(&(table, Arc::from(id)))
    }

    /// The ids of the plan's rows of a table.
    pub(super) fn ids(&self, table: usize) -> Vec<&str> {
        self.rows.iter().filter(|(of, _)| *of == table).map(|(_, id)| &**id).collect()
    }

    /// Whether a client is a device of the plan.
    pub(super) fn knows(&self, client: &str) -> bool {
        self.clients.contains(client)
    }

    /// A commit of the plan's was read, of a client's by its note.
    pub(super) fn note(&self, is_client: bool) {
        self.has_noted.fetch_or(is_client, Ordering::AcqRel);
    }

    /// Whether there was a note of any.
    pub(super) fn has_noted(&self) -> bool {
        self.has_noted.load(Ordering::Acquire)
    }

    /// Whether commits without a note are none of the backend's.
    pub(super) fn notes(&self) -> bool {
        self.endpoint == Endpoint::Notes
    }

    /// Rows of others that commits of the plan changed, in words.
    pub(super) fn strayed(&self) -> Vec<String> {
        self.strayed.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Changes of the plan's rows, and of others'.
    pub(super) fn divide(&self, changes: Vec<Change>) -> (Vec<Change>, Vec<Change>) {
        changes.into_iter().partition(|change| self.owns(change.table, &change.id))
    }

    /// A commit of the plan's changed rows of others.
    pub(super) fn stray(&self, others: &[Change]) {
        let name = |change: &Change| format!("{} {}", self.schema.tables[change.table].name, change.id);
        self.strayed.lock().unwrap_or_else(PoisonError::into_inner).extend(others.iter().map(name));
    }

    /// An upload goes to the backend, as soon as no other is there.
    pub(super) async fn enter(&self, sent: Option<RequestTag>, body: &[u8]) -> Passage {
        let gate = self.gate.clone().lock_owned().await;
        let mut numbers = Vec::new();
        // What the backend does not understand either changes nothing.
        if let Ok(request) = serde_json::from_slice::<UploadRequest>(body) {
            let mut uploads = self.uploads();
            for transaction in request.transactions {
                let number = uploads.last().map_or(0, |last| last.number + 1);
                let origin = Origin {
                    // Nothing asks whose token it was.
                    subject: Arc::from(""),
                    client_id: Arc::from(request.client_id.as_str()),
                    tx_id: transaction.tx_id,
                };
                let ops = transaction.ops.iter().filter_map(|op| self.op(op)).collect();
                uploads.push(Upload { number, sent, origin, ops, commits: 0 });
                numbers.push(number);
            }
        }
        Passage { numbers, _gate: gate }
    }

    /// An upload was answered, and what it committed was read: transactions that are committed, by the answer, and of
    /// which no commit was told, are given back. `None`: whether it was acted on is not known.
    pub(super) fn answered(&self, passage: &Passage, is_committed: Option<bool>) -> Vec<(Origin, Option<RequestTag>)> {
        let Some(is_committed) = is_committed else { return Vec::new() };
        let mut uploads = self.uploads();
        let is_meant = |upload: &Upload| passage.numbers.contains(&upload.number);
        let silent = uploads.iter().filter(|upload| is_committed && is_meant(upload) && self.is_first(&upload.origin));
        let silent: Vec<(Origin, Option<RequestTag>)> = silent.map(|upload| (upload.origin.clone(), upload.sent)).collect();
        // An earlier delivery of the same, of which nothing was heard, is as good as answered.
        let over: Vec<Origin> = uploads.iter().filter(|upload| is_meant(upload)).map(|upload| upload.origin.clone()).collect();
        uploads.retain(|upload| !(is_meant(upload) || is_committed && over.contains(&upload.origin)));
        silent
    }

    /// Whose a commit without a note is; its changes are told apart by operation where that can be done.
    pub(super) fn attribute(&self, changes: &mut [Change]) -> Option<(Origin, Option<RequestTag>)> {
        let mut uploads = self.uploads();
        let touched: BTreeSet<OwnRow> = changes.iter().map(|change| (change.table, change.id.clone())).collect();
        let means = |upload: &&mut Upload| {
            (self.endpoint == Endpoint::Operations || upload.commits == 0) && upload.ops.iter().any(|op| touched.contains(&op.row))
        };
        let mut meant: Vec<&mut Upload> = uploads.iter_mut().filter(means).collect();
        let is_one = |meant: &[&mut Upload]| meant.windows(2).all(|pair| pair[0].origin == pair[1].origin);
        if !is_one(&meant) {
            meant.retain(|upload| upload.fits(changes));
        }
        if !is_one(&meant) {
            return None;
        }
        let upload = meant.into_iter().next()?;
        upload.commits += 1;
        self.is_first(&upload.origin);
        upload.tell_apart(changes);
        Some((upload.origin.clone(), upload.sent))
    }

    /// Whether no commit of the transaction was told before. From now on one was.
    fn is_first(&self, origin: &Origin) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert((origin.client_id.clone(), origin.tx_id))
    }

    fn uploads(&self) -> std::sync::MutexGuard<'_, Vec<Upload>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn op(&self, op: &WireOp) -> Option<Op> {
        let table = self.schema.table_index(&op.table)?;
        let kind = match op.op.as_str() {
            "PUT" => Kind::Put,
            "PATCH" => Kind::Patch,
            "DELETE" => Kind::Delete,
            _ => return None,
        };
        let declared = &self.schema.tables[table];
        let value = |(name, json): (&String, &serde_json::Value)| {
            let column = declared.column_index(name)?;
            Some((column, Value::from_json(declared.columns[column].ty, json).ok()?))
        };
        let data = op.data.iter().flatten().filter_map(value).collect();
        Some(Op { op_id: op.op_id, row: (table, Arc::from(op.id.as_str())), kind, data })
    }
}

impl Kind {
    fn may_make(self, change: &Change) -> bool {
        match (&change.before, &change.after) {
            (None, Some(_)) => self == Self::Put,
            (Some(_), Some(_)) => self != Self::Delete,
            (_, None) => self == Self::Delete,
        }
    }
}

impl Upload {
    /// Whether the rows hold what the operations wrote last.
    fn fits(&self, changes: &[Change]) -> bool {
        changes.iter().any(|change| {
            let last = self.ops.iter().rev().find(|op| op.row.0 == change.table && *op.row.1 == *change.id);
            last.is_some_and(|op| match &change.after {
                None => op.kind == Kind::Delete,
                Some(after) => {
                    op.kind != Kind::Delete && op.data.iter().all(|(column, value)| after.get(*column) == Some(value))
                }
            })
        })
    }

    /// Says of each change by which operation it came, where a row has as many changes as operations.
    fn tell_apart(&self, changes: &mut [Change]) {
        let mut by_row: BTreeMap<OwnRow, Vec<usize>> = BTreeMap::new();
        for (index, change) in changes.iter().enumerate() {
            by_row.entry((change.table, change.id.clone())).or_default().push(index);
        }
        for (row, indices) in by_row {
            let ops: Vec<&Op> = self.ops.iter().filter(|op| op.row == row).collect();
            let matches = ops.len() == indices.len()
                && ops.iter().zip(&indices).all(|(op, index)| op.kind.may_make(&changes[*index]));
            if matches {
                for (op, index) in ops.iter().zip(indices) {
                    (changes[index].by, changes[index].cause) = (Some(op.op_id), Cause::Client);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn share(endpoint: Endpoint) -> Share {
        let app = fixtures::App::builtin("todolists").expect("it is built in");
        let rows = ["a", "b", "c"].map(|id| (0, Arc::from(id)));
        Share::new(Arc::new(app.schema), rows, ["me".to_owned(), "you".to_owned()], endpoint)
    }

    /// Whether an upload may still have an effect that was not seen.
    fn is_unsure(share: &Share) -> bool {
        !share.uploads().is_empty()
    }

    /// An upload of one transaction by a client: kind and row of each operation.
    async fn enter(share: &Share, client: &str, tx_id: i64, ops: &[(&str, &str, serde_json::Value)]) -> Passage {
        let table = share.schema.tables[0].name.clone();
        let ops: Vec<serde_json::Value> = ops
            .iter()
            .zip(1..)
            .map(|((op, id, data), op_id)| json!({"op_id": op_id, "op": op, "table": table, "id": id, "data": data}))
            .collect();
        let body = json!({"client_id": client, "transactions": [{"tx_id": tx_id, "ops": ops}]}).to_string();
        share.enter(None, body.as_bytes()).await
    }

    fn change(share: &Share, id: &str, before: Option<&str>, after: Option<&str>) -> Change {
        let row = |text: &str| {
            let columns = &share.schema.tables[0].columns;
            let values = columns.iter().map(|column| if column.name == name(share) { Value::Text(text.into()) } else { Value::Null });
            values.collect::<Vec<_>>().into()
        };
        Change { table: 0, id: Arc::from(id), before: before.map(row), after: after.map(row), by: None, cause: Cause::Server }
    }

    /// A text column.
    fn name(share: &Share) -> String {
        let columns = &share.schema.tables[0].columns;
        columns.iter().find(|column| column.ty == fixtures::Type::Text).expect("there is one").name.clone()
    }

    /// Whose changes these are, as client and transaction, with the operation of each.
    fn whose(share: &Share, mut changes: Vec<Change>) -> (Option<(String, i64)>, Vec<Option<i64>>) {
        let origin = share.attribute(&mut changes).map(|(origin, _)| (origin.client_id.to_string(), origin.tx_id));
        (origin, changes.iter().map(|change| change.by).collect())
    }

    fn set(share: &Share, text: &str) -> serde_json::Value {
        json!({ name(share): text })
    }

    #[tokio::test]
    async fn a_commit_is_of_the_upload_that_means_its_rows() {
        let share = share(Endpoint::Transactions);
        let passage = enter(&share, "me", 1, &[("PATCH", "a", set(&share, "x")), ("PUT", "b", set(&share, "y"))]).await;
        let changes = vec![change(&share, "a", Some("o"), Some("x")), change(&share, "b", None, Some("y"))];
        assert_eq!(whose(&share, changes.clone()), (Some(("me".to_owned(), 1)), vec![Some(1), Some(2)]));
        // The same again is nobody's that is known: one request is one transaction.
        assert_eq!(whose(&share, changes).0, None);
        assert!(share.answered(&passage, Some(true)).is_empty(), "its commit was seen");
        drop(passage);
        assert_eq!(whose(&share, vec![change(&share, "a", Some("x"), Some("z"))]).0, None, "nothing is on its way");
        assert!(!is_unsure(&share));
    }

    #[tokio::test]
    async fn what_was_not_answered_may_come_later() {
        let share = share(Endpoint::Transactions);
        drop(enter(&share, "me", 1, &[("PATCH", "a", set(&share, "x"))]).await);
        let other = enter(&share, "you", 1, &[("PATCH", "a", set(&share, "y"))]).await;
        // Both mean the row: values tell.
        assert_eq!(whose(&share, vec![change(&share, "a", Some("o"), Some("y"))]).0, Some(("you".to_owned(), 1)));
        assert!(share.answered(&other, Some(true)).is_empty());
        drop(other);
        assert_eq!(whose(&share, vec![change(&share, "a", Some("y"), Some("x"))]).0, Some(("me".to_owned(), 1)));
        assert!(is_unsure(&share));
        // It is sent again, and this time there is an answer.
        let again = enter(&share, "me", 1, &[("PATCH", "a", set(&share, "x"))]).await;
        assert!(share.answered(&again, Some(true)).is_empty(), "its commit was told");
        assert!(!is_unsure(&share), "the earlier delivery is settled with it");
        drop(again);
        let third = enter(&share, "me", 2, &[("PATCH", "c", set(&share, "x"))]).await;
        assert_eq!(share.answered(&third, Some(true)).len(), 1, "committed without a change");
    }

    #[tokio::test]
    async fn what_does_not_fit_is_nobodys() {
        let share = share(Endpoint::Transactions);
        drop(enter(&share, "me", 1, &[("PATCH", "a", set(&share, "x"))]).await);
        drop(enter(&share, "you", 1, &[("PATCH", "a", set(&share, "y"))]).await);
        assert_eq!(whose(&share, vec![change(&share, "a", Some("o"), Some("z"))]).0, None, "neither wrote that");
        assert_eq!(whose(&share, vec![change(&share, "c", Some("o"), Some("x"))]).0, None, "nobody means that row");
    }

    #[tokio::test]
    async fn a_refused_upload_leaves_nothing_to_wait_for() {
        let share = share(Endpoint::Transactions);
        let passage = enter(&share, "me", 1, &[("PATCH", "a", set(&share, "x"))]).await;
        assert!(share.answered(&passage, Some(false)).is_empty());
        assert!(!is_unsure(&share));
        drop(passage);
        let passage = enter(&share, "me", 2, &[("PATCH", "a", set(&share, "x"))]).await;
        assert!(share.answered(&passage, None).is_empty());
        assert!(is_unsure(&share), "after 5xx it may yet be acted on");
    }

    #[tokio::test]
    async fn operations_of_one_row_are_told_apart_in_their_order() {
        let share = share(Endpoint::Transactions);
        let ops = [("PUT", "a", set(&share, "x")), ("PATCH", "a", set(&share, "y")), ("DELETE", "a", json!(null))];
        drop(enter(&share, "me", 1, &ops).await);
        let (there, gone) = (change(&share, "a", Some("x"), Some("y")), change(&share, "a", Some("y"), None));
        let all = vec![change(&share, "a", None, Some("x")), there, gone.clone()];
        assert_eq!(whose(&share, all).1, [Some(1), Some(2), Some(3)]);
        // One change, three operations: which made it is not said.
        drop(enter(&share, "me", 2, &ops).await);
        assert_eq!(whose(&share, vec![gone]).1, [None]);
    }

    #[tokio::test]
    async fn where_a_request_is_an_operation_there_are_several_commits() {
        let share = share(Endpoint::Operations);
        let ops = [("PATCH", "a", set(&share, "x")), ("PATCH", "b", set(&share, "y"))];
        let _passage = enter(&share, "me", 1, &ops).await;
        for (id, op) in [("a", 1), ("b", 2)] {
            let told = whose(&share, vec![change(&share, id, Some("o"), Some(if id == "a" { "x" } else { "y" }))]);
            assert_eq!(told, (Some(("me".to_owned(), 1)), vec![Some(op)]));
        }
    }
}
