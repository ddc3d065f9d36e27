//! One event as a sentence.

use sim_core::history::{
    Barrier, Change, Commit, ConflictRecord, Event, InvariantAnswer, Lifecycle, LocalOp, LocalTx, Moment, Op, OpAnswer,
    Outcome, Phase, Scope, TxOutcome, Upload, What, Writer,
};

use crate::difference::{Difference, differences};
use crate::faults;
use crate::joined::JoinedHistory;
use crate::words::{counted, device_name, device_of, listed, visible};

/// More changes than these are counted, not listed.
const CHANGES_MAX: usize = 4;

/// Sentences for the events of one history.
pub(super) struct Sentences<'r, 'a> {
    pub(super) joined: &'r JoinedHistory<'a>,
}

impl Sentences<'_, '_> {
    /// The event as a sentence; `None` where the sentence of another event includes it.
    pub(super) fn of(&self, index: usize, event: &Event) -> Option<String> {
        let device = device_of(event.who);
        let name = device.map(device_name).unwrap_or_default();
        match &event.what {
            What::Tx(tx) => Some(self.transaction(index, device?, tx)),
            What::Upload(upload) => self.upload(index, device?, upload),
            What::Complete { tx_id } => {
                Some(format!("{name} takes {} out of its queue", self.transaction_name(device?, *tx_id)))
            }
            What::WriteCheckpoint { phase: Phase::Ok, number: Some(number), .. } => {
                Some(format!("{name} is given write checkpoint {number}"))
            }
            What::WriteCheckpoint { phase: Phase::Invoke, .. } => Some(format!("{name} asks for a write checkpoint")),
            What::WriteCheckpoint { status, .. } => {
                Some(format!("{name} gets no write checkpoint{}", answered(*status)))
            }
            What::Stream { phase: Phase::Invoke, .. } => Some(format!("{name} asks for a sync stream")),
            What::Stream { phase: Phase::Ok, .. } => Some(format!("the sync stream of {name} is open")),
            What::Stream { status, reason, .. } => {
                Some(format!("{name} has no sync stream: {reason}{}", answered(*status)))
            }
            What::Apply(apply) => {
                let differences = self.joined.applied.get(&index).map_or(&[][..], Vec::as_slice);
                let part = apply.priority.map(|up_to| format!(" up to priority {up_to}")).unwrap_or_default();
                let changes = match differences {
                    [] => "nothing that it shows changes".to_owned(),
                    _ => self.changes(differences),
                };
                Some(format!("{name} applies what was synced{part}: {changes}"))
            }
            What::Protocol { message } => Some(format!("the sync core of {name} reports: {}", visible(message))),
            What::Read { scope: Scope::Final, .. } => Some(format!(
                "everything that {} holds is read",
                device.map_or_else(|| "the server".to_owned(), device_name)
            )),
            What::Read { rows, .. } => {
                let seen: Vec<String> = rows
                    .iter()
                    .take(CHANGES_MAX)
                    .map(|(row, seen)| match seen {
                        None => format!("{} is not there", self.joined.names.row(*row)),
                        Some(_) => self.joined.names.row(*row),
                    })
                    .collect();
                let who = device.map_or_else(|| "the run".to_owned(), device_name);
                Some(format!("{who} looks at {}{}", listed(&seen), more(rows.len())))
            }
            What::Lifecycle(life) => Some(lifecycle(&name, *life)),
            What::Commit(commit) => Some(self.commit(commit)),
            What::Conflicts { user, records } => {
                let shown: Vec<String> = records.iter().take(CHANGES_MAX).map(|record| self.record(record)).collect();
                let shown = if shown.is_empty() { "there are none".to_owned() } else { shown.join("; ") };
                Some(format!("{} asks for the conflicts on record: {shown}{}", visible(user), more(records.len())))
            }
            What::Invariants { answers } => {
                let broken: Vec<String> = answers.iter().filter_map(|(name, answer)| invariant(name, answer)).collect();
                (!broken.is_empty()).then(|| broken.join("; "))
            }
            What::Fault { phase: Phase::Invoke, fault, .. } => Some(faults::begins(fault)),
            What::Fault { phase: Phase::Ok, fault, .. } if self.joined.is_outlasted(index, fault) => None,
            What::Fault { phase: Phase::Ok, fault, .. } => faults::ends(fault),
            What::Fault { fault, .. } => Some(format!("the fault {} could not be injected", fault.name())),
            What::Barrier { barrier, phase, open } => barrier_words(*barrier, *phase, open),
        }
    }

