use fixtures::Row;
use serde_json::{Value as Json, json};

use super::{State, Timeline};
use crate::checker::Context;
use crate::checker::testing::{Story, furnished};
use crate::history::{Apply, Op, RowId};

const CARD: RowId = 1;

/// The prefix after each of the device's applies, and whether all of them are prefixes.
fn prefixes(story: &Story, device: u32) -> (Vec<u64>, Vec<State>) {
    let ctx = Context { app: &story.app, history: &story.history, promises: &story.promises };
    let timeline = Timeline::build(&ctx);
    assert_eq!(timeline.flaws(), [""; 0]);
    let states = timeline.applied(device).iter().map(|applied| applied.state.clone());
    (timeline.applied(device).iter().map(|applied| applied.prefix).collect(), states.filter(|state| *state != State::Prefix).collect())
}

fn card(story: &Story, set: &Json) -> (RowId, Option<Row>) {
    (CARD, Some(story.changed(CARD, set)))
}

#[test]
fn follows_own_and_others_commits() {
    let mut story = furnished();
    story.tx(0, &[(Op::Patch, CARD, json!({"title": "a"}))]);
    story.tx(1, &[(Op::Patch, CARD, json!({"body": "b"}))]);
    story.upload(0);
    story.apply(0);
    story.upload(1);
    story.apply(1);
    story.apply(0);
    assert_eq!(prefixes(&story, 0), (vec![1, 2, 3], vec![]));
    assert_eq!(prefixes(&story, 1), (vec![1, 3], vec![]));
}

#[test]
fn goes_by_the_first_commit_that_fits_and_by_own_ones() {
    let mut story = furnished();
    story.server_write(&[(CARD, Some(json!({"title": "x"})))]);
    story.tx(0, &[(Op::Patch, CARD, json!({"title": "y"}))]);
    story.upload(0);
    story.server_write(&[(CARD, Some(json!({"title": "x"})))]);
    // Both apply title x: device 0 after its own commit 3, device 1 may not have seen more than commit 2.
    story.apply(0);
    story.apply(1);
    assert_eq!(prefixes(&story, 0).0, [1, 4]);
    assert_eq!(prefixes(&story, 1).0, [1, 2]);
}

#[test]
fn commits_without_effect_count_as_seen_once_they_could_be() {
    let mut story = furnished();
    let same = story.changed(CARD, &json!({}));
    story.commit(None, &[(CARD, Some(same))], Vec::new(), Vec::new());
    story.apply_rows(1, &[]);
    assert_eq!(prefixes(&story, 1).0, [1, 2]);
}

#[test]
fn names_what_is_wrong_once() {
    let mut story = furnished();
    let memo = 3;
    story.server_write(&[(CARD, Some(json!({"title": "x"}))), (memo, Some(json!({"text": "y"})))]);
    let half = card(&story, &json!({}));
    story.apply_rows(0, &[half]);
    let label = 2;
    story.server_write(&[(label, Some(json!({"key": "colour", "value": "blue"})))]);
    let rest = (label, story.server.get(&label).cloned());
    story.apply_rows(0, &[rest]);
    let (prefixes, states) = prefixes(&story, 0);
    assert_eq!(prefixes, [1, 2, 3]);
    let [State::Wrong(wrong), State::Repeated] = &states[..] else { panic!("{states:#?}") };
    assert_eq!(wrong.rows.iter().map(|differing| (differing.row, differing.shown_since, differing.expected_since)).collect::<Vec<_>>(), [(memo, Some(1), 2)]);
}

#[test]
fn tells_going_back_and_missing_own() {
    let mut story = furnished();
    let old = card(&story, &json!({}));
    story.server_write(&[(CARD, Some(json!({"title": "x"})))]);
    story.apply(0);
    story.apply_rows(0, std::slice::from_ref(&old));
    assert_eq!(prefixes(&story, 0), (vec![1, 2, 1], vec![State::Back { from: 2 }]));

    let mut story = furnished();
    story.tx(0, &[(Op::Patch, CARD, json!({"title": "a"}))]);
    story.upload(0);
    story.apply_rows(0, &[old]);
    assert_eq!(prefixes(&story, 0), (vec![1, 1], vec![State::MissingOwn { own: 2 }]));
}

#[test]
fn partial_applies_show_rows_early() {
    let mut story = furnished();
    story.server_write(&[(CARD, Some(json!({"title": "x"}))), (3, Some(json!({"text": "y"})))]);
    let early = card(&story, &json!({}));
    let partial = Apply {
        priority: Some(1),
        last_op_id: 2,
        write_checkpoint: None,
        target: None,
        queued: 0,
        rows: vec![early],
        arrived_us: 0,
        whole: false,
    };
    let event = story.apply_event(0, partial);
    story.apply(0);
    assert_eq!(prefixes(&story, 0), (vec![1, 1, 2], vec![]));
    let ctx = Context { app: &story.app, history: &story.history, promises: &story.promises };
    let timeline = Timeline::build(&ctx);
    assert_eq!(timeline.seen_row(0, event + 1, CARD), 2);
    assert_eq!(timeline.seen_row(0, event + 1, 3), 1);
}

#[test]
fn a_whole_apply_replaces_everything() {
    let mut story = furnished();
    story.tx(0, &[(Op::Put, 3, json!({"text": "pending"}))]);
    let whole = Apply {
        priority: None,
        last_op_id: 1,
        write_checkpoint: None,
        target: None,
        queued: 0,
        rows: story.server.iter().map(|(row, image)| (*row, Some(image.clone()))).collect(),
        arrived_us: 0,
        whole: true,
    };
    story.apply_event(0, whole);
    assert_eq!(prefixes(&story, 0), (vec![1, 1], vec![]));
}

#[test]
fn finds_operations_and_commits() {
    let mut story = furnished();
    let tx = story.tx(1, &[(Op::Patch, CARD, json!({"title": "a"})), (Op::Delete, 3, Json::Null)]);
    let seq = story.upload(1);
    let ctx = Context { app: &story.app, history: &story.history, promises: &story.promises };
    let timeline = Timeline::build(&ctx);
    let (op, local, event) = timeline.op(1, 2).expect("the device has this operation");
    assert_eq!((op.row, local.tx_id, Some(event)), (3, Some(tx), timeline.local_tx(1, tx)));
    assert_eq!(timeline.commit_of(1, tx), [seq]);
    assert_eq!(timeline.op(0, 2).map(|(op, ..)| op.op_id), None);
    assert_eq!(timeline.row_at(3, seq), None);
    assert!(timeline.row_at(3, seq - 1).is_some());
}

#[test]
fn a_repeat_that_commits_late_is_no_part_of_what_the_device_saw_through() {
    let mut story = furnished();
    story.tx(0, &[(Op::Patch, CARD, json!({"title": "a"}))]);
    let tx = story.queued[0][0].clone();
    story.upload(0);
    story.apply(0);
    let again = story.changed(CARD, &json!({"body": "again"}));
    story.commit(Some((0, &tx)), &[(CARD, Some(again))], Vec::new(), Vec::new());
    story.apply_rows(0, &[]);
    assert_eq!(prefixes(&story, 0), (vec![1, 2, 2], vec![]));
}
