//! What is counted, and what is missing.

use serde_json::json;

use super::*;
use crate::checker::testing::{Story, answer, furnished};
use crate::history::Op;
use crate::plan::Fault;

const CARD: u32 = 1;

/// Plays a story of two furnished devices and expects these counts, in order of names; intents are left out.
fn check(what: &str, play: impl FnOnce(&mut Story), expect: &[(&str, u64)]) {
    let mut story = furnished();
    for device in 0..2 {
        story.event(Who::Client(device), What::Stream { phase: Phase::Ok, status: Some(200), reason: "" });
    }
    play(&mut story);
    let ctx = Context { app: &story.app, history: &story.history, promises: &story.promises };
    let mut counts = count(&ctx, &Timeline::build(&ctx));
    counts.retain(|name, by| *by > 0 && !name.ends_with("intents"));
    assert!(counts.keys().all(|name| is_known(name)), "{what}: {counts:?}");
    let found: Vec<(&str, u64)> = counts.iter().map(|(name, by)| (name.as_str(), *by)).collect();
    assert_eq!(found, expect, "{what}");
}

fn edit(story: &mut Story, device: u32, title: &str) -> i64 {
    story.tx(device, &[(Op::Patch, CARD, json!({"title": title}))])
}

#[test]
fn uploads() {
    check("nothing special", |story| { edit(story, 0, "a"); story.upload(0); }, &[]);
    check("a reply lost after the commit", |story| {
        let tx = edit(story, 0, "a");
        let answers = story.applied_answers(0);
        story.attempt(0, tx, 1, Phase::Invoke, None, vec![]);
        story.commit_as_sent(0);
        story.attempt(0, tx, 1, Phase::Info, None, vec![]);
        story.attempt(0, tx, 2, Phase::Invoke, None, vec![]);
        story.attempt(0, tx, 2, Phase::Ok, Some(TxOutcome::Committed), answers);
    }, &[("duplicate-delivery", 1), ("reply-lost-after-commit", 1), ("retry", 1)]);
    check("and another device wrote the row in between", |story| {
        let tx = edit(story, 0, "a");
        story.attempt(0, tx, 1, Phase::Invoke, None, vec![]);
        story.commit_as_sent(0);
        story.attempt(0, tx, 1, Phase::Info, None, vec![]);
        story.apply(1);
        edit(story, 1, "b");
        story.upload(1);
        story.attempt(0, tx, 2, Phase::Invoke, None, vec![]);
    }, &[("reply-lost-after-commit", 1), ("reply-lost-then-foreign-write", 1), ("retry", 1)]);
    check("a request lost before the commit", |story| {
        let tx = edit(story, 0, "a");
        story.attempt(0, tx, 1, Phase::Invoke, None, vec![]);
        story.attempt(0, tx, 1, Phase::Info, None, vec![]);
        story.attempt(0, tx, 2, Phase::Invoke, None, vec![]);
        let answers = story.applied_answers(0);
        story.commit_as_sent(0);
        story.attempt(0, tx, 2, Phase::Ok, Some(TxOutcome::Committed), answers);
    }, &[("retry", 1)]);
    check("outcomes", |story| {
        let tx = edit(story, 0, "a");
        let answers = vec![answer(1, Outcome::Rejected)];
        story.attempt(0, tx, 1, Phase::Ok, Some(TxOutcome::Refused), answers);
        story.complete(0);
        edit(story, 1, "b");
        let tx = story.queued[1][0].clone();
        story.commit(Some((1, &tx)), &[(CARD, Some(story.changed(CARD, &json!({"title": "b"}))))], vec![], vec![]);
        story.attempt(1, 1, 1, Phase::Ok, Some(TxOutcome::Committed), vec![answer(1, Outcome::Merged)]);
    }, &[("merged", 1), ("refused", 1)]);
}

#[test]
fn lives() {
    let run = |story: &mut Story, lifecycle| {
        story.event(Who::Client(0), What::Lifecycle(lifecycle));
    };
    check("an edit while the stream is down", |story| {
        story.event(Who::Client(0), What::Stream { phase: Phase::Info, status: None, reason: "cut" });
        edit(story, 0, "a");
        edit(story, 1, "b");
    }, &[("offline-edit", 1)]);
    check("kills", |story| {
        run(story, Lifecycle::Killed(Moment::BeforeSend));
        run(story, Lifecycle::Started);
        run(story, Lifecycle::Killed(Moment::AfterSend));
        edit(story, 0, "a");
    }, &[("crash:after-send", 1), ("crash:before-send", 1), ("offline-edit", 1)]);
    check("tabs and sleep", |story| {
        run(story, Lifecycle::TabClosed);
        run(story, Lifecycle::TabTookOver);
        run(story, Lifecycle::Suspended);
        run(story, Lifecycle::Resumed);
    }, &[("suspend", 1), ("tab-close", 1)]);
    check("a token that expired", |story| {
        story.event(Who::Client(0), What::Stream { phase: Phase::Fail, status: Some(401), reason: "expired" });
    }, &[("token-401", 1)]);
    check("faults", |story| {
        let fault = Fault::StreamCut { device: 0 };
        story.event(Who::Run, What::Fault { phase: Phase::Invoke, key: 1, fault: fault.clone() });
        story.event(Who::Run, What::Fault { phase: Phase::Ok, key: 1, fault });
    }, &[("fault:stream-cut", 1), ("stream-cut", 1)]);
}

#[test]
fn conflicts() {
    check("two edits of one column, apart", |story| {
        edit(story, 0, "a");
        edit(story, 1, "b");
        story.upload(0);
        story.upload(1);
    }, &[("concurrent:column", 1)]);
    check("two edits of one column, one after the other", |story| {
        edit(story, 0, "a");
        story.upload(0);
        story.apply(1);
        edit(story, 1, "b");
        story.upload(1);
    }, &[]);
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
