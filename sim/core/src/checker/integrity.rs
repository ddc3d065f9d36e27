//! What `policy.toml` says must always hold, on the server after every commit and on settled devices: references,
//! trees, unique keys, exclusive rows, ranges of counters; and no deleted row returns unless it was created again.
//!
//! Judged incrementally, on the rows that a commit touches. What an offline device shows is not judged.
//! Invariants that are SQL are put to the server's final rows by the harness, because nothing here can run SQL.

mod rows;

use std::collections::{BTreeMap, BTreeSet};

use fixtures::{OnMissingParent, OnParentDelete, Reference, Row, Rule, Tree, Unique, Value};

use super::context::Context;
use super::settling::settled;
use super::timeline::Timeline;
use super::wording::{Case, Gather, list};
use crate::history::label::{client, value};
use crate::history::{Change, Commit, InvariantAnswer, Op, Origin, RowId, Scope, What, Who};
use crate::verdict::Finding;
use rows::Rows;

/// Judges every commit, then the settled devices.
#[must_use]
pub fn check(ctx: &Context<'_>, timeline: &Timeline<'_>) -> Finding {
    let mut gather = Gather::new(ctx, "integrity");
    let mut server = Server { ctx, timeline, rows: Rows::new(ctx), deleted: BTreeMap::new(), gather: &mut gather };
    for (event, commit) in timeline.commits() {
        server.commit(event, commit);
    }
    let server = server.rows;
    if settled(ctx).is_ok() {
        for (event, seen) in ctx.history.events.iter().enumerate() {
            if let (Who::Client(device), What::Read { scope: Scope::Final, rows }) = (seen.who, &seen.what) {
                Screen { ctx, server: &server, device, event }.check(rows, &mut gather);
            }
        }
    }
    invariants(ctx, &mut gather);
    gather.finish()
}

/// The answers to the application's SQL invariants; one without an answer is not judged.
fn invariants(ctx: &Context<'_>, gather: &mut Gather<'_>) {
    let mut answered: BTreeSet<&str> = BTreeSet::new();
    for (event, seen) in ctx.history.events.iter().enumerate() {
        let What::Invariants { answers } = &seen.what else { continue };
        for (name, answer) in answers {
            answered.insert(name);
            match answer {
                InvariantAnswer::Holds => {}
                InvariantAnswer::Broken(rows) => gather.add(Case {
                    code: "invariant",
                    role: name.clone(),
                    what: format!(
                        "In the end {name} does not hold on the server: it returns {}.",
                        list(rows.iter().cloned())
                    ),
                    because: "policy.toml declares it, as a query that returns no row.".to_owned(),
                    events: vec![event],
                    // Which rows make the query answer is not known: any may.
                    rows: (0u32..).take(ctx.history.rows.len()).collect(),
                    ..Case::default()
                }),
                InvariantAnswer::NotAsked(why) => {
                    gather.unknown(format!("the invariant {name} could not be asked: {why}"))
                }
            }
        }
    }
    for invariant in ctx.app.policy.invariants.iter().filter(|invariant| !answered.contains(invariant.name.as_str())) {
        gather.unknown(format!("the invariant {} was not put to the server's final rows", invariant.name));
    }
}

/// Follows the server from commit to commit.
struct Server<'a, 'h> {
    ctx: &'a Context<'h>,
    timeline: &'a Timeline<'h>,
    rows: Rows<'h>,
    /// The event of the commit that deleted a row which is gone.
    deleted: BTreeMap<RowId, usize>,
    gather: &'a mut Gather<'h>,
}

