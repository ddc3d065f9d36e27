//! After healing, queues drain and checkpoints are applied in bounded time, and resumed traffic passes.
//!
//! A run that does not settle is stuck or slow. Where time is virtual it is ours, so a missed deadline is a
//! failure of liveness. Where it is real, a queue is stuck when none of its own entries got further for a third of the wait,
//! whatever passes beside it; while they move, it is unknown.

use std::collections::{BTreeMap, BTreeSet};

use super::context::Context;
use super::timeline::Timeline;
use super::wording::{Case, Gather, barrier_name};
use crate::history::label::{client, time};
use crate::history::{Barrier, Phase, RowId, TxOutcome, Upload, What, Who};
use crate::verdict::{Class, Finding};

/// Judges the barriers.
#[must_use]
pub fn check(ctx: &Context<'_>, timeline: &Timeline<'_>) -> Finding {
    let mut gather = Gather::new(ctx, "progress");
    let live = ctx.history.header.time.is_virtual();
    let mut entered = None;
    let mut healed = None;
    let mut failed = Vec::new();
    let mut reached = None;
    let mut not_injected = Vec::new();
    for (event, seen) in ctx.history.events.iter().enumerate() {
        let (barrier, phase, open) = match &seen.what {
            What::Barrier { barrier, phase, open } => (barrier, phase, open),
            What::Fault { phase: Phase::Fail, fault, .. } => {
                gather.unknown(format!("the fault {} was to strike and could not be injected", fault.name()));
                not_injected.push((event, fault.device()));
                continue;
            }
            _ => continue,
        };
        match phase {
            Phase::Invoke => entered = Some(event),
            Phase::Ok if *barrier == Barrier::Heal => healed = Some(event),
            Phase::Ok => {
                reached = Some(*barrier);
                if *barrier == Barrier::Settle
                    && let Some(healed) = healed
                {
                    deadline(ctx, healed, event, live, &mut gather);
                }
            }
            Phase::Fail | Phase::Info => failed.push((*barrier, entered.unwrap_or(event), event, open)),
        }
    }
    if failed.is_empty() && reached != Some(Barrier::SettleAgain) {
        gather.unknown("the history ends before the run has settled".to_owned());
    }
    for (barrier, entered, event, open) in failed {
        let work_again = servers_work(ctx, healed.unwrap_or(entered), event);
        // Nobody promises to overcome what is left of a fault that could not be injected completely: on its device, or
        // on the servers, unless they are seen to work.
        let excused = |(at, device): &(usize, Option<u32>)| device.is_none() && (*at > event || !work_again);
        if not_injected.iter().any(excused) {
            continue;
        }
        let devices: BTreeSet<u32> = not_injected.iter().filter_map(|(_, device)| *device).collect();
        judge(ctx, timeline, barrier, (entered, event), open, &devices, &mut gather);
    }
    gather.finish()
}

/// Whether, between two events, an upload was answered for good and synced data was applied: both servers work.
fn servers_work(ctx: &Context<'_>, from: usize, until: usize) -> bool {
    let between = ctx.history.events.get(from..until).unwrap_or_default();
    let is_final = |outcome: TxOutcome| outcome != TxOutcome::NotAttempted;
    between.iter().any(|seen| matches!(&seen.what, What::Upload(upload) if upload.outcome.is_some_and(is_final)))
        && between.iter().any(|seen| matches!(&seen.what, What::Apply(_)))
}

/// A scenario may promise to settle sooner than every run must.
fn deadline(ctx: &Context<'_>, healed: usize, event: usize, live: bool, gather: &mut Gather<'_>) {
    let took = ctx.history.events[event].at_us - ctx.history.events[healed].at_us;
    let Some(promised) = ctx.promises.deadline_us.filter(|promised| took.cast_unsigned() > *promised) else { return };
    let promised = time(i64::try_from(promised).unwrap_or(i64::MAX));
    let what =
        format!("After every fault was undone it took {} to settle; the scenario promises {promised}.", time(took));
    if !live {
        gather.unknown(what);
        return;
    }
    gather.add_of(Class::Liveness, Case {
        code: "settled-late",
        what,
        because: "With every fault undone, nothing but the stack itself stands between the devices and the settled state.".to_owned(),
        events: vec![healed, event],
        ..Case::default()
    });
}

