//! Defects of the policy and of the store, as wrappers over their traits, or as rules that lack something.

use std::sync::Arc;
use std::sync::Mutex;

use ::backend::policy::{Decision, Effect, Situation};
use ::backend::record::Stored;
use ::backend::upload::BoxFuture;
use ::backend::wire::{Outcome, TransactionOutcome, UploadAnswer, WireOp};
use ::backend::{Author, ConflictRecord, Engine, Policy, PolicyKind, Rules, Store, StoreError, Upload, UploadBody};
use fixtures::{App, Rule};
use serde_json::Value as Json;
use sim_core::run::Place;

use super::Mutant;

/// Added to the op ids of a repeated transaction, so that the ledger does not know them.
const STRANGE: i64 = 1 << 40;

/// The rules that the backend is given: the application's, or ones that lack something.
#[must_use]
pub fn rules(app: &App, sound: &Arc<Rules>, mutant: Mutant) -> Arc<Rules> {
    let mut policy = app.policy.clone();
    match mutant {
        Mutant::SplitsGroups => policy.tables.iter_mut().for_each(|table| table.groups.clear()),
        Mutant::OverwritesCounters => replace(&mut policy, |rule| matches!(rule, Rule::Counter { .. })),
        Mutant::OverwritesSets => replace(&mut policy, |rule| matches!(rule, Rule::Set)),
        Mutant::AllowsCycles => policy.trees.clear(),
        Mutant::LeavesOrphans => policy.references.clear(),
        Mutant::AllowsTwoLeaders => policy.exclusives.clear(),
        _ => return sound.clone(),
    }
    Arc::new(Rules::new(&app.schema, &policy))
}

fn replace(policy: &mut fixtures::Policy, is: impl Fn(&Rule) -> bool) {
    for rule in policy.tables.iter_mut().flat_map(|table| &mut table.rules).filter(|rule| is(rule)) {
        *rule = Rule::Latest;
    }
}

/// The policy with the defect, if it is one of the policy's.
#[must_use]
pub fn policy(sound: Arc<dyn Policy>, mutant: Mutant) -> Arc<dyn Policy> {
    match mutant {
        mutant @ (Mutant::ArrivalWins
        | Mutant::TiesByArrival
        | Mutant::SupersedesEverything
        | Mutant::NamesWrongWinner
        | Mutant::ForgetsRecords
        | Mutant::ForgetsSecondLoser
        | Mutant::RecordsWrongRule
        | Mutant::NamesServerAsWinner
        | Mutant::CallsMergedApplied
        | Mutant::CallsLostMerged) => Arc::new(DefectivePolicy { sound, mutant }),
        _ => sound,
    }
}

struct DefectivePolicy {
    sound: Arc<dyn Policy>,
    mutant: Mutant,
}

impl Policy for DefectivePolicy {
    fn kind(&self) -> PolicyKind {
        self.sound.kind()
    }

    fn decide(&self, situation: &Situation<'_>) -> Decision {
        let is_tie = |stored: &::backend::record::StoredRow| {
            situation.rules.clock.is_some_and(|clock| situation.op.sent(clock) == Some(stored.value(clock)))
        };
        if let Stored::Live(stored) = situation.stored
            && (self.mutant == Mutant::ArrivalWins || (self.mutant == Mutant::TiesByArrival && is_tie(stored)))
        {
            // Every operation seems to know what it overwrites.
            let mut op = situation.op.clone();
            op.old = Some(op.data.iter().map(|(column, _)| (*column, stored.value(*column).clone())).collect());
            return self.sound.decide(&Situation { op: &op, ..*situation });
        }
        let mut decision = self.sound.decide(situation);
        match self.mutant {
            Mutant::SupersedesEverything => {
                decision.effect = Effect::None;
                decision.outcome = Outcome::Superseded;
                decision.reason = Some("latest".to_owned());
                decision.by = Some(Author::Server);
                decision.conflicts.clear();
            }
            Mutant::NamesWrongWinner => {
                for conflict in &mut decision.conflicts {
                    std::mem::swap(&mut conflict.loser, &mut conflict.winner);
                }
            }
            Mutant::ForgetsRecords => decision.conflicts.clear(),
            Mutant::ForgetsSecondLoser => decision.conflicts.truncate(1),
            Mutant::RecordsWrongRule => decision.conflicts.iter_mut().for_each(|conflict| conflict.rule = "max".into()),
            Mutant::NamesServerAsWinner => {
                decision.conflicts.iter_mut().for_each(|conflict| conflict.winner = Author::Server);
            }
            Mutant::CallsMergedApplied if decision.outcome == Outcome::Merged => {
                (decision.outcome, decision.reason) = (Outcome::Applied, None);
            }
            Mutant::CallsLostMerged if decision.outcome == Outcome::Superseded => decision.outcome = Outcome::Merged,
            _ => {}
        }
        decision
    }
}

