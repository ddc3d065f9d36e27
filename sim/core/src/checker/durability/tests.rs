//! For each anomaly a history that must be rejected and a near twin that must be accepted; then the liars.

mod false_answers;
mod installations;
mod joins;
mod overrides;
mod structure;

use serde_json::{Value as Json, json};

use super::{Stats, examine};
use crate::checker::testing::{HistoryBuilder, answer, with_seed_rows};
use crate::checker::{Context, Timeline};
use crate::history::{ConflictRecord, LocalTx, Op, Outcome, Phase, RowId, TxOutcome, What, Who, Writer};
use crate::plan::EPOCH_US;
use crate::verdict::{Finding, Verdict};

const BOX: RowId = 0;
const CARD: RowId = 1;
const LABEL: RowId = 2;
const MEMO: RowId = 3;

/// A builder told in whole transactions.
struct Play {
    builder: HistoryBuilder,
}

/// The instant at this second of plan time.
fn at(second: i64) -> Json {
    Json::from(fixtures::value::time_to_iso(EPOCH_US + second * 1_000_000))
}

/// A conflict record: row, column, rule, loser, winner, each writer as (device, operation).
fn record(row: RowId, column: Option<&str>, rule: &str, loser: (u32, i64), winner: (u32, i64)) -> ConflictRecord {
    let writer = |(device, op_id)| Writer::Client { device, op_id };
    ConflictRecord {
        row,
        column: column.map(str::to_owned),
        rule: rule.to_owned(),
        loser: writer(loser),
        winner: writer(winner),
    }
}

impl Play {
    fn edit(&mut self, device: u32, row: RowId, set: Json) {
        self.builder.tx(device, &[(Op::Patch, row, set)]);
    }

    fn delete(&mut self, device: u32, row: RowId) {
        self.builder.tx(device, &[(Op::Delete, row, Json::Null)]);
    }

    fn insert(&mut self, device: u32, row: RowId, set: Json) {
        self.builder.tx(device, &[(Op::Put, row, set)]);
    }

    /// The device's first queued transaction is uploaded and committed as sent, with these records.
    fn land(&mut self, device: u32, records: Vec<ConflictRecord>) {
        let tx = self.builder.queued[device as usize][0].clone();
        let rows = tx
            .ops
            .iter()
            .map(|op| {
                let set: serde_json::Map<String, Json> = op
                    .data
                    .iter()
                    .map(|(column, value)| {
                        let table = &self.builder.app.schema.tables[self.builder.history.rows[op.row as usize].table];
                        (table.columns[*column].name.clone(), value.to_json())
                    })
                    .collect();
                (op.row, if op.op == Op::Delete { None } else { Some(Json::Object(set)) })
            })
            .collect();
        self.commit(device, rows, records);
    }

    /// The device's first queued transaction is uploaded and committed; each row with these columns changed.
    fn commit(&mut self, device: u32, rows: Vec<(RowId, Option<Json>)>, records: Vec<ConflictRecord>) {
        let answers = self
            .builder
            .applied_answers(device)
            .into_iter()
            .map(|mut answer| {
                answer.outcome = Outcome::Merged;
                answer
            })
            .collect();
        self.commit_answered(device, rows, records, answers);
    }

    fn commit_answered(
        &mut self,
        device: u32,
        rows: Vec<(RowId, Option<Json>)>,
        records: Vec<ConflictRecord>,
        answers: Vec<crate::history::OpAnswer>,
    ) {
        let tx: LocalTx = self.builder.queued[device as usize][0].clone();
        let tx_id = tx.tx_id.expect("it queued");
        self.builder.attempt(device, tx_id, 1, Phase::Invoke, None, Vec::new());
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(row, set)| {
                let image = set.map(|set| match self.builder.server.contains_key(&row) {
                    true => self.builder.changed(row, &set),
                    false => self.builder.image(row, &set),
                });
                (row, image)
            })
            .collect();
        self.builder.commit(Some((device, &tx)), &rows, answers.clone(), records);
        self.builder.attempt(device, tx_id, 1, Phase::Ok, Some(TxOutcome::Committed), answers);
        self.builder.complete(device);
        self.builder.write_checkpoint(device);
    }

    /// An answer to the first queued transaction, without a commit.
    fn answer(&mut self, device: u32, outcome: TxOutcome, op_outcome: Outcome) {
        let tx = self.builder.queued[device as usize][0].clone();
        let tx_id = tx.tx_id.expect("it queued");
        let answers = tx.ops.iter().map(|op| answer(op.op_id, op_outcome)).collect();
        self.builder.attempt(device, tx_id, 1, Phase::Invoke, None, Vec::new());
        self.builder.attempt(device, tx_id, 1, Phase::Ok, Some(outcome), answers);
    }

    fn apply(&mut self, device: u32) {
        self.builder.apply(device);
    }
}

fn judged(builder: &HistoryBuilder) -> (Finding, Stats) {
    let ctx = Context { app: &builder.app, history: &builder.history, promises: &builder.promises };
    examine(&ctx, &Timeline::build(&ctx))
}

/// Plays a builder of two with_seed_rows devices from second 100 on, lets everybody apply, and expects these codes.
fn check(what: &str, play: impl FnOnce(&mut Play), codes: &[&str]) -> (Finding, Stats) {
    let mut scene = Play { builder: with_seed_rows() };
    scene.builder.wait(100_000_000);
    play(&mut scene);
    scene.builder.finish();
    expect(what, &scene.builder, codes)
}

fn expect(what: &str, builder: &HistoryBuilder, codes: &[&str]) -> (Finding, Stats) {
    let (finding, stats) = judged(builder);
    let found: Vec<&str> = finding.anomalies.iter().map(|anomaly| anomaly.code).collect();
    assert_eq!(found, codes, "{what}: {finding:#?}");
    let verdict = if codes.is_empty() { Verdict::Valid } else { Verdict::Invalid };
    assert_eq!(finding.verdict, verdict, "{what}: {finding:#?}");
    for anomaly in &finding.anomalies {
        assert!(
            !anomaly.role.is_empty() && !anomaly.events.is_empty() && !anomaly.operations.is_empty(),
            "{what}: {anomaly:#?}"
        );
        assert!(anomaly.because.ends_with('.') && !anomaly.because.ends_with(".."), "{what}: {anomaly:#?}");
    }
    (finding, stats)
}

fn counted(stats: &Stats, rule: &str) -> u64 {
    stats.overridden.get(rule).copied().unwrap_or(0)
}
