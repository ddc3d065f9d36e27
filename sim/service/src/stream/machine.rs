//! A sync stream as a state machine: a request and a view of the storage in, lines out. It has no input or output, and
//! no clock.
//!
//! After the first `checkpoint` come diffs. The data of a checkpoint is sent by priority; each group except the last is
//! followed by a partial completion. Once 1000 operations of a checkpoint are sent, a newer one may interrupt it. The
//! interrupted checkpoint gets no completion line.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::subscription::{ResolvedBucket, Subscriptions, TooManyBuckets};
use crate::protocol::line::{
    BucketLine, DATA_LINE_BYTES, DATA_LINE_OPS, checkpoint_line, complete_line, data_line, diff_line,
    partial_complete_line,
};
use crate::protocol::request::StreamRequest;
use crate::storage::{Generation, State};
use crate::sync_config::expression::RequestValues;

/// How many operations of a checkpoint are sent before a newer one may interrupt it.
const INTERRUPT_AFTER_OPS: usize = 1000;

/// What the stream does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send this line.
    Line(String),
    /// Pause a little, because a checkpoint was just completed, so that diffs coalesce.
    Pause,
    /// Wait until the storage changes.
    Idle,
    /// End the stream, for this reason.
    End(&'static str),
}

/// The state of one stream.
#[derive(Debug)]
pub(crate) struct SyncStream {
    client: String,
    raw_data: bool,
    /// The generation that the stream serves. The stream ends when another takes over.
    generation: u32,
    subscriptions: Subscriptions,
    buckets: Vec<ResolvedBucket>,
    lookups_version: u64,
    /// The last operation of each bucket that the client has.
    positions: BTreeMap<Arc<str>, u64>,
    /// The last checkpoint line; `None` before the first.
    sent: Option<Sent>,
    /// The storage's version when a line was last considered.
    seen_version: Option<u64>,
    work: Option<Work>,
    pause: bool,
}

#[derive(Debug)]
struct Sent {
    /// (checksum, count) by bucket.
    buckets: BTreeMap<Arc<str>, (u32, usize)>,
    write_checkpoint: Option<u64>,
    /// Buckets of which the client lacks operations, because their checkpoint was interrupted.
    pending: BTreeSet<Arc<str>>,
}

/// A checkpoint whose data is being sent.
#[derive(Debug)]
struct Work {
    checkpoint: u64,
    groups: VecDeque<Group>,
    sent_ops: usize,
    /// Compaction has removed operations that this checkpoint needs, so it must not be completed.
    invalidated: bool,
}

#[derive(Debug)]
struct Group {
    priority: u8,
    buckets: VecDeque<Arc<str>>,
}

/// A checkpoint line to send, and the state after it.
struct Next {
    line: String,
    sent: Sent,
    work: Work,
}

impl SyncStream {
    /// A stream over the active generation. `client` is its write checkpoint key.
    pub(crate) fn new(active: &Generation, request: StreamRequest, values: &RequestValues, client: String) -> Self {
        let subscriptions = Subscriptions::new(&active.config, &request, values);
        Self {
            client,
            raw_data: request.raw_data,
            generation: active.number,
            subscriptions,
            buckets: Vec::new(),
            lookups_version: 0,
            positions: request.buckets.into_iter().map(|(name, after)| (Arc::from(name), after)).collect(),
            sent: None,
            seen_version: None,
            work: None,
            pause: false,
        }
    }

