//! For each claim a history that contradicts it and a near twin that does not.

use serde_json::{Value as Json, json};

use super::check as judge;
use crate::checker::testing::{Story, furnished};
use crate::history::{ConflictRecord, LocalTx, Op, OpAnswer, Outcome, Phase, RowId, TxOutcome, What, Who, Writer};
use crate::plan::EPOCH_US;
use crate::promise::Claim;

const BOX: RowId = 0;
const CARD: RowId = 1;
const LABEL: RowId = 2;

/// Plays a story of two furnished devices from second 100 on, lets everybody apply, and expects the claim's code
/// once, or nothing.
fn check(what: &str, claim: Claim, holds: bool, play: impl FnOnce(&mut Story)) {
    let mut story = furnished();
    story.wait(100_000_000);
    play(&mut story);
    story.finish();
    expect(what, claim, holds, story);
}

fn expect(what: &str, claim: Claim, holds: bool, mut story: Story) {
    story.promises.claims = vec![claim];
    let finding = story.judge(judge);
    let found: Vec<&str> = finding.anomalies.iter().map(|anomaly| anomaly.code).collect();
    let code = claim.name();
    let expected: &[&str] = if holds { &[] } else { &[code] };
    assert_eq!((found.as_slice(), finding.unknown.len()), (expected, 0), "{what}: {finding:#?}");
}

fn at(second: i64) -> Json {
    Json::from(fixtures::value::time_to_iso(EPOCH_US + second * 1_000_000))
}

/// The device's first queued transaction is committed with these changes, answered and completed.
fn land(story: &mut Story, device: u32, rows: &[(RowId, Option<Json>)], conflicts: Vec<ConflictRecord>) {
    let tx: LocalTx = story.queued[device as usize][0].clone();
    let tx_id = tx.tx_id.expect("it queued");
    let answers = story.applied_answers(device);
    story.attempt(device, tx_id, 1, Phase::Invoke, None, Vec::new());
    let rows: Vec<_> = rows
        .iter()
        .map(|(row, set)| {
            let image = set.as_ref().map(|set| match story.server.contains_key(row) {
                true => story.changed(*row, set),
                false => story.image(*row, set),
            });
            (*row, image)
        })
        .collect();
    story.commit(Some((device, &tx)), &rows, answers.clone(), conflicts);
    story.attempt(device, tx_id, 1, Phase::Ok, Some(TxOutcome::Committed), answers);
    story.complete(device);
    story.write_checkpoint(device);
}

fn edit(story: &mut Story, device: u32, row: RowId, set: Json) {
    story.tx(device, &[(Op::Patch, row, set)]);
}

fn record(row: RowId, rule: &str, loser: (u32, i64)) -> ConflictRecord {
    let (device, op_id) = loser;
    ConflictRecord { row, column: None, rule: rule.to_owned(), loser: Writer::Client { device, op_id }, winner: Writer::Server }
}

#[test]
fn an_unsettled_run_tells_nothing_of_its_end() {
    let mut story = furnished();
    story.promises.claims = vec![Claim::CountersExact];
    let finding = story.judge(judge);
    assert_eq!((finding.verdict, finding.unknown.len()), (crate::Verdict::Unknown, 1));
}

#[test]
fn nothing_overridden() {
    let story = |second: &'static str, after: Json| move |story: &mut Story| {
        edit(story, 0, CARD, json!({"title": "a"}));
        edit(story, 1, CARD, json!({second: "b"}));
        land(story, 0, &[(CARD, Some(json!({"title": "a"})))], vec![]);
        land(story, 1, &[(CARD, Some(after))], vec![]);
    };
    let claim = Claim::NothingOverridden;
    check("different columns", claim, true, story("body", json!({"body": "b"})));
    check("one column", claim, false, story("title", json!({"title": "b"})));
    check("different columns, one lost", claim, false, story("body", json!({"body": "b", "title": "card"})));
    check("deleted unseen", claim, false, |story| {
        edit(story, 0, CARD, json!({"title": "a"}));
        story.tx(1, &[(Op::Delete, CARD, Json::Null)]);
        land(story, 0, &[(CARD, Some(json!({"title": "a"})))], vec![]);
        land(story, 1, &[(CARD, None)], vec![]);
    });
    check("deleted by one who saw it", claim, true, |story| {
        edit(story, 0, CARD, json!({"title": "a"}));
        land(story, 0, &[(CARD, Some(json!({"title": "a"})))], vec![]);
        story.apply(1);
        story.tx(1, &[(Op::Delete, CARD, Json::Null)]);
        land(story, 1, &[(CARD, None)], vec![]);
    });
}

