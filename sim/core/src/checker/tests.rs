//! Histories that each checker must accept, and histories that it must reject.

mod atomicity;
mod causal;
mod convergence;
mod exactly_once;
mod foreign;
mod integrity;
mod latency;
mod progress;
mod protocol;
mod scale;
mod server_made;
mod undelivered;
mod visibility;

use serde_json::{Value as Json, json};

use super::testing::{HistoryBuilder, with_seed_rows};
use super::{CHECKERS, Context, check_all};
use crate::history::{Op, RowId};
use crate::verdict::Verdict;

const BOX: RowId = 0;
const CARD: RowId = 1;
const LABEL: RowId = 2;
const MEMO: RowId = 3;

/// A sound run with traffic of every kind.
fn sound() -> HistoryBuilder {
    let mut builder = with_seed_rows();
    builder.tx(
        0,
        &[
            (Op::Patch, CARD, json!({"title": "a", "updated_at": "2026-01-05T08:00:01Z"})),
            (Op::Delete, MEMO, Json::Null),
        ],
    );
    builder.tx(1, &[(Op::Patch, BOX, json!({"name": "b"}))]);
    builder.upload(0);
    builder.apply(0);
    builder.tx(0, &[(Op::Patch, LABEL, json!({"value": "blue"}))]);
    builder.finish();
    builder
}

#[test]
fn a_sound_history_is_valid_throughout() {
    let builder = sound();
    for (name, check) in CHECKERS {
        let finding = builder.judge(check);
        // The stamps, bases and records that these two ask for are not in this builder.
        if !matches!(*name, "policy" | "durability" | "coverage" | "claims") {
            assert_eq!(finding.verdict, Verdict::Valid, "{name}: {finding:#?}");
        }
    }
}

#[test]
fn runs_only_the_checkers_that_are_asked_for() {
    let builder = sound();
    let ctx = Context { app: &builder.app, history: &builder.history, promises: &builder.promises };
    let report = check_all(&ctx, Some(&["causal", "convergence"]));
    assert_eq!(report.findings.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["convergence", "causal"]);
    assert_eq!(report.verdict(), Verdict::Valid);
}

#[test]
fn a_checker_that_panics_is_unknown() {
    let finding = super::examine::crashed(
        "checker",
        &super::examine::guarded(|| panic!("on purpose")).map_or_else(|why| why, |()| String::new()),
    );
    assert_eq!(finding.verdict, Verdict::Unknown);
    assert!(finding.unknown[0].contains("on purpose"));
}

fn context(builder: &HistoryBuilder) -> Context<'_> {
    Context { app: &builder.app, history: &builder.history, promises: &builder.promises }
}
