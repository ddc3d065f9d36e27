//! What all requests and streams of a simulated network share, and how long a message takes.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use rand::Rng as _;
use sim_core::Plan;
use sim_core::plan::Fault;
use sim_core::seed::Rng;
use tokio::time::{Instant, sleep, sleep_until};

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

/// How long a message takes.
#[derive(Clone, Copy)]
pub(super) struct Delay {
    /// On the link as it is.
    pub(super) link: Duration,
    /// What a slow network adds, as long as it is slow.
    pub(super) slowdown: Duration,
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

    /// Draws the delay of one message from its own generator.
    pub(super) fn draw_delay(&self, rng: &mut Rng, device: u32, bytes: usize) -> Delay {
        let link = self.plan.link;
        let link_us = if link.latency_max_us > link.latency_min_us {
            rng.random_range(link.latency_min_us..=link.latency_max_us)
        } else {
            link.latency_min_us
        };
        let slowdown_us = self.faults.draw_slowdown_us(rng, device, bytes);
        Delay { link: Duration::from_micros(link_us), slowdown: Duration::from_micros(slowdown_us) }
    }

    /// Waits until a message has arrived. What a slow network still holds back arrives once it is no longer slow.
    /// `false`: it took longer than the sender waits, which closed the connection on the unsent rest.
    pub(super) async fn travel(&self, device: u32, delay: Delay, timeout: Duration) -> bool {
        sleep(delay.link).await;
        if delay.slowdown.is_zero() {
            return true;
        }
        let arrives = Instant::now() + delay.slowdown;
        let gives_up = Instant::now() + timeout;
        loop {
            let seen = self.changes.count();
            if !self.faults.is_slow(device) {
                return true;
            }
            tokio::select! {
                biased;
                () = sleep_until(arrives.min(gives_up)) => return arrives <= gives_up,
                () = self.changes.more_than(seen) => {}
            }
        }
    }
}
