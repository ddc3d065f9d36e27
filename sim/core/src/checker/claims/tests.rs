//! For each claim a history that contradicts it and a near twin that does not.

use serde_json::{Value as Json, json};

use super::check as judge;
use crate::checker::testing::{HistoryBuilder, with_seed_rows};
use crate::history::{ConflictRecord, LocalTx, Op, OpAnswer, Outcome, Phase, RowId, TxOutcome, What, Who, Writer};
use crate::plan::EPOCH_US;
use crate::promise::Claim;

const BOX: RowId = 0;
const CARD: RowId = 1;
const LABEL: RowId = 2;

/// Plays a builder of two with_seed_rows devices from second 100 on, lets everybody apply, and expects the claim's code
/// once, or nothing.
fn check(what: &str, claim: Claim, holds: bool, play: impl FnOnce(&mut HistoryBuilder)) {
    let mut builder = with_seed_rows();
    builder.wait(100_000_000);
    play(&mut builder);
    builder.finish();
    expect(what, claim, holds, builder);
}

fn expect(what: &str, claim: Claim, holds: bool, mut builder: HistoryBuilder) {
    builder.promises.claims = vec![claim];
    let finding = builder.judge(judge);
    let found: Vec<&str> = finding.anomalies.iter().map(|anomaly| anomaly.code).collect();
    let code = claim.name();
    let expected: &[&str] = if holds { &[] } else { &[code] };
    assert_eq!((found.as_slice(), finding.unknown.len()), (expected, 0), "{what}: {finding:#?}");
}

fn at(second: i64) -> Json {
    Json::from(fixtures::value::time_to_iso(EPOCH_US + second * 1_000_000))
}

/// The device's first queued transaction is committed with these changes, answered and completed.
fn land(builder: &mut HistoryBuilder, device: u32, rows: &[(RowId, Option<Json>)], conflicts: Vec<ConflictRecord>) {
    let tx: LocalTx = builder.queued[device as usize][0].clone();
    let tx_id = tx.tx_id.expect("it queued");
    let answers = builder.applied_answers(device);
    builder.attempt(device, tx_id, 1, Phase::Invoke, None, Vec::new());
    let rows: Vec<_> = rows
        .iter()
        .map(|(row, set)| {
            let image = set.as_ref().map(|set| match builder.server.contains_key(row) {
                true => builder.changed(*row, set),
                false => builder.image(*row, set),
            });
            (*row, image)
        })
        .collect();
    builder.commit(Some((device, &tx)), &rows, answers.clone(), conflicts);
    builder.attempt(device, tx_id, 1, Phase::Ok, Some(TxOutcome::Committed), answers);
    builder.complete(device);
    builder.write_checkpoint(device);
}

fn edit(builder: &mut HistoryBuilder, device: u32, row: RowId, set: Json) {
    builder.tx(device, &[(Op::Patch, row, set)]);
}

fn record(row: RowId, rule: &str, loser: (u32, i64)) -> ConflictRecord {
    let (device, op_id) = loser;
    ConflictRecord {
        row,
        column: None,
        rule: rule.to_owned(),
        loser: Writer::Client { device, op_id },
        winner: Writer::Server,
    }
}

#[test]
fn an_unsettled_run_tells_nothing_of_its_end() {
    let mut builder = with_seed_rows();
    builder.promises.claims = vec![Claim::CountersExact];
    let finding = builder.judge(judge);
    assert_eq!((finding.verdict, finding.unknown.len()), (crate::Verdict::Unknown, 1));
}

#[test]
fn nothing_overridden() {
    let builder = |second: &'static str, after: Json| {
        move |builder: &mut HistoryBuilder| {
            edit(builder, 0, CARD, json!({"title": "a"}));
            edit(builder, 1, CARD, json!({second: "b"}));
            land(builder, 0, &[(CARD, Some(json!({"title": "a"})))], vec![]);
            land(builder, 1, &[(CARD, Some(after))], vec![]);
        }
    };
    let claim = Claim::NothingOverridden;
    check("different columns", claim, true, builder("body", json!({"body": "b"})));
    check("one column", claim, false, builder("title", json!({"title": "b"})));
    check("different columns, one lost", claim, false, builder("body", json!({"body": "b", "title": "card"})));
    check("deleted unseen", claim, false, |builder| {
        edit(builder, 0, CARD, json!({"title": "a"}));
        builder.tx(1, &[(Op::Delete, CARD, Json::Null)]);
        land(builder, 0, &[(CARD, Some(json!({"title": "a"})))], vec![]);
        land(builder, 1, &[(CARD, None)], vec![]);
    });
    check("deleted by one who saw it", claim, true, |builder| {
        edit(builder, 0, CARD, json!({"title": "a"}));
        land(builder, 0, &[(CARD, Some(json!({"title": "a"})))], vec![]);
        builder.apply(1);
        builder.tx(1, &[(Op::Delete, CARD, Json::Null)]);
        land(builder, 1, &[(CARD, None)], vec![]);
    });
}