    /// The next step.
    pub(crate) fn step(&mut self, state: &State) -> Step {
        let Some(active) = state.active.as_ref().filter(|active| active.number == self.generation) else {
            return Step::End("the sync configuration changed");
        };
        if std::mem::take(&mut self.pause) {
            return Step::Pause;
        }
        loop {
            if self.seen_version != Some(state.version) && self.may_start_checkpoint(active) {
                self.seen_version = Some(state.version);
                match self.next_checkpoint(state, active) {
                    Err(TooManyBuckets) => {
                        return Step::End("too many buckets or parameter results (PSYNC_S2305)");
                    }
                    Ok(None) => {}
                    Ok(Some(next)) => {
                        self.sent = Some(next.sent);
                        self.work = Some(next.work);
                        return Step::Line(next.line);
                    }
                }
            }
            match self.work_step(active) {
                Some(line) => return Step::Line(line),
                None if std::mem::take(&mut self.pause) => return Step::Pause,
                None if self.seen_version == Some(state.version) => return Step::Idle,
                None => {}
            }
        }
    }

    /// Whether no checkpoint is under way, or one that may be interrupted and has data left to send.
    fn may_start_checkpoint(&self, active: &Generation) -> bool {
        self.work
            .as_ref()
            .is_none_or(|work| work.sent_ops >= INTERRUPT_AFTER_OPS && work.has_data_left(active, &self.positions))
    }

    /// The next line of the checkpoint under way, if one is.
    fn work_step(&mut self, active: &Generation) -> Option<String> {
        loop {
            let work = self.work.as_mut()?;
            let sent = self.sent.as_mut().expect("work follows a checkpoint line");
            let Some(group) = work.groups.front_mut() else {
                // A checkpoint without data.
                let line = (!work.invalidated).then(|| complete_line(work.checkpoint));
                self.work = None;
                self.pause = true;
                return line;
            };
            let Some(name) = group.buckets.front() else {
                let (priority, last) = (group.priority, work.groups.len() == 1);
                let line = if last {
                    complete_line(work.checkpoint)
                } else {
                    partial_complete_line(work.checkpoint, priority)
                };
                let line = (!work.invalidated).then_some(line);
                work.groups.pop_front();
                if last {
                    self.work = None;
                    self.pause = true;
                    return line;
                }
                match line {
                    Some(line) => return Some(line),
                    None => continue,
                }
            };
            let after = self.positions.get(name).copied().unwrap_or(0);
            let Some(bucket) = active.buckets.get(name) else {
                sent.pending.remove(name);
                group.buckets.pop_front();
                continue;
            };
            let ops = bucket.range(after, work.checkpoint);
            work.invalidated |= bucket.cleared_beyond(work.checkpoint);
            if ops.is_empty() {
                sent.pending.remove(name);
                group.buckets.pop_front();
                continue;
            }
            let mut bytes = 0;
            let fits = ops
                .iter()
                .take(DATA_LINE_OPS)
                .take_while(|op| {
                    bytes += op.wire_len();
                    bytes <= DATA_LINE_BYTES
                })
                .count()
                .max(1);
            let has_more = fits < ops.len();
            let ops = &ops[..fits];
            work.invalidated |= ops.iter().any(|op| op.target() > work.checkpoint);
            let line = data_line(name, after, ops, has_more, self.raw_data);
            work.sent_ops += ops.len();
            let position = ops.last().expect("at least one operation fits").op_id;
            let name = name.clone();
            if !has_more {
                sent.pending.remove(&name);
                group.buckets.pop_front();
            }
            self.positions.insert(name, position);
            return Some(line);
        }
    }

