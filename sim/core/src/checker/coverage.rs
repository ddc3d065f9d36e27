//! Coverage: what really occurred, by name, so that no claim holds only because nothing happened.
//!
//! | Name | Counted when |
//! |---|---|
//! | `unseen-override:<rule>` | a write gave way to one that had not seen it, or that it had not seen; `counter` and `set` joined with it |
//! | `concurrent:<kind>` | two writes of one register, row or invariant, neither of whose devices had seen the other: `column`, `group`, `counter`, `set`, `delete`, `unique`, `parent`, `exclusive`; `row`: of different columns of one row |
//! | `offline-edit` | a transaction was accepted while its device's stream was not up |
//! | `retry` | an upload attempt after the first was sent |
//! | `reply-lost-after-commit` | an attempt ended without an answer, and its commit exists |
//! | `reply-lost-then-foreign-write` | and another device committed to one of its rows before the next attempt was sent |
//! | `insert-reply-lost-then-foreign-write` | and the transaction had inserted a row |
//! | `duplicate-delivery` | a transaction's ledger entries are in the feed twice, or an attempt was answered by the commit of an earlier delivery |
//! | `crash:<moment>` | the app was killed right after this moment of its upload |
//! | `refused`, `merged`, `superseded` | a transaction was refused; an operation was answered so |
//! | `token-401` | a request was answered 401 |
//! | `tab-close`, `suspend` | the owning tab closed; timers and sockets froze |
//! | `stream-cut`, `half-open` | the fault struck |
//! | `storage-lost`, `lost-with-device` | a device lost its storage; and an operation with it, that nobody had answered |
//! | `copy-restored`, `new-epoch` | an old copy took the place of a database; and the backend said so of an operation id used again |
//! | `fault:<name>` | a fault struck |
//! | `container:PART-HOW` | that befell that container |
//! | `backend-killed:before-commit`, `:after-commit` | the backend was killed in the middle of an upload of the device, at that instant |
//! | `operations`, `finished` | operations that were queued; transactions that left a queue, accepted or refused |
//! | `intents`, `skipped-intents` | intents of local transactions, and those whose row was not visible |

use std::collections::{BTreeMap, BTreeSet};

use super::context::Context;
use super::durability::{self, Stats};
use super::timeline::Timeline;
use crate::history::{Commit, Lifecycle, LocalTx, Moment, Outcome, Phase, TxOutcome, Upload, What, Who};
use crate::plan::{Fault, KillInstant};
use crate::promise::OWN_RULES;
use crate::verdict::Finding;

/// More than this percentage of skipped intents makes a scenario vacuous.
pub const SKIPPED_PERCENT_MAX: u64 = 10;

/// Counts what occurred.
#[must_use]
pub fn count(ctx: &Context<'_>, timeline: &Timeline<'_>) -> BTreeMap<String, u64> {
    count_with(ctx, timeline, &durability::examine(ctx, timeline).1)
}

/// Counts what occurred, given what the durability checker counted.
#[must_use]
pub fn count_with(ctx: &Context<'_>, timeline: &Timeline<'_>, stats: &Stats) -> BTreeMap<String, u64> {
    let devices = ctx.history.header.devices.len();
    let mut counter = Counter {
        timeline,
        counts: BTreeMap::new(),
        streaming: vec![false; devices],
        lost_replies: BTreeMap::new(),
        delivered: BTreeSet::new(),
        refused: BTreeSet::new(),
        uploading: BTreeSet::new(),
    };
    for (rule, by) in stats.overridden.iter().chain(&stats.merged) {
        counter.add(&format!("unseen-override:{rule}"), *by);
    }
    if stats.lost_with_device > 0 {
        counter.add("lost-with-device", stats.lost_with_device);
    }
    for (kind, by) in &stats.concurrent {
        counter.add(&format!("concurrent:{kind}"), *by);
    }
    for (event, entry) in ctx.history.events.iter().enumerate() {
        match entry.who {
            Who::Client(device) if (device as usize) < devices => counter.client(event, device, &entry.what),
            _ => counter.elsewhere(&entry.what),
        }
        if let What::Fault { phase: Phase::Invoke, fault: Fault::BackendKilled { device, instant, .. }, .. } =
            &entry.what
        {
            counter.killed(event, *device, *instant);
        }
    }
    counter.counts
}

