//! How long a message takes: the delay of the link, drawn for each message, and what a slow network adds.

use std::time::Duration;

use rand::Rng as _;
use sim_core::seed::Rng;
use tokio::time::{Instant, sleep, sleep_until};

use super::state::State;

/// How long a message takes.
#[derive(Clone, Copy)]
pub(super) struct Delay {
    /// On the link as it is.
    pub(super) link: Duration,
    /// What a slow network adds, as long as it is slow.
    pub(super) slowdown: Duration,
}

impl State {
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