    fn transaction(&self, index: usize, device: u32, tx: &LocalTx) -> String {
        let conditions = self.joined.conditions.get(&index).map_or(&[][..], Vec::as_slice);
        let mut about = vec![self.joined.names.kind(device).to_owned()];
        about.extend(conditions.iter().cloned());
        let who = format!("{} ({})", device_name(device), about.join(", "));
        let activity = visible(&tx.activity);
        if let Some(message) = &tx.failed {
            return format!("{who} tries {activity}, but its database refuses: {}", visible(message));
        }
        let ops: Vec<String> = tx.ops.iter().take(CHANGES_MAX).map(|op| self.operation(op)).collect();
        let done = if ops.is_empty() { "nothing to upload".to_owned() } else { listed(&ops) };
        let skipped = match tx.skipped {
            0 => String::new(),
            some => format!(
                " ({some} of {} left out: the row is not visible there)",
                counted(u64::from(tx.intents), "intent", "intents")
            ),
        };
        format!("{who}, {activity}: {done}{}{skipped}", more(tx.ops.len()))
    }

    fn operation(&self, op: &LocalOp) -> String {
        let names = &self.joined.names;
        let row = names.row(op.row);
        let written: Vec<&(usize, fixtures::Value)> =
            op.data.iter().filter(|(column, _)| !names.is_left_out(op, *column)).collect();
        let unknown = if op.unknown.is_empty() {
            String::new()
        } else {
            format!(", and {} that the server does not know", visible(&listed(&op.unknown)))
        };
        let columns: Vec<String> = written
            .iter()
            .take(CHANGES_MAX)
            .map(|(column, value)| {
                let name = names.column(op.row, *column);
                let register = names.register(op.row, *column);
                let old = op.old.iter().find(|(at, _)| at == column).map(|(_, old)| names.value(old));
                match (op.op, old) {
                    (Op::Patch, Some(old)) => format!("{register} from {old} to {}", names.value(value)),
                    (Op::Patch, None) => format!("{register} to {}", names.value(value)),
                    _ => format!("{name} {}", names.value(value)),
                }
            })
            .collect();
        let columns = format!("{}{}{unknown}", listed(&columns), more(written.len()));
        match op.op {
            Op::Delete => format!("deletes {row}"),
            Op::Put if columns.is_empty() => format!("creates {row}"),
            Op::Put => format!("creates {row} with {columns}"),
            Op::Patch if columns.is_empty() => format!("touches {row}"),
            Op::Patch => format!("sets {columns}"),
        }
    }

    /// An attempt that led to a commit and was answered needs no sentence beside that of the commit.
    fn upload(&self, index: usize, device: u32, upload: &Upload) -> Option<String> {
        let name = device_name(device);
        let transaction = self.transaction_name(device, upload.tx_id);
        let attempt = self.joined.attempt_of.get(&index).map(|attempt| &self.joined.attempts[*attempt]);
        let committed = attempt.is_some_and(|attempt| !attempt.commits.is_empty());
        match upload.phase {
            Phase::Invoke if upload.attempt > 1 => {
                Some(format!("{name} uploads {transaction} again (attempt {})", upload.attempt))
            }
            Phase::Invoke if committed => None,
            Phase::Invoke => Some(format!("{name} uploads {transaction}")),
            Phase::Ok => match upload.outcome {
                Some(TxOutcome::Refused) => {
                    Some(format!("the backend refuses {transaction} of {name}{}", self.answers(device, upload)))
                }
                Some(TxOutcome::NotAttempted) => Some(format!("the backend did not try {transaction} of {name} yet")),
                _ if committed => {
                    let answers = self.answers(device, upload);
                    (!answers.is_empty()).then(|| format!("{name} gets its answer{answers}"))
                }
                _ => Some(format!(
                    "{name} gets the first answer again, because {transaction} is already committed{}",
                    self.answers(device, upload)
                )),
            },
            Phase::Info if committed => Some(format!(
                "{name} gets no answer{}: it cannot know that {transaction} is committed",
                answered(upload.status)
            )),
            Phase::Info => Some(match upload.status {
                Some(status) => {
                    format!("{name} gets HTTP {status} for {transaction}, which does not say what became of it")
                }
                None => format!("{name} gets no answer for {transaction}"),
            }),
            Phase::Fail if upload.outcome == Some(TxOutcome::Refused) => {
                Some(format!("the backend refuses {transaction} of {name}{}", self.answers(device, upload)))
            }
            Phase::Fail => {
                let why = upload
                    .status
                    .map_or_else(|| ": the backend is not reached".to_owned(), |_| answered(upload.status));
                Some(format!("{name} cannot upload {transaction}{why}"))
            }
        }
    }

