use serde_json::json;

use super::{CARD, MEMO, sound};
use crate::checker::causal::check;
use crate::checker::testing::{Story, furnished};
use crate::history::{Op, Scope, What, Who};

fn look(story: &mut Story, device: u32, title: &str) {
    let image = story.changed(CARD, &json!({"title": title}));
    story.event(Who::Client(device), What::Read { scope: Scope::Look, rows: vec![(CARD, Some(image))] });
}

#[test]
fn accepts_a_sound_run() {
    sound().expect(check, &[]);
}

#[test]
fn rejects_going_back() {
    let mut story = furnished();
    let old = story.server.get(&CARD).cloned();
    story.server_write(&[(CARD, Some(json!({"title": "new"})))]);
    story.apply(1);
    story.apply_rows(1, &[(CARD, old)]);
    let finding = story.expect(check, &["went-back"]);
    assert_eq!(finding.anomalies[0].what, "client/1 shows the server's rows as after commit 1, although it had shown what commit 2 did.");
}

#[test]
fn rejects_a_full_apply_without_own_writes() {
    let mut story = furnished();
    let old = story.server.get(&CARD).cloned();
    story.tx(0, &[(Op::Patch, CARD, json!({"title": "mine"}))]);
    story.upload(0);
    story.apply_rows(0, &[(CARD, old)]);
    story.expect(check, &["missing-own-write"]);
}

#[test]
fn rejects_what_comes_before_its_cause() {
    let mut story = furnished();
    let early = story.changed(CARD, &json!({"title": "early"}));
    story.apply_rows(1, &[(CARD, Some(early.clone()))]);
    story.commit(None, &[(CARD, Some(early))], Vec::new(), Vec::new());
    story.expect(check, &["from-the-future"]);
}

#[test]
fn rejects_writes_out_of_order() {
    let mut story = furnished();
    story.tx(0, &[(Op::Patch, CARD, json!({"title": "first"}))]);
    story.tx(0, &[(Op::Patch, MEMO, json!({"text": "second"}))]);
    story.queued[0].swap(0, 1);
    story.finish();
    story.expect(check, &["writes-out-of-order"]);
}

#[test]
fn a_read_shows_what_was_applied_and_written() {
    let mut story = furnished();
    look(&mut story, 0, "card");
    story.tx(0, &[(Op::Patch, CARD, json!({"title": "mine"}))]);
    look(&mut story, 0, "mine");
    story.tx(0, &[(Op::Put, CARD, json!({"title": "anew"}))]);
    let anew = story.image(CARD, &json!({"title": "anew"}));
    story.event(Who::Client(0), What::Read { scope: Scope::Look, rows: vec![(CARD, Some(anew))] });
    story.tx(0, &[(Op::Delete, CARD, serde_json::Value::Null)]);
    story.event(Who::Client(0), What::Read { scope: Scope::Look, rows: vec![(CARD, None)] });
    story.expect(check, &[]);
    look(&mut story, 0, "card");
    story.expect(check, &["read-not-as-shown"]);
}
