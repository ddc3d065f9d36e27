//! Rows that nobody is given, though their writer is to keep them.
//!
//! A device shows the row that it inserts until its next apply. Then it shows what the sync config gives its user: where
//! that gives the row to nobody, the row vanishes from the device that wrote it, although every commit is right. A
//! writer may hide a row by what it writes (a flag, another owner). It has not done so where no query reads the table,
//! or where a column that its insert left out would have given it the row.

use std::collections::BTreeSet;

use fixtures::Value;

use crate::checker::context::Context;
use crate::checker::timeline::Timeline;
use crate::checker::visibility::{Audience, Visibility};
use crate::checker::wording::{Case, Gather};
use crate::history::label::client;
use crate::history::{Commit, Op, What};
use crate::verdict::Finding;

/// Looks at each insert of a device when it is committed.
pub(super) fn check(ctx: &Context<'_>, timeline: &Timeline<'_>) -> Finding {
    let mut gather = Gather::new(ctx, "durability");
    // What the evaluator does not know, convergence tells.
    let Ok(visibility) = Visibility::parse(ctx.app) else { return gather.finish() };
    if visibility.everything() {
        return gather.finish();
    }
    let devices = &ctx.history.header.devices;
    let users: BTreeSet<&str> =
        devices.iter().map(|device| device.user.as_str()).chain(ctx.app.users.iter().map(String::as_str)).collect();
    let users: Vec<&str> = users.into_iter().collect();
    let mut audience = Audience::new(&visibility, ctx.history, &users);
    for (event, commit) in timeline.commits() {
        audience.commit(&commit.changes);
        inserts(ctx, timeline, event, commit, &mut audience, &users, &mut gather);
    }
    gather.finish()
}

fn inserts(
    ctx: &Context<'_>,
    timeline: &Timeline<'_>,
    event: usize,
    commit: &Commit,
    audience: &mut Audience<'_>,
    users: &[&str],
    gather: &mut Gather<'_>,
) {
    let Some(origin) = commit.origin else { return };
    let Some(local) = timeline.local_tx(origin.device, origin.tx_id) else { return };
    let What::Tx(tx) = &ctx.history.events[local].what else { return };
    let Some(device) = ctx.history.header.devices.get(origin.device as usize) else { return };
    let Some(user) = users.iter().position(|user| *user == device.user) else { return };
    for op in tx.ops.iter().filter(|op| op.op == Op::Put) {
        let is_new = commit.changes.iter().any(|change| change.row == op.row && change.before.is_none());
        let Some(image) = audience.on_server(op.row).filter(|_| is_new).cloned() else { continue };
        if audience.is_shown(op.row) {
            continue;
        }
        let Some(table) = ctx.history.table_of(op.row) else { continue };
        let columns = &ctx.app.schema.tables[table].columns;
        let left_out = (0..columns.len()).find(|column| {
            let mut other = image.to_vec();
            other[*column] = Value::text(&device.user);
            columns[*column].ty == fixtures::Type::Text
                && op.data.iter().all(|(sent, _)| sent != column)
                && audience.would_show(user, op.row, &image, &other.into())
        });
        let because = match left_out {
            _ if !audience.reads(table) => "No query of the sync config reads its table.".to_owned(),
            Some(column) => format!(
                "The sync config selects by {}, which the insert left to the server: so its writer is not given it.",
                columns[column].name
            ),
            None => continue,
        };
        let row = ctx.history.row_label(ctx.app, op.row);
        gather.add(Case {
            code: "delivered-to-nobody",
            role: ctx.history.row_role(ctx.app, op.row),
            what: format!(
                "{row}, which {} op {} inserts and commit {} stores, is given to nobody: it vanishes from its writer.",
                client(origin.device),
                op.op_id,
                commit.seq
            ),
            because,
            about: vec![op.row],
            events: vec![local, event],
            operations: vec![(origin.device, op.op_id)],
            ..Case::default()
        });
    }
}
