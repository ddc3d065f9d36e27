//! The words beside an event in a diagram.

use sim_core::history::{
    Barrier, Commit, Event, Lifecycle, LocalOp, Op, Outcome, Phase, Scope, TxOutcome, Upload, What, Writer,
};

use crate::difference::{Difference, differences};
use crate::faults;
use crate::joined::JoinedHistory;
use crate::words::{device_name, device_of, duration, listed, shortened, visible};

/// More lines than these are counted, not listed.
const LINES_MAX: usize = 4;

/// How a line of a label looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// What a device did.
    Strong,
    /// A value.
    Plain,
    /// A remark.
    Muted,
    /// A warning.
    Warn,
}

/// One line of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) tone: Tone,
    pub(super) text: String,
}

impl Line {
    fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { tone, text: text.into() }
    }
}

/// Words for the events of one diagram.
pub(super) struct Labels<'r, 'a> {
    pub(super) joined: &'r JoinedHistory<'a>,
    /// Whether columns are named without their row, because there is only one.
    pub(super) one_row: bool,
}

impl Labels<'_, '_> {
    /// The lines beside an event.
    pub(super) fn of(&self, index: usize, event: &Event) -> Vec<Line> {
        match &event.what {
            What::Tx(tx) => {
                let mut lines = vec![Line::new(Tone::Strong, visible(&tx.activity))];
                if let Some(message) = &tx.failed {
                    lines.push(Line::new(Tone::Warn, visible(message)));
                }
                lines.extend(limited(tx.ops.iter().flat_map(|op| self.operation(op)).collect()));
                lines
            }
            What::Upload(upload) => self.upload(index, upload),
            What::Commit(commit) => self.commit(commit),
            What::Apply(apply) => {
                let mut lines: Vec<Line> = Vec::new();
                if let Some(priority) = apply.priority {
                    lines.push(Line::new(Tone::Muted, format!("up to priority {priority}")));
                }
                let differences = self.joined.applied.get(&index).map_or(&[][..], Vec::as_slice);
                lines.extend(differences.iter().map(|difference| Line::new(Tone::Plain, self.difference(difference))));
                limited(lines)
            }
            What::Lifecycle(life) => vec![Line::new(Tone::Strong, lifecycle(*life))],
            What::Protocol { message } => vec![Line::new(Tone::Warn, visible(message))],
            What::Fault { phase, fault, .. } => {
                let state = faults::state(fault).unwrap_or_else(|| fault.name().replace('-', " "));
                match phase {
                    Phase::Invoke => {
                        vec![Line::new(Tone::Muted, fault.spec().armed.map_or(state, str::to_owned))]
                    }
                    Phase::Ok => vec![Line::new(Tone::Muted, format!("{state}: over"))],
                    Phase::Fail | Phase::Info => vec![Line::new(Tone::Warn, format!("{state}: not injected"))],
                }
            }
            What::Complete { .. } => vec![Line::new(Tone::Muted, "leaves the queue")],
            What::WriteCheckpoint { phase: Phase::Invoke, .. } => vec![Line::new(Tone::Muted, "asks write checkpoint")],
            What::WriteCheckpoint { number: Some(number), .. } => {
                vec![Line::new(Tone::Muted, format!("write checkpoint {number}"))]
            }
            What::WriteCheckpoint { .. } => vec![Line::new(Tone::Warn, "no write checkpoint")],
            What::Stream { phase: Phase::Invoke, .. } => vec![Line::new(Tone::Muted, "asks for stream")],
            What::Stream { phase: Phase::Ok, .. } => vec![Line::new(Tone::Muted, "stream open")],
            What::Stream { reason, .. } => vec![Line::new(Tone::Warn, format!("no stream: {reason}"))],
            What::Read { scope: Scope::Final, .. } => vec![Line::new(Tone::Muted, "final read")],
            What::Read { .. } => vec![Line::new(Tone::Muted, "looks")],
            What::Conflicts { .. } | What::Invariants { .. } | What::Barrier { .. } => Vec::new(),
        }
    }

    /// The words of an event that concerns the whole run, across all lines.
    pub(super) fn banner(&self, event: &Event) -> Option<String> {
        match &event.what {
            What::Conflicts { user, records } => {
                let records = match records.len() {
                    0 => "no conflict is on record".to_owned(),
                    1 => "1 conflict is on record".to_owned(),
                    many => format!("{many} conflicts are on record"),
                };
                Some(format!("{records} for {}", shortened(&visible(user), 30)))
            }
            What::Barrier { phase: Phase::Ok, barrier, .. } => Some(
                match barrier {
                    Barrier::Heal => "every fault is undone",
                    Barrier::Settle => "settled: queues empty, devices up to date",
                    Barrier::Resume => "a little more traffic has passed",
                    Barrier::SettleAgain => "settled again",
                }
                .to_owned(),
            ),
            What::Barrier { phase: Phase::Fail | Phase::Info, .. } => Some("the time to settle is over".to_owned()),
            _ => None,
        }
    }

    fn operation(&self, op: &LocalOp) -> Vec<Line> {
        let names = &self.joined.names;
        let row = names.row(op.row);
        let mut lines = Vec::new();
        match op.op {
            Op::Delete => lines.push(Line::new(Tone::Plain, format!("deletes {row}"))),
            Op::Put => lines.push(Line::new(Tone::Plain, format!("creates {row}"))),
            Op::Patch => {}
        }
        let shown = op.data.iter().filter(|(column, _)| !names.is_left_out(op, *column));
        lines.extend(shown.map(|(column, value)| {
            Line::new(Tone::Plain, format!("{} = {}", self.register(op.row, *column), names.value(value)))
        }));
        lines
    }

