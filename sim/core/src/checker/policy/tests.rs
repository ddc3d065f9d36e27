//! Servers that do what they should not, and histories that cannot be judged.

use fixtures::{Row, Value};

use crate::history::{Commit, ConflictRecord, History, OpAnswer, Outcome, What, Writer};
use crate::model::tests::judge;
use crate::model::tests::script::{app, play};
use crate::verdict::Verdict;

/// Two writers of one label; the later commit is the older write and loses. Commits: seed, client/0, client/1, and
/// one more of client/0 that shows whether a defect is told twice.
const CONTEST: &str = r#"
    seed p1 {"label":"a","kind":"tree"}
    0@20 PATCH p1 {"label":"b"} old {"label":"a"} => applied
    1@10 PATCH p1 {"label":"c","kind":"moss"} old {"label":"a","kind":"tree"} => merged by 0/1; owes p1.label latest 1/1<0/1
    0@30 PATCH p1 {"kind":"fern"} old {"kind":"moss"} => applied"#;

/// Two inserts of one key.
const KEYS: &str = r#"
    0@20 PUT o1 {"key":"k","value":"x"} => applied
    1@10 PUT o2 {"key":"k","value":"y"} => merged into o1 by 0/1; owes o1.value latest 1/1<0/1"#;

/// A refusal.
const REFUSED: &str = r#"
    seed p1 {"label":"a"}
    0@20 PATCH p1 {"label":"b"} old {"label":"a"} ; PATCH p9 {"label":"b"} => rolled back; rejected (no-such-row)"#;

fn commit(history: &mut History, seq: u64) -> &mut Commit {
    let commits = history.events.iter_mut().filter_map(|event| match &mut event.what {
        What::Commit(commit) => Some(commit),
        _ => None,
    });
    commits.into_iter().find(|commit| commit.seq == seq).expect("the script has that many commits")
}

fn with(row: &Row, column: usize, value: Value) -> Option<Row> {
    let mut image = row.to_vec();
    image[column] = value;
    Some(image.into())
}

/// Changes what a commit left of its first row, there and in the image that the next commit finds.
fn leave(history: &mut History, seq: u64, column: usize, value: &Value) {
    for (at, after) in [(seq, true), (seq + 1, false)] {
        if let Some(change) =
            commits(history).find(|commit| commit.seq == at).and_then(|commit| commit.changes.first_mut())
        {
            let side = if after { &mut change.after } else { &mut change.before };
            *side = with(side.as_ref().expect("the row is there"), column, value.clone());
        }
    }
}

fn commits(history: &mut History) -> impl Iterator<Item = &mut Commit> {
    history.events.iter_mut().filter_map(|event| match &mut event.what {
        What::Commit(commit) => Some(commit),
        _ => None,
    })
}

/// Expects that a server with this defect is found out, each anomaly as code and role.
fn reject(script: &str, defect: impl Fn(&mut History), expect: &[(&str, &str)]) {
    let mut history = play("field-merge", script);
    defect(&mut history);
    let finding = judge(&history);
    let found: Vec<(&str, &str)> = finding.anomalies.iter().map(|one| (one.code, one.role.as_str())).collect();
    assert_eq!(found, expect, "{finding:#?}");
}

#[test]
fn a_sound_server_is_accepted() {
    for script in [CONTEST, KEYS, REFUSED] {
        assert_eq!(judge(&play("field-merge", script)).verdict, Verdict::Valid, "{script}");
    }
}

#[test]
fn wrong_rows() {
    let label = app().schema.tables[1].column_index("label").expect("plants have labels");
    // The older write is taken: told once, though outcome and record are wrong with it, and what follows is judged
    // from what the server has.
    reject(
        CONTEST,
        |history| {
            leave(history, 3, label, &Value::text("c"));
            commit(history, 4).changes[0].after =
                with(commit(history, 4).changes[0].after.clone().as_ref().expect("there"), label, Value::text("c"));
            commit(history, 3).ledger[0].outcome = Outcome::Applied;
            commit(history, 3).conflicts.clear();
        },
        &[("wrong-row", "plants.label")],
    );
    // A third value.
    reject(
        CONTEST,
        |history| {
            leave(history, 3, label, &Value::text("bc"));
            let after = commit(history, 4).changes[0].after.clone().expect("there");
            commit(history, 4).changes[0].after = with(&after, label, Value::text("bc"));
        },
        &[("wrong-row", "plants.label")],
    );
    // The write is acknowledged and dropped.
    reject(CONTEST, |history| commit(history, 4).changes.clear(), &[("wrong-row", "plants.kind")]);
    // A row that nobody named is written beside.
    reject(
        KEYS,
        |history| {
            let change = commit(history, 1).changes[0].clone();
            commit(history, 2).changes.push(crate::history::Change { row: 1, before: None, ..change });
        },
        &[("wrong-row", "options")],
    );
}

