//! The store in memory: what it refuses and undoes, as PostgreSQL would, and its change feed.

use std::sync::Arc;

use backend::{Cause, MemoryStore, ServerOp, StoreError};
use fixtures::Value;

use crate::app;
use crate::script::START_US;

fn upsert(table: usize, id: &str, values: &[(usize, Value)]) -> ServerOp {
    ServerOp::Upsert { table, id: Arc::from(id), values: values.to_vec() }
}

#[test]
fn server_transactions_are_whole() {
    let store = MemoryStore::new(app::rules());
    let key = |key: &str| vec![(0, Value::text(key))];
    assert_eq!(store.server_transaction(START_US, &[upsert(3, "k1", &key("theme"))]), Ok(1));
    let check = |ops: &[ServerOp], expect: StoreError| {
        let before = store.snapshot();
        assert_eq!(store.server_transaction(START_US + 1, ops), Err(expect));
        assert_eq!((store.snapshot(), store.last_seq()), (before, 1));
    };
    let k2 = upsert(3, "k2", &key("sound"));
    check(&[k2.clone(), upsert(3, "k3", &key("sound"))], StoreError::Unique("key".to_owned()));
    check(&[k2.clone(), upsert(3, "k2", &key("theme"))], StoreError::Unique("key".to_owned()));
    check(&[k2.clone(), upsert(0, "b1", &[])], StoreError::NotNull("label".to_owned()));
    // The key is free once its row is gone, within one transaction.
    let swap = [ServerOp::Delete { table: 3, id: Arc::from("k1") }, upsert(3, "k4", &key("theme"))];
    assert_eq!(store.server_transaction(START_US + 2, &swap), Ok(2));
    let ids: Vec<String> = store.rows(3).iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(ids, ["k4"]);
}

#[test]
fn defaults_and_the_feed() {
    let store = MemoryStore::new(app::rules());
    store.server_transaction(START_US, &[upsert(0, "b1", &[(0, Value::text("x"))])]).expect("valid");
    let row = store.row(0, "b1").expect("it was just inserted");
    assert_eq!((&row[1], &row[7], &row[9]), (&Value::Int(0), &Value::text("new"), &Value::Time(START_US)));
    let update = ServerOp::Update { table: 0, id: Arc::from("b1"), values: vec![(1, Value::Int(4))] };
    let nothing = ServerOp::Update { table: 0, id: Arc::from("b9"), values: vec![(1, Value::Int(4))] };
    store.server_transaction(START_US + 1, &[update, nothing.clone()]).expect("valid");
    store.server_transaction(START_US + 2, &[nothing]).expect("valid");
    let commits = store.commits_from(2);
    assert_eq!(commits.len(), 1, "a transaction that does nothing has no number");
    let change = &commits[0].changes[0];
    assert_eq!(
        (commits[0].seq, commits[0].received_us, change.cause, change.by),
        (2, START_US + 1, Cause::Server, None)
    );
    assert_eq!(change.before.as_ref(), Some(&row));
    assert_eq!(change.after.as_ref().map(|row| row[1].clone()), Some(Value::Int(4)));
    let other = store.clone();
    store.reset();
    assert_eq!((other.last_seq(), other.rows(0).len()), (0, 0), "clones share one store");
}
