//! The uploads on their way to a backend that does not say whose its commits are.
//!
//! They pass one at a time, and a commit is attributed to the upload that writes its rows; by values where several do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use backend::record::{Cause, Change, Origin};
use backend::wire::{UploadRequest, WireOp};
use fixtures::{Schema, Value};
use sim_network::RequestTag;
use tokio::sync::OwnedMutexGuard;

use crate::plan_rows::RowKey;

/// How many commits a backend without annotations makes of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitUnit {
    /// One of all operations that come together.
    Transaction,
    /// One of each operation.
    Operation,
}

/// All uploads of a plan whose effect is not known yet.
pub(super) struct UploadsUnderWay {
    schema: Arc<Schema>,
    unit: CommitUnit,
    uploads: Mutex<Vec<Upload>>,
    /// Transactions of which a commit was seen: client and number.
    committed: Mutex<BTreeSet<(Arc<str>, i64)>>,
    gate: Arc<tokio::sync::Mutex<()>>,
}

/// One delivery of a transaction.
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
    row: RowKey,
    kind: OpKind,
    data: Vec<(usize, Value)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OpKind {
    Put,
    Patch,
    Delete,
}

/// The turn of one upload. No other upload passes until it is dropped.
pub(crate) struct UploadTurn {
    numbers: Vec<u64>,
    _gate: OwnedMutexGuard<()>,
}

impl UploadsUnderWay {
    pub(super) fn new(schema: Arc<Schema>, unit: CommitUnit) -> Self {
        Self { schema, unit, uploads: Mutex::default(), committed: Mutex::default(), gate: Arc::default() }
    }

    /// An upload goes to the backend, as soon as no other is there.
    pub(super) async fn begin(&self, sent: Option<RequestTag>, body: &[u8]) -> UploadTurn {
        let gate = self.gate.clone().lock_owned().await;
        let mut numbers = Vec::new();
        // A body that is no upload changes nothing.
        if let Ok(request) = serde_json::from_slice::<UploadRequest>(body) {
            let mut uploads = self.uploads();
            for transaction in request.transactions {
                let number = uploads.last().map_or(0, |last| last.number + 1);
                let origin = Origin {
                    // Nothing asks for the token's subject.
                    subject: Arc::from(""),
                    client_id: Arc::from(request.client_id.as_str()),
                    tx_id: transaction.tx_id,
                };
                let ops = transaction.ops.iter().filter_map(|op| self.op(op)).collect();
                uploads.push(Upload { number, sent, origin, ops, commits: 0 });
                numbers.push(number);
            }
        }
        UploadTurn { numbers, _gate: gate }
    }

    /// An upload was answered, and the log was read since. Gives its transactions that are committed, by the answer,
    /// and of which the log has no commit. `is_committed` is `None` where the answer does not say whether it was acted
    /// on.
    pub(super) fn end(&self, turn: &UploadTurn, is_committed: Option<bool>) -> Vec<(Origin, Option<RequestTag>)> {
        let Some(is_committed) = is_committed else { return Vec::new() };
        let mut uploads = self.uploads();
        let is_of_turn = |upload: &Upload| turn.numbers.contains(&upload.number);
        let unseen =
            uploads.iter().filter(|upload| is_committed && is_of_turn(upload) && self.is_first_commit(&upload.origin));
        let unseen: Vec<(Origin, Option<RequestTag>)> =
            unseen.map(|upload| (upload.origin.clone(), upload.sent)).collect();
        // Earlier deliveries of the same transaction, which had no answer, are settled with it.
        let settled: Vec<Origin> =
            uploads.iter().filter(|upload| is_of_turn(upload)).map(|upload| upload.origin.clone()).collect();
        uploads.retain(|upload| !(is_of_turn(upload) || is_committed && settled.contains(&upload.origin)));
        unseen
    }

    /// The transaction that made these changes; sets the operation of each change, where that is clear.
    pub(super) fn attribute(&self, changes: &mut [Change]) -> Option<(Origin, Option<RequestTag>)> {
        let mut uploads = self.uploads();
        let touched: BTreeSet<RowKey> = changes.iter().map(|change| (change.table, change.id.clone())).collect();
        let may_make = |upload: &&mut Upload| {
            (self.unit == CommitUnit::Operation || upload.commits == 0)
                && upload.ops.iter().any(|op| touched.contains(&op.row))
        };
        let mut makers: Vec<&mut Upload> = uploads.iter_mut().filter(may_make).collect();
        let is_one = |makers: &[&mut Upload]| makers.windows(2).all(|pair| pair[0].origin == pair[1].origin);
        if !is_one(&makers) {
            makers.retain(|upload| upload.has_written(changes));
        }
        if !is_one(&makers) {
            return None;
        }
        let upload = makers.into_iter().next()?;
        upload.commits += 1;
        self.is_first_commit(&upload.origin);
        upload.attribute_to_operations(changes);
        Some((upload.origin.clone(), upload.sent))
    }

