//! Which commit each apply of a device corresponds to.

use fixtures::Row;
use serde_json::{Value as Json, json};

use super::{State, Timeline};
use crate::checker::Context;
use crate::checker::testing::{HistoryBuilder, with_seed_rows};
use crate::history::{Apply, Op, RowId};

const CARD: RowId = 1;

/// The prefix after each of the device's applies, and whether all of them are prefixes.
fn prefixes(builder: &HistoryBuilder, device: u32) -> (Vec<u64>, Vec<State>) {
    let ctx = Context { app: &builder.app, history: &builder.history, promises: &builder.promises };
    let timeline = Timeline::build(&ctx);
    assert_eq!(timeline.flaws(), [""; 0]);
    let states = timeline.applied(device).iter().map(|applied| applied.state.clone());
    (
        timeline.applied(device).iter().map(|applied| applied.prefix).collect(),
        states.filter(|state| *state != State::Prefix).collect(),
    )
}

fn card(builder: &HistoryBuilder, set: &Json) -> (RowId, Option<Row>) {
    (CARD, Some(builder.changed(CARD, set)))
}

#[test]
fn follows_own_and_others_commits() {
    let mut builder = with_seed_rows();
    builder.tx(0, &[(Op::Patch, CARD, json!({"title": "a"}))]);
    builder.tx(1, &[(Op::Patch, CARD, json!({"body": "b"}))]);
    builder.upload(0);
    builder.apply(0);
    builder.upload(1);
    builder.apply(1);
    builder.apply(0);
    assert_eq!(prefixes(&builder, 0), (vec![1, 2, 3], vec![]));
    assert_eq!(prefixes(&builder, 1), (vec![1, 3], vec![]));
}

#[test]
fn goes_by_own_commits() {
    let mut builder = with_seed_rows();
    builder.server_write(&[(CARD, Some(json!({"title": "x"})))]);
    builder.tx(0, &[(Op::Patch, CARD, json!({"title": "y"}))]);
    builder.upload(0);
    builder.server_write(&[(CARD, Some(json!({"title": "x"})))]);
    // Device 0 applies title x after its own commit 3.
    builder.apply(0);
    assert_eq!(prefixes(&builder, 0).0, [1, 4]);
}

#[test]
fn of_equal_states_the_checkpoint_tells_which_was_seen() {
    let shows = |last_op_id: u64, other: Option<u64>| {
        let title = |title: &str| (CARD, Some(json!({"title": title})));
        let mut builder = with_seed_rows();
        builder.server_write(&[title("x")]);
        builder.apply(1);
        builder.server_write(&[title("y")]);
        let between = builder.server[&CARD].clone();
        builder.server_write(&[title("x")]);
        let mut apply = |device, last_op_id, rows| {
            let apply = Apply {
                priority: None,
                last_op_id,
                write_checkpoint: None,
                target: None,
                queued: 0,
                rows,
                arrived_us: i64::MAX,
                whole: false,
            };
            builder.apply_event(device, apply);
        };
        if let Some(other) = other {
            apply(0, other, vec![(CARD, Some(between))]);
        }
        apply(1, last_op_id, Vec::new());
        prefixes(&builder, 1).0
    };
    assert_eq!(shows(2, None), [1, 2, 2], "nothing new came");
    assert_eq!(shows(4, None), [1, 2, 4], "the row came back to what it was");
    assert_eq!(shows(4, Some(3)), [1, 2, 4], "an earlier checkpoint shows what was in between");
    assert_eq!(shows(4, Some(5)), [1, 2, 2], "a later checkpoint shows what was in between");
}

#[test]
fn commits_without_effect_count_as_seen_once_they_could_be() {
    let mut builder = with_seed_rows();
    let same = builder.changed(CARD, &json!({}));
    builder.commit(None, &[(CARD, Some(same))], Vec::new(), Vec::new());
    builder.apply_rows(1, &[]);
    assert_eq!(prefixes(&builder, 1).0, [1, 2]);
}

