//! Histories that the checker `convergence` must accept or reject.

use serde_json::json;

use super::{CARD, MEMO, sound};
use crate::checker::convergence::check;
use crate::checker::testing::{HistoryBuilder, with_seed_rows};
use crate::history::{Barrier, Event, Op, Phase, What, Who};
use crate::verdict::Verdict;

/// A settled builder in which device 1 ends with something else.
fn ending(change: impl FnOnce(&mut HistoryBuilder)) -> HistoryBuilder {
    let mut builder = with_seed_rows();
    change(&mut builder);
    builder.end();
    builder
}

#[test]
fn accepts_equal_rows_and_rejects_others() {
    sound().expect(check, &[]);
    let finding = ending(|builder| {
        let other = builder.changed(CARD, &json!({"title": "other"}));
        builder.shown[1].insert(CARD, other);
    })
    .expect(check, &["different-value"]);
    assert_eq!(finding.anomalies[0].role, "cards.title");
    assert_eq!(finding.anomalies[0].what, "client/1 ends with cards#1.title = \"other\", the server with \"card\".");
    ending(|builder| {
        builder.shown[1].remove(&MEMO);
    })
    .expect(check, &["missing-row"]);
    ending(|builder| {
        let row = builder.row("memos");
        let image = builder.image(row, &json!({"text": "ghost"}));
        builder.shown[1].insert(row, image);
    })
    .expect(check, &["extra-row"]);
    ending(|builder| {
        builder.tx(1, &[(Op::Patch, CARD, json!({"title": "card"}))]);
    })
    .expect(check, &["queue-not-empty"]);
}

#[test]
fn differences_of_one_kind_are_one_anomaly() {
    let finding = ending(|builder| {
        for device in 0..2 {
            let other = builder.changed(CARD, &json!({"title": format!("other {device}")}));
            builder.shown[device].insert(CARD, other);
        }
    })
    .expect(check, &["different-value"]);
    assert!(finding.anomalies[0].evidence.iter().any(|line| line.starts_with("also: client/1")), "{finding:#?}");
}

#[test]
fn says_unknown_where_nothing_can_be_said() {
    let unknown = |change: &dyn Fn(&mut HistoryBuilder)| {
        let mut builder = sound();
        change(&mut builder);
        let finding = builder.judge(check);
        assert_eq!(finding.verdict, Verdict::Unknown, "{finding:#?}");
    };
    unknown(&|builder| builder.barrier(Barrier::SettleAgain, Phase::Fail, &["client/0: 1 queued"]));
    unknown(&|builder| builder.history.events.retain(|event| !matches!(event.what, What::Barrier { .. })));
    unknown(&|builder| {
        builder
            .history
            .events
            .retain(|event| !matches!(event, Event { who: Who::Client(1), what: What::Read { .. }, .. }))
    });
    unknown(&|builder| {
        "bucket_definitions: {a: {data: [SELECT count(*) FROM cards]}}".clone_into(&mut builder.app.sync_config)
    });
}

#[test]
fn goes_by_what_each_user_should_see() {
    let config = "bucket_definitions: {mine: {parameters: SELECT request.user_id() AS me, data: [SELECT * FROM cards WHERE owner = bucket.me]}}";
    let builder = |leak: bool| {
        let mut builder = HistoryBuilder::new(2).sync_config(config);
        builder.history.header.devices[1].user = "bob".to_owned();
        let (one, two) = (builder.row("cards"), builder.row("cards"));
        builder.server_write(&[(one, Some(json!({"owner": "ann"}))), (two, Some(json!({"owner": "bob"})))]);
        for (device, row) in [(0, one), (1, if leak { one } else { two })] {
            let image = builder.server.get(&row).cloned();
            builder.apply_rows(device, &[(row, image)]);
        }
        builder.end();
        builder
    };
    builder(false).expect(check, &[]);
    builder(true).expect(check, &["extra-row", "missing-row"]);
}
