//! After settling, each device's visible rows are those that its user should see, and its queue is empty.
//!
//! The expected rows come from the change feed through [`super::visibility`], not from the sync service.

use std::collections::BTreeMap;

use fixtures::Row;

use super::context::Context;
use super::installations::Installations;
use super::settling::settled;
use super::timeline::Timeline;
use super::wording::{Case, Gather, differing_columns, image_text};
use crate::history::label::{client, value};
use crate::history::{RowId, Scope, What, Who};
use crate::verdict::Finding;

/// Judges the final reads.
#[must_use]
pub fn check(ctx: &Context<'_>, timeline: &Timeline<'_>) -> Finding {
    let mut gather = Gather::new(ctx, "convergence");
    if let Err(why) = settled(ctx) {
        gather.unknown(why);
        return gather.finish();
    }
    if let Some(why) = timeline.blind() {
        gather.unknown(format!("which rows each user should see is not known: {why}"));
        return gather.finish();
    }
    for flaw in timeline.flaws().iter().take(3) {
        gather.unknown(format!("the change feed contradicts itself: {flaw}"));
    }
    let mut read = vec![None; ctx.history.header.devices.len()];
    let mut server = None;
    for (event, seen) in ctx.history.events.iter().enumerate() {
        let What::Read { scope: Scope::Final, rows } = &seen.what else { continue };
        match seen.who {
            Who::Client(device) if (device as usize) < read.len() => read[device as usize] = Some((event, rows)),
            Who::Server => server = Some((event, rows)),
            _ => {}
        }
    }
    let last = timeline.last_commit();
    match server {
        None => gather.unknown("the server's rows were not read at the end".to_owned()),
        Some((_, rows)) => {
            let differing = compare(rows, timeline.server().rows_at(last)).count();
            if differing > 0 {
                gather.unknown(format!("{differing} rows of the server are not as the change feed says"));
            }
        }
    }
    let installations = Installations::of(ctx.history);
    for (device, read) in (0..).zip(&read).filter(|(device, _)| !installations.is_gone(*device)) {
        let Some((event, rows)) = read else {
            gather.unknown(format!("{} was not read at the end", client(device)));
            continue;
        };
        for (row, shown, expected) in compare(rows, timeline.view(device).rows_at(last)) {
            gather.add(case(ctx, timeline, device, *event, row, shown, expected));
        }
    }
    open_transactions(ctx, timeline, &installations, &mut gather);
    gather.finish()
}

/// The rows that differ: as shown, as expected.
fn compare<'r>(
    shown: &'r [(RowId, Option<Row>)],
    expected: impl Iterator<Item = (RowId, &'r Row)>,
) -> impl Iterator<Item = (RowId, Option<&'r Row>, Option<&'r Row>)> {
    let mut rows: BTreeMap<RowId, (Option<&Row>, Option<&Row>)> = BTreeMap::new();
    for (row, image) in shown {
        rows.entry(*row).or_default().0 = image.as_ref();
    }
    for (row, image) in expected {
        rows.entry(row).or_default().1 = Some(image);
    }
    rows.into_iter()
        .filter(|(_, (shown, expected))| shown != expected)
        .map(|(row, (shown, expected))| (row, shown, expected))
}

fn case(
    ctx: &Context<'_>,
    timeline: &Timeline<'_>,
    device: u32,
    event: usize,
    row: RowId,
    shown: Option<&Row>,
    expected: Option<&Row>,
) -> Case {
    let (label, role, client) =
        (ctx.history.row_label(ctx.app, row), ctx.history.row_role(ctx.app, row), client(device));
    let since = timeline.view(device).version_at(row, timeline.last_commit()).map(|version| version.seq);
    let mut events: Vec<usize> = since.and_then(|seq| timeline.commit_event(seq)).into_iter().collect();
    events.push(event);
    let because = "Every fault is healed, every queue is empty and every device has applied a checkpoint from after the \
                   last upload, so each must show exactly its user's rows of the server.";
    let base = Case { because: because.to_owned(), events, about: vec![row], ..Case::default() };
    match (shown, expected) {
        (Some(shown), Some(expected)) => {
            let columns = differing_columns(shown, expected);
            let column = columns.first().copied().unwrap_or_default();
            let others = if columns.len() > 1 {
                format!(" (and {} more columns differ)", columns.len() - 1)
            } else {
                String::new()
            };
            Case {
                code: "different-value",
                role: ctx.history.column_role(ctx.app, row, column),
                what: format!(
                    "{client} ends with {} = {}, the server with {}{others}.",
                    ctx.history.column_label(ctx.app, row, column),
                    value(&shown[column]),
                    value(&expected[column])
                ),
                ..base
            }
        }
        (None, _) => Case {
            code: "missing-row",
            role,
            what: format!("{client} ends without {label}, which the server has and its user should see."),
            notes: vec![format!("the server ends with {}", image_text(ctx, row, expected))],
            ..base
        },
        (Some(_), None) => {
            let there = timeline.row_at(row, timeline.last_commit()).is_some();
            let why = if there { "which its user should not see" } else { "which the server does not have" };
            Case {
                code: "extra-row",
                role,
                what: format!("{client} ends with {label}, {why}."),
                notes: vec![format!("{client} ends with {}", image_text(ctx, row, shown))],
                ..base
            }
        }
    }
}

/// A settled device has removed each of its transactions from its queue.
fn open_transactions(
    ctx: &Context<'_>,
    timeline: &Timeline<'_>,
    installations: &Installations,
    gather: &mut Gather<'_>,
) {
    for (event, seen) in ctx.history.events.iter().enumerate() {
        let (Who::Client(device), What::Tx(tx)) = (seen.who, &seen.what) else { continue };
        let Some(tx_id) = tx.tx_id else { continue };
        if tx.failed.is_none() && timeline.completed(device, tx_id).is_none() && !installations.is_lost(device, event) {
            gather.add(Case {
                code: "queue-not-empty",
                role: tx.ops.first().map_or_else(String::new, |op| ctx.history.row_role(ctx.app, op.row)),
                what: format!("{} ends with tx {tx_id} still in its queue.", client(device)),
                because:
                    "It was said to have settled with an empty queue, but was never seen to remove this transaction."
                        .to_owned(),
                events: vec![event],
                operations: tx.ops.iter().map(|op| (device, op.op_id)).collect(),
                ..Case::default()
            });
        }
    }
}