    /// Whether no commit of the transaction was seen before. From now on one was.
    fn is_first_commit(&self, origin: &Origin) -> bool {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        committed.insert((origin.client_id.clone(), origin.tx_id))
    }

    fn uploads(&self) -> std::sync::MutexGuard<'_, Vec<Upload>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn op(&self, op: &WireOp) -> Option<Op> {
        let table = self.schema.table_index(&op.table)?;
        let kind = match op.op.as_str() {
            "PUT" => OpKind::Put,
            "PATCH" => OpKind::Patch,
            "DELETE" => OpKind::Delete,
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

impl OpKind {
    fn may_make(self, change: &Change) -> bool {
        match (&change.before, &change.after) {
            (None, Some(_)) => self == Self::Put,
            (Some(_), Some(_)) => self != Self::Delete,
            (_, None) => self == Self::Delete,
        }
    }
}

impl Upload {
    /// Whether a row holds what the operations wrote to it last.
    fn has_written(&self, changes: &[Change]) -> bool {
        changes.iter().any(|change| {
            let last = self.ops.iter().rev().find(|op| op.row.0 == change.table && *op.row.1 == *change.id);
            last.is_some_and(|op| match &change.after {
                None => op.kind == OpKind::Delete,
                Some(after) => {
                    op.kind != OpKind::Delete && op.data.iter().all(|(column, value)| after.get(*column) == Some(value))
                }
            })
        })
    }

    /// Sets the operation of each change, where a row has as many changes as operations.
    fn attribute_to_operations(&self, changes: &mut [Change]) {
        let mut by_row: BTreeMap<RowKey, Vec<usize>> = BTreeMap::new();
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

    fn under_way(unit: CommitUnit) -> UploadsUnderWay {
        let app = fixtures::App::builtin("todolists").expect("it is built in");
        UploadsUnderWay::new(Arc::new(app.schema), unit)
    }

    /// Whether an upload may still have an effect that was not seen.
    fn is_unsure(uploads: &UploadsUnderWay) -> bool {
        !uploads.uploads().is_empty()
    }

    /// An upload of one transaction by a client: kind and row of each operation.
    async fn begin(
        uploads: &UploadsUnderWay,
        client: &str,
        tx_id: i64,
        ops: &[(&str, &str, serde_json::Value)],
    ) -> UploadTurn {
        let table = uploads.schema.tables[0].name.clone();
        let ops: Vec<serde_json::Value> = ops
            .iter()
            .zip(1..)
            .map(|((op, id, data), op_id)| json!({"op_id": op_id, "op": op, "table": table, "id": id, "data": data}))
            .collect();
        let body = json!({"client_id": client, "transactions": [{"tx_id": tx_id, "ops": ops}]}).to_string();
        uploads.begin(None, body.as_bytes()).await
    }

    fn change(uploads: &UploadsUnderWay, id: &str, before: Option<&str>, after: Option<&str>) -> Change {
        let row = |text: &str| {
            let columns = &uploads.schema.tables[0].columns;
            let values = columns
                .iter()
                .map(|column| if column.name == name(uploads) { Value::Text(text.into()) } else { Value::Null });
            values.collect::<Vec<_>>().into()
        };
        Change {
            table: 0,
            id: Arc::from(id),
            before: before.map(row),
            after: after.map(row),
            by: None,
            cause: Cause::Server,
        }
    }

    /// A text column.
    fn name(uploads: &UploadsUnderWay) -> String {
        let columns = &uploads.schema.tables[0].columns;
        columns.iter().find(|column| column.ty == fixtures::Type::Text).expect("there is one").name.clone()
    }

    /// Whose changes these are, as client and transaction, with the operation of each.
    fn whose(uploads: &UploadsUnderWay, mut changes: Vec<Change>) -> (Option<(String, i64)>, Vec<Option<i64>>) {
        let origin = uploads.attribute(&mut changes).map(|(origin, _)| (origin.client_id.to_string(), origin.tx_id));
        (origin, changes.iter().map(|change| change.by).collect())
    }

    fn set(uploads: &UploadsUnderWay, text: &str) -> serde_json::Value {
        json!({ name(uploads): text })
    }

    #[tokio::test]
    async fn a_commit_is_attributed_to_the_upload_that_writes_its_rows() {
        let uploads = under_way(CommitUnit::Transaction);
        let turn =
            begin(&uploads, "me", 1, &[("PATCH", "a", set(&uploads, "x")), ("PUT", "b", set(&uploads, "y"))]).await;
        let changes = vec![change(&uploads, "a", Some("o"), Some("x")), change(&uploads, "b", None, Some("y"))];
        assert_eq!(whose(&uploads, changes.clone()), (Some(("me".to_owned(), 1)), vec![Some(1), Some(2)]));
        // The same again is nobody's that is known: one request is one transaction.
        assert_eq!(whose(&uploads, changes).0, None);
        assert!(uploads.end(&turn, Some(true)).is_empty(), "its commit was seen");
        drop(turn);
        assert_eq!(whose(&uploads, vec![change(&uploads, "a", Some("x"), Some("z"))]).0, None, "nothing is on its way");
        assert!(!is_unsure(&uploads));
    }

    #[tokio::test]
    async fn an_unanswered_upload_may_commit_later() {
        let uploads = under_way(CommitUnit::Transaction);
        drop(begin(&uploads, "me", 1, &[("PATCH", "a", set(&uploads, "x"))]).await);
        let other = begin(&uploads, "you", 1, &[("PATCH", "a", set(&uploads, "y"))]).await;
        // Both write the row: values decide.
        assert_eq!(whose(&uploads, vec![change(&uploads, "a", Some("o"), Some("y"))]).0, Some(("you".to_owned(), 1)));
        assert!(uploads.end(&other, Some(true)).is_empty());
        drop(other);
        assert_eq!(whose(&uploads, vec![change(&uploads, "a", Some("y"), Some("x"))]).0, Some(("me".to_owned(), 1)));
        assert!(is_unsure(&uploads));
        // It is sent again, and this time there is an answer.
        let again = begin(&uploads, "me", 1, &[("PATCH", "a", set(&uploads, "x"))]).await;
        assert!(uploads.end(&again, Some(true)).is_empty(), "its commit was seen");
        assert!(!is_unsure(&uploads), "the earlier delivery is settled with it");
        drop(again);
        let third = begin(&uploads, "me", 2, &[("PATCH", "c", set(&uploads, "x"))]).await;
        assert_eq!(uploads.end(&third, Some(true)).len(), 1, "committed without a change");
    }

    #[tokio::test]
    async fn a_commit_that_no_upload_explains_is_nobodys() {
        let uploads = under_way(CommitUnit::Transaction);
        drop(begin(&uploads, "me", 1, &[("PATCH", "a", set(&uploads, "x"))]).await);
        drop(begin(&uploads, "you", 1, &[("PATCH", "a", set(&uploads, "y"))]).await);
        assert_eq!(whose(&uploads, vec![change(&uploads, "a", Some("o"), Some("z"))]).0, None, "neither wrote that");
        assert_eq!(
            whose(&uploads, vec![change(&uploads, "c", Some("o"), Some("x"))]).0,
            None,
            "nobody writes that row"
        );
    }

    #[tokio::test]
    async fn a_refused_upload_leaves_nothing_to_wait_for() {
        let uploads = under_way(CommitUnit::Transaction);
        let turn = begin(&uploads, "me", 1, &[("PATCH", "a", set(&uploads, "x"))]).await;
        assert!(uploads.end(&turn, Some(false)).is_empty());
        assert!(!is_unsure(&uploads));
        drop(turn);
        let turn = begin(&uploads, "me", 2, &[("PATCH", "a", set(&uploads, "x"))]).await;
        assert!(uploads.end(&turn, None).is_empty());
        assert!(is_unsure(&uploads), "after 5xx it may yet be acted on");
    }

    #[tokio::test]
    async fn changes_of_one_row_are_attributed_to_operations_in_order() {
        let uploads = under_way(CommitUnit::Transaction);
        let ops = [("PUT", "a", set(&uploads, "x")), ("PATCH", "a", set(&uploads, "y")), ("DELETE", "a", json!(null))];
        drop(begin(&uploads, "me", 1, &ops).await);
        let (there, gone) = (change(&uploads, "a", Some("x"), Some("y")), change(&uploads, "a", Some("y"), None));
        let all = vec![change(&uploads, "a", None, Some("x")), there, gone.clone()];
        assert_eq!(whose(&uploads, all).1, [Some(1), Some(2), Some(3)]);
        // One change, three operations: which made it is not clear.
        drop(begin(&uploads, "me", 2, &ops).await);
        assert_eq!(whose(&uploads, vec![gone]).1, [None]);
    }

    #[tokio::test]
    async fn where_a_request_is_an_operation_there_are_several_commits() {
        let uploads = under_way(CommitUnit::Operation);
        let ops = [("PATCH", "a", set(&uploads, "x")), ("PATCH", "b", set(&uploads, "y"))];
        let _turn = begin(&uploads, "me", 1, &ops).await;
        for (id, op) in [("a", 1), ("b", 2)] {
            let attributed =
                whose(&uploads, vec![change(&uploads, id, Some("o"), Some(if id == "a" { "x" } else { "y" }))]);
            assert_eq!(attributed, (Some(("me".to_owned(), 1)), vec![Some(op)]));
        }
    }
}
