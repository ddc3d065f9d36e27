//! What somebody else wrote makes claims about its rows unknown, and no others.

use serde_json::json;

use super::{BOX, CARD, MEMO, sound};
use crate::checker::testing::{HistoryBuilder, with_seed_rows};
use crate::checker::{Context, Report, check_all, examine};
use crate::history::{Commit, Op, What};
use crate::promise::NO_POLICY;
use crate::verdict::Verdict;

/// An edit of the card is applied twice, and somebody else writes a row in between.
fn doubled(theirs: Option<u32>) -> HistoryBuilder {
    let mut builder = with_seed_rows();
    builder.tx(0, &[(Op::Patch, CARD, json!({"title": "mine"}))]);
    builder.commit_as_sent(0);
    let row = theirs.unwrap_or(BOX);
    let column = if row == CARD { "title" } else { "name" };
    let image = builder.changed(row, &json!({ column: "theirs" }));
    builder.commit(None, &[(row, Some(image))], Vec::new(), Vec::new());
    if theirs.is_some() {
        last_commit(&mut builder).foreign = true;
    }
    let image = builder.changed(CARD, &json!({"title": "again"}));
    builder.commit(None, &[(CARD, Some(image))], Vec::new(), Vec::new());
    builder.commit_as_sent(0);
    builder.complete(0);
    builder.finish();
    builder
}

fn last_commit(builder: &mut HistoryBuilder) -> &mut Commit {
    let events = builder.history.events.iter_mut().rev();
    let mut commits =
        events.filter_map(|event| if let What::Commit(commit) = &mut event.what { Some(commit) } else { None });
    commits.next().expect("there is one")
}

fn judged(builder: &HistoryBuilder) -> Report {
    let ctx = Context { app: &builder.app, history: &builder.history, promises: &builder.promises };
    let only = Some(&["exactly-once", "protocol"][..]);
    let report = check_all(&ctx, only);
    assert_eq!(examine(&ctx, only).report, report, "both ways say the same");
    report
}

#[test]
fn a_foreign_write_makes_claims_about_its_row_unknown() {
    let report = judged(&doubled(None));
    assert_eq!(report.verdict(), Verdict::Invalid, "the server's own write is no stranger's");
    let report = judged(&doubled(Some(CARD)));
    assert_eq!(report.verdict(), Verdict::Unknown);
    let finding = report.finding("exactly-once").expect("it ran");
    assert_eq!(
        finding.unknown,
        ["Somebody else wrote cards#1 meanwhile; 1 contradiction that may come from it is set aside."]
    );
}

#[test]
fn a_contradiction_about_other_rows_stands() {
    let report = judged(&doubled(Some(BOX)));
    assert_eq!(report.verdict(), Verdict::Invalid);
    let finding = report.finding("exactly-once").expect("it ran");
    assert_eq!(finding.anomalies.len(), 1);
    assert_eq!(finding.unknown, ["Somebody else wrote boxes#0 meanwhile."]);
}

#[test]
fn a_contradiction_about_another_row_of_the_same_table_stands_too() {
    let mut builder = with_seed_rows();
    let (mine, theirs) = (builder.row("cards"), builder.row("cards"));
    for row in [mine, theirs] {
        let image = builder.image(row, &json!({"title": "there"}));
        builder.commit(None, &[(row, Some(image))], Vec::new(), Vec::new());
    }
    for row in [theirs, mine] {
        builder.tx(0, &[(Op::Patch, row, json!({"title": "mine"}))]);
        builder.commit_as_sent(0);
        let image = builder.changed(row, &json!({"title": "theirs"}));
        builder.commit(None, &[(row, Some(image))], Vec::new(), Vec::new());
        last_commit(&mut builder).foreign = row == theirs;
        builder.commit_as_sent(0);
        builder.complete(0);
    }
    builder.finish();
    let report = judged(&builder);
    let finding = report.finding("exactly-once").expect("it ran");
    let rows: Vec<_> = finding.anomalies.iter().map(|anomaly| anomaly.rows.clone()).collect();
    assert_eq!(rows, [vec![mine]], "{finding:#?}");
}

#[test]
fn a_torn_transaction_and_a_row_that_is_not_shown_stand_beside_a_stranger_s_row() {
    let mut builder = with_seed_rows();
    let image = builder.changed(BOX, &json!({"name": "theirs"}));
    builder.commit(None, &[(BOX, Some(image))], Vec::new(), Vec::new());
    last_commit(&mut builder).foreign = true;
    builder.apply(0);
    builder.apply(1);
    builder.tx(0, &[(Op::Patch, CARD, json!({"title": "x"})), (Op::Patch, MEMO, json!({"text": "y"}))]);
    builder.upload(0);
    let half = builder.server.get(&CARD).cloned();
    builder.apply_rows(1, &[(CARD, half)]);
    builder.end();
    let ctx = Context { app: &builder.app, history: &builder.history, promises: &builder.promises };
    let report = check_all(&ctx, Some(&["atomicity", "convergence"]));
    let codes: Vec<Vec<&str>> = report
        .findings
        .iter()
        .map(|(_, finding)| finding.anomalies.iter().map(|anomaly| anomaly.code).collect())
        .collect();
    assert_eq!(codes, [vec!["different-value"], vec!["torn-transaction"]], "{report:#?}");
}

#[test]
fn a_write_that_changes_nothing_touches_no_row() {
    let mut builder = sound();
    let image = builder.changed(BOX, &json!({}));
    builder.commit(None, &[(BOX, Some(image))], Vec::new(), Vec::new());
    last_commit(&mut builder).foreign = true;
    let ctx = Context { app: &builder.app, history: &builder.history, promises: &builder.promises };
    assert_eq!(check_all(&ctx, Some(&["exactly-once"])).verdict(), Verdict::Valid);
}

#[test]
fn nothing_is_valid_that_a_stranger_touched() {
    let mut builder = sound();
    let ctx = |builder: &HistoryBuilder| {
        let only = Some(&["convergence", "causal", "integrity"][..]);
        check_all(&Context { app: &builder.app, history: &builder.history, promises: &builder.promises }, only)
    };
    assert_eq!(ctx(&builder).verdict(), Verdict::Valid);
    last_commit(&mut builder).foreign = true;
    assert!(ctx(&builder).findings.iter().all(|(_, finding)| finding.verdict == Verdict::Unknown));
}

#[test]
fn a_backend_that_promises_no_policy_is_held_to_none() {
    let mut builder = sound();
    let examined = |builder: &HistoryBuilder| {
        examine(&Context { app: &builder.app, history: &builder.history, promises: &builder.promises }, None).report
    };
    assert!(examined(&builder).finding("policy").is_some());
    builder.history.header.policy = NO_POLICY.to_owned();
    let report = examined(&builder);
    assert!(report.finding("policy").is_none() && report.finding("durability").is_some());
}