impl<'h> Server<'_, 'h> {
    fn commit(&mut self, event: usize, commit: &'h Commit) {
        let mut touched: BTreeMap<RowId, Option<&'h Row>> = BTreeMap::new();
        for change in &commit.changes {
            touched.entry(change.row).or_insert_with(|| self.rows.get(change.row));
            self.returned(event, commit, change);
            self.rows.set(change.row, change.after.as_ref());
            match &change.after {
                Some(_) => self.deleted.remove(&change.row),
                None => self.deleted.insert(change.row, event),
            };
        }
        for (row, before) in touched {
            let after = self.rows.get(row);
            if before == after {
                continue;
            }
            self.references(event, commit, row, before, after);
            if let Some(after) = after {
                self.trees(event, commit, row, before, after);
                self.uniques(event, commit, row, after);
                self.exclusives(event, commit, row, before, after);
                self.ranges(event, commit, row, before, after);
            }
        }
    }

    /// A case about some rows: this commit, and those that last wrote the rows.
    fn case(
        &self,
        code: &'static str,
        role: String,
        (event, commit): (usize, &Commit),
        rows: &[RowId],
        what: String,
        because: &str,
    ) -> Case {
        let written = rows.iter().filter_map(|row| self.timeline.server().version_at(*row, commit.seq)).take(4);
        let written = written.filter_map(|version| self.timeline.commit_event(version.seq));
        let local = commit.origin.and_then(|origin| self.timeline.local_tx(origin.device, origin.tx_id));
        let operations = commit.origin.map_or_else(Vec::new, |origin| {
            commit.changes.iter().filter_map(|change| change.op_id).map(|op| (origin.device, op)).collect()
        });
        Case {
            code,
            role,
            what,
            because: because.to_owned(),
            events: local.into_iter().chain(written).chain([event]).collect(),
            about: rows.to_vec(),
            operations,
            ..Case::default()
        }
    }

    fn returned(&mut self, event: usize, commit: &Commit, change: &Change) {
        let (None, Some(_)) = (&change.before, &change.after) else { return };
        let Some(deletion) = self.deleted.get(&change.row).copied() else { return };
        let Some(Origin { device, tx_id }) = commit.origin else { return };
        if self.created_again(commit, change.row, device, tx_id) {
            return;
        }
        let label = self.ctx.history.row_label(self.ctx.app, change.row);
        let mut case = self.case(
            "returned-after-delete",
            self.ctx.history.row_role(self.ctx.app, change.row),
            (event, commit),
            &[change.row],
            format!("Commit {} brings {label} back, which was deleted, though nobody created it again.", commit.seq),
            "A deleted row stays deleted until an insert that had no effect yet, or an edit of a table whose edits revive, \
             brings it back.",
        );
        case.events.push(deletion);
        self.gather.add(case);
    }

    /// Whether the transaction creates the row: by an insert, or by an edit where edits revive; and for the first time.
    fn created_again(&self, commit: &Commit, row: RowId, device: u32, tx_id: i64) -> bool {
        let Some(local) = self.timeline.local_tx(device, tx_id) else { return false };
        let What::Tx(tx) = &self.ctx.history.events[local].what else { return false };
        let earlier = self.timeline.commits_of(device, tx_id).take_while(|seq| *seq < commit.seq);
        let had_effect =
            |seq| self.timeline.commit(seq).is_some_and(|commit| commit.changes.iter().any(|change| change.row == row));
        if earlier.into_iter().any(had_effect) {
            return false;
        }
        let revives =
            self.ctx.history.table_of(row).is_some_and(|table| self.ctx.app.policy.tables[table].edit_revives);
        let names = |op: RowId| op == row || self.rows.survivor(op) == row || commit.aliases.contains(&(op, row));
        tx.ops.iter().any(|op| names(op.row) && (op.op == Op::Put || (op.op == Op::Patch && revives)))
    }

    fn references(
        &mut self,
        event: usize,
        commit: &Commit,
        row: RowId,
        before: Option<&'h Row>,
        after: Option<&'h Row>,
    ) {
        let Some(table) = self.ctx.history.table_of(row) else { return };
        let policy = &self.ctx.app.policy;
        if let Some(after) = after {
            for reference in
                policy.references_of(table).filter(|reference| reference.on_missing_parent != OnMissingParent::Keep)
            {
                let names = &after[reference.column];
                let named_before = before.is_some_and(|before| before[reference.column] == *names);
                if names.is_null() || named_before || self.rows.parent(reference, names) {
                    continue;
                }
                let case = self.dangling(event, commit, reference, row, names, "names a row that is not there");
                self.gather.add(case);
            }
            return;
        }
        for (index, reference) in policy.references.iter().enumerate() {
            if reference.parent != table || reference.on_parent_delete == OnParentDelete::Keep {
                continue;
            }
            let orphans: Vec<RowId> = self.rows.children(index, row).collect();
            for orphan in orphans {
                let names = self.rows.get(orphan).map_or(Value::Null, |child| child[reference.column].clone());
                let case = self.dangling(
                    event,
                    commit,
                    reference,
                    orphan,
                    &names,
                    "is left naming a row that this commit deletes",
                );
                self.gather.add(case);
            }
        }
    }

    fn dangling(
        &self,
        event: usize,
        commit: &Commit,
        reference: &Reference,
        row: RowId,
        names: &Value,
        how: &str,
    ) -> Case {
        let (history, app) = (self.ctx.history, self.ctx.app);
        let parent = &app.schema.tables[reference.parent].name;
        let known = self.rows.named(reference.parent, names).map(|parent| history.row_label(app, parent));
        let known = known.unwrap_or_else(|| format!("no {parent} with id {}", value(names)));
        self.case(
            "dangling-reference",
            history.column_role(app, row, reference.column),
            (event, commit),
            &[Some(row), self.rows.named(reference.parent, names)].into_iter().flatten().collect::<Vec<RowId>>(),
            format!("After commit {}, {} {how}: {known}.", commit.seq, history.column_label(app, row, reference.column)),
            &format!(
                "policy.toml declares on_missing_parent = {} and on_parent_delete = {} for this reference, so it may not dangle.",
                match reference.on_missing_parent {
                    OnMissingParent::Refuse => "refuse",
                    OnMissingParent::Null => "null",
                    OnMissingParent::Keep => "keep",
                },
                match reference.on_parent_delete {
                    OnParentDelete::Cascade => "cascade",
                    OnParentDelete::Null => "null",
                    OnParentDelete::Refuse => "refuse",
                    OnParentDelete::Keep => "keep",
                }
            ),
        )
    }

    fn trees(&mut self, event: usize, commit: &Commit, row: RowId, before: Option<&Row>, after: &Row) {
        let table = self.ctx.history.table_of(row);
        for tree in self.ctx.app.policy.trees.iter().filter(|tree| Some(tree.table) == table) {
            if before.is_some_and(|before| before[tree.column] == after[tree.column]) {
                continue;
            }
            if let Some(path) = self.rows.cycle(tree, row) {
                let role = self.ctx.history.column_role(self.ctx.app, row, tree.column);
                let what = format!("Commit {} closes a cycle: {}.", commit.seq, cycle_text(self.ctx, &path));
                let case = self.case("cycle", role, (event, commit), &path, what, TREE);
                self.gather.add(case);
            }
        }
    }

    fn uniques(&mut self, event: usize, commit: &Commit, row: RowId, after: &Row) {
        let table = self.ctx.history.table_of(row);
        for (index, unique) in
            self.ctx.app.policy.uniques.iter().enumerate().filter(|(_, unique)| Some(unique.table) == table)
        {
            let holders = self.rows.holders(index, unique, after);
            if holders.len() > 1 {
                let what = format!("After commit {} {}.", commit.seq, twice_text(self.ctx, unique, &holders, after));
                let role = self.ctx.history.column_role(self.ctx.app, row, unique.columns[0]);
                let case = self.case(
                    "duplicate-key",
                    role,
                    (event, commit),
                    &holders.iter().copied().collect::<Vec<RowId>>(),
                    what,
                    UNIQUE,
                );
                self.gather.add(case);
            }
        }
    }

    fn exclusives(&mut self, event: usize, commit: &Commit, row: RowId, before: Option<&Row>, after: &Row) {
        let table = self.ctx.history.table_of(row);
        for (index, exclusive) in self.ctx.app.policy.exclusives.iter().enumerate() {
            let runs = |row: &Row| row[exclusive.running] == Value::Int(1);
            if Some(exclusive.table) != table
                || !runs(after)
                || before.is_some_and(runs)
                || self.rows.running(index).len() < 2
            {
                continue;
            }
            let running = self.rows.running(index);
            let what = format!(
                "After commit {} {} rows run at once: {}.",
                commit.seq,
                running.len(),
                labels(self.ctx, running.iter().copied())
            );
            let role = self.ctx.history.column_role(self.ctx.app, row, exclusive.running);
            let case = self.case(
                "two-running",
                role,
                (event, commit),
                &running.iter().copied().collect::<Vec<RowId>>(),
                what,
                &exclusive_text(&exclusive.name),
            );
            self.gather.add(case);
        }
    }

    fn ranges(&mut self, event: usize, commit: &Commit, row: RowId, before: Option<&Row>, after: &Row) {
        let Some(table) = self.ctx.history.table_of(row) else { return };
        for (column, rule) in self.ctx.app.policy.tables[table].rules.iter().enumerate() {
            let (Rule::Counter { min, max }, Value::Int(count)) = (rule, &after[column]) else { continue };
            if (*min..=*max).contains(count) || before.is_some_and(|before| before[column] == after[column]) {
                continue;
            }
            let what = format!(
                "Commit {} sets {} to {count}.",
                commit.seq,
                self.ctx.history.column_label(self.ctx.app, row, column)
            );
            let role = self.ctx.history.column_role(self.ctx.app, row, column);
            let because = format!("policy.toml declares this counter to lie between {min} and {max}.");
            let case = self.case("out-of-range", role, (event, commit), &[row], what, &because);
            self.gather.add(case);
        }
    }
}

