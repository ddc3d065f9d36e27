//! The end of a transaction: everything that is not sent yet, and COMMIT, in one round trip.

use std::sync::Arc;

use crate::record::Origin;
use crate::store::error::StoreError;
use crate::store::postgres::meta::{author_json, write_meta, write_tombstone};
use crate::store::postgres::note::{AuthorNote, CommitNote, ConflictNote, LedgerNote, OriginNote, PREFIX};
use crate::store::postgres::pipeline::{Params, Step, param, pipeline};
use crate::store::postgres::session::connection::PostgresSession;
use crate::store::postgres::session::open::Key;
use crate::store::postgres::session::statements::{
    ADD_ALIASES, ADD_CLIENT, ADD_CONFLICTS, ADD_LEDGER, ADD_NOTE, DELETE_STAMPS, DELETE_TOMBSTONES, PUT_STAMPS,
    PUT_TOMBSTONES,
};
use crate::store::session::NewConflict;

impl PostgresSession<'_> {
    pub(super) async fn finish(&mut self, at_us: i64, origin: Option<&Origin>) -> Result<(), StoreError> {
        let mut steps = self.begin_steps().await?;
        let before = steps.len();
        let (changes, tables) = self.change_steps().await?;
        steps.extend(changes);
        steps.extend(self.row_steps().await?);
        steps.extend(self.ledger_steps(origin.map_or(0, |origin| origin.tx_id)).await?);
        steps.extend(self.annotation_steps(at_us, origin).await?);
        // The counter's row stays locked until the commit, so this step comes last.
        steps.extend(self.conflict_steps().await?);
        steps.push(Step::Plain("COMMIT"));
        match pipeline(self.client(), steps).await {
            Ok(_) => Ok(()),
            Err((position, error)) => match position.checked_sub(before).and_then(|at| tables.get(at).copied()) {
                Some(table) => Err(self.change_failed(Some(table), &error)),
                // No operation is to blame for an error on schema sync_backend.
                None => Err(match self.failed(&error) {
                    retryable @ (StoreError::Unavailable(_) | StoreError::Contended(_)) => retryable,
                    refusal => StoreError::Unavailable(refusal.to_string()),
                }),
            },
        }
    }

    /// The changes of stamps, tombstones and aliases.
    async fn row_steps(&mut self) -> Result<Vec<Step>, StoreError> {
        let (mut stamped, mut metas, mut unstamped) = (Vec::new(), Vec::new(), Vec::new());
        let (mut buried, mut received, mut tombstones, mut unburied) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (key, slot) in &self.open.written {
            let before = self.open.read.get(key);
            let meta_before = before.and_then(|slot| slot.meta.as_ref());
            match (&slot.meta, meta_before) {
                (Some(meta), Some(before)) if Arc::ptr_eq(meta, before) => {}
                (Some(meta), _) => {
                    stamped.push(key.clone());
                    metas.push(write_meta(self.rules, key.0, meta));
                }
                (None, Some(_)) => unstamped.push(key.clone()),
                (None, None) => {}
            }
            let tombstone_before = before.and_then(|slot| slot.tombstone.as_ref());
            match (&slot.tombstone, tombstone_before) {
                (Some(tombstone), Some(before)) if Arc::ptr_eq(tombstone, before) => {}
                (Some(tombstone), _) => {
                    buried.push(key.clone());
                    received.push(tombstone.received_us);
                    tombstones.push(write_tombstone(self.rules, key.0, tombstone));
                }
                (None, Some(_)) => unburied.push(key.clone()),
                (None, None) => {}
            }
        }
        let mut steps = Vec::new();
        let add = |sql: &'static str, keys: Vec<Key>, more: Params, all: &mut Vec<(&'static str, Params)>| {
            if !keys.is_empty() {
                let mut params = self.name_params(&keys);
                params.extend(more);
                all.push((sql, params));
            }
        };
        let mut all = Vec::new();
        add(PUT_STAMPS, stamped, vec![param(metas)], &mut all);
        add(DELETE_STAMPS, unstamped, Vec::new(), &mut all);
        add(PUT_TOMBSTONES, buried, vec![param(received), param(tombstones)], &mut all);
        add(DELETE_TOMBSTONES, unburied, Vec::new(), &mut all);
        if !self.open.new_aliases.is_empty() {
            let losing: Vec<Key> = self.open.new_aliases.iter().map(|(table, id, _)| (*table, id.clone())).collect();
            let survivors: Vec<String> = self.open.new_aliases.iter().map(|(_, _, id)| id.to_string()).collect();
            add(ADD_ALIASES, losing, vec![param(survivors), param(self.open.received_us)], &mut all);
        }
        for (sql, params) in all {
            steps.push(self.step(sql, params).await?);
        }
        Ok(steps)
    }

    async fn ledger_steps(&mut self, tx_id: i64) -> Result<Vec<Step>, StoreError> {
        let mut steps = Vec::new();
        let Some((subject, client)) = self.open.ledger_of.clone() else { return Ok(steps) };
        let ledger = &self.open.ledger;
        let epoch = ledger.iter().map(|entry| entry.epoch).max().unwrap_or(0);
        let op_ids: Vec<i64> = ledger.iter().map(|entry| entry.op_id).collect();
        let epochs: Vec<i32> = ledger.iter().map(|entry| db_epoch(entry.epoch)).collect();
        let digests: Vec<Vec<u8>> = ledger.iter().map(|entry| entry.digest.to_vec()).collect();
        let answers: Vec<String> = ledger
            .iter()
            .map(|entry| serde_json::to_string(&entry.answer).expect("texts and numbers always serialize"))
            .collect();
        let (subject, client) = (subject.to_string(), client.to_string());
        if self.open.client_epoch != Some(epoch) {
            let params = vec![param(subject.clone()), param(client.clone()), param(db_epoch(epoch))];
            steps.push(self.step(ADD_CLIENT, params).await?);
        }
        let params = vec![
            param(subject),
            param(client),
            param(tx_id),
            param(self.open.received_us),
            param(op_ids),
            param(epochs),
            param(digests),
            param(answers),
        ];
        steps.push(self.step(ADD_LEDGER, params).await?);
        Ok(steps)
    }

    async fn conflict_steps(&mut self) -> Result<Vec<Step>, StoreError> {
        if self.open.conflicts.is_empty() {
            return Ok(Vec::new());
        }
        let conflicts = &self.open.conflicts;
        let texts = |of: &dyn Fn(&NewConflict) -> String| param(conflicts.iter().map(of).collect::<Vec<String>>());
        let maybe = |of: &dyn Fn(&NewConflict) -> Option<String>| {
            param(conflicts.iter().map(of).collect::<Vec<Option<String>>>())
        };
        let params = vec![
            param(self.open.received_us),
            texts(&|new| new.conflict.subject().to_string()),
            texts(&|new| self.rules.tables[new.table].name.to_string()),
            texts(&|new| new.id.to_string()),
            maybe(&|new| new.conflict.column.as_deref().map(str::to_owned)),
            texts(&|new| new.conflict.rule.to_string()),
            maybe(&|new| author_json(&new.conflict.loser)),
            maybe(&|new| author_json(&new.conflict.winner)),
        ];
        Ok(vec![self.step(ADD_CONFLICTS, params).await?])
    }

    async fn annotation_steps(&mut self, at_us: i64, origin: Option<&Origin>) -> Result<Vec<Step>, StoreError> {
        let open = &self.open;
        let is_nothing = open.changes.is_empty() && open.ledger.is_empty() && open.observed.is_empty();
        if !self.database.config.annotates || (is_nothing && open.conflicts.is_empty() && open.new_aliases.is_empty()) {
            return Ok(Vec::new());
        }
        let name = |table: usize| self.rules.tables[table].name.to_string();
        let conflict = |new: &NewConflict| ConflictNote {
            subject: new.conflict.subject().to_string(),
            table: name(new.table),
            id: new.id.to_string(),
            column: new.conflict.column.as_deref().map(str::to_owned),
            rule: new.conflict.rule.to_string(),
            loser: AuthorNote::of(&new.conflict.loser),
            winner: AuthorNote::of(&new.conflict.winner),
        };
        let note = CommitNote {
            at_us,
            received_us: open.received_us,
            origin: origin.map(|origin| OriginNote {
                subject: origin.subject.to_string(),
                client_id: origin.client_id.to_string(),
                tx_id: origin.tx_id,
            }),
            changes: open.changes.clone(),
            ledger: open.ledger.iter().chain(&open.observed).map(LedgerNote::of).collect(),
            conflicts: open.conflicts.iter().map(conflict).collect(),
            tombstones: open.tombstones.clone(),
            aliases: open
                .new_aliases
                .iter()
                .map(|(table, losing, survivor)| (name(*table), losing.to_string(), survivor.to_string()))
                .collect(),
        };
        let text = serde_json::to_string(&note).expect("texts and numbers always serialize");
        Ok(vec![self.step(ADD_NOTE, vec![param(PREFIX.to_owned()), param(text)]).await?])
    }
}

fn db_epoch(epoch: u32) -> i32 {
    i32::try_from(epoch).unwrap_or(i32::MAX)
}
