//! Session guarantees and causal order: read your writes, monotonic reads, monotonic writes, writes follow reads.
//!
//! Where devices stand comes from the timeline: each full apply is a prefix of the server's commits. What then
//! remains is that prefixes never go back and hold the device's own commits, that a device's transactions commit in
//! the order in which it made them and after what it had seen, and that what a person reads on a device is what it
//! showed and wrote.

use super::context::Context;
use super::timeline::{State, Timeline};
use super::wording::{Case, Gather, image_text};
use crate::history::label::client;
use crate::history::{Origin, RowId, What, Who};
use crate::verdict::Finding;

/// Judges the order of what devices saw and wrote.
#[must_use]
pub fn check(ctx: &Context<'_>, timeline: &Timeline<'_>) -> Finding {
    let mut gather = Gather::new(ctx, "causal");
    if let Some(why) = timeline.blind() {
        gather.unknown(format!("which rows each user should see is not known: {why}"));
    }
    for device in 0..devices(ctx) {
        applies(ctx, timeline, device, &mut gather);
    }
    writes(ctx, timeline, &mut gather);
    reads(ctx, timeline, &mut gather);
    gather.finish()
}

/// How many devices the history has.
pub(super) fn devices(ctx: &Context<'_>) -> u32 {
    u32::try_from(ctx.history.header.devices.len()).unwrap_or(u32::MAX)
}

fn applies(ctx: &Context<'_>, timeline: &Timeline<'_>, device: u32, gather: &mut Gather<'_>) {
    for applied in timeline.applied(device) {
        let prefix = applied.prefix;
        let events = |seqs: &[u64]| {
            seqs.iter().filter_map(|seq| timeline.commit_event(*seq)).chain([applied.event]).collect::<Vec<usize>>()
        };
        let shows = format!("{} shows the server's rows as after commit {prefix}", client(device));
        match &applied.state {
            State::Back { from } => gather.add(Case {
                code: "went-back",
                role: first_role(ctx, timeline, applied.event),
                what: format!("{shows}, although it had shown what commit {from} did."),
                because: "Monotonic reads: what a device has shown once it never takes back.".to_owned(),
                events: events(&[prefix, *from]),
                rows: rows_of_commit(timeline, *from),
                ..Case::default()
            }),
            State::MissingOwn { own } => {
                let origin = timeline.commit(*own).and_then(|commit| commit.origin);
                let tx = origin.and_then(|origin| timeline.local_tx(origin.device, origin.tx_id));
                let mut events = events(&[*own]);
                events.extend(tx);
                let role = timeline.commit(*own).and_then(|commit| commit.changes.first());
                gather.add(Case {
                    code: "missing-own-write",
                    role: role.map_or_else(String::new, |change| ctx.history.row_role(ctx.app, change.row)),
                    what: format!("{shows}, without its own commit {own}, which it had seen through."),
                    because:
                        "Read your writes: after the write checkpoint is met, the device's own commits are part of \
                              what it shows."
                            .to_owned(),
                    events,
                    rows: rows_of_commit(timeline, *own),
                    ..Case::default()
                });
            }
            State::Future => gather.add(Case {
                code: "from-the-future",
                role: first_role(ctx, timeline, applied.event),
                what: format!("{shows} before that commit."),
                because: "Nothing can be shown before it is committed.".to_owned(),
                events: events(&[prefix]),
                rows: rows_of_commit(timeline, prefix),
                ..Case::default()
            }),
            State::Wrong(wrong) if applied.priority.is_some() => {
                for differing in &wrong.rows {
                    let Some(since) = differing.shown_since else { continue };
                    let label = ctx.history.row_label(ctx.app, differing.row);
                    let had = differing.expected_since;
                    gather.add(Case {
                        code: "went-back",
                        role: ctx.history.row_role(ctx.app, differing.row),
                        what: format!("{} shows {label} as after commit {since}, although it had shown what commit {had} made of it.", client(device)),
                        because: "Monotonic reads: what a device has shown once it never takes back.".to_owned(),
                        events: events(&[since, had]),
                        rows: vec![differing.row],
                        ..Case::default()
                    });
                }
            }
            _ => {}
        }
    }
}

/// The rows that a commit changed.
fn rows_of_commit(timeline: &Timeline<'_>, seq: u64) -> Vec<RowId> {
    timeline.commit(seq).map_or_else(Vec::new, |commit| commit.changes.iter().map(|change| change.row).collect())
}