const TREE: &str = "policy.toml declares this parent column to be a tree: no row may be its own ancestor.";
const UNIQUE: &str = "policy.toml and the schema declare this key to be unique.";

fn exclusive_text(name: &str) -> String {
    format!("policy.toml declares {name}: at most one row may run after any commit.")
}

fn labels(ctx: &Context<'_>, rows: impl Iterator<Item = RowId>) -> String {
    list(rows.map(|row| ctx.history.row_label(ctx.app, row)))
}

fn cycle_text(ctx: &Context<'_>, path: &[RowId]) -> String {
    path.iter().map(|row| ctx.history.row_label(ctx.app, *row)).collect::<Vec<_>>().join(" -> ")
}

fn twice_text(ctx: &Context<'_>, unique: &Unique, holders: &BTreeSet<RowId>, row: &Row) -> String {
    let columns: Vec<String> = unique
        .columns
        .iter()
        .map(|column| {
            format!("{} = {}", ctx.app.schema.tables[unique.table].columns[*column].name, value(&row[*column]))
        })
        .collect();
    format!("{} rows have {}: {}", holders.len(), columns.join(", "), labels(ctx, holders.iter().copied()))
}

/// A settled device.
struct Screen<'a, 'h> {
    ctx: &'a Context<'h>,
    server: &'a Rows<'h>,
    device: u32,
    event: usize,
}

