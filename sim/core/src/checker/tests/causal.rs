//! Histories that the checker `causal` must accept or reject.

use serde_json::json;

use super::{CARD, MEMO, sound};
use crate::checker::causal::check;
use crate::checker::testing::{HistoryBuilder, with_seed_rows};
use crate::history::{Op, Scope, What, Who};

fn look(builder: &mut HistoryBuilder, device: u32, title: &str) {
    let image = builder.changed(CARD, &json!({"title": title}));
    builder.event(Who::Client(device), What::Read { scope: Scope::Look, rows: vec![(CARD, Some(image))] });
}

#[test]
fn accepts_a_sound_run() {
    sound().expect(check, &[]);
}

#[test]
fn rejects_going_back() {
    let mut builder = with_seed_rows();
    let old = builder.server.get(&CARD).cloned();
    builder.server_write(&[(CARD, Some(json!({"title": "new"})))]);
    builder.apply(1);
    builder.apply_rows(1, &[(CARD, old)]);
    let finding = builder.expect(check, &["went-back"]);
    assert_eq!(
        finding.anomalies[0].what,
        "client/1 shows the server's rows as after commit 1, although it had shown what commit 2 did."
    );
}

#[test]
fn rejects_a_full_apply_without_own_writes() {
    let mut builder = with_seed_rows();
    let old = builder.server.get(&CARD).cloned();
    builder.tx(0, &[(Op::Patch, CARD, json!({"title": "mine"}))]);
    builder.upload(0);
    builder.apply_rows(0, &[(CARD, old)]);
    builder.expect(check, &["missing-own-write"]);
}

#[test]
fn rejects_what_comes_before_its_cause() {
    let mut builder = with_seed_rows();
    let early = builder.changed(CARD, &json!({"title": "early"}));
    builder.apply_rows(1, &[(CARD, Some(early.clone()))]);
    builder.commit(None, &[(CARD, Some(early))], Vec::new(), Vec::new());
    builder.expect(check, &["from-the-future"]);
}

#[test]
fn rejects_writes_out_of_order() {
    let mut builder = with_seed_rows();
    builder.tx(0, &[(Op::Patch, CARD, json!({"title": "first"}))]);
    builder.tx(0, &[(Op::Patch, MEMO, json!({"text": "second"}))]);
    builder.queued[0].swap(0, 1);
    builder.finish();
    builder.expect(check, &["writes-out-of-order"]);
}

#[test]
fn a_read_shows_what_was_applied_and_written() {
    let mut builder = with_seed_rows();
    look(&mut builder, 0, "card");
    builder.tx(0, &[(Op::Patch, CARD, json!({"title": "mine"}))]);
    look(&mut builder, 0, "mine");
    builder.tx(0, &[(Op::Put, CARD, json!({"title": "anew"}))]);
    let anew = builder.image(CARD, &json!({"title": "anew"}));
    builder.event(Who::Client(0), What::Read { scope: Scope::Look, rows: vec![(CARD, Some(anew))] });
    builder.tx(0, &[(Op::Delete, CARD, serde_json::Value::Null)]);
    builder.event(Who::Client(0), What::Read { scope: Scope::Look, rows: vec![(CARD, None)] });
    builder.expect(check, &[]);
    look(&mut builder, 0, "card");
    builder.expect(check, &["read-not-as-shown"]);
}