    /// The outcomes of the operations that were not applied as sent.
    fn answers(&self, device: u32, upload: &Upload) -> String {
        let special: Vec<&OpAnswer> = upload.ops.iter().filter(|answer| answer.outcome != Outcome::Applied).collect();
        if special.is_empty() {
            return String::new();
        }
        let shown: Vec<String> = special.iter().take(CHANGES_MAX).map(|answer| self.answer(device, answer)).collect();
        format!(": {}{}", listed(&shown), more(special.len()))
    }

    fn answer(&self, device: u32, answer: &OpAnswer) -> String {
        let names = &self.joined.names;
        let what = self.joined.operation(device, answer.op_id).map_or_else(
            || "an operation".to_owned(),
            |op| {
                let write = if op.op == Op::Delete { "deletion" } else { "write" };
                format!("its {write} of {}", names.row(op.row))
            },
        );
        let by = answer.by.as_ref().map(|by| format!(" by {}", names.writer(by))).unwrap_or_default();
        let into = answer.merged_into.map(|row| format!(" into {}", names.row(row))).unwrap_or_default();
        let reason = answer.reason.as_ref().map(|reason| format!(" ({})", visible(reason))).unwrap_or_default();
        let fate = match answer.outcome {
            Outcome::Applied => "took effect",
            Outcome::Merged => "was merged",
            Outcome::Superseded => "was superseded",
            Outcome::Rejected => "was rejected",
            Outcome::RolledBack => "was rolled back with the rest",
        };
        format!("{what} {fate}{into}{by}{reason}")
    }

    fn commit(&self, commit: &Commit) -> String {
        let names = &self.joined.names;
        let mut changes: Vec<String> = Vec::new();
        for change in &commit.changes {
            let differences = differences(names, change.row, change.before.as_ref(), change.after.as_ref());
            changes.extend(differences.iter().map(|difference| self.change(commit, change, difference)));
        }
        let shown: Vec<String> = changes.iter().take(CHANGES_MAX).cloned().collect();
        let shown = if shown.is_empty() { "no row changes".to_owned() } else { shown.join(", ") };
        let shown = format!("{shown}{}", more(changes.len()));
        let mut text = match commit.origin {
            Some(origin) => format!(
                "the backend commits {} of {} as number {}: {shown}",
                self.transaction_name(origin.device, origin.tx_id),
                device_name(origin.device),
                commit.seq
            ),
            None if commit.foreign => format!("somebody else commits number {}: {shown}", commit.seq),
            None => format!("the server itself commits number {}: {shown}", commit.seq),
        };
        for record in commit.conflicts.iter().take(CHANGES_MAX) {
            text.push_str(&format!("; {}", self.override_words(commit, record)));
        }
        for (losing, survivor) in &commit.aliases {
            text.push_str(&format!("; {} becomes {}", names.row(*losing), names.row(*survivor)));
        }
        text
    }

    fn change(&self, commit: &Commit, change: &Change, difference: &Difference) -> String {
        let names = &self.joined.names;
        let text = self.difference(difference);
        let Difference::Changes { column, .. } = difference else { return text };
        match self.joined.value_seen_before(commit, change, *column) {
            Some(seen) => format!("{text} (its device had seen {})", names.value(seen)),
            None => text,
        }
    }

    fn override_words(&self, commit: &Commit, record: &ConflictRecord) -> String {
        let names = &self.joined.names;
        let own = |writer: &Writer| match (writer, commit.origin) {
            (Writer::Client { device, .. }, Some(origin)) => *device == origin.device,
            _ => false,
        };
        let rule = visible(&record.rule);
        let row = names.row(record.row);
        let what = record.column.as_deref().map_or_else(|| row.clone(), |column| format!("{row}.{}", visible(column)));
        if own(&record.loser) && !own(&record.winner) {
            format!("its write of {what} gives way to that of {} (rule {rule})", names.writer(&record.winner))
        } else if own(&record.winner) {
            format!("it overrides the write of {what} by {} (rule {rule})", names.writer(&record.loser))
        } else {
            self.record(record)
        }
    }