/// What one device had open, and when it last got anywhere.
#[derive(Default)]
struct Standing {
    /// The last event that brought it further: while it has transactions open, one of them was answered for good or
    /// completed; afterwards, it was given a write checkpoint, or applied what it did not have.
    advanced: Option<usize>,
    /// Attempts of its oldest open transaction, its last one, and how often it ended alike.
    attempts: u32,
    last: Option<(usize, Option<u16>)>,
    alike: u32,
    said: Option<String>,
    /// The last attempt that began, and how many ended since the barrier was entered.
    begun: Option<usize>,
    ended: u32,
    /// Its open transactions, by event.
    open: Vec<usize>,
    /// The write checkpoint that its last apply acknowledged.
    acknowledged: u64,
}

/// What every device had open when a barrier was missed.
struct Standings(Vec<Standing>);

impl Standings {
    fn of(
        ctx: &Context<'_>,
        timeline: &Timeline<'_>,
        (entered, failed): (usize, usize),
        excused: &BTreeSet<u32>,
    ) -> Self {
        let history = ctx.history;
        let mut standings: Vec<Standing> = history.header.devices.iter().map(|_| Standing::default()).collect();
        let mut oldest: Vec<Option<i64>> = vec![None; standings.len()];
        let installations = super::installations::Installations::of(history);
        // Rows that the plan's own devices or servers wrote: only these are somebody's way to the settled state.
        let own = own_rows(ctx);
        for (event, seen) in history.events[..failed].iter().enumerate() {
            let Who::Client(device) = seen.who else { continue };
            let Some(standing) = standings
                .get_mut(device as usize)
                .filter(|_| !installations.is_gone(device) && !excused.contains(&device))
            else {
                continue;
            };
            let oldest = &mut oldest[device as usize];
            match &seen.what {
                What::Tx(tx) if tx.failed.is_none() => {
                    let completed = tx.tx_id.and_then(|tx_id| timeline.completed(device, tx_id));
                    if tx.tx_id.is_some() && completed.is_none_or(|completed| completed > failed) {
                        *oldest = oldest.or(tx.tx_id);
                        standing.open.push(event);
                    }
                }
                What::Upload(upload) => {
                    if upload.outcome.is_some_and(|outcome| outcome != TxOutcome::NotAttempted) {
                        standing.advanced = Some(event);
                    }
                    if Some(upload.tx_id) == *oldest {
                        standing.attempt(event, upload, entered);
                    }
                }
                What::Complete { .. } => standing.advanced = Some(event),
                What::WriteCheckpoint { phase: Phase::Ok, .. } if standing.open.is_empty() => {
                    standing.advanced = Some(event);
                }
                What::Apply(apply) if standing.open.is_empty() => {
                    let number = apply.write_checkpoint.unwrap_or(0);
                    let brings = apply.rows.iter().any(|(row, _)| own.contains(row));
                    if number > standing.acknowledged || brings {
                        standing.advanced = Some(event);
                    }
                    standing.acknowledged = standing.acknowledged.max(number);
                }
                _ => {}
            }
        }
        Self(standings)
    }

    fn named(&self) -> impl Iterator<Item = (u32, &Standing)> {
        (0u32..).zip(&self.0)
    }

    fn open(&self) -> impl Iterator<Item = (u32, &Standing)> {
        self.named().filter(|(_, standing)| !standing.open.is_empty())
    }
}

/// The rows that commits changed which are not somebody else's.
fn own_rows(ctx: &Context<'_>) -> BTreeSet<RowId> {
    let commits = ctx.history.events.iter().filter_map(|event| match &event.what {
        What::Commit(commit) if !commit.foreign => Some(commit),
        _ => None,
    });
    commits.flat_map(|commit| commit.changes.iter().map(|change| change.row)).collect()
}

/// A barrier that was missed.
#[derive(Clone, Copy)]
struct Missed<'a> {
    ctx: &'a Context<'a>,
    barrier: Barrier,
    /// The events at which it was entered, and given up.
    entered: usize,
    failed: usize,
}

