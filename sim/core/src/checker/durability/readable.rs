//! On record means that the one who lost can read it: the list that each user is given in the end holds the records of the
//! commits, and nobody else's.

use std::collections::BTreeSet;

use crate::checker::context::Context;
use crate::checker::wording::{Case, Gather};
use crate::history::label::writer;
use crate::history::{ConflictRecord, What, Writer};
use crate::verdict::Finding;

/// Holds the lists of `GET /conflicts` against the records that commits wrote before.
pub(super) fn check(ctx: &Context<'_>) -> Finding {
    let mut gather = Gather::new(ctx, "durability");
    let events = &ctx.history.events;
    for (event, seen) in events.iter().enumerate() {
        let What::Conflicts { user, records } = &seen.what else { continue };
        let listed: BTreeSet<Key<'_>> = records.iter().map(key).collect();
        for (at, earlier) in events[..event].iter().enumerate() {
            let What::Commit(commit) = &earlier.what else { continue };
            for record in commit.conflicts.iter().filter(|record| reader(ctx, record) == Some(user.as_str())) {
                if !listed.contains(&key(record)) {
                    gather.add(unread(ctx, user, record, vec![at, event]));
                }
            }
        }
        for record in records.iter().filter(|record| reader(ctx, record).is_some_and(|reader| reader != user)) {
            gather.add(Case {
                code: "record-of-somebody-else",
                role: ctx.history.row_role(ctx.app, record.row),
                what: format!("{user} is given the record of a conflict that {} lost.", writer(&record.loser)),
                because: "A record is for the one who lost, or who won over the server.".to_owned(),
                events: vec![event],
                about: vec![record.row],
                operations: operations(record),
                ..Case::default()
            });
        }
    }
    gather.finish()
}

fn unread(ctx: &Context<'_>, user: &str, record: &ConflictRecord, events: Vec<usize>) -> Case {
    let label = ctx.history.row_label(ctx.app, record.row);
    Case {
        code: "record-not-readable",
        role: ctx.history.row_role(ctx.app, record.row),
        what: format!(
            "{user} is not given the record that {} lost {label} to {} (rule {}).",
            writer(&record.loser),
            writer(&record.winner),
            record.rule
        ),
        because: "On record means that the one who lost can read it.".to_owned(),
        events,
        about: vec![record.row],
        operations: operations(record),
        ..Case::default()
    }
}

type Key<'a> = (u32, Option<&'a str>, &'a str, String, String);

fn key(record: &ConflictRecord) -> Key<'_> {
    (record.row, record.column.as_deref(), &record.rule, writer(&record.loser), writer(&record.winner))
}

/// The user who may read a record, where that is known.
fn reader<'a>(ctx: &Context<'a>, record: &ConflictRecord) -> Option<&'a str> {
    let device = match (&record.loser, &record.winner) {
        (Writer::Client { device, .. }, _) | (Writer::Server, Writer::Client { device, .. }) => *device,
        _ => return None,
    };
    ctx.history.header.devices.get(device as usize).map(|device| device.user.as_str())
}

fn operations(record: &ConflictRecord) -> Vec<(u32, i64)> {
    let operation = |of: &Writer| match of {
        Writer::Client { device, op_id } => Some((*device, *op_id)),
        _ => None,
    };
    [&record.loser, &record.winner].into_iter().filter_map(operation).collect()
}