    /// The checkpoint line for the storage as it is, unless nothing has changed.
    fn next_checkpoint(&mut self, state: &State, active: &Generation) -> Result<Option<Next>, TooManyBuckets> {
        let stale = self.subscriptions.dynamic && self.lookups_version != active.lookups_version;
        let relisted = self.sent.is_none() || stale;
        if relisted {
            self.buckets = self.subscriptions.resolve(active)?;
            self.lookups_version = active.lookups_version;
            // A bucket that is removed and comes back is sent from its start.
            let listed: BTreeSet<&Arc<str>> = self.buckets.iter().map(|bucket| &bucket.name).collect();
            self.positions.retain(|name, _| listed.contains(name));
        }
        let sums = |bucket: &ResolvedBucket| {
            active.buckets.get(&bucket.name).map_or((0, 0), |bucket| (bucket.checksum(), bucket.count()))
        };
        let write_checkpoint = state.write_checkpoints.acknowledged(&self.client, state.replicated_lsn);
        let checkpoint = state.last_op_id;
        let Some(sent) = &mut self.sent else {
            let lines = self.buckets.iter().map(|bucket| bucket.line(sums(bucket)));
            let streams = self.subscriptions.streams.iter().map(|index| {
                let stream = &active.config.streams[*index];
                (stream.name.as_str(), stream.default)
            });
            let line = checkpoint_line(checkpoint, write_checkpoint, lines, streams);
            let buckets = self.buckets.iter().map(|bucket| (bucket.name.clone(), sums(bucket))).collect();
            let pending = self.buckets.iter().map(|bucket| bucket.name.clone()).collect();
            let work = Work::new(checkpoint, self.buckets.iter());
            return Ok(Some(Next { line, sent: Sent { buckets, write_checkpoint, pending }, work }));
        };
        let updated: Vec<(&ResolvedBucket, (u32, usize))> = self
            .buckets
            .iter()
            .map(|bucket| (bucket, sums(bucket)))
            .filter(|(bucket, sums)| sent.buckets.get(&bucket.name) != Some(sums))
            .collect();
        let mut removed: Vec<Arc<str>> = Vec::new();
        if relisted {
            let listed: BTreeSet<&Arc<str>> = self.buckets.iter().map(|bucket| &bucket.name).collect();
            removed.extend(sent.buckets.keys().filter(|name| !listed.contains(name)).cloned());
        }
        if updated.is_empty() && removed.is_empty() && sent.write_checkpoint == write_checkpoint {
            return Ok(None);
        }
        let lines = updated.iter().map(|(bucket, sums)| bucket.line(*sums));
        let line = diff_line(checkpoint, write_checkpoint, removed.iter(), lines);
        let mut buckets = std::mem::take(&mut sent.buckets);
        let mut pending = std::mem::take(&mut sent.pending);
        for name in &removed {
            buckets.remove(name);
            pending.remove(name);
        }
        for (bucket, sums) in &updated {
            buckets.insert(bucket.name.clone(), *sums);
            pending.insert(bucket.name.clone());
        }
        let work = Work::new(checkpoint, self.buckets.iter().filter(|bucket| pending.contains(&bucket.name)));
        Ok(Some(Next { line, sent: Sent { buckets, write_checkpoint, pending }, work }))
    }
}

impl ResolvedBucket {
    fn line(&self, (checksum, count): (u32, usize)) -> BucketLine<'_> {
        BucketLine { name: &self.name, checksum, count, priority: self.priority, reasons: &self.reasons }
    }
}

impl Work {
    fn new<'b>(checkpoint: u64, buckets: impl Iterator<Item = &'b ResolvedBucket>) -> Self {
        let mut groups: BTreeMap<u8, BTreeSet<Arc<str>>> = BTreeMap::new();
        for bucket in buckets {
            groups.entry(bucket.priority).or_default().insert(bucket.name.clone());
        }
        let groups = groups
            .into_iter()
            .map(|(priority, buckets)| Group { priority, buckets: buckets.into_iter().collect() })
            .collect();
        Self { checkpoint, groups, sent_ops: 0, invalidated: false }
    }

    /// Whether the current group has data left to send. A group that lacks only its completion line is not interrupted.
    fn has_data_left(&self, active: &Generation, positions: &BTreeMap<Arc<str>, u64>) -> bool {
        match self.groups.front() {
            None => false,
            Some(group) => group.buckets.iter().any(|name| {
                let after = positions.get(name).copied().unwrap_or(0);
                active.buckets.get(name).is_some_and(|bucket| !bucket.range(after, self.checkpoint).is_empty())
            }),
        }
    }
}