/// What of a scenario's `must_occur` never occurred. `unseen-override:latest`, or of any other rule by which a column
/// resolves, occurred as well where the rule of the run's own policy took its place. `skipped-intents` is judged as
/// well: more than [`SKIPPED_PERCENT_MAX`] percent of all intents is reported in one sentence.
#[must_use]
pub fn missing(must_occur: &[String], totals: &BTreeMap<String, u64>) -> Vec<String> {
    let total = |name: &str| totals.get(name).copied().unwrap_or(0);
    let count = |name: &str| match name.strip_prefix("unseen-override:") {
        Some("latest" | "max" | "keep-server" | "counter" | "set" | "revived" | "deleted") => {
            total(name) + OWN_RULES.iter().map(|rule| total(&format!("unseen-override:{rule}"))).sum::<u64>()
        }
        _ => total(name),
    };
    let mut missing: Vec<String> =
        must_occur.iter().filter(|name| count(name) == 0).map(|name| format!("{name} never occurred")).collect();
    let (skipped, intents) = (count("skipped-intents"), count("intents"));
    if skipped * 100 > intents * SKIPPED_PERCENT_MAX {
        missing
            .push(format!("{skipped} of {intents} intents were skipped; at most {SKIPPED_PERCENT_MAX} percent may be"));
    }
    missing
}

/// Judges a scenario over all its plans together: unknown if something that must occur never did.
#[must_use]
pub fn check(must_occur: &[String], totals: &BTreeMap<String, u64>) -> Finding {
    let mut finding = Finding::default();
    for why in missing(must_occur, totals) {
        finding.unknown(why);
    }
    finding
}

/// Whether this is a name that [`count`] may give; the part after the colon of `fault:` and of rules is open.
#[must_use]
pub fn is_known(name: &str) -> bool {
    const PLAIN: [&str; 22] = [
        "insert-reply-lost-then-foreign-write",
        "copy-restored",
        "new-epoch",
        "storage-lost",
        "lost-with-device",
        "offline-edit",
        "retry",
        "reply-lost-after-commit",
        "reply-lost-then-foreign-write",
        "duplicate-delivery",
        "refused",
        "merged",
        "superseded",
        "token-401",
        "tab-close",
        "suspend",
        "stream-cut",
        "half-open",
        "operations",
        "finished",
        "intents",
        "skipped-intents",
    ];
    const KINDS: [&str; 9] = ["row", "column", "group", "counter", "set", "delete", "unique", "parent", "exclusive"];
    const RULES: [&str; 12] = [
        "latest",
        "deleted",
        "revived",
        "counter",
        "set",
        "max",
        "keep-server",
        "cycle",
        "exclusive",
        "alias",
        "cascade",
        "parent-missing",
    ];
    const MOMENTS: [&str; 5] = ["idle", "before-send", "after-send", "after-answer", "before-write-checkpoint"];
    match name.split_once(':') {
        None => PLAIN.contains(&name),
        Some(("concurrent", kind)) => KINDS.contains(&kind),
        Some(("unseen-override", rule)) => RULES.contains(&rule) || OWN_RULES.contains(&rule),
        Some(("crash", moment)) => MOMENTS.contains(&moment),
        Some(("backend-killed", instant)) => matches!(instant, "before-commit" | "after-commit"),
        Some(("container", what)) => what.split_once('-').is_some_and(|(part, how)| {
            ["backend", "service", "postgres", "redis", "mongodb"].contains(&part)
                && ["kill", "stop", "restart", "pause", "disconnect"].contains(&how)
        }),
        Some(("fault", fault)) => !fault.is_empty(),
        Some(_) => false,
    }
}

