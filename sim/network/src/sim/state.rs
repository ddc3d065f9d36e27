//! What all requests and streams of a simulated network share.

use std::cell::Cell;
use std::rc::Rc;

use sim_core::Plan;
use sim_core::plan::Fault;

use super::callbacks::Callbacks;
use super::changes::Changes;
use super::epochs::Epochs;
use super::faults::ActiveFaults;
use super::kills::PendingKills;
use super::routers::CurrentRouters;

/// A simulated network's state.
pub(super) struct State {
    pub(super) plan: Rc<Plan>,
    pub(super) routers: CurrentRouters,
    pub(super) faults: ActiveFaults,
    pub(super) epochs: Epochs,
    /// Counted up by everything that may end a wait: faults, resets, servers that come and go.
    pub(super) changes: Changes,
    pub(super) kills: PendingKills,
    /// How many requests are under way, late duplicates included.
    pub(super) in_flight: Cell<usize>,
    pub(super) callbacks: Callbacks,
}

impl State {
    pub(super) fn begin_fault(&self, key: u32, fault: &Fault) {
        match fault {
            Fault::Offline { device, .. } => self.epochs.reset_device(*device),
            Fault::StreamCut { device } => self.epochs.cut_stream(*device),
            _ => {}
        }
        self.faults.add(key, fault.clone());
        self.changes.add();
    }

    pub(super) fn end_fault(&self, key: u32) {
        for fault in self.faults.remove(key) {
            if let Fault::HalfOpen { device, .. } = fault {
                self.epochs.reset_half_open(device);
            }
        }
        self.changes.add();
    }
}
