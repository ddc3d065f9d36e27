use serde_json::json;

use super::{CARD, MEMO, sound};
use crate::checker::convergence::check;
use crate::checker::testing::{Story, furnished};
use crate::history::{Barrier, Event, Op, Phase, What, Who};
use crate::verdict::Verdict;

/// A settled story in which device 1 ends with something else.
fn ending(change: impl FnOnce(&mut Story)) -> Story {
    let mut story = furnished();
    change(&mut story);
    story.end();
    story
}

#[test]
fn accepts_equal_rows_and_rejects_others() {
    sound().expect(check, &[]);
    let finding = ending(|story| {
        let other = story.changed(CARD, &json!({"title": "other"}));
        story.shown[1].insert(CARD, other);
    })
    .expect(check, &["different-value"]);
    assert_eq!(finding.anomalies[0].role, "cards.title");
    assert_eq!(finding.anomalies[0].what, "client/1 ends with cards#1.title = \"other\", the server with \"card\".");
    ending(|story| {
        story.shown[1].remove(&MEMO);
    })
    .expect(check, &["missing-row"]);
    ending(|story| {
        let row = story.row("memos");
        let image = story.image(row, &json!({"text": "ghost"}));
        story.shown[1].insert(row, image);
    })
    .expect(check, &["extra-row"]);
    ending(|story| {
        story.tx(1, &[(Op::Patch, CARD, json!({"title": "card"}))]);
    })
    .expect(check, &["queue-not-empty"]);
}

#[test]
fn differences_of_one_kind_are_one_anomaly() {
    let finding = ending(|story| {
        for device in 0..2 {
            let other = story.changed(CARD, &json!({"title": format!("other {device}")}));
            story.shown[device].insert(CARD, other);
        }
    })
    .expect(check, &["different-value"]);
    assert!(finding.anomalies[0].evidence.iter().any(|line| line.starts_with("also: client/1")), "{finding:#?}");
}

#[test]
fn says_unknown_where_nothing_can_be_said() {
    let unknown = |change: &dyn Fn(&mut Story)| {
        let mut story = sound();
        change(&mut story);
        let finding = story.judge(check);
        assert_eq!(finding.verdict, Verdict::Unknown, "{finding:#?}");
    };
    unknown(&|story| story.barrier(Barrier::SettleAgain, Phase::Fail, &["client/0: 1 queued"]));
    unknown(&|story| story.history.events.retain(|event| !matches!(event.what, What::Barrier { .. })));
    unknown(&|story| story.history.events.retain(|event| !matches!(event, Event { who: Who::Client(1), what: What::Read { .. }, .. })));
    unknown(&|story| "bucket_definitions: {a: {data: [SELECT count(*) FROM cards]}}".clone_into(&mut story.app.sync_config));
}

#[test]
fn goes_by_what_each_user_should_see() {
    let config = "bucket_definitions: {mine: {parameters: SELECT request.user_id() AS me, data: [SELECT * FROM cards WHERE owner = bucket.me]}}";
    let story = |leak: bool| {
        let mut story = Story::new(2).sync_config(config);
        story.history.header.devices[1].user = "bob".to_owned();
        let (one, two) = (story.row("cards"), story.row("cards"));
        story.server_write(&[(one, Some(json!({"owner": "ann"}))), (two, Some(json!({"owner": "bob"})))]);
        for (device, row) in [(0, one), (1, if leak { one } else { two })] {
            let image = story.server.get(&row).cloned();
            story.apply_rows(device, &[(row, image)]);
        }
        story.end();
        story
    };
    story(false).expect(check, &[]);
    story(true).expect(check, &["extra-row", "missing-row"]);
}