/// The store with the defect, if it is one of the store's.
#[must_use]
pub fn store(sound: Arc<dyn Store>, mutant: Mutant) -> Arc<dyn Store> {
    match mutant {
        mutant if mutant.place() == Place::Store => {
            Arc::new(DefectiveStore { sound, mutant, seen: Mutex::default(), given: Mutex::default() })
        }
        _ => sound,
    }
}

struct DefectiveStore {
    sound: Arc<dyn Store>,
    mutant: Mutant,
    seen: Mutex<std::collections::BTreeMap<(String, i64), u32>>,
    /// What each client's transaction with this first operation was answered.
    given: Mutex<std::collections::BTreeMap<(String, i64), UploadAnswer>>,
}

impl DefectiveStore {
    /// How often this transaction has been delivered before.
    fn delivered(&self, client: &str, tx_id: i64) -> u32 {
        let mut seen = self.seen.lock().expect("one thread runs a plan");
        let count = seen.entry((client.to_owned(), tx_id)).or_default();
        *count += 1;
        *count - 1
    }

    fn times_delivered(&self, client: &str, tx_id: i64) -> u32 {
        let seen = self.seen.lock().expect("one thread runs a plan");
        seen.get(&(client.to_owned(), tx_id)).copied().unwrap_or(0)
    }
}

impl Store for DefectiveStore {
    fn apply<'a>(&'a self, engine: &'a Engine, upload: &'a Upload) -> BoxFuture<'a, Result<UploadAnswer, StoreError>> {
        Box::pin(async move {
            let mut bent = upload.clone();
            let UploadBody::Transactions(request) = &mut bent.body else {
                return self.sound.apply(engine, upload).await;
            };
            let client = request.client_id.to_string();
            let mut dropped = Vec::new();
            let mut shift = 0;
            for tx in &mut request.transactions {
                let before = self.delivered(&client, tx.tx_id);
                match self.mutant {
                    Mutant::ForgetsUploads if before > 0 => {
                        shift = STRANGE * i64::from(before);
                        tx.ops.iter_mut().for_each(|op| op.op_id += shift);
                    }
                    Mutant::DropsLastOperation if tx.ops.len() > 1 => dropped.extend(tx.ops.pop()),
                    Mutant::KeepsDeleted => dropped.extend(tx.ops.extract_if(.., |op| op.op == "DELETE")),
                    Mutant::DoesFirstTwice if before == 0 => {
                        let again = tx.ops.first().map(|op| WireOp { op_id: op.op_id + STRANGE, ..op.clone() });
                        tx.ops.extend(again.filter(|op| op.op == "PATCH"));
                    }
                    _ => tx.ops.iter_mut().for_each(|op| bend(op, self.mutant, upload.received_us)),
                }
            }
            let first_op = request.transactions.first().and_then(|tx| tx.ops.first()).map_or(0, |op| op.op_id);
            let strange = request.transactions.iter().all(|tx| tx.tx_id % 3 == 0);
            let is_large = request.transactions.iter().any(|tx| tx.ops.len() > 3);
            let is_bent = match self.mutant {
                Mutant::RefusesSilently | Mutant::AcknowledgesWithoutCommit => strange,
                Mutant::RefusesLarge => is_large,
                _ => false,
            };
            if is_bent {
                return Ok(self.invent(upload));
            }
            let is_repeat = request.transactions.iter().any(|tx| self.times_delivered(&client, tx.tx_id) > 1);
            if self.mutant == Mutant::LedgerGoesByNumber {
                let key = (client, first_op);
                let known = self.given.lock().expect("one thread runs a plan").get(&key).cloned();
                if let Some(mut known) = known {
                    let tx_id = request.transactions.first().map_or(0, |tx| tx.tx_id);
                    known.transactions.iter_mut().for_each(|tx| tx.tx_id = tx_id);
                    return Ok(known);
                }
                let answer = self.sound.apply(engine, upload).await?;
                self.given.lock().expect("one thread runs a plan").insert(key, answer.clone());
                return Ok(answer);
            }
            let mut answer = self.sound.apply(engine, &bent).await?;
            for tx in &mut answer.transactions {
                tx.ops.iter_mut().for_each(|op| op.op_id -= shift);
                tx.ops.extend(dropped.iter().map(|op| ::backend::wire::OpAnswer::plain(op.op_id, Outcome::Applied)));
                tx.ops.retain(|op| op.op_id < STRANGE);
                tx.ops.sort_by_key(|op| op.op_id);
                let is_whitewashed = match self.mutant {
                    Mutant::AnswersApplied => true,
                    Mutant::AnswersRepeatsApplied => is_repeat,
                    _ => false,
                };
                if is_whitewashed && tx.outcome == TransactionOutcome::Committed {
                    tx.ops.iter_mut().for_each(|op| {
                        *op = ::backend::wire::OpAnswer::plain(op.op_id, Outcome::Applied);
                    });
                }
            }
            Ok(answer)
        })
    }

    fn conflicts<'a>(
        &'a self,
        subject: &'a str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<ConflictRecord>, StoreError>> {
        Box::pin(async move {
            let mut records = self.sound.conflicts(subject, after, limit).await?;
            match self.mutant {
                Mutant::HidesConflicts => records.clear(),
                Mutant::HidesLastConflict => drop(records.pop()),
                _ => {}
            }
            Ok(records)
        })
    }

    fn is_ready(&self) -> BoxFuture<'_, bool> {
        self.sound.is_ready()
    }
}

