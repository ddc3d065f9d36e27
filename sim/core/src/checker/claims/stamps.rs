//! The stamp of each write of one register, and the writes that no other writer of it had seen.
//!
//! What a write had seen is a prefix of the commits and a prefix of each device's own writes, so the greatest stamp among
//! it is a look-up in running maxima, and a row with very many writes costs little more for each.

use std::collections::BTreeMap;

use super::facts::{Facts, Write};

/// Of the writes of one register, in order of commits.
pub(super) struct Stamps {
    /// Each one's stamp: its clock, or just above what it had seen.
    pub(super) stamps: Vec<i64>,
    /// Those that no other write had seen.
    pub(super) last: Vec<usize>,
}

/// One device's writes so far, in its own order: (event, operation, greatest stamp up to here).
type Own = Vec<(usize, i64, i64)>;

impl Stamps {
    pub(super) fn of(facts: &Facts<'_, '_>, clock: Option<usize>, writes: &[&Write<'_>]) -> Self {
        let mut stamps = Vec::with_capacity(writes.len());
        // The greatest stamp up to each commit.
        let mut by_commit: Vec<(u64, i64)> = Vec::new();
        let mut by_device: BTreeMap<u32, Own> = BTreeMap::new();
        // The greatest commit of the row that each device had seen with any of its writes.
        let mut seen_by: BTreeMap<u32, u64> = BTreeMap::new();
        for write in writes {
            let (device, seen) = (write.tx.device, seen(facts, write));
            let of_commits = before(&by_commit, |(seq, _)| *seq <= seen).map(|(_, greatest)| *greatest);
            let of_devices = by_device.iter().filter_map(|(other, own)| {
                let place = |(event, op_id, _): &(usize, i64, i64)| {
                    if *other == device { *op_id < write.op.op_id } else { facts.began_with(device, *other, *event) }
                };
                before(own, place).map(|(_, _, greatest)| *greatest)
            });
            let floor = of_commits.into_iter().chain(of_devices).max().map(|stamp| stamp.saturating_add(1));
            let stamp = write.clock_us(clock).max(floor.unwrap_or(i64::MIN));
            stamps.push(stamp);
            if let Some(seq) = write.tx.seq {
                let greatest = by_commit.last().map_or(stamp, |(_, greatest)| stamp.max(*greatest));
                by_commit.push((seq, greatest));
            }
            insert(by_device.entry(device).or_default(), (write.tx.event, write.op.op_id, stamp));
            let most = seen_by.entry(device).or_default();
            *most = (*most).max(seen);
        }
        let is_last = |write: &Write<'_>| {
            let device = write.tx.device;
            let own = by_device.get(&device).and_then(|own| own.last());
            own.is_none_or(|(_, op_id, _)| *op_id <= write.op.op_id)
                && seen_by.iter().filter(|(other, _)| **other != device).all(|(other, seen)| {
                    write.tx.seq.is_none_or(|seq| seq > *seen) && !facts.began_with(*other, device, write.tx.event)
                })
        };
        let last = (0..writes.len()).filter(|index| is_last(writes[*index])).collect();
        Self { stamps, last }
    }
}

/// The greatest commit of the row that the device had seen when it wrote.
fn seen(facts: &Facts<'_, '_>, write: &Write<'_>) -> u64 {
    facts.timeline.seen_row(write.tx.device, write.tx.event, write.row)
}

/// The last entry of those at the beginning for which this holds.
fn before<T>(sorted: &[T], holds: impl Fn(&T) -> bool) -> Option<&T> {
    sorted.partition_point(holds).checked_sub(1).map(|index| &sorted[index])
}

/// Adds a write to its device's: at the end, unless the server took the device's writes in another order.
fn insert(own: &mut Own, (event, op_id, stamp): (usize, i64, i64)) {
    let place = own.partition_point(|(_, before, _)| *before < op_id);
    let floor = place.checked_sub(1).map_or(i64::MIN, |before| own[before].2);
    own.insert(place, (event, op_id, stamp.max(floor)));
    for (_, _, greatest) in &mut own[place + 1..] {
        *greatest = stamp.max(*greatest);
    }
}