#[test]
fn greatest_stamp_stays() {
    let builder = |second: i64, after: &'static str| {
        move |builder: &mut HistoryBuilder| {
            edit(builder, 0, CARD, json!({"title": "a", "updated_at": at(50)}));
            edit(builder, 1, CARD, json!({"title": "b", "updated_at": at(second)}));
            land(builder, 0, &[(CARD, Some(json!({"title": "a"})))], vec![]);
            land(builder, 1, &[(CARD, Some(json!({"title": after})))], vec![]);
        }
    };
    let claim = Claim::GreatestStampStays;
    check("the later one stays", claim, true, builder(60, "b"));
    check("the later one stays, though it came first", claim, true, builder(40, "a"));
    check("the earlier one stays", claim, false, builder(40, "b"));
    check("the earlier one stays, as it came first", claim, false, builder(60, "a"));
    check("the greater client stays", claim, true, builder(50, "b"));
    check("the smaller client stays", claim, false, builder(50, "a"));
    check("a third value", claim, false, builder(60, "c"));
    // Device 0 goes from "card" to "a" and back; device 1 had "card", which is what it finds.
    check("back to the base of another counts as unchanged", claim, true, |builder| {
        edit(builder, 1, CARD, json!({"title": "b", "updated_at": at(40)}));
        edit(builder, 0, CARD, json!({"title": "a", "updated_at": at(60)}));
        edit(builder, 0, CARD, json!({"title": "card", "updated_at": at(61)}));
        land(builder, 0, &[(CARD, Some(json!({"title": "a"})))], vec![]);
        land(builder, 0, &[(CARD, Some(json!({"title": "card"})))], vec![]);
        land(builder, 1, &[(CARD, Some(json!({"title": "b"})))], vec![]);
    });
    check("what was seen is overridden whatever the clock", claim, true, |builder| {
        edit(builder, 0, CARD, json!({"title": "a", "updated_at": at(90)}));
        land(builder, 0, &[(CARD, Some(json!({"title": "a"})))], vec![]);
        builder.apply(1);
        edit(builder, 1, CARD, json!({"title": "b", "updated_at": at(10)}));
        land(builder, 1, &[(CARD, Some(json!({"title": "b"})))], vec![]);
    });
}

#[test]
fn deleted_stay_deleted() {
    let builder = |after: Option<Json>| {
        move |builder: &mut HistoryBuilder| {
            builder.tx(0, &[(Op::Delete, LABEL, Json::Null)]);
            edit(builder, 1, LABEL, json!({"value": "a"}));
            land(builder, 0, &[(LABEL, None)], vec![]);
            land(builder, 1, &[(LABEL, after)], vec![]);
        }
    };
    let claim = Claim::DeletedStayDeleted;
    check("an edit of a deleted row", claim, true, builder(None));
    check("an edit that brings it back", claim, false, builder(Some(json!({"key": "colour"}))));
    check("created again", claim, true, |builder| {
        builder.tx(0, &[(Op::Delete, LABEL, Json::Null)]);
        land(builder, 0, &[(LABEL, None)], vec![]);
        builder.tx(0, &[(Op::Put, LABEL, json!({"key": "colour"}))]);
        land(builder, 0, &[(LABEL, Some(json!({"key": "colour"})))], vec![]);
    });
}

#[test]
fn groups_whole() {
    let builder = |after: Json| {
        move |builder: &mut HistoryBuilder| {
            edit(builder, 0, CARD, json!({"x": 1.0, "y": 1.0}));
            edit(builder, 1, CARD, json!({"x": 2.0, "y": 2.0}));
            land(builder, 0, &[(CARD, Some(json!({"x": 1.0, "y": 1.0})))], vec![]);
            land(builder, 1, &[(CARD, Some(after))], vec![]);
        }
    };
    check("one of them", Claim::GroupsWhole, true, builder(json!({"x": 2.0, "y": 2.0})));
    check("half and half", Claim::GroupsWhole, false, builder(json!({"x": 2.0})));
}