impl Missed<'_> {
    fn at(&self, event: usize) -> i64 {
        self.ctx.history.events[event].at_us
    }

    fn waited_us(&self) -> i64 {
        self.at(self.failed) - self.at(self.entered)
    }

    /// For how long the device had not got further when the barrier was given up.
    fn idle_us(&self, standing: &Standing) -> i64 {
        self.at(self.failed) - standing.advanced.map_or(0, |event| self.at(event)).max(0)
    }

    /// Whether it got further in the last third of the wait.
    fn moves(&self, standing: &Standing) -> bool {
        standing.advanced.is_some_and(|event| event >= self.entered) && self.idle_us(standing) < self.waited_us() / 3
    }

    /// Whether a queue is stuck rather than slow, where time is real. Its own entries decide: where others get further, the
    /// servers work, and one attempt under way, or a single one that failed, may still be a slow one.
    fn is_stuck(&self, standing: &Standing, others_move: bool) -> bool {
        let is_under_way = standing.begun.is_some_and(|begun| standing.last.is_none_or(|(ended, _)| ended < begun));
        let may_be_slow = others_move && standing.ended < 2 && (is_under_way || standing.ended == 1);
        !self.moves(standing) && !may_be_slow
    }
}

fn judge(
    ctx: &Context<'_>,
    timeline: &Timeline<'_>,
    barrier: Barrier,
    (entered, failed): (usize, usize),
    open: &[String],
    excused: &BTreeSet<u32>,
    gather: &mut Gather<'_>,
) {
    let names =
        |sentence: &str, device: u32| sentence.strip_prefix(&client(device)).is_some_and(|rest| rest.starts_with(' '));
    let open: Vec<&String> =
        open.iter().filter(|sentence| !excused.iter().any(|device| names(sentence, *device))).collect();
    let standings = Standings::of(ctx, timeline, (entered, failed), excused);
    if !excused.is_empty() && open.is_empty() && standings.open().next().is_none() {
        return;
    }
    let missed = Missed { ctx, barrier, entered, failed };
    let is_virtual = ctx.history.header.time.is_virtual();
    let others_move =
        |device: u32| standings.named().any(|(other, standing)| other != device && missed.moves(standing));
    let stuck: Vec<(u32, &Standing)> = standings
        .open()
        .filter(|(device, standing)| is_virtual || missed.is_stuck(standing, others_move(*device)))
        .collect();
    if !stuck.is_empty() {
        stuck_queues(&missed, &stuck, &open, gather);
        return;
    }
    // Those that wait without a queue, as far as the barrier names them.
    let is_waiting = |device: u32| open.iter().any(|sentence| names(sentence, device));
    let is_any_named = standings.named().any(|(device, _)| is_waiting(device));
    let mut waiting = standings.named().filter(|(device, _)| !is_any_named || is_waiting(*device));
    let is_slow = standings.open().next().is_some() || waiting.any(|(_, standing)| missed.moves(standing));
    if !is_virtual && is_slow {
        gather.unknown(format!(
            "{} was not reached within {}, but things were still moving: slow, not stuck",
            barrier_name(barrier),
            time(missed.waited_us())
        ));
        return;
    }
    gather.add_of(
        Class::Liveness,
        Case {
            code: "not-settled",
            what: format!(
                "The run did not reach {} within {}, although every upload queue is empty.",
                barrier_name(barrier),
                time(missed.waited_us())
            ),
            because:
                "With every fault undone, each device must be given a write checkpoint and then a full checkpoint that \
                  acknowledges it."
                    .to_owned(),
            notes: open_notes(&open),
            events: vec![entered, failed],
            ..Case::default()
        },
    );
}