#[test]
fn names_what_is_wrong_once() {
    let mut builder = with_seed_rows();
    let memo = 3;
    builder.server_write(&[(CARD, Some(json!({"title": "x"}))), (memo, Some(json!({"text": "y"})))]);
    let half = card(&builder, &json!({}));
    builder.apply_rows(0, &[half]);
    let label = 2;
    builder.server_write(&[(label, Some(json!({"key": "colour", "value": "blue"})))]);
    let rest = (label, builder.server.get(&label).cloned());
    builder.apply_rows(0, &[rest]);
    let (prefixes, states) = prefixes(&builder, 0);
    assert_eq!(prefixes, [1, 2, 3]);
    let [State::Wrong(wrong), State::Repeated] = &states[..] else { panic!("{states:#?}") };
    assert_eq!(
        wrong
            .rows
            .iter()
            .map(|differing| (differing.row, differing.shown_since, differing.expected_since))
            .collect::<Vec<_>>(),
        [(memo, Some(1), 2)]
    );
}

#[test]
fn tells_going_back_and_missing_own() {
    let mut builder = with_seed_rows();
    let old = card(&builder, &json!({}));
    builder.server_write(&[(CARD, Some(json!({"title": "x"})))]);
    builder.apply(0);
    builder.apply_rows(0, std::slice::from_ref(&old));
    assert_eq!(prefixes(&builder, 0), (vec![1, 2, 1], vec![State::Back { from: 2 }]));

    let mut builder = with_seed_rows();
    builder.tx(0, &[(Op::Patch, CARD, json!({"title": "a"}))]);
    builder.upload(0);
    builder.apply_rows(0, &[old]);
    assert_eq!(prefixes(&builder, 0), (vec![1, 1], vec![State::MissingOwn { own: 2 }]));
}

#[test]
fn partial_applies_show_rows_early() {
    let mut builder = with_seed_rows();
    builder.server_write(&[(CARD, Some(json!({"title": "x"}))), (3, Some(json!({"text": "y"})))]);
    let early = card(&builder, &json!({}));
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
    let event = builder.apply_event(0, partial);
    builder.apply(0);
    assert_eq!(prefixes(&builder, 0), (vec![1, 1, 2], vec![]));
    let ctx = Context { app: &builder.app, history: &builder.history, promises: &builder.promises };
    let timeline = Timeline::build(&ctx);
    assert_eq!(timeline.seen_row(0, event + 1, CARD), 2);
    assert_eq!(timeline.seen_row(0, event + 1, 3), 1);
}

#[test]
fn a_whole_apply_replaces_everything() {
    let mut builder = with_seed_rows();
    builder.tx(0, &[(Op::Put, 3, json!({"text": "pending"}))]);
    let whole = Apply {
        priority: None,
        last_op_id: 1,
        write_checkpoint: None,
        target: None,
        queued: 0,
        rows: builder.server.iter().map(|(row, image)| (*row, Some(image.clone()))).collect(),
        arrived_us: 0,
        whole: true,
    };
    builder.apply_event(0, whole);
    assert_eq!(prefixes(&builder, 0), (vec![1, 1], vec![]));
}

#[test]
fn finds_operations_and_commits() {
    let mut builder = with_seed_rows();
    let tx = builder.tx(1, &[(Op::Patch, CARD, json!({"title": "a"})), (Op::Delete, 3, Json::Null)]);
    let seq = builder.upload(1);
    let ctx = Context { app: &builder.app, history: &builder.history, promises: &builder.promises };
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
    let mut builder = with_seed_rows();
    builder.tx(0, &[(Op::Patch, CARD, json!({"title": "a"}))]);
    let tx = builder.queued[0][0].clone();
    builder.upload(0);
    builder.apply(0);
    let again = builder.changed(CARD, &json!({"body": "again"}));
    builder.commit(Some((0, &tx)), &[(CARD, Some(again))], Vec::new(), Vec::new());
    builder.apply_rows(0, &[]);
    assert_eq!(prefixes(&builder, 0), (vec![1, 2, 2], vec![]));
}