#[test]
fn greatest_stamp_stays() {
    let story = |second: i64, after: &'static str| move |story: &mut Story| {
        edit(story, 0, CARD, json!({"title": "a", "updated_at": at(50)}));
        edit(story, 1, CARD, json!({"title": "b", "updated_at": at(second)}));
        land(story, 0, &[(CARD, Some(json!({"title": "a"})))], vec![]);
        land(story, 1, &[(CARD, Some(json!({"title": after})))], vec![]);
    };
    let claim = Claim::GreatestStampStays;
    check("the later one stays", claim, true, story(60, "b"));
    check("the later one stays, though it came first", claim, true, story(40, "a"));
    check("the earlier one stays", claim, false, story(40, "b"));
    check("the earlier one stays, as it came first", claim, false, story(60, "a"));
    check("the greater client stays", claim, true, story(50, "b"));
    check("the smaller client stays", claim, false, story(50, "a"));
    check("a third value", claim, false, story(60, "c"));
    check("what was seen is overridden whatever the clock", claim, true, |story| {
        edit(story, 0, CARD, json!({"title": "a", "updated_at": at(90)}));
        land(story, 0, &[(CARD, Some(json!({"title": "a"})))], vec![]);
        story.apply(1);
        edit(story, 1, CARD, json!({"title": "b", "updated_at": at(10)}));
        land(story, 1, &[(CARD, Some(json!({"title": "b"})))], vec![]);
    });
}

#[test]
fn deleted_stay_deleted() {
    let story = |after: Option<Json>| move |story: &mut Story| {
        story.tx(0, &[(Op::Delete, LABEL, Json::Null)]);
        edit(story, 1, LABEL, json!({"value": "a"}));
        land(story, 0, &[(LABEL, None)], vec![]);
        land(story, 1, &[(LABEL, after)], vec![]);
    };
    let claim = Claim::DeletedStayDeleted;
    check("an edit of a deleted row", claim, true, story(None));
    check("an edit that brings it back", claim, false, story(Some(json!({"key": "colour"}))));
    check("created again", claim, true, |story| {
        story.tx(0, &[(Op::Delete, LABEL, Json::Null)]);
        land(story, 0, &[(LABEL, None)], vec![]);
        story.tx(0, &[(Op::Put, LABEL, json!({"key": "colour"}))]);
        land(story, 0, &[(LABEL, Some(json!({"key": "colour"})))], vec![]);
    });
}

#[test]
fn groups_whole() {
    let story = |after: Json| move |story: &mut Story| {
        edit(story, 0, CARD, json!({"x": 1.0, "y": 1.0}));
        edit(story, 1, CARD, json!({"x": 2.0, "y": 2.0}));
        land(story, 0, &[(CARD, Some(json!({"x": 1.0, "y": 1.0})))], vec![]);
        land(story, 1, &[(CARD, Some(after))], vec![]);
    };
    check("one of them", Claim::GroupsWhole, true, story(json!({"x": 2.0, "y": 2.0})));
    check("half and half", Claim::GroupsWhole, false, story(json!({"x": 2.0})));
}

#[test]
fn counters_exact() {
    let story = |hits: i64| move |story: &mut Story| {
        edit(story, 0, CARD, json!({"hits": 1}));
        edit(story, 1, CARD, json!({"hits": 2}));
        land(story, 0, &[(CARD, Some(json!({"hits": 1})))], vec![]);
        land(story, 1, &[(CARD, Some(json!({"hits": hits})))], vec![]);
    };
    check("the sum", Claim::CountersExact, true, story(3));
    check("the last", Claim::CountersExact, false, story(2));
}

