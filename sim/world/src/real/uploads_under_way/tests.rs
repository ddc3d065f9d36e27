//! Whose a commit is, upload by upload.

use serde_json::json;

use fixtures::Value;

use super::*;

fn under_way() -> UploadsUnderWay {
    UploadsUnderWay::new(Arc::new(App::builtin("todolists").expect("it is built in")))
}

/// Whether an upload may still have an effect that was not seen.
fn is_unsure(uploads: &UploadsUnderWay) -> bool {
    uploads.inner().uploads.iter().any(|upload| upload.standing < Standing::Accepted)
}

/// An upload of one transaction by a client: kind and row of each operation.
async fn begin(
    uploads: &UploadsUnderWay,
    client: &str,
    tx_id: i64,
    ops: &[(&str, &str, serde_json::Value)],
) -> UploadTurn {
    let table = uploads.app.schema.tables[0].name.clone();
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
        let columns = &uploads.app.schema.tables[0].columns;
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
    let columns = &uploads.app.schema.tables[0].columns;
    columns.iter().find(|column| column.ty == fixtures::Type::Text).expect("there is one").name.clone()
}

/// Whose changes these are, as client and transaction, with the operation of each.
fn whose(uploads: &UploadsUnderWay, mut changes: Vec<Change>) -> (Option<(String, i64)>, Vec<Option<i64>>) {
    let origin = uploads.attribute(1, &mut changes).map(|(origin, _)| (origin.client_id.to_string(), origin.tx_id));
    (origin, changes.iter().map(|change| change.by).collect())
}

fn set(uploads: &UploadsUnderWay, text: &str) -> serde_json::Value {
    json!({ name(uploads): text })
}

#[tokio::test]
async fn every_commit_of_a_request_is_its_own() {
    let uploads = under_way();
    let ops = [("PATCH", "a", set(&uploads, "x")), ("PUT", "b", set(&uploads, "y"))];
    let turn = begin(&uploads, "me", 1, &ops).await;
    let (one, two) = (change(&uploads, "a", Some("o"), Some("x")), change(&uploads, "b", None, Some("y")));
    let me = Some(("me".to_owned(), 1));
    assert_eq!(whose(&uploads, vec![one.clone(), two.clone()]), (me.clone(), vec![Some(1), Some(2)]));
    assert_eq!(whose(&uploads, vec![one]), (me.clone(), vec![Some(1)]), "a repeat is a repeat");
    assert_eq!(whose(&uploads, vec![two]), (me, vec![Some(2)]));
    // What it did not send is not its own, though it is on its rows and in its time.
    assert_eq!(whose(&uploads, vec![change(&uploads, "a", Some("x"), Some("z"))]).0, None);
    let ended = uploads.end(&turn, Answer::Accepted);
    assert!(ended.without_commit.is_empty() && ended.claims.is_empty(), "its commits were seen");
    drop(turn);
    assert_eq!(whose(&uploads, vec![change(&uploads, "a", Some("x"), Some("z"))]).0, None, "nothing is on its way");
    assert!(!is_unsure(&uploads));
}

#[tokio::test]
async fn what_is_stored_in_place_of_what_was_sent_is_the_upload_s_if_it_was_accepted() {
    for (answer, is_claimed) in [(Answer::Accepted, true), (Answer::Refused, false), (Answer::Failed, false)] {
        let uploads = under_way();
        let turn = begin(&uploads, "me", 1, &[("PATCH", "a", set(&uploads, "  x "))]).await;
        assert_eq!(whose(&uploads, vec![change(&uploads, "a", Some("o"), Some("x"))]).0, None, "not yet");
        // Of other rows, and of other columns, it is nobody's.
        assert_eq!(whose(&uploads, vec![change(&uploads, "b", Some("o"), Some("x"))]).0, None);
        let ended = uploads.end(&turn, answer);
        let claims: Vec<_> = ended.claims.iter().map(|claim| (claim.origin.tx_id, claim.operations.clone())).collect();
        assert_eq!(claims, if is_claimed { vec![(1, vec![Some(1)])] } else { Vec::new() });
        assert!(ended.without_commit.is_empty());
    }
}

#[tokio::test]
async fn a_failure_does_not_keep_its_rows() {
    let uploads = under_way();
    // An update without a value explains nothing, and what failed comes after what is under way.
    for (client, data) in [("empty", json!({})), ("failed", set(&uploads, "x"))] {
        let turn = begin(&uploads, client, 1, &[("PATCH", "a", data)]).await;
        uploads.end(&turn, Answer::Failed);
    }
    let turn = begin(&uploads, "me", 1, &[("PATCH", "a", set(&uploads, "x"))]).await;
    let first = change(&uploads, "a", Some("o"), Some("x"));
    assert_eq!(whose(&uploads, vec![first.clone()]).0, Some(("me".to_owned(), 1)));
    uploads.end(&turn, Answer::Accepted);
    drop(turn);
    // Later, when nothing is under way, the values say that it was acted on after all.
    assert_eq!(whose(&uploads, vec![first]).0, Some(("failed".to_owned(), 1)));
}

