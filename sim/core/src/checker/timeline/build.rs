//! Builds the analysis: finds operations and commits, then makes a view for each distinct audience.

use std::collections::BTreeMap;
use std::sync::Arc;

use fixtures::Row;

use super::{Device, Timeline, commit_in};
use crate::checker::context::Context;
use crate::checker::view::View;
use crate::checker::visibility::{Audience, Visibility};
use crate::history::{Event, What, Who};

impl<'a> Timeline<'a> {
    /// Analyses the history.
    #[must_use]
    pub fn build(ctx: &Context<'a>) -> Self {
        let history = ctx.history;
        let mut timeline = Self {
            history,
            commits: Vec::new(),
            origins: Vec::new(),
            devices: history.header.devices.iter().map(|_| Device::default()).collect(),
            checkpoints: BTreeMap::new(),
            views: Vec::new(),
            partial_views: BTreeMap::new(),
            widths: ctx.app.schema.tables.iter().map(|table| table.columns.len()).collect(),
            blind: None,
            flaws: Vec::new(),
            misread: Vec::new(),
        };
        timeline.index();
        timeline.build_views(ctx);
        timeline.follow_devices();
        timeline
    }

    fn index(&mut self) {
        for (event, Event { who, what, .. }) in self.history.events.iter().enumerate() {
            match (who, what) {
                (_, What::Commit(commit)) => {
                    if self.commits.last().is_some_and(|(last, _)| *last >= commit.seq) || commit.seq == 0 {
                        self.flaws.push(format!("commit {} comes out of order in the change feed", commit.seq));
                        continue;
                    }
                    self.commits.push((commit.seq, event));
                    if let Some(origin) = commit.origin {
                        self.origins.push((origin, commit.seq));
                    }
                }
                (Who::Client(device), What::Tx(tx)) => {
                    let Some(device) = self.devices.get_mut(*device as usize) else { continue };
                    device.ops.extend(tx.ops.iter().enumerate().map(|(index, op)| (op.op_id, event, index)));
                    device.txs.extend(tx.tx_id.map(|tx_id| (tx_id, event)));
                }
                (Who::Client(device), What::Complete { tx_id }) => {
                    let Some(device) = self.devices.get_mut(*device as usize) else { continue };
                    device.completed.push((*tx_id, event));
                }
                _ => {}
            }
        }
        self.origins.sort_by_key(|(origin, seq)| (origin.device, origin.tx_id, *seq));
        for device in &mut self.devices {
            device.ops.sort_unstable();
            device.txs.sort_unstable();
            device.completed.sort_unstable();
        }
    }

    fn build_views(&mut self, ctx: &Context<'a>) {
        let history = self.history;
        let mut server = View::new(history.rows.len());
        for index in 0..self.commits.len() {
            let (seq, event) = self.commits[index];
            let commit = commit_in(history, event);
            for change in &commit.changes {
                let known = server.versions(change.row).last().and_then(|version| version.row.as_ref());
                if !same(known, change.before.as_ref())
                    && commit.changes.iter().filter(|other| other.row == change.row).count() == 1
                {
                    self.flaws.push(format!(
                        "commit {seq} changes {}, but the row was not what the change feed had said of it before",
                        history.row_label(ctx.app, change.row)
                    ));
                }
            }
            server.commit(seq, commit.changes.iter().map(|change| (change.row, change.after.as_ref())));
        }
        server.seal();
        self.views.push(server);
        let visibility = match Visibility::parse(ctx.app) {
            Ok(visibility) => visibility,
            Err(why) => {
                self.blind = Some(why);
                return;
            }
        };
        let mut users: Vec<&str> = history.header.devices.iter().map(|device| device.user.as_str()).collect();
        users.sort_unstable();
        users.dedup();
        for (device, name) in self.devices.iter_mut().zip(&history.header.devices) {
            device.user = users.partition_point(|user| *user < name.user.as_str());
        }
        self.build_partial_views(&visibility, &users);
        if visibility.everything() {
            return;
        }
        for device in &mut self.devices {
            device.view = 1 + device.user;
        }
        let mut views = self.views_of(&visibility, &users);
        self.views.append(&mut views);
    }

    /// What each user should see after each commit.
    pub(super) fn views_of(&self, visibility: &Visibility, users: &[&str]) -> Vec<View> {
        let history = self.history;
        let mut views: Vec<View> = users.iter().map(|_| View::new(history.rows.len())).collect();
        let mut audience = Audience::new(visibility, history, users);
        for (seq, event) in &self.commits {
            let seen = audience.commit(&commit_in(history, *event).changes);
            for run in seen.chunk_by(|one, other| one.0 == other.0) {
                views[run[0].0].commit(*seq, run.iter().map(|(_, row, image)| (*row, image.as_ref())));
            }
        }
        for view in &mut views {
            view.seal();
        }
        views
    }
}

/// Whether two images are equal; one image is often shared.
fn same(one: Option<&Row>, other: Option<&Row>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
        (one, other) => one.is_none() && other.is_none(),
    }
}