/// The rows that an apply changed.
pub(super) fn rows_of_apply(ctx: &Context<'_>, event: usize) -> Vec<RowId> {
    match &ctx.history.events[event].what {
        What::Apply(apply) => apply.rows.iter().map(|(row, _)| *row).collect(),
        _ => Vec::new(),
    }
}

fn first_role(ctx: &Context<'_>, timeline: &Timeline<'_>, event: usize) -> String {
    match &timeline.history().events[event].what {
        What::Apply(apply) => {
            apply.rows.first().map_or_else(String::new, |(row, _)| ctx.history.row_role(ctx.app, *row))
        }
        _ => String::new(),
    }
}

/// Monotonic writes, and writes follow reads.
fn writes(ctx: &Context<'_>, timeline: &Timeline<'_>, gather: &mut Gather<'_>) {
    let mut last: Vec<Option<(i64, u64, usize)>> = vec![None; ctx.history.header.devices.len()];
    let live = ctx.history.header.time.is_virtual();
    for (event, commit) in timeline.commits() {
        let Some(Origin { device, tx_id }) = commit.origin else { continue };
        let Some(last) = last.get_mut(device as usize) else { continue };
        let Some(local) = timeline.local_tx(device, tx_id) else { continue };
        let role =
            || commit.changes.first().map_or_else(String::new, |change| ctx.history.row_role(ctx.app, change.row));
        let repeated = timeline.commits_of(device, tx_id).next() != Some(commit.seq);
        if let Some((earlier, seq, earlier_event)) = *last
            && tx_id < earlier
            && !repeated
        {
            gather.add(Case {
                code: "writes-out-of-order",
                role: role(),
                what: format!("{} made tx {tx_id} before tx {earlier}, but the server committed tx {earlier} first (commits {seq} and {}).", client(device), commit.seq),
                because: "Monotonic writes: the writes of one device take effect in the order in which it made them.".to_owned(),
                events: vec![local, earlier_event, event],
                rows: rows_of_commit(timeline, commit.seq),
                ..Case::default()
            });
        }
        if last.is_none_or(|(earlier, ..)| earlier < tx_id) {
            *last = Some((tx_id, commit.seq, event));
        }
        let seen = timeline.seen(device, local);
        if !repeated && (seen >= commit.seq || (live && event < local)) {
            gather.add(Case {
                code: "effect-before-cause",
                role: role(),
                what: format!(
                    "Commit {} is tx {tx_id} of {}, which made it only after having seen commit {seen}.",
                    commit.seq,
                    client(device)
                ),
                because: "Writes follow reads: what a device writes comes after everything that it had seen."
                    .to_owned(),
                events: vec![local, event],
                rows: rows_of_commit(timeline, commit.seq),
                ..Case::default()
            });
        }
    }
}

/// What a person reads on a device is what it last applied, under what it wrote since.
fn reads(ctx: &Context<'_>, timeline: &Timeline<'_>, gather: &mut Gather<'_>) {
    for (index, (event, row, expected)) in timeline.misread().iter().enumerate() {
        let What::Read { rows, .. } = &ctx.history.events[*event].what else { continue };
        let Who::Client(device) = ctx.history.events[*event].who else { continue };
        let shown = rows.iter().find(|(read, _)| read == row).and_then(|(_, image)| image.as_ref());
        // Looking back takes time, and later cases are counted rather than shown.
        let before = if index < 4 { last_touch(ctx, *event, device, *row) } else { None };
        let mut events: Vec<usize> = before.into_iter().collect();
        events.push(*event);
        gather.add(Case {
            code: "read-not-as-shown",
            role: ctx.history.row_role(ctx.app, *row),
            what: format!(
                "{} reads {}, which is not what it had applied and written.",
                client(device),
                image_text(ctx, *row, shown)
            ),
            because:
                "Read your writes: a device shows the last checkpoint that it applied, under its own writes since."
                    .to_owned(),
            notes: vec![format!("expected {}", image_text(ctx, *row, expected.as_ref()))],
            about: vec![*row],
            events,
            ..Case::default()
        });
    }
}

/// The device's last event before `event` that says something of the row.
fn last_touch(ctx: &Context<'_>, event: usize, device: u32, row: RowId) -> Option<usize> {
    (0..event).rev().find(|index| {
        let seen = &ctx.history.events[*index];
        seen.who == Who::Client(device)
            && match &seen.what {
                What::Tx(tx) => tx.ops.iter().any(|op| op.row == row),
                What::Apply(apply) => apply.rows.iter().any(|(applied, _)| *applied == row),
                _ => false,
            }
    })
}
