//! Advisory locks: one number for each thing that a transaction decides on, and the order in which they are taken.
//!
//! Advisory locks, unlike row locks, work for rows that do not exist yet. The numbers are hashes: a collision costs time
//! and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use fixtures::Value;
use sha2::{Digest, Sha256};

use crate::store::session::Footprint;

/// A transaction that needs more locks locks everything instead: PostgreSQL has room for about 64 for each connection.
pub(super) const LOCKS_MAX: usize = 256;

/// One advisory lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    /// Its number.
    pub(super) key: i64,
    /// Whether others may share it.
    pub(super) is_shared: bool,
}

/// The locks of a footprint: those taken before the row locks, and those taken after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LockPlan {
    pub(super) rows: Vec<Lock>,
    pub(super) others: Vec<Lock>,
}

/// The number of a thing.
fn key(kind: &str, parts: &[&[u8]]) -> i64 {
    let mut hash = Sha256::new();
    hash.update(b"sync_backend");
    for part in std::iter::once(&kind.as_bytes()).chain(parts) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    i64::from_le_bytes(digest[..8].try_into().expect("eight of thirty-two bytes"))
}

fn exclusive(key: i64) -> Lock {
    Lock { key, is_shared: false }
}

/// The lock that migrations take.
pub(super) fn migrations() -> i64 {
    key("migrations", &[])
}

/// The lock that retention takes.
pub(super) fn retention() -> i64 {
    key("retention", &[])
}

/// The lock that serializes one client's transactions.
pub(super) fn client(subject: &str, client: &str) -> i64 {
    key("client", &[subject.as_bytes(), client.as_bytes()])
}

/// The lock on everything. Every transaction that takes other locks shares it.
pub(super) fn everything(is_shared: bool) -> Lock {
    Lock { key: key("everything", &[]), is_shared }
}

/// The lock on a row, whether the row exists or not.
pub(super) fn row(table: &str, id: &str) -> Lock {
    exclusive(key("row", &[table.as_bytes(), id.as_bytes()]))
}

/// The locks of a footprint, in the order in which every transaction takes them: rows by (table, id), unique values,
/// trees, exclusive invariants. `tables` holds the names of the tables, `rows` the rows that are not locked yet.
pub(super) fn plan(tables: &[Arc<str>], rows: &BTreeSet<(usize, Arc<str>)>, footprint: &Footprint) -> LockPlan {
    let mut plan = LockPlan::default();
    for (table, id) in rows {
        plan.rows.push(row(&tables[*table], id));
    }
    let mut uniques: BTreeSet<(usize, Option<Vec<u8>>)> = BTreeSet::new();
    for (unique, values) in &footprint.uniques {
        match values {
            None => drop(uniques.insert((*unique, None))),
            Some(values) if values.iter().any(Value::is_null) => {}
            Some(values) => drop(uniques.insert((*unique, Some(bytes(values))))),
        }
    }
    let mut last: Option<usize> = None;
    for (unique, values) in &uniques {
        let index = unique.to_le_bytes();
        // `None` sorts first: an operation that sends part of a key locks the whole key, others share that lock.
        if last.replace(*unique) != Some(*unique) {
            plan.others.push(Lock { key: key("unique", &[&index]), is_shared: values.is_some() });
        }
        if let Some(values) = values {
            plan.others.push(exclusive(key("unique", &[&index, values])));
        }
    }
    plan.others.extend(footprint.trees.iter().map(|tree| exclusive(key("tree", &[&tree.to_le_bytes()]))));
    let running = footprint.exclusives.iter();
    plan.others.extend(running.map(|index| exclusive(key("exclusive", &[&index.to_le_bytes()]))));
    plan
}

impl LockPlan {
    /// How many locks there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len() + self.others.len()
    }
}

/// Bytes that are the same for equal values.
fn bytes(values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        match value {
            Value::Real(real) if *real == 0.0 => bytes.extend(b"0"),
            other => bytes.extend(other.to_json().to_string().bytes()),
        }
        bytes.push(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footprint(uniques: &[(usize, Option<&[Value]>)]) -> Footprint {
        let uniques = uniques.iter().map(|(index, values)| (*index, values.map(<[Value]>::to_vec))).collect();
        Footprint { uniques, ..Footprint::default() }
    }

    #[test]
    fn unique_values_meet_in_one_lock() {
        let of = |uniques: &[(usize, Option<&[Value]>)]| plan(&[], &BTreeSet::new(), &footprint(uniques)).others;
        let zero = of(&[(0, Some(&[Value::Real(0.0)]))]);
        assert_eq!(zero, of(&[(0, Some(&[Value::Real(-0.0)]))]));
        assert_eq!(zero.iter().map(|lock| lock.is_shared).collect::<Vec<_>>(), [true, false]);
        assert_ne!(zero, of(&[(1, Some(&[Value::Real(0.0)]))]));
        assert_ne!(zero, of(&[(0, Some(&[Value::Real(1.0)]))]));
        assert_eq!(of(&[(0, Some(&[Value::Null]))]), []);
        // Part of a key locks the whole key exclusively.
        let part = of(&[(0, Some(&[Value::Int(1)])), (0, None)]);
        assert_eq!((part[0].key, part[0].is_shared), (zero[0].key, false));
    }
}
