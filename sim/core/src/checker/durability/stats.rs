//! What became of the accepted writes, in numbers.

use std::collections::BTreeMap;

/// What became of the accepted writes, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Accepted operations.
    pub accepted: u64,
    /// Operations whose transaction was refused, with the outcome delivered.
    pub refused: u64,
    /// Operations that were lost with their device's storage before any attempt to upload them was answered.
    pub lost_with_device: u64,
    /// Accepted writes that were overridden lawfully by a write that had not seen them, or that they had not seen,
    /// by rule: `latest`, `deleted`, `revived`, `max`, `keep-server`, `cycle`, `exclusive`, `alias`, `cascade`,
    /// `parent-missing`, or the policy's name.
    pub overridden: BTreeMap<String, u64>,
    /// Accepted writes that joined with writes that they had not seen, by rule: `counter`, `set`. Nothing is lost.
    pub merged: BTreeMap<String, u64>,
    /// Pairs of concurrent writes by kind: `column`, `group`, `counter`, `set`, `delete`, `unique`, `parent`,
    /// `exclusive`; and `row`: writes of different registers of one row.
    pub concurrent: BTreeMap<String, u64>,
    /// Pairs of concurrent writes of one register: neither device had seen the other's.
    pub conflicts: u64,
}

/// Adds to a named count.
pub(in crate::checker) fn count(counts: &mut BTreeMap<String, u64>, name: &str, by: u64) {
    match counts.get_mut(name) {
        Some(count) => *count += by,
        None => drop(counts.insert(name.to_owned(), by)),
    }
}