/// One case for what is at the head of a queue, and for what it is answered: others may have other causes, and other
/// writers.
fn stuck_queues(missed: &Missed<'_>, stuck: &[(u32, &Standing)], open: &[&String], gather: &mut Gather<'_>) {
    let history = missed.ctx.history;
    let head = |standing: &Standing| match &history.events[standing.open[0]].what {
        What::Tx(tx) => tx.ops.iter().map(|op| op.row).collect(),
        _ => Vec::new(),
    };
    let operations = |device: u32, standing: &Standing| match &history.events[standing.open[0]].what {
        What::Tx(tx) => tx.ops.iter().map(|op| (device, op.op_id)).collect(),
        _ => Vec::new(),
    };
    let mut groups: BTreeMap<(bool, String), Vec<(u32, &Standing)>> = BTreeMap::new();
    for (device, standing) in stuck {
        let rows: Vec<RowId> = head(standing);
        let roles: BTreeSet<String> = rows.iter().map(|row| history.row_role(missed.ctx.app, *row)).collect();
        let roles = roles.into_iter().collect::<Vec<String>>().join("+");
        let role = standing.role(missed.ctx.app, &roles);
        groups.entry((gather.is_about_others(&rows), role)).or_default().push((*device, standing));
    }
    for ((_, role), queues) in groups {
        let mut events = vec![missed.entered, missed.failed];
        let mut notes: Vec<String> = Vec::new();
        for (device, standing) in queues.iter().take(8) {
            events.push(standing.open[0]);
            events.extend(standing.last.map(|(event, _)| event));
            notes.push(format!(
                "{} {}; it last got further {} before the deadline",
                client(*device),
                standing.describe(),
                time(missed.idle_us(standing))
            ));
        }
        notes.extend(open_notes(open));
        let names = super::wording::list(queues.iter().map(|(device, _)| client(*device)));
        gather.add_of(Class::Liveness, Case {
            code: "stuck-queue",
            role,
            what: format!(
                "The run did not reach {} within {}: uploads of {names} do not pass.",
                barrier_name(missed.barrier),
                time(missed.waited_us())
            ),
            because: "With every fault undone, each queued transaction must be committed or refused for good; one that is \
                      retried for ever also keeps its device from every download."
                .to_owned(),
            notes,
            events,
            operations: queues.iter().flat_map(|(device, standing)| operations(*device, standing)).collect(),
            rows: queues.iter().flat_map(|(_, standing)| head(standing)).collect(),
            ..Case::default()
        });
    }
}

fn open_notes(open: &[&String]) -> Vec<String> {
    open.iter().take(8).map(|sentence| format!("open: {sentence}")).collect()
}

impl Standing {
    fn attempt(&mut self, event: usize, upload: &Upload, entered: usize) {
        if upload.phase == Phase::Invoke {
            self.attempts = self.attempts.max(upload.attempt);
            self.begun = Some(event);
            return;
        }
        self.ended += u32::from(event >= entered);
        self.alike = if self.last.is_some_and(|(_, status)| status == upload.status) { self.alike + 1 } else { 1 };
        self.last = Some((event, upload.status));
        self.said.clone_from(&upload.said);
    }

    /// What its oldest open transaction is answered, for comparing failures: `answered 500 duplicate key value`. Where
    /// the answer says nothing, the tables that it writes tell one failure from another.
    fn role(&self, app: &fixtures::App, tables: &str) -> String {
        let Some((_, status)) = self.last else { return "never answered".to_owned() };
        let status = status.map_or_else(|| "without an answer".to_owned(), |status| format!("answered {status}"));
        // Names and numbers differ from plan to plan; what kind of answer it is does not.
        let names = app.schema.tables.iter().flat_map(|table| {
            std::iter::once(table.name.as_str()).chain(table.columns.iter().map(|column| column.name.as_str()))
        });
        let names: BTreeSet<&str> = names.collect();
        let is_word = |word: &str| !names.contains(word) && word.chars().all(|c| c.is_alphabetic() || c == '-');
        let reason = self.said.as_deref().map(reason).unwrap_or_default();
        let words = reason.split_whitespace().map(|word| word.trim_matches(|c: char| c.is_ascii_punctuation()));
        let words: Vec<&str> = words.filter(|word| !word.is_empty() && is_word(word)).take(4).collect();
        if words.is_empty() { format!("{tables} {status}") } else { format!("{status} {}", words.join(" ")) }
    }

    fn describe(&self) -> String {
        let queued = format!("has {} transactions in its queue", self.open.len());
        match self.last {
            None if self.attempts == 0 => format!("{queued}, the first of which it never uploaded"),
            None => format!("{queued}, the first of which it uploaded {} times without an end", self.attempts),
            Some((_, None)) => {
                format!("{queued}; uploading the first ended without an answer the last {} times", self.alike)
            }
            Some((_, Some(status))) => {
                let said = self.said.as_ref().map_or_else(String::new, |said| format!(" ({said})"));
                format!("{queued}; uploading the first was answered {status}{said} the last {} times", self.alike)
            }
        }
    }
}

/// What an answer says went wrong: a reason or message in its JSON, else its text.
fn reason(said: &str) -> String {
    fn find(json: &serde_json::Value) -> Option<&str> {
        let object = json.as_object()?;
        let named = ["reason", "message", "error", "detail"].iter().find_map(|key| object.get(*key)?.as_str());
        named.or_else(|| object.values().find_map(find))
    }
    let json = serde_json::from_str::<serde_json::Value>(said).ok();
    json.as_ref().and_then(find).unwrap_or(said).to_owned()
}