struct Counter<'t, 'a> {
    timeline: &'t Timeline<'a>,
    counts: BTreeMap<String, u64>,
    /// Whether each device's stream is up.
    streaming: Vec<bool>,
    /// Transactions whose reply was lost, and the commits there were by then.
    lost_replies: BTreeMap<(u32, i64), u64>,
    /// Transactions whose ledger entries have been seen.
    delivered: BTreeSet<(u32, i64)>,
    refused: BTreeSet<(u32, i64)>,
    /// Devices that wait for the answer to an upload.
    uploading: BTreeSet<u32>,
}

impl Counter<'_, '_> {
    fn add(&mut self, name: &str, by: u64) {
        durability::count(&mut self.counts, name, by);
    }

    fn one(&mut self, name: &str) {
        self.add(name, 1);
    }

    fn client(&mut self, event: usize, device: u32, what: &What) {
        let index = device as usize;
        match what {
            What::Tx(tx) => self.tx(index, tx),
            What::Upload(upload) => self.upload(event, device, upload),
            What::Stream { phase, status, .. } => {
                match phase {
                    Phase::Ok => self.streaming[index] = true,
                    Phase::Fail | Phase::Info => self.streaming[index] = false,
                    Phase::Invoke => {}
                }
                self.status(*status);
            }
            What::WriteCheckpoint { status, .. } => self.status(*status),
            What::Complete { .. } => self.one("finished"),
            What::Lifecycle(lifecycle) => self.lifecycle(index, *lifecycle),
            other => self.elsewhere(other),
        }
    }

    fn tx(&mut self, device: usize, tx: &LocalTx) {
        self.add("intents", u64::from(tx.intents));
        self.add("skipped-intents", u64::from(tx.skipped));
        if tx.failed.is_none() {
            self.add("operations", tx.ops.len() as u64);
        }
        if tx.failed.is_none() && !tx.ops.is_empty() && !self.streaming[device] {
            self.one("offline-edit");
        }
    }

    fn upload(&mut self, event: usize, device: u32, upload: &Upload) {
        let key = (device, upload.tx_id);
        match upload.phase {
            Phase::Invoke => self.uploading.insert(device),
            _ => self.uploading.remove(&device),
        };
        if upload.phase != Phase::Invoke {
            self.status(upload.status);
        }
        match upload.phase {
            Phase::Invoke => {
                if upload.attempt > 1 {
                    self.one("retry");
                    self.foreign_write(event, device, upload.tx_id);
                }
            }
            // An answer that the device never saw: a copy of the request arrived as well.
            Phase::Info if upload.status.is_some_and(|status| status < 300) => self.one("duplicate-delivery"),
            Phase::Info => {
                if self.timeline.commits_of(device, upload.tx_id).any(|seq| self.happened(seq, event)) {
                    self.one("reply-lost-after-commit");
                    self.lost_replies.insert(key, self.timeline.committed_before(event));
                }
            }
            Phase::Ok | Phase::Fail => {
                if upload.outcome == Some(TxOutcome::Refused) && self.refused.insert(key) {
                    self.one("refused");
                }
                for answer in &upload.ops {
                    if answer.reason.as_deref().is_some_and(|reason| reason.contains("restored-copy")) {
                        self.one("new-epoch");
                    }
                    match answer.outcome {
                        Outcome::Merged => self.one("merged"),
                        Outcome::Superseded => self.one("superseded"),
                        _ => {}
                    }
                }
                let before = self.timeline.committed_before(event);
                let lost_at = self.lost_replies.remove(&key);
                // The commit stood before the attempt that lost its reply ended: this answer is the first one, again.
                if upload.phase == Phase::Ok
                    && let Some(lost_at) = lost_at
                    && !self.timeline.commits_of(device, upload.tx_id).any(|seq| seq > lost_at && seq <= before)
                {
                    self.one("duplicate-delivery");
                }
            }
        }
    }

