//! Commits a group of transactions, positions and write checkpoints: durable first, then shown to clients.

use std::collections::{BTreeMap, BTreeSet};

use super::job::{GroupJob, Reply, WriterError};
use super::store::StoreError;
use super::transaction::StoreTransaction;
use super::writer::Writer;
use crate::changes::logged::Completer;
use crate::service::Service;
use crate::storage::{Generation, Staged, State};

impl Writer {
    /// Makes a group of jobs durable, then shows it.
    pub(super) fn commit_group(&mut self, jobs: Vec<GroupJob>) {
        let Some(service) = self.current.get() else {
            for job in jobs {
                match job {
                    GroupJob::WriteCheckpoint { reply, .. } => drop(reply.send(Err(WriterError::NotReady))),
                    GroupJob::Transaction { attempt, .. } | GroupJob::Position { attempt, .. } => {
                        self.reject_attempt(attempt, false);
                    }
                }
            }
            return;
        };
        let rejected = self.durable.borrow().rejected_attempt;
        let (group, before) = {
            let state = service.storage().lock();
            (Group::stage(&service, &state, jobs, rejected), state.replicated_lsn)
        };
        if let Err(error) = self.save(&service, &group) {
            tracing::error!(%error, "the store could not be written");
            for (reply, _) in group.replies {
                drop(reply.send(Err(WriterError::NotReady)));
            }
            self.reject_attempt(group.attempt, false);
            return;
        }
        let saved = group.saves();
        let lsn = group.staged.replicated_lsn;
        if lsn != before || group.changes_state() {
            let mut state = service.storage().lock();
            group.staged.commit(&mut state);
            for (client, (counter, head)) in &group.checkpoints {
                state.write_checkpoints.set(client, *counter, *head);
            }
            drop(state);
            service.0.changes.raise();
        }
        if saved {
            self.status.lsn = Some(lsn);
            self.durable.send_modify(|durable| durable.lsn = lsn);
        }
        for (reply, counter) in group.replies {
            drop(reply.send(Ok(counter)));
        }
        if let Some(attempt) = group.gap {
            self.status.snapshot_needed = true;
            self.reject_attempt(attempt, true);
        }
    }

    /// Writes to the store what the group will change in the state.
    fn save(&mut self, service: &Service, group: &Group) -> Result<(), StoreError> {
        let state = service.storage().lock();
        let generations: Vec<&Generation> = state.active.iter().chain(&state.next).collect();
        let numbers: BTreeSet<u32> = generations.iter().map(|generation| generation.number).collect();
        let active = state.active.as_ref().map_or(0, |active| active.number);
        let regenerated = numbers != self.stored;
        if !regenerated && !group.saves() {
            return Ok(());
        }
        if !regenerated {
            // Only this thread adds to the state, so the lock is not held while it waits for the disk.
            drop(state);
            return self.store.commit(|transaction| group.write(transaction));
        }
        // A generation is new or gone, which is rare.
        let stored = self.stored.clone();
        self.store.commit(|transaction| {
            for generation in generations.iter().filter(|generation| !stored.contains(&generation.number)) {
                transaction.generation(generation.number, &generation.config.text)?;
                for (name, bucket) in &generation.buckets {
                    transaction.bucket(generation.number, name, bucket)?;
                }
            }
            group.write(transaction)?;
            transaction.active_generation(active)?;
            transaction.last_op_id(group.staged.last_op_id)?;
            let kept: Vec<u32> = numbers.iter().copied().collect();
            transaction.keep_generations(&kept)
        })?;
        self.stored = numbers;
        Ok(())
    }
}

/// What a group of jobs changes.
#[derive(Default)]
struct Group {
    staged: Staged,
    /// (counter, head) by client.
    checkpoints: BTreeMap<String, (u64, u64)>,
    replies: Vec<(Reply<u64>, u64)>,
    /// The latest replication attempt of the group.
    attempt: u64,
    /// The attempt that sent a transaction which does not fit what is stored.
    gap: Option<u64>,
    save_position: bool,
}

impl Group {
    /// Works out what the jobs change, without changing anything yet. Jobs of `rejected` attempts are left out.
    fn stage(service: &Service, state: &State, jobs: Vec<GroupJob>, rejected: u64) -> Self {
        let mut group = Self { staged: Staged::after(state), ..Self::default() };
        let mut completer = Completer::new(state);
        for job in jobs {
            match job {
                GroupJob::Transaction { attempt, transaction } => {
                    let lost = attempt <= rejected || group.gap == Some(attempt);
                    if lost || transaction.lsn <= group.staged.replicated_lsn {
                        continue;
                    }
                    group.attempt = group.attempt.max(attempt);
                    match completer.complete(transaction) {
                        Ok(transaction) => service.replicator().stage(state, &transaction, &mut group.staged),
                        Err(gap) => {
                            tracing::error!(%gap, "the log does not fit what is stored; a new snapshot is needed");
                            group.gap = Some(attempt);
                        }
                    }
                }
                GroupJob::Position { attempt, lsn } => {
                    if attempt > rejected && group.gap.is_none() {
                        group.attempt = group.attempt.max(attempt);
                        group.save_position = true;
                        group.staged.replicated_lsn = group.staged.replicated_lsn.max(lsn);
                    }
                }
                GroupJob::WriteCheckpoint { client, requested, head, reply } => {
                    let latest =
                        group.checkpoints.get(&client).copied().or_else(|| state.write_checkpoints.latest(&client));
                    let known = latest.map_or(0, |(counter, _)| counter);
                    let counter = requested.unwrap_or(known + 1);
                    if counter > known {
                        group.checkpoints.insert(client, (counter, head));
                    }
                    group.replies.push((reply, counter.max(known)));
                }
            }
        }
        group
    }

    fn changes_state(&self) -> bool {
        !self.staged.ops.is_empty() || !self.staged.rows.is_empty() || !self.checkpoints.is_empty()
    }

    /// Whether there is anything to write. The position of a transaction without changes can wait.
    fn saves(&self) -> bool {
        self.save_position || self.gap.is_some() || self.changes_state()
    }

    fn write(&self, transaction: &mut StoreTransaction<'_>) -> Result<(), rusqlite::Error> {
        for op in &self.staged.ops {
            transaction.op(op)?;
        }
        for (table, id, row) in &self.staged.rows {
            transaction.row(*table, id, row.as_ref())?;
        }
        for (client, (counter, head)) in &self.checkpoints {
            transaction.write_checkpoint(client, *counter, *head)?;
        }
        if self.gap.is_some() {
            transaction.snapshot_needed(true)?;
        }
        transaction.position(self.staged.replicated_lsn, self.staged.last_op_id)
    }
}