impl<'h> Screen<'_, 'h> {
    /// What is wrong on a device and not on the server. (Convergence reports the difference; this reports what it breaks.)
    fn check(&self, shown: &'h [(RowId, Option<Row>)], gather: &mut Gather<'_>) {
        let mut rows = Rows::new(self.ctx);
        for (row, image) in shown {
            rows.set(*row, image.as_ref());
        }
        let policy = &self.ctx.app.policy;
        for (row, image) in shown {
            let (Some(image), Some(table)) = (image, self.ctx.history.table_of(*row)) else { continue };
            for reference in policy.references_of(table) {
                self.reference(&rows, reference, *row, image, gather);
            }
            for tree in policy.trees.iter().filter(|tree| tree.table == table) {
                self.tree(&rows, tree, *row, gather);
            }
            for (index, unique) in policy.uniques.iter().enumerate().filter(|(_, unique)| unique.table == table) {
                let holders = rows.holders(index, unique, image);
                if holders.len() > 1
                    && holders.first() == Some(row)
                    && self.server.holders(index, unique, image).len() < 2
                {
                    let role = self.ctx.history.column_role(self.ctx.app, *row, unique.columns[0]);
                    let what = twice_text(self.ctx, unique, &holders, image);
                    self.add(gather, "duplicate-key", role, holders.iter().copied(), &what, UNIQUE);
                }
            }
        }
        for (index, exclusive) in policy.exclusives.iter().enumerate() {
            let running = rows.running(index);
            if let (Some(first), true) = (running.first(), running.len() > 1 && self.server.running(index).len() < 2) {
                let role = self.ctx.history.column_role(self.ctx.app, *first, exclusive.running);
                let what = format!("{} rows run at once: {}", running.len(), labels(self.ctx, running.iter().copied()));
                let because = exclusive_text(&exclusive.name);
                self.add(gather, "two-running", role, running.iter().copied(), &what, &because);
            }
        }
    }

    fn add(
        &self,
        gather: &mut Gather<'_>,
        code: &'static str,
        role: String,
        rows: impl Iterator<Item = RowId>,
        what: &str,
        because: &str,
    ) {
        gather.add(Case {
            rows: rows.collect(),
            code,
            role,
            what: format!("On {}, settled, {what}.", client(self.device)),
            because: because.to_owned(),
            events: vec![self.event],
            ..Case::default()
        });
    }

    /// A parent that the server has too little or that the user does not see is no matter of this device.
    fn reference(&self, rows: &Rows<'_>, reference: &Reference, row: RowId, image: &Row, gather: &mut Gather<'_>) {
        let names = &image[reference.column];
        if names.is_null() || rows.parent(reference, names) {
            return;
        }
        let same_on_server = self.server.get(row).is_some_and(|server| server[reference.column] == *names);
        if same_on_server
            || reference.on_missing_parent == OnMissingParent::Keep
            || reference.on_parent_delete == OnParentDelete::Keep
        {
            return;
        }
        let label = self.ctx.history.column_label(self.ctx.app, row, reference.column);
        let role = self.ctx.history.column_role(self.ctx.app, row, reference.column);
        let what = format!("{label} names a row that is not there");
        let because = "policy.toml declares that this reference does not dangle.";
        // The row that it names may be one that the history does not know.
        let parent = rows.named(reference.parent, names);
        self.add(gather, "dangling-reference", role, parent.into_iter().chain([row]), &what, because);
    }

    fn tree(&self, rows: &Rows<'_>, tree: &Tree, row: RowId, gather: &mut Gather<'_>) {
        let Some(path) = rows.cycle(tree, row) else { return };
        if path.iter().min() == Some(&row) && self.server.cycle(tree, row).is_none() {
            let role = self.ctx.history.column_role(self.ctx.app, row, tree.column);
            let what = format!("there is a cycle: {}", cycle_text(self.ctx, &path));
            self.add(gather, "cycle", role, path.iter().copied(), &what, TREE);
        }
    }
}