    fn record(&self, record: &ConflictRecord) -> String {
        let names = &self.joined.names;
        let what = match &record.column {
            Some(column) => format!("{}.{}", names.row(record.row), visible(column)),
            None => names.row(record.row),
        };
        let (loser, winner) = (names.writer(&record.loser), names.writer(&record.winner));
        format!("{what}: {loser} gave way to {winner} (rule {})", visible(&record.rule))
    }

    fn changes(&self, differences: &[Difference]) -> String {
        let shown: Vec<String> =
            differences.iter().take(CHANGES_MAX).map(|difference| self.difference(difference)).collect();
        format!("{}{}", shown.join(", "), more(differences.len()))
    }

    fn difference(&self, difference: &Difference) -> String {
        let names = &self.joined.names;
        match difference {
            Difference::Appears(row) => format!("{} appears", names.row(*row)),
            Difference::Disappears(row) => format!("{} disappears", names.row(*row)),
            Difference::Changes { row, column, before, after } => {
                let (before, after) = (names.value(before), names.value(after));
                format!("{} from {before} to {after}", names.register(*row, *column))
            }
        }
    }

    /// The activity of a transaction.
    fn transaction_name(&self, device: u32, tx_id: i64) -> String {
        self.joined.activity(device, tx_id).map_or_else(|| format!("transaction {tx_id}"), visible)
    }
}

fn more(all: usize) -> String {
    match all.saturating_sub(CHANGES_MAX) {
        0 => String::new(),
        rest => format!(" and {rest} more"),
    }
}

fn answered(status: Option<u16>) -> String {
    status.map(|status| format!(" (HTTP {status})")).unwrap_or_default()
}

fn lifecycle(name: &str, life: Lifecycle) -> String {
    match life {
        Lifecycle::Killed(at) => format!("{name} is killed, {}", upload_progress(at)),
        Lifecycle::Started => format!("{name} starts"),
        Lifecycle::Suspended => format!("{name} is suspended"),
        Lifecycle::Resumed => format!("{name} is resumed"),
        Lifecycle::TabClosed => format!("the tab of {name} that owned the connection is gone"),
        Lifecycle::TabTookOver => format!("another tab of {name} owns the connection"),
        Lifecycle::CopyTaken(_) => format!("the database of {name} is copied"),
        Lifecycle::CopyRestored(_) => {
            format!("the database of {name} is replaced by the old copy; what starts in its place continues from there")
        }
        Lifecycle::StorageLost => {
            format!(
                "{name} loses its database, with everything in its queue; what starts in its place knows nothing of it"
            )
        }
    }
}

/// How far the upload of a device was when the device was killed.
fn upload_progress(at: Moment) -> &'static str {
    match at {
        Moment::Idle => "with nothing to upload",
        Moment::BeforeSend => "before it sent its upload",
        Moment::AfterSend => "after it sent its upload, before the answer",
        Moment::AfterAnswer => "after the answer to its upload, before it was recorded",
        Moment::BeforeWriteCheckpoint => "after its upload was done, before its write checkpoint",
    }
}

fn barrier_words(barrier: Barrier, phase: Phase, open: &[String]) -> Option<String> {
    let text = match (barrier, phase) {
        (Barrier::Heal, Phase::Ok) => "every fault is undone".to_owned(),
        (Barrier::Settle, Phase::Ok) => "all queues are empty and all devices are up to date".to_owned(),
        (Barrier::Resume, Phase::Ok) => "a little more traffic has passed".to_owned(),
        (Barrier::SettleAgain, Phase::Ok) => "all devices are up to date again".to_owned(),
        (_, Phase::Fail | Phase::Info) => {
            let open: Vec<String> = open.iter().map(|line| visible(line)).collect();
            let open = if open.is_empty() { String::new() } else { format!("; still open: {}", open.join("; ")) };
            format!("the time to settle is over{open}")
        }
        (_, Phase::Invoke) => return None,
    };
    Some(text)
}

/// What is wrong with an invariant, if anything is.
fn invariant(name: &str, answer: &InvariantAnswer) -> Option<String> {
    match answer {
        InvariantAnswer::Holds => None,
        InvariantAnswer::Broken(rows) => {
            let rows: Vec<String> = rows.iter().map(|row| visible(row)).collect();
            Some(format!("the invariant {} does not hold for {}", visible(name), listed(&rows)))
        }
        InvariantAnswer::NotAsked(why) => {
            Some(format!("the invariant {} could not be asked: {}", visible(name), visible(why)))
        }
    }
}