#[test]
fn counters_exact() {
    let builder = |hits: i64| {
        move |builder: &mut HistoryBuilder| {
            edit(builder, 0, CARD, json!({"hits": 1}));
            edit(builder, 1, CARD, json!({"hits": 2}));
            land(builder, 0, &[(CARD, Some(json!({"hits": 1})))], vec![]);
            land(builder, 1, &[(CARD, Some(json!({"hits": hits})))], vec![]);
        }
    };
    check("the sum", Claim::CountersExact, true, builder(3));
    check("the last", Claim::CountersExact, false, builder(2));
}

#[test]
fn sets_exact() {
    let builder = |first: &'static str, second: &'static str, after: &'static str| {
        move |builder: &mut HistoryBuilder| {
            edit(builder, 0, CARD, json!({"tags": r#"["a","b"]"#}));
            land(builder, 0, &[(CARD, Some(json!({"tags": r#"["a","b"]"#})))], vec![]);
            builder.apply(0);
            builder.apply(1);
            edit(builder, 0, CARD, json!({"tags": first}));
            edit(builder, 1, CARD, json!({"tags": second}));
            land(builder, 0, &[(CARD, Some(json!({"tags": first})))], vec![]);
            land(builder, 1, &[(CARD, Some(json!({"tags": after})))], vec![]);
        }
    };
    let claim = Claim::SetsExact;
    check("additions", claim, true, builder(r#"["a","b","c"]"#, r#"["a","b","d"]"#, r#"["a","b","c","d"]"#));
    check("an addition is missing", claim, false, builder(r#"["a","b","c"]"#, r#"["a","b","d"]"#, r#"["a","b","d"]"#));
    check("a removal", claim, true, builder(r#"["a"]"#, r#"["a","b","d"]"#, r#"["a","d"]"#));
    check("a removal is undone", claim, false, builder(r#"["a"]"#, r#"["a","b","d"]"#, r#"["a","b","d"]"#));
    check("a stranger", claim, false, builder(r#"["a"]"#, r#"["b"]"#, r#"["z"]"#));
}

#[test]
fn one_row_per_key() {
    let builder = |merged: bool| {
        move |builder: &mut HistoryBuilder| {
            let (one, two) = (builder.row("labels"), builder.row("labels"));
            builder.tx(0, &[(Op::Put, one, json!({"key": "k", "value": "a"}))]);
            builder.tx(1, &[(Op::Put, two, json!({"key": "k", "value": "b"}))]);
            land(builder, 0, &[(one, Some(json!({"key": "k", "value": "a"})))], vec![]);
            let row = if merged { one } else { two };
            land(builder, 1, &[(row, Some(json!({"key": "k", "value": "b"})))], vec![]);
            if merged {
                let commit = builder.history.events.iter_mut().rev().find_map(|event| match &mut event.what {
                    What::Commit(commit) => Some(commit),
                    _ => None,
                });
                commit.expect("there is a commit").aliases.push((two, one));
            }
        }
    };
    check("merged", Claim::OneRowPerKey, true, builder(true));
    let mut two = with_seed_rows();
    builder(false)(&mut two);
    two.finish();
    two.promises.claims = vec![Claim::OneRowPerKey];
    let finding = two.judge(judge);
    assert!(!finding.anomalies.is_empty() && finding.anomalies.iter().all(|anomaly| anomaly.code == "one-row-per-key"));
}

#[test]
fn same_sequence() {
    let builder = |last: Option<Json>| {
        move |builder: &mut HistoryBuilder| {
            let other = builder.row("cards");
            builder.server_write(&[(other, Some(json!({"title": "other", "place": 1})))]);
            builder.apply(0);
            builder.apply(1);
            builder.tx(0, &[(Op::Patch, CARD, json!({"place": 2})), (Op::Patch, other, json!({"place": 3}))]);
            builder.upload(0);
            builder.apply(0);
            builder.apply(1);
            if let Some(last) = last {
                let image = builder.changed(CARD, &last);
                builder.apply_rows(1, &[(CARD, Some(image))]);
                builder.end();
            }
        }
    };
    check("one sequence", Claim::SameSequence, true, builder(None));
    let mut differing = with_seed_rows();
    builder(Some(json!({"place": 9})))(&mut differing);
    expect("two sequences", Claim::SameSequence, false, differing);
}

#[test]
fn orphans_refused() {
    let builder = |child_stays: bool, recorded: bool| {
        move |builder: &mut HistoryBuilder| {
            edit(builder, 0, CARD, json!({"title": "a"}));
            builder.tx(1, &[(Op::Delete, BOX, Json::Null)]);
            land(builder, 0, &[(CARD, Some(json!({"title": "a"})))], vec![]);
            let mut rows = vec![(BOX, None)];
            if !child_stays {
                rows.push((CARD, None));
            }
            let records = if recorded { vec![record(CARD, "cascade", (0, 1))] } else { vec![] };
            land(builder, 1, &rows, records);
        }
    };
    check("the child goes, on record", Claim::OrphansRefused, true, builder(false, true));
    check("the child goes silently", Claim::OrphansRefused, false, builder(false, false));
    let mut orphan = with_seed_rows();
    builder(true, false)(&mut orphan);
    orphan.finish();
    orphan.promises.claims = vec![Claim::OrphansRefused];
    let finding = orphan.judge(judge);
    assert!(!finding.anomalies.is_empty(), "an orphan stays: {finding:#?}");
}

#[test]
fn cycles_superseded() {
    let builder = |closes: bool, recorded: bool| {
        move |builder: &mut HistoryBuilder| {
            let other = builder.row("boxes");
            let (this_id, other_id) = (builder.id(BOX), builder.id(other));
            builder.server_write(&[(other, Some(json!({"name": "other"})))]);
            builder.apply(0);
            builder.apply(1);
            edit(builder, 0, BOX, json!({"parent_id": other_id.clone()}));
            edit(builder, 1, other, json!({"parent_id": this_id.clone()}));
            land(builder, 0, &[(BOX, Some(json!({"parent_id": other_id})))], vec![]);
            let rows = if closes { vec![(other, Some(json!({"parent_id": this_id})))] } else { vec![] };
            land(builder, 1, &rows, if recorded { vec![record(other, "cycle", (1, 1))] } else { vec![] });
            builder.apply(0);
            builder.apply(1);
            builder.end();
        }
    };
    for (what, holds, closes, recorded) in
        [("superseded", true, false, true), ("superseded silently", false, false, false)]
    {
        let mut told = with_seed_rows();
        builder(closes, recorded)(&mut told);
        expect(what, Claim::CyclesSuperseded, holds, told);
    }
    let mut cycle = with_seed_rows();
    builder(true, false)(&mut cycle);
    cycle.promises.claims = vec![Claim::CyclesSuperseded];
    assert!(!cycle.judge(judge).anomalies.is_empty(), "a cycle is told");
}

#[test]
fn one_leader() {
    let builder = |starts: bool, recorded: bool| {
        move |builder: &mut HistoryBuilder| {
            let other = builder.row("boxes");
            builder.server_write(&[(other, Some(json!({"name": "other", "running": 0})))]);
            builder.apply(0);
            builder.apply(1);
            edit(builder, 0, BOX, json!({"running": 1}));
            edit(builder, 1, other, json!({"running": 1}));
            land(builder, 0, &[(BOX, Some(json!({"running": 1})))], vec![]);
            let rows = if starts { vec![(other, Some(json!({"running": 1})))] } else { vec![] };
            land(builder, 1, &rows, if recorded { vec![record(other, "exclusive", (1, 1))] } else { vec![] });
            builder.apply(0);
            builder.apply(1);
        }
    };
    check("the second does not start", Claim::OneLeader, true, builder(false, true));
    check("the second does not start, silently", Claim::OneLeader, false, builder(false, false));
    let mut both = with_seed_rows();
    builder(true, false)(&mut both);
    expect("both run", Claim::OneLeader, false, both);
}

#[test]
fn one_commit_each() {
    let builder = |again: bool, second: Outcome| {
        move |builder: &mut HistoryBuilder| {
            edit(builder, 0, CARD, json!({"title": "a"}));
            builder.attempt(0, 1, 1, Phase::Invoke, None, Vec::new());
            builder.commit_as_sent(0);
            builder.attempt(0, 1, 1, Phase::Ok, Some(TxOutcome::Committed), builder.applied_answers(0));
            builder.attempt(0, 1, 2, Phase::Invoke, None, Vec::new());
            if again {
                let tx = builder.queued[0][0].clone();
                let image = builder.changed(CARD, &json!({"title": "a", "body": "again"}));
                builder.commit(Some((0, &tx)), &[(CARD, Some(image))], Vec::new(), Vec::new());
            }
            let answers: Vec<OpAnswer> =
                builder.applied_answers(0).into_iter().map(|answer| OpAnswer { outcome: second, ..answer }).collect();
            builder.attempt(0, 1, 2, Phase::Ok, Some(TxOutcome::Committed), answers);
            builder.complete(0);
        }
    };
    check("the first answer again", Claim::OneCommitEach, true, builder(false, Outcome::Applied));
    check("another answer", Claim::OneCommitEach, false, builder(false, Outcome::Superseded));
    check("committed twice", Claim::OneCommitEach, false, builder(true, Outcome::Applied));
    check("answered without a commit", Claim::OneCommitEach, false, |builder| {
        edit(builder, 1, LABEL, json!({"value": "b"}));
        builder.upload(1);
        edit(builder, 0, CARD, json!({"title": "a"}));
        let answers = builder.applied_answers(0);
        builder.attempt(0, 1, 1, Phase::Ok, Some(TxOutcome::Committed), answers);
        builder.complete(0);
    });
}

#[test]
fn one_refusal_per_expiry() {
    let builder = |statuses: &'static [u16]| {
        move |builder: &mut HistoryBuilder| {
            for status in statuses {
                let phase = if *status == 200 { Phase::Ok } else { Phase::Fail };
                builder.event(Who::Client(0), What::Stream { phase, status: Some(*status), reason: "" });
            }
        }
    };
    let claim = Claim::OneRefusalPerExpiry;
    check("refused once", claim, true, builder(&[200, 401, 200, 401, 200]));
    check("refused twice", claim, false, builder(&[200, 401, 401, 200]));
    check("never back", claim, false, builder(&[200, 401]));
}

#[test]
fn a_wrong_audience_lasts_until_the_last_fault_of_it_ends() {
    use crate::plan::Fault;
    let fault = |phase, key| What::Fault { phase, key, fault: Fault::WrongAudience { device: 0, for_us: 1_000_000 } };
    let stream = |status| What::Stream {
        phase: if status == 200 { Phase::Ok } else { Phase::Fail },
        status: Some(status),
        reason: "",
    };
    let builder = |second_end: bool| {
        move |builder: &mut HistoryBuilder| {
            builder.event(Who::Run, fault(Phase::Invoke, 1));
            builder.event(Who::Run, fault(Phase::Invoke, 2));
            builder.event(Who::Client(0), stream(401));
            builder.event(Who::Run, fault(Phase::Ok, 1));
            if second_end {
                builder.event(Who::Run, fault(Phase::Ok, 2));
            }
            builder.event(Who::Client(0), stream(401));
            builder.event(Who::Client(0), stream(401));
            if !second_end {
                builder.event(Who::Run, fault(Phase::Ok, 2));
            }
            builder.event(Who::Client(0), stream(200));
        }
    };
    check("refused while the second lasts", Claim::OneRefusalPerExpiry, true, builder(false));
    check("refused twice after both", Claim::OneRefusalPerExpiry, false, builder(true));
}

#[test]
fn old_tokens_stay_good() {
    use crate::plan::Fault;
    let rotation = |phase| What::Fault { phase, key: 7, fault: Fault::KeyRotated { lag_us: 1_000_000 } };
    let refused = || What::Stream { phase: Phase::Fail, status: Some(401), reason: "refused" };
    let upload = || What::WriteCheckpoint { phase: Phase::Fail, number: None, status: Some(401) };
    let claim = Claim::OldTokensStayGood;
    check("refused while the key is unknown", claim, true, |builder| {
        builder.event(Who::Run, rotation(Phase::Invoke));
        builder.event(Who::Client(0), refused());
        builder.event(Who::Client(0), upload());
        builder.event(Who::Run, rotation(Phase::Ok));
    });
    check("refused before any rotation", claim, false, |builder| {
        builder.event(Who::Client(0), refused());
        builder.event(Who::Run, rotation(Phase::Invoke));
    });
    check("refused long after", claim, false, |builder| {
        builder.event(Who::Run, rotation(Phase::Invoke));
        builder.event(Who::Run, rotation(Phase::Ok));
        builder.wait(20_000_000);
        builder.event(Who::Client(0), refused());
    });
    check("an upload refused", claim, false, |builder| {
        edit(builder, 0, CARD, json!({"title": "a"}));
        builder.event(Who::Run, rotation(Phase::Invoke));
        builder.event(
            Who::Client(0),
            What::Upload(crate::history::Upload {
                phase: Phase::Fail,
                tx_id: 1,
                attempt: 1,
                status: Some(401),
                outcome: None,
                ops: Vec::new(),
                said: None,
            }),
        );
        builder.event(Who::Run, rotation(Phase::Ok));
        builder.upload(0);
    });
}
