//! The writes of devices to each register of a row, in commit order; how many a device had not seen is a look-up.

use std::collections::BTreeMap;

use super::write::Write;

/// Every device's writes to one row.
#[derive(Clone, Debug, Default)]
pub(super) struct WriteLog {
    registers: BTreeMap<usize, RegisterLog>,
}

/// Every device's writes to one register.
#[derive(Clone, Debug, Default)]
struct RegisterLog {
    all: Vec<Write>,
    /// The commits of each device's writes, ascending.
    by_device: BTreeMap<u32, Vec<u64>>,
}

impl WriteLog {
    pub(super) fn push(&mut self, register: usize, write: Write) {
        let log = self.registers.entry(register).or_default();
        log.all.push(write);
        log.by_device.entry(write.device).or_default().push(write.seq);
    }

    /// The writes to a register.
    pub(super) fn of(&self, register: usize) -> &[Write] {
        self.registers.get(&register).map_or(&[], |log| &log.all)
    }

    /// The writes to a register after this commit.
    pub(super) fn since(&self, register: usize, seen: u64) -> &[Write] {
        let all = self.of(register);
        &all[all.partition_point(|write| write.seq <= seen)..]
    }

    /// How many writes of other devices than this one came to a register after this commit.
    pub(super) fn unseen(&self, register: usize, device: u32, seen: u64) -> u64 {
        let Some(log) = self.registers.get(&register) else { return 0 };
        let others = log.by_device.iter().filter(|(other, _)| **other != device);
        others.map(|(_, commits)| (commits.len() - commits.partition_point(|seq| *seq <= seen)) as u64).sum()
    }

    pub(super) fn forget(&mut self, register: usize) {
        self.registers.remove(&register);
    }

    pub(super) fn clear(&mut self) {
        self.registers.clear();
    }
}