#[tokio::test]
async fn rows_that_go_with_their_parent_in_a_commit_of_their_own_are_the_upload_s() {
    let uploads = under_way();
    let policy = &uploads.app.policy;
    let reference = policy.references.first().expect("the application has one");
    let (parent, child) = (reference.parent, reference.table);
    let table = uploads.app.schema.tables[parent].name.clone();
    let op = json!({"op_id": 1, "op": "DELETE", "table": table, "id": "p"});
    let body = json!({"client_id": "me", "transactions": [{"tx_id": 1, "ops": [op]}]}).to_string();
    let turn = uploads.begin(None, body.as_bytes()).await;
    let mut values = vec![Value::Null; uploads.app.schema.tables[child].columns.len()];
    values[reference.column] = Value::Text("p".into());
    let of = |values: &[Value]| Change {
        table: child,
        id: Arc::from("c"),
        before: Some(values.to_vec().into()),
        after: None,
        by: None,
        cause: Cause::Server,
    };
    assert_eq!(whose(&uploads, vec![of(&values)]).0, Some(("me".to_owned(), 1)));
    values[reference.column] = Value::Text("q".into());
    assert_eq!(whose(&uploads, vec![of(&values)]).0, None, "it has another parent");
    drop(turn);
}

#[tokio::test]
async fn what_is_committed_after_its_answer_is_its_own() {
    let uploads = under_way();
    let turn = begin(&uploads, "me", 1, &[("PATCH", "a", set(&uploads, "x"))]).await;
    assert_eq!(uploads.end(&turn, Answer::Accepted).without_commit.len(), 1);
    drop(turn);
    let late = change(&uploads, "a", Some("o"), Some("x"));
    assert_eq!(whose(&uploads, vec![late]).0, Some(("me".to_owned(), 1)));
}

#[tokio::test]
async fn an_unanswered_upload_may_commit_later() {
    let uploads = under_way();
    drop(begin(&uploads, "me", 1, &[("PATCH", "a", set(&uploads, "x"))]).await);
    let other = begin(&uploads, "you", 1, &[("PATCH", "a", set(&uploads, "y"))]).await;
    // Both write the row: values decide.
    assert_eq!(whose(&uploads, vec![change(&uploads, "a", Some("o"), Some("y"))]).0, Some(("you".to_owned(), 1)));
    assert!(uploads.end(&other, Answer::Accepted).without_commit.is_empty());
    drop(other);
    assert_eq!(whose(&uploads, vec![change(&uploads, "a", Some("y"), Some("x"))]).0, Some(("me".to_owned(), 1)));
    assert!(is_unsure(&uploads));
    // It is sent again, and this time there is an answer.
    let again = begin(&uploads, "me", 1, &[("PATCH", "a", set(&uploads, "x"))]).await;
    assert!(uploads.end(&again, Answer::Accepted).without_commit.is_empty(), "its commit was seen");
    assert!(!is_unsure(&uploads), "the earlier delivery is settled with it");
    drop(again);
    let third = begin(&uploads, "me", 2, &[("PATCH", "c", set(&uploads, "x"))]).await;
    assert_eq!(uploads.end(&third, Answer::Accepted).without_commit.len(), 1, "committed without a change");
}

#[tokio::test]
async fn a_commit_that_no_upload_explains_is_nobodys() {
    let uploads = under_way();
    drop(begin(&uploads, "me", 1, &[("PATCH", "a", set(&uploads, "x"))]).await);
    drop(begin(&uploads, "you", 1, &[("PATCH", "a", set(&uploads, "y"))]).await);
    assert_eq!(whose(&uploads, vec![change(&uploads, "a", Some("o"), Some("z"))]).0, None, "neither wrote that");
    assert_eq!(whose(&uploads, vec![change(&uploads, "c", Some("o"), Some("x"))]).0, None, "nobody writes that row");
}

#[tokio::test]
async fn a_refused_upload_leaves_nothing_to_wait_for() {
    let uploads = under_way();
    let turn = begin(&uploads, "me", 1, &[("PATCH", "a", set(&uploads, "x"))]).await;
    assert!(uploads.end(&turn, Answer::Refused).without_commit.is_empty());
    assert!(!is_unsure(&uploads));
    drop(turn);
    let turn = begin(&uploads, "me", 2, &[("PATCH", "a", set(&uploads, "x"))]).await;
    assert!(uploads.end(&turn, Answer::Failed).without_commit.is_empty());
    assert!(is_unsure(&uploads), "after 5xx it may yet be acted on");
}

#[tokio::test]
async fn changes_of_one_row_are_attributed_to_operations_in_order() {
    let uploads = under_way();
    let ops = [("PUT", "a", set(&uploads, "x")), ("PATCH", "a", set(&uploads, "y")), ("DELETE", "a", json!(null))];
    drop(begin(&uploads, "me", 1, &ops).await);
    let (there, gone) = (change(&uploads, "a", Some("x"), Some("y")), change(&uploads, "a", Some("y"), None));
    let all = vec![change(&uploads, "a", None, Some("x")), there, gone.clone()];
    assert_eq!(whose(&uploads, all).1, [Some(1), Some(2), Some(3)]);
    // One change, three operations: only one of them deletes.
    drop(begin(&uploads, "me", 2, &ops).await);
    assert_eq!(whose(&uploads, vec![gone]).1, [Some(3)]);
    // Two send the same: which made it is not clear.
    let twice = [("PATCH", "a", set(&uploads, "x")), ("PATCH", "a", set(&uploads, "x"))];
    drop(begin(&uploads, "me", 3, &twice).await);
    assert_eq!(whose(&uploads, vec![change(&uploads, "a", Some("o"), Some("x"))]).1, [None]);
}
