//! What is counted, and what is missing.

use serde_json::json;

use super::*;
use crate::checker::testing::{HistoryBuilder, answer, with_seed_rows};
use crate::history::Op;
use crate::plan::Fault;

const CARD: u32 = 1;

/// Plays a builder of two with_seed_rows devices and expects these counts, in order of names; what each history has is left out.
fn check(what: &str, play: impl FnOnce(&mut HistoryBuilder), expect: &[(&str, u64)]) {
    let mut builder = with_seed_rows();
    for device in 0..2 {
        builder.event(Who::Client(device), What::Stream { phase: Phase::Ok, status: Some(200), reason: "" });
    }
    play(&mut builder);
    let ctx = Context { app: &builder.app, history: &builder.history, promises: &builder.promises };
    let mut counts = count(&ctx, &Timeline::build(&ctx));
    counts.retain(|name, by| {
        *by > 0 && !name.ends_with("intents") && !matches!(name.as_str(), "operations" | "finished")
    });
    assert!(counts.keys().all(|name| is_known(name)), "{what}: {counts:?}");
    let found: Vec<(&str, u64)> = counts.iter().map(|(name, by)| (name.as_str(), *by)).collect();
    assert_eq!(found, expect, "{what}");
}

fn edit(builder: &mut HistoryBuilder, device: u32, title: &str) -> i64 {
    builder.tx(device, &[(Op::Patch, CARD, json!({"title": title}))])
}

#[test]
fn uploads() {
    check(
        "nothing special",
        |builder| {
            edit(builder, 0, "a");
            builder.upload(0);
        },
        &[],
    );
    check(
        "a reply lost after the commit",
        |builder| {
            let tx = edit(builder, 0, "a");
            let answers = builder.applied_answers(0);
            builder.attempt(0, tx, 1, Phase::Invoke, None, vec![]);
            builder.commit_as_sent(0);
            builder.attempt(0, tx, 1, Phase::Info, None, vec![]);
            builder.attempt(0, tx, 2, Phase::Invoke, None, vec![]);
            builder.attempt(0, tx, 2, Phase::Ok, Some(TxOutcome::Committed), answers);
        },
        &[("duplicate-delivery", 1), ("reply-lost-after-commit", 1), ("retry", 1)],
    );
    check(
        "and another device wrote the row in between",
        |builder| {
            let tx = edit(builder, 0, "a");
            builder.attempt(0, tx, 1, Phase::Invoke, None, vec![]);
            builder.commit_as_sent(0);
            builder.attempt(0, tx, 1, Phase::Info, None, vec![]);
            builder.apply(1);
            edit(builder, 1, "b");
            builder.upload(1);
            builder.attempt(0, tx, 2, Phase::Invoke, None, vec![]);
        },
        &[("reply-lost-after-commit", 1), ("reply-lost-then-foreign-write", 1), ("retry", 1)],
    );
    check(
        "a request lost before the commit",
        |builder| {
            let tx = edit(builder, 0, "a");
            builder.attempt(0, tx, 1, Phase::Invoke, None, vec![]);
            builder.attempt(0, tx, 1, Phase::Info, None, vec![]);
            builder.attempt(0, tx, 2, Phase::Invoke, None, vec![]);
            let answers = builder.applied_answers(0);
            builder.commit_as_sent(0);
            builder.attempt(0, tx, 2, Phase::Ok, Some(TxOutcome::Committed), answers);
        },
        &[("retry", 1)],
    );
    check(
        "outcomes",
        |builder| {
            let tx = edit(builder, 0, "a");
            let answers = vec![answer(1, Outcome::Rejected)];
            builder.attempt(0, tx, 1, Phase::Ok, Some(TxOutcome::Refused), answers);
            builder.complete(0);
            edit(builder, 1, "b");
            let tx = builder.queued[1][0].clone();
            builder.commit(
                Some((1, &tx)),
                &[(CARD, Some(builder.changed(CARD, &json!({"title": "b"}))))],
                vec![],
                vec![],
            );
            builder.attempt(1, 1, 1, Phase::Ok, Some(TxOutcome::Committed), vec![answer(1, Outcome::Merged)]);
        },
        &[("merged", 1), ("refused", 1)],
    );
}

#[test]
fn lives() {
    let run = |builder: &mut HistoryBuilder, lifecycle| {
        builder.event(Who::Client(0), What::Lifecycle(lifecycle));
    };
    check(
        "an edit while the stream is down",
        |builder| {
            builder.event(Who::Client(0), What::Stream { phase: Phase::Info, status: None, reason: "cut" });
            edit(builder, 0, "a");
            edit(builder, 1, "b");
        },
        &[("offline-edit", 1)],
    );
    check(
        "kills",
        |builder| {
            run(builder, Lifecycle::Killed(Moment::BeforeSend));
            run(builder, Lifecycle::Started);
            run(builder, Lifecycle::Killed(Moment::AfterSend));
            edit(builder, 0, "a");
        },
        &[("crash:after-send", 1), ("crash:before-send", 1), ("offline-edit", 1)],
    );
    check(
        "tabs and sleep",
        |builder| {
            run(builder, Lifecycle::TabClosed);
            run(builder, Lifecycle::TabTookOver);
            run(builder, Lifecycle::Suspended);
            run(builder, Lifecycle::Resumed);
        },
        &[("suspend", 1), ("tab-close", 1)],
    );
    check(
        "a token that expired",
        |builder| {
            builder.event(Who::Client(0), What::Stream { phase: Phase::Fail, status: Some(401), reason: "expired" });
        },
        &[("token-401", 1)],
    );
    check(
        "faults",
        |builder| {
            let fault = Fault::StreamCut { device: 0 };
            builder.event(Who::Run, What::Fault { phase: Phase::Invoke, key: 1, fault: fault.clone() });
            builder.event(Who::Run, What::Fault { phase: Phase::Ok, key: 1, fault });
        },
        &[("fault:stream-cut", 1), ("stream-cut", 1)],
    );
}

#[test]
fn conflicts() {
    check(
        "two edits of one column, apart",
        |builder| {
            edit(builder, 0, "a");
            edit(builder, 1, "b");
            builder.upload(0);
            builder.upload(1);
        },
        &[("concurrent:column", 1)],
    );
    check(
        "two edits of one column, one after the other",
        |builder| {
            edit(builder, 0, "a");
            builder.upload(0);
            builder.apply(1);
            edit(builder, 1, "b");
            builder.upload(1);
        },
        &[],
    );
}

#[test]
fn what_must_occur() {
    let totals = |counts: &[(&str, u64)]| counts.iter().map(|(name, by)| ((*name).to_owned(), *by)).collect();
    let must = ["retry".to_owned(), "crash:after-send".to_owned()];
    let check = |counts: &[(&str, u64)], expect: &[&str]| {
        assert_eq!(missing(&must, &totals(counts)), expect);
    };
    check(&[("retry", 1), ("crash:after-send", 2), ("intents", 100), ("skipped-intents", 10)], &[]);
    check(&[("retry", 1)], &["crash:after-send never occurred"]);
    check(
        &[("retry", 1), ("crash:after-send", 2), ("intents", 100), ("skipped-intents", 11)],
        &["11 of 100 intents were skipped; at most 10 percent may be"],
    );
}