#[test]
fn sets_exact() {
    let story = |first: &'static str, second: &'static str, after: &'static str| move |story: &mut Story| {
        edit(story, 0, CARD, json!({"tags": r#"["a","b"]"#}));
        land(story, 0, &[(CARD, Some(json!({"tags": r#"["a","b"]"#})))], vec![]);
        story.apply(0);
        story.apply(1);
        edit(story, 0, CARD, json!({"tags": first}));
        edit(story, 1, CARD, json!({"tags": second}));
        land(story, 0, &[(CARD, Some(json!({"tags": first})))], vec![]);
        land(story, 1, &[(CARD, Some(json!({"tags": after})))], vec![]);
    };
    let claim = Claim::SetsExact;
    check("additions", claim, true, story(r#"["a","b","c"]"#, r#"["a","b","d"]"#, r#"["a","b","c","d"]"#));
    check("an addition is missing", claim, false, story(r#"["a","b","c"]"#, r#"["a","b","d"]"#, r#"["a","b","d"]"#));
    check("a removal", claim, true, story(r#"["a"]"#, r#"["a","b","d"]"#, r#"["a","d"]"#));
    check("a removal is undone", claim, false, story(r#"["a"]"#, r#"["a","b","d"]"#, r#"["a","b","d"]"#));
    check("a stranger", claim, false, story(r#"["a"]"#, r#"["b"]"#, r#"["z"]"#));
}

#[test]
fn one_row_per_key() {
    let story = |merged: bool| move |story: &mut Story| {
        let (one, two) = (story.row("labels"), story.row("labels"));
        story.tx(0, &[(Op::Put, one, json!({"key": "k", "value": "a"}))]);
        story.tx(1, &[(Op::Put, two, json!({"key": "k", "value": "b"}))]);
        land(story, 0, &[(one, Some(json!({"key": "k", "value": "a"})))], vec![]);
        let row = if merged { one } else { two };
        land(story, 1, &[(row, Some(json!({"key": "k", "value": "b"})))], vec![]);
        if merged {
            let commit = story.history.events.iter_mut().rev().find_map(|event| match &mut event.what {
                What::Commit(commit) => Some(commit),
                _ => None,
            });
            commit.expect("there is a commit").aliases.push((two, one));
        }
    };
    check("merged", Claim::OneRowPerKey, true, story(true));
    let mut two = furnished();
    story(false)(&mut two);
    two.finish();
    two.promises.claims = vec![Claim::OneRowPerKey];
    let finding = two.judge(judge);
    assert!(!finding.anomalies.is_empty() && finding.anomalies.iter().all(|anomaly| anomaly.code == "one-row-per-key"));
}

#[test]
fn same_sequence() {
    let story = |last: Option<Json>| move |story: &mut Story| {
        let other = story.row("cards");
        story.server_write(&[(other, Some(json!({"title": "other", "place": 1})))]);
        story.apply(0);
        story.apply(1);
        story.tx(0, &[(Op::Patch, CARD, json!({"place": 2})), (Op::Patch, other, json!({"place": 3}))]);
        story.upload(0);
        story.apply(0);
        story.apply(1);
        if let Some(last) = last {
            let image = story.changed(CARD, &last);
            story.apply_rows(1, &[(CARD, Some(image))]);
            story.end();
        }
    };
    check("one sequence", Claim::SameSequence, true, story(None));
    let mut differing = furnished();
    story(Some(json!({"place": 9})))(&mut differing);
    expect("two sequences", Claim::SameSequence, false, differing);
}

#[test]
fn orphans_refused() {
    let story = |child_stays: bool, recorded: bool| move |story: &mut Story| {
        edit(story, 0, CARD, json!({"title": "a"}));
        story.tx(1, &[(Op::Delete, BOX, Json::Null)]);
        land(story, 0, &[(CARD, Some(json!({"title": "a"})))], vec![]);
        let mut rows = vec![(BOX, None)];
        if !child_stays {
            rows.push((CARD, None));
        }
        let records = if recorded { vec![record(CARD, "cascade", (0, 1))] } else { vec![] };
        land(story, 1, &rows, records);
    };
    check("the child goes, on record", Claim::OrphansRefused, true, story(false, true));
    check("the child goes silently", Claim::OrphansRefused, false, story(false, false));
    let mut orphan = furnished();
    story(true, false)(&mut orphan);
    orphan.finish();
    orphan.promises.claims = vec![Claim::OrphansRefused];
    let finding = orphan.judge(judge);
    assert!(!finding.anomalies.is_empty(), "an orphan stays: {finding:#?}");
}

#[test]
fn cycles_superseded() {
    let story = |closes: bool, recorded: bool| move |story: &mut Story| {
        let other = story.row("boxes");
        let (this_id, other_id) = (story.id(BOX), story.id(other));
        story.server_write(&[(other, Some(json!({"name": "other"})))]);
        story.apply(0);
        story.apply(1);
        edit(story, 0, BOX, json!({"parent_id": other_id.clone()}));
        edit(story, 1, other, json!({"parent_id": this_id.clone()}));
        land(story, 0, &[(BOX, Some(json!({"parent_id": other_id})))], vec![]);
        let rows = if closes { vec![(other, Some(json!({"parent_id": this_id})))] } else { vec![] };
        land(story, 1, &rows, if recorded { vec![record(other, "cycle", (1, 1))] } else { vec![] });
        story.apply(0);
        story.apply(1);
        story.end();
    };
    for (what, holds, closes, recorded) in
        [("superseded", true, false, true), ("superseded silently", false, false, false)]
    {
        let mut told = furnished();
        story(closes, recorded)(&mut told);
        expect(what, Claim::CyclesSuperseded, holds, told);
    }
    let mut cycle = furnished();
    story(true, false)(&mut cycle);
    cycle.promises.claims = vec![Claim::CyclesSuperseded];
    assert!(!cycle.judge(judge).anomalies.is_empty(), "a cycle is told");
}

#[test]
fn one_leader() {
    let story = |starts: bool, recorded: bool| move |story: &mut Story| {
        let other = story.row("boxes");
        story.server_write(&[(other, Some(json!({"name": "other", "running": 0})))]);
        story.apply(0);
        story.apply(1);
        edit(story, 0, BOX, json!({"running": 1}));
        edit(story, 1, other, json!({"running": 1}));
        land(story, 0, &[(BOX, Some(json!({"running": 1})))], vec![]);
        let rows = if starts { vec![(other, Some(json!({"running": 1})))] } else { vec![] };
        land(story, 1, &rows, if recorded { vec![record(other, "exclusive", (1, 1))] } else { vec![] });
        story.apply(0);
        story.apply(1);
    };
    check("the second does not start", Claim::OneLeader, true, story(false, true));
    check("the second does not start, silently", Claim::OneLeader, false, story(false, false));
    let mut both = furnished();
    story(true, false)(&mut both);
    expect("both run", Claim::OneLeader, false, both);
}

#[test]
fn one_commit_each() {
    let story = |again: bool, second: Outcome| move |story: &mut Story| {
        edit(story, 0, CARD, json!({"title": "a"}));
        story.attempt(0, 1, 1, Phase::Invoke, None, Vec::new());
        story.commit_as_sent(0);
        story.attempt(0, 1, 1, Phase::Ok, Some(TxOutcome::Committed), story.applied_answers(0));
        story.attempt(0, 1, 2, Phase::Invoke, None, Vec::new());
        if again {
            let tx = story.queued[0][0].clone();
            let image = story.changed(CARD, &json!({"title": "a", "body": "again"}));
            story.commit(Some((0, &tx)), &[(CARD, Some(image))], Vec::new(), Vec::new());
        }
        let answers: Vec<OpAnswer> = story.applied_answers(0).into_iter().map(|answer| OpAnswer { outcome: second, ..answer }).collect();
        story.attempt(0, 1, 2, Phase::Ok, Some(TxOutcome::Committed), answers);
        story.complete(0);
    };
    check("the first answer again", Claim::OneCommitEach, true, story(false, Outcome::Applied));
    check("another answer", Claim::OneCommitEach, false, story(false, Outcome::Superseded));
    check("committed twice", Claim::OneCommitEach, false, story(true, Outcome::Applied));
    check("answered without a commit", Claim::OneCommitEach, false, |story| {
        edit(story, 1, LABEL, json!({"value": "b"}));
        story.upload(1);
        edit(story, 0, CARD, json!({"title": "a"}));
        let answers = story.applied_answers(0);
        story.attempt(0, 1, 1, Phase::Ok, Some(TxOutcome::Committed), answers);
        story.complete(0);
    });
}

#[test]
fn one_refusal_per_expiry() {
    let story = |statuses: &'static [u16]| move |story: &mut Story| {
        for status in statuses {
            let phase = if *status == 200 { Phase::Ok } else { Phase::Fail };
            story.event(Who::Client(0), What::Stream { phase, status: Some(*status), reason: "" });
        }
    };
    let claim = Claim::OneRefusalPerExpiry;
    check("refused once", claim, true, story(&[200, 401, 200, 401, 200]));
    check("refused twice", claim, false, story(&[200, 401, 401, 200]));
    check("never back", claim, false, story(&[200, 401]));
}

#[test]
fn old_tokens_stay_good() {
    use crate::plan::Fault;
    let rotation = |phase| What::Fault { phase, key: 7, fault: Fault::KeyRotated { lag_us: 1_000_000 } };
    let refused = || What::Stream { phase: Phase::Fail, status: Some(401), reason: "refused" };
    let upload = || What::WriteCheckpoint { phase: Phase::Fail, number: None, status: Some(401) };
    let claim = Claim::OldTokensStayGood;
    check("refused while the key is unknown", claim, true, |story| {
        story.event(Who::Run, rotation(Phase::Invoke));
        story.event(Who::Client(0), refused());
        story.event(Who::Client(0), upload());
        story.event(Who::Run, rotation(Phase::Ok));
    });
    check("refused before any rotation", claim, false, |story| {
        story.event(Who::Client(0), refused());
        story.event(Who::Run, rotation(Phase::Invoke));
    });
    check("refused long after", claim, false, |story| {
        story.event(Who::Run, rotation(Phase::Invoke));
        story.event(Who::Run, rotation(Phase::Ok));
        story.wait(20_000_000);
        story.event(Who::Client(0), refused());
    });
    check("an upload refused", claim, false, |story| {
        edit(story, 0, CARD, json!({"title": "a"}));
        story.event(Who::Run, rotation(Phase::Invoke));
        story.event(Who::Client(0), What::Upload(crate::history::Upload {
            phase: Phase::Fail,
            tx_id: 1,
            attempt: 1,
            status: Some(401),
            outcome: None,
            ops: Vec::new(),
        }));
        story.event(Who::Run, rotation(Phase::Ok));
        story.upload(0);
    });
}