    fn register(&self, row: u32, column: usize) -> String {
        let names = &self.joined.names;
        let column = names.column(row, column);
        if self.one_row { column } else { format!("{}.{column}", names.row(row)) }
    }

    fn upload(&self, index: usize, upload: &Upload) -> Vec<Line> {
        let attempt = self.joined.attempt_of.get(&index).map(|attempt| &self.joined.attempts[*attempt]);
        let committed = attempt.is_some_and(|attempt| !attempt.commits.is_empty());
        match upload.phase {
            Phase::Invoke if upload.attempt > 1 => {
                vec![Line::new(Tone::Muted, format!("sends again (attempt {})", upload.attempt))]
            }
            Phase::Invoke => Vec::new(),
            Phase::Ok | Phase::Fail if upload.outcome == Some(TxOutcome::Refused) => {
                vec![Line::new(Tone::Warn, "refused as a whole")]
            }
            Phase::Ok if upload.outcome == Some(TxOutcome::NotAttempted) => {
                vec![Line::new(Tone::Muted, "not tried yet")]
            }
            Phase::Ok => {
                let mut lines: Vec<Line> = upload
                    .ops
                    .iter()
                    .filter(|answer| answer.outcome != Outcome::Applied)
                    .map(|answer| {
                        let by = match &answer.by {
                            Some(Writer::Client { device, .. }) => format!(" by {}", device_name(*device)),
                            _ => String::new(),
                        };
                        Line::new(Tone::Muted, format!("answer: {}{by}", outcome_name(answer.outcome)))
                    })
                    .collect();
                if !committed && lines.is_empty() {
                    lines.push(Line::new(Tone::Muted, "answer: already committed"));
                }
                limited(lines)
            }
            Phase::Info => vec![Line::new(Tone::Warn, with_status("no answer", upload.status))],
            Phase::Fail => vec![Line::new(Tone::Warn, with_status("not accepted", upload.status))],
        }
    }

    fn commit(&self, commit: &Commit) -> Vec<Line> {
        let names = &self.joined.names;
        let mut lines = Vec::new();
        for change in &commit.changes {
            for difference in differences(names, change.row, change.before.as_ref(), change.after.as_ref()) {
                lines.push(Line::new(Tone::Plain, self.difference(&difference)));
                if let Difference::Changes { column, before, .. } = &difference
                    && self.joined.value_seen_before(commit, change, *column).is_some()
                {
                    lines.push(Line::new(Tone::Warn, format!("over unseen {}", names.value(before))));
                }
            }
        }
        if lines.is_empty() {
            lines.push(Line::new(Tone::Muted, "no row changes"));
        }
        let mut lines = limited(lines);
        for (losing, survivor) in commit.aliases.iter().take(2) {
            lines.push(Line::new(Tone::Muted, format!("{} becomes {}", names.row(*losing), names.row(*survivor))));
        }
        if let Some(record) = commit.conflicts.first() {
            let loser = names.writer(&record.loser);
            let more = match commit.conflicts.len() {
                1 => String::new(),
                many => format!(" +{}", many - 1),
            };
            lines.push(Line::new(Tone::Muted, format!("on record: {loser} loses{more}")));
        }
        lines
    }

    fn difference(&self, difference: &Difference) -> String {
        let names = &self.joined.names;
        match difference {
            Difference::Appears(row) => format!("{} appears", names.row(*row)),
            Difference::Disappears(row) => format!("{} is gone", names.row(*row)),
            Difference::Changes { row, column, after, .. } => {
                format!("{} = {}", self.register(*row, *column), names.value(after))
            }
        }
    }

    /// Everything about an event, shown when the pointer is on it.
    pub(super) fn tooltip(&self, event: &Event, lines: &[Line]) -> String {
        let who = device_of(event.who).map(device_name);
        let words: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        let at = u64::try_from(event.at_us).map(duration).unwrap_or_default();
        listed(
            &[who.unwrap_or_default(), at, words.join("; ")]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>(),
        )
    }
}

fn limited(mut lines: Vec<Line>) -> Vec<Line> {
    if lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX + 1;
        lines.truncate(LINES_MAX - 1);
        lines.push(Line::new(Tone::Muted, format!("and {more} more")));
    }
    lines
}

fn with_status(text: &str, status: Option<u16>) -> String {
    status.map_or_else(|| text.to_owned(), |status| format!("{text}: HTTP {status}"))
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::Merged => "merged",
        Outcome::Superseded => "superseded",
        Outcome::Rejected => "rejected",
        Outcome::RolledBack => "rolled back",
    }
}

fn lifecycle(life: Lifecycle) -> &'static str {
    match life {
        Lifecycle::Killed(_) => "killed",
        Lifecycle::Started => "starts",
        Lifecycle::Suspended => "suspended",
        Lifecycle::Resumed => "resumed",
        Lifecycle::TabClosed => "tab closed",
        Lifecycle::TabTookOver => "another tab takes over",
        Lifecycle::CopyTaken(_) => "copied",
        Lifecycle::CopyRestored(_) => "copy restored",
        Lifecycle::StorageLost => "storage lost",
    }
}
