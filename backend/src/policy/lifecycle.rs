//! Creation, deletion and revival of rows: the same under all policies but the baseline.

use crate::operation::OpKind;
use crate::policy::base::{changed_by_another, is_base_unknown, unchanged_since_base};
use crate::policy::decision::{Conflict, Decision, Effect, RowWrite, Situation, inserted_row, out_of_range};
use crate::policy::merge::superseded_whole;
use crate::record::{Author, RowMeta, Stamp, Stored, StoredRow, Tombstone};
use crate::rules::Register;
use crate::wire::Outcome;

/// What a policy does with a live row.
pub(crate) struct LiveRow {
    /// PUT and PATCH.
    pub(crate) write: fn(&Situation<'_>, &StoredRow) -> Decision,
    /// DELETE.
    pub(crate) delete: fn(&Situation<'_>, &StoredRow) -> Decision,
    /// Whether tables may declare that an edit revives a deleted row.
    pub(crate) may_revive: bool,
}

/// Decides one operation: live rows by the policy, everything else the same under all of them.
pub(crate) fn decide(s: &Situation<'_>, live_row: &LiveRow) -> Decision {
    match (s.op.kind, s.stored) {
        (OpKind::Put | OpKind::Patch, Stored::Live(stored)) => (live_row.write)(s, stored),
        (OpKind::Delete, Stored::Live(stored)) if live_row.may_revive && s.rules.edit_revives => {
            delete_unless_edited(s, stored)
        }
        (OpKind::Delete, Stored::Live(stored)) => (live_row.delete)(s, stored),
        (OpKind::Put, Stored::Absent) => create(s, i64::MIN),
        (OpKind::Put, Stored::Deleted(tombstone)) => create_again(s, tombstone),
        (OpKind::Patch, Stored::Deleted(tombstone)) if live_row.may_revive && s.rules.edit_revives => {
            revive(s, tombstone)
        }
        (OpKind::Patch, Stored::Deleted(tombstone)) => stays_deleted(s, tombstone),
        (OpKind::Patch, Stored::Absent) => Decision::rejected("no-such-row".to_owned()),
        (OpKind::Delete, Stored::Deleted(tombstone)) => Decision {
            effect: if s.is_later_than(tombstone.at_us, &tombstone.writer) {
                Effect::RestampTombstone { at_us: s.clock_us() }
            } else {
                Effect::None
            },
            outcome: Outcome::Merged,
            reason: Some("already-deleted".to_owned()),
            by: Some(Author::Client(tombstone.writer.clone())),
            conflicts: Vec::new(),
        },
        (OpKind::Delete, Stored::Absent) => {
            Decision { outcome: Outcome::Merged, reason: Some("already-deleted".to_owned()), ..Decision::nothing() }
        }
    }
}

/// A new row, with a stamp later than `after_us`.
fn create(s: &Situation<'_>, after_us: i64) -> Decision {
    for (column, value) in &s.op.data {
        if let Some(refusal) = out_of_range(s.rules.register(*column).rule, value, &s.rules.columns[*column].name) {
            return refusal;
        }
    }
    let row = inserted_row(s.rules, s.op, s.received_us);
    let stamp = Stamp::new(s.clock_us().max(after_us.saturating_add(1)), s.writer.clone());
    let defaulted = (0..row.len()).filter(|column| s.op.sent(*column).is_none() && !row[*column].is_null()).collect();
    // A column that the insert leaves out has no writer.
    let is_sent = |register: &Register| register.columns.iter().any(|column| s.op.sent(*column).is_some());
    let meta = RowMeta {
        stamps: s.rules.registers.iter().map(|register| is_sent(register).then(|| stamp.clone())).collect(),
        written: row.clone(),
        defaulted,
        heartbeats: Vec::new(),
    };
    Decision { effect: Effect::Write(RowWrite { row: row.to_vec(), meta }), ..Decision::nothing() }
}

/// A PUT on a tombstone creates the row again if its stamp is later than the deletion, or if its own client made the
/// deletion and has therefore seen it.
fn create_again(s: &Situation<'_>, tombstone: &Tombstone) -> Decision {
    let by = Author::Client(tombstone.writer.clone());
    if by.is_earlier_of(s.writer) {
        return create(s, tombstone.at_us);
    }
    if !s.is_later_than(tombstone.at_us, &tombstone.writer) {
        return stays_deleted(s, tombstone);
    }
    let mut decision = create(s, tombstone.at_us);
    if decision.outcome == Outcome::Applied {
        decision.conflicts.push(Conflict { column: None, rule: "revived".into(), loser: by, winner: s.author() });
    }
    decision
}

/// The row stays deleted.
fn stays_deleted(s: &Situation<'_>, tombstone: &Tombstone) -> Decision {
    superseded_by_deletion(s.author(), tombstone)
}

/// The decision on an operation whose row stays deleted.
#[must_use]
pub fn superseded_by_deletion(author: Author, tombstone: &Tombstone) -> Decision {
    let by = Author::Client(tombstone.writer.clone());
    Decision {
        effect: Effect::None,
        outcome: Outcome::Superseded,
        reason: Some("deleted".to_owned()),
        by: Some(by.clone()),
        conflicts: vec![Conflict { column: None, rule: "deleted".into(), loser: author, winner: by }],
    }
}

/// The row as it was deleted, overlaid with the edit.
fn revive(s: &Situation<'_>, tombstone: &Tombstone) -> Decision {
    let stored = StoredRow { row: tombstone.image.clone(), meta: tombstone.meta.clone() };
    let mut row = stored.row.to_vec();
    let mut meta = stored.meta_or_unknown(s.rules.registers.len());
    let mut touched: Vec<usize> = Vec::new();
    for (column, value) in &s.op.data {
        if let Some(refusal) = out_of_range(s.rules.register(*column).rule, value, &s.rules.columns[*column].name) {
            return refusal;
        }
        row[*column] = value.clone();
        meta.defaulted.retain(|defaulted| defaulted != column);
        meta.set_written(*column, value);
        let register = s.rules.register_of[*column];
        if !touched.contains(&register) {
            touched.push(register);
        }
    }
    for register in touched {
        let at_us = s.clock_us().max(tombstone.at_us.saturating_add(1));
        meta.stamps[register] = Some(Stamp::new(at_us, s.writer.clone()));
    }
    meta.heartbeats.clear();
    let by = Author::Client(tombstone.writer.clone());
    Decision {
        effect: Effect::Write(RowWrite { row, meta }),
        outcome: Outcome::Merged,
        reason: Some("revived".to_owned()),
        by: None,
        conflicts: if by.is_earlier_of(s.writer) {
            Vec::new()
        } else {
            vec![Conflict { column: None, rule: "revived".into(), loser: by, winner: s.author() }]
        },
    }
}

/// Deletes the row, with a conflict record for each write in it that the deleting device had not seen.
pub(crate) fn delete(s: &Situation<'_>, stored: &StoredRow) -> Decision {
    let at_us = s.clock_us().max(stored.last_stamp_us().map_or(i64::MIN, |at_us| at_us.saturating_add(1)));
    let mut losers: Vec<Author> = Vec::new();
    for (index, register) in s.rules.registers.iter().enumerate() {
        // A later clock alone is not an edit.
        if s.rules.is_clock(index) {
            continue;
        }
        // Without a usable base, another device's write counts as unseen: one record too many beats one too few.
        let is_unknown = s.op.old.is_none() || register.columns.iter().any(|column| is_base_unknown(s, *column));
        let unseen = if is_unknown {
            stored.stamp(index).is_some_and(|stamp| !stamp.writer.is_same_client(s.writer))
        } else {
            !unchanged_since_base(s, stored, register)
        };
        if !unseen {
            continue;
        }
        for author in stored.unseen_authors(index, register, s.op.base(register.columns[0]), s.writer) {
            if !losers.contains(&author) {
                losers.push(author);
            }
        }
    }
    let conflicts = losers
        .into_iter()
        .map(|loser| Conflict { column: None, rule: "deleted".into(), loser, winner: s.author() })
        .collect();
    Decision { effect: Effect::Delete { at_us }, conflicts, ..Decision::nothing() }
}

/// A DELETE where edits revive rows: an edit that its device had not seen supersedes it. So both orders of arrival end
/// with the edited row.
fn delete_unless_edited(s: &Situation<'_>, stored: &StoredRow) -> Decision {
    let decision = delete(s, stored);
    let edit = decision.conflicts.iter().map(|conflict| &conflict.loser).find(|loser| **loser != Author::Server);
    match edit {
        Some(edit) => superseded_whole(s, stored, "revived", edit.clone()),
        None => decision,
    }
}

/// A DELETE, superseded if another device changed the row since its base.
pub(crate) fn delete_unless_changed(s: &Situation<'_>, stored: &StoredRow, rule: &'static str) -> Decision {
    match changed_by_another(s, stored) {
        Some(author) => superseded_whole(s, stored, rule, author),
        None => delete(s, stored),
    }
}