    /// Whether another device committed to a row of the transaction after its commit, before this attempt.
    fn foreign_write(&mut self, event: usize, device: u32, tx_id: i64) {
        if !self.lost_replies.contains_key(&(device, tx_id)) {
            return;
        }
        let Some(first) = self.timeline.commits_of(device, tx_id).next() else { return };
        let Some(rows) = self.timeline.commit(first).map(|commit| commit.changes.iter().map(|change| change.row))
        else {
            return;
        };
        let until = self.timeline.committed_before(event);
        let foreign = |seq: u64| {
            let origin = self.timeline.commit(seq).and_then(|commit| commit.origin);
            origin.is_some_and(|origin| origin.device != device)
        };
        let mut rows = rows.collect::<Vec<_>>();
        rows.sort_unstable();
        rows.dedup();
        let written = rows.iter().any(|row| {
            let versions = self.timeline.versions(*row);
            let from = versions.partition_point(|version| version.seq <= first);
            versions[from..].iter().take_while(|version| version.seq <= until).any(|version| foreign(version.seq))
        });
        if written {
            self.one("reply-lost-then-foreign-write");
            let inserts = self.timeline.commit(first).is_some_and(|commit| {
                commit.changes.iter().any(|change| change.before.is_none() && rows.binary_search(&change.row).is_ok())
            });
            if inserts {
                self.one("insert-reply-lost-then-foreign-write");
            }
        }
    }

    fn happened(&self, seq: u64, event: usize) -> bool {
        self.timeline.commit_event(seq).is_some_and(|commit| commit < event)
    }

    fn status(&mut self, status: Option<u16>) {
        if status == Some(401) {
            self.one("token-401");
        }
    }

    fn lifecycle(&mut self, device: usize, lifecycle: Lifecycle) {
        match lifecycle {
            Lifecycle::Killed(moment) => {
                self.streaming[device] = false;
                self.one(match moment {
                    Moment::Idle => "crash:idle",
                    Moment::BeforeSend => "crash:before-send",
                    Moment::AfterSend => "crash:after-send",
                    Moment::AfterAnswer => "crash:after-answer",
                    Moment::BeforeWriteCheckpoint => "crash:before-write-checkpoint",
                });
            }
            Lifecycle::Suspended => self.one("suspend"),
            Lifecycle::TabClosed => {
                self.streaming[device] = false;
                self.one("tab-close");
            }
            Lifecycle::StorageLost => {
                self.streaming[device] = false;
                self.one("storage-lost");
            }
            Lifecycle::CopyRestored(_) => {
                self.streaming[device] = false;
                self.one("copy-restored");
            }
            Lifecycle::CopyTaken(_) | Lifecycle::Started | Lifecycle::Resumed | Lifecycle::TabTookOver => {}
        }
    }

    fn elsewhere(&mut self, what: &What) {
        match what {
            What::Commit(commit) => self.commit(commit),
            What::Fault { phase: Phase::Invoke, fault, .. } => {
                let name = fault.name();
                self.one(&format!("fault:{name}"));
                if let Fault::Container { part, how, .. } = fault {
                    let word = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
                    self.one(&format!("container:{}-{}", word(part), word(how)));
                }
                if matches!(name, "stream-cut" | "half-open") {
                    self.one(name);
                }
            }
            _ => {}
        }
    }

    /// A kill in the middle of an upload: after the commit, that commit is the last thing that happened.
    fn killed(&mut self, event: usize, device: u32, instant: KillInstant) {
        if !self.uploading.contains(&device) {
            return;
        }
        let last = self.timeline.commit(self.timeline.committed_before(event));
        let at = last.and_then(|commit| self.timeline.commit_event(commit.seq));
        let committed = at.is_some_and(|at| at + 1 == event)
            && last.and_then(|commit| commit.origin).is_some_and(|origin| origin.device == device);
        match instant {
            KillInstant::AfterCommit if committed => self.one("backend-killed:after-commit"),
            KillInstant::BeforeCommit => self.one("backend-killed:before-commit"),
            KillInstant::AfterCommit => {}
        }
    }

    fn commit(&mut self, commit: &Commit) {
        if let Some(origin) = commit.origin
            && !commit.ledger.is_empty()
            && !self.delivered.insert((origin.device, origin.tx_id))
        {
            self.one("duplicate-delivery");
        }
    }
}

#[cfg(test)]
mod tests;