#[test]
fn wrong_answers() {
    reject(
        CONTEST,
        |history| commit(history, 3).ledger[0].outcome = Outcome::Superseded,
        &[("wrong-outcome", "plants")],
    );
    let other = Writer::Client { device: 2, op_id: 9 };
    reject(CONTEST, |history| commit(history, 3).ledger[0].by = Some(other.clone()), &[("wrong-outcome", "plants")]);
    reject(CONTEST, |history| commit(history, 3).ledger.clear(), &[("wrong-outcome", "plants")]);
    reject(KEYS, |history| commit(history, 2).ledger[0].merged_into = None, &[("wrong-outcome", "options")]);
}

#[test]
fn wrong_records() {
    let other = Writer::Client { device: 2, op_id: 9 };
    reject(CONTEST, |history| commit(history, 3).conflicts.clear(), &[("missing-record", "plants.label")]);
    reject(
        CONTEST,
        |history| commit(history, 3).conflicts[0].winner = other.clone(),
        &[("wrong-record", "plants.label")],
    );
    reject(
        CONTEST,
        |history| "max".clone_into(&mut commit(history, 3).conflicts[0].rule),
        &[("wrong-record", "plants.label")],
    );
    reject(
        CONTEST,
        |history| {
            let record = commit(history, 3).conflicts[0].clone();
            commit(history, 3).conflicts.push(ConflictRecord { column: Some("kind".to_owned()), ..record });
        },
        &[("unexpected-record", "plants.kind")],
    );
}

#[test]
fn wrong_aliases() {
    reject(KEYS, |history| commit(history, 2).aliases.clear(), &[("missing-alias", "options")]);
    reject(CONTEST, |history| commit(history, 3).aliases.push((0, 0)), &[("wrong-alias", "plants")]);
}

#[test]
fn wrong_refusals() {
    let answers = |outcome: Outcome| {
        move |answer: &OpAnswer| OpAnswer { outcome, reason: None, by: None, merged_into: None, ..answer.clone() }
    };
    // Refused without need.
    reject(
        CONTEST,
        |history| {
            let before = commit(history, 3).changes[0].before.clone();
            let refused = commit(history, 3);
            refused.ledger = refused.ledger.iter().map(answers(Outcome::Rejected)).collect();
            refused.changes.clear();
            refused.conflicts.clear();
            let after = with(before.as_ref().expect("there"), 1, Value::text("fern"));
            commit(history, 4).changes[0] = crate::history::Change { row: 0, before, after, op_id: None };
            // What follows has a base that is no longer the server's.
            commit(history, 4).changes.clear();
            history.events.truncate(history.events.len() - 2);
        },
        &[("should-not-have-refused", "plants")],
    );
    // Applied though one of its operations is to be rejected.
    reject(
        REFUSED,
        |history| {
            let before = commit(history, 1).changes[0].after.clone();
            let applied = commit(history, 2);
            applied.ledger = applied.ledger.iter().map(answers(Outcome::Applied)).collect();
            let after = with(before.as_ref().expect("there"), 0, Value::text("b"));
            applied.changes.push(crate::history::Change { row: 0, before, after, op_id: None });
        },
        &[("should-have-refused", "plants")],
    );
    // Refused, and half of it stayed.
    reject(
        REFUSED,
        |history| {
            let before = commit(history, 1).changes[0].after.clone();
            let after = with(before.as_ref().expect("there"), 0, Value::text("b"));
            commit(history, 2).changes.push(crate::history::Change { row: 0, before, after, op_id: None });
        },
        &[("refused-but-changed", "plants")],
    );
    // Refused because of the wrong operation.
    reject(
        REFUSED,
        |history| {
            commit(history, 2).ledger[0].outcome = Outcome::Rejected;
            commit(history, 2).ledger[1].outcome = Outcome::RolledBack;
        },
        &[("wrong-outcome", "plants")],
    );
}

#[test]
fn what_cannot_be_judged() {
    let verdict = |change: &dyn Fn(&mut History)| {
        let mut history = play("field-merge", CONTEST);
        change(&mut history);
        judge(&history).verdict
    };
    assert_eq!(verdict(&|history| "wishful".clone_into(&mut history.header.policy)), Verdict::Unknown);
    // The device's transaction is not in the history.
    let local = |history: &mut History| history.events.retain(|event| !matches!(event.what, What::Tx(_)));
    assert_eq!(verdict(&local), Verdict::Unknown);
    // Somebody wrote past the commits.
    assert_eq!(
        verdict(&|history| {
            let change = &mut commit(history, 4).changes[0];
            change.before = with(change.before.as_ref().expect("there"), 3, Value::text("?"));
            change.after = with(change.after.as_ref().expect("there"), 3, Value::text("?"));
        }),
        Verdict::Unknown
    );
    // Without a ledger anywhere, rows alone are judged.
    assert_eq!(
        verdict(&|history| {
            for commit in commits(history) {
                commit.ledger.clear();
                commit.conflicts.clear();
            }
        }),
        Verdict::Valid
    );
}