impl DefectiveStore {
    /// An answer to something that never happened.
    fn invent(&self, upload: &Upload) -> UploadAnswer {
        let UploadBody::Transactions(request) = &upload.body else { return UploadAnswer { transactions: Vec::new() } };
        let refuses = self.mutant != Mutant::AcknowledgesWithoutCommit;
        let transactions = request
            .transactions
            .iter()
            .map(|tx| ::backend::wire::TransactionAnswer {
                tx_id: tx.tx_id,
                outcome: if refuses { TransactionOutcome::Refused } else { TransactionOutcome::Committed },
                ops: tx
                    .ops
                    .iter()
                    .map(|op| {
                        let outcome = if refuses { Outcome::Rejected } else { Outcome::Applied };
                        ::backend::wire::OpAnswer::plain(op.op_id, outcome)
                    })
                    .collect(),
            })
            .collect();
        UploadAnswer { transactions }
    }
}

/// Columns that hold free text.
const TEXTS: [&str; 3] = ["title", "description", "name"];
/// How long the texts are that a backend with a narrow column keeps.
const NARROW: usize = 255;

/// An operation as a backend takes it that stores something else than was sent.
fn bend(op: &mut WireOp, mutant: Mutant, received_us: i64) {
    if mutant == Mutant::IgnoresBases {
        op.old = None;
    }
    let is_patch = op.op == "PATCH";
    let Some(data) = op.data.as_mut() else { return };
    match mutant {
        Mutant::IgnoresNulls if is_patch => data.retain(|_, value| !value.is_null()),
        Mutant::IgnoresZeros if is_patch => data.retain(|_, value| value.as_i64() != Some(0)),
        Mutant::ForgetsLastColumn if is_patch && data.len() > 2 => {
            let last = data.keys().rfind(|name| *name != CLOCK).cloned();
            last.and_then(|name| data.remove(&name));
        }
        Mutant::StampsByServer if data.contains_key(CLOCK) => {
            data.insert(CLOCK.to_owned(), Json::from(fixtures::value::time_to_iso(received_us)));
        }
        _ => {
            for (name, value) in data.iter_mut() {
                bend_value(name, value, mutant);
            }
        }
    }
}

/// The column that carries the stamp of a write.
const CLOCK: &str = "updated_at";

fn bend_value(name: &str, value: &mut Json, mutant: Mutant) {
    let bent = match (mutant, &*value) {
        (Mutant::StoresEmptyAsNull, Json::String(text)) if text.is_empty() => Some(Json::Null),
        (Mutant::StoresNullAsEmpty, Json::Null) if TEXTS.contains(&name) => Some(Json::from("")),
        (Mutant::TrimsTexts, Json::String(text)) => Some(Json::from(text.trim_end())),
        (Mutant::JoinsLines, Json::String(text)) => Some(Json::from(text.replace('\n', " "))),
        (Mutant::CutsLongTexts, Json::String(text)) => Some(Json::from(text.chars().take(NARROW).collect::<String>())),
        (Mutant::RoundsNumbers, Json::Number(number)) if number.is_f64() => {
            number.as_f64().map(|number| Json::from(f64::from(number as f32)))
        }
        _ => None,
    };
    if let Some(bent) = bent {
        *value = bent;
    }
}
