//! The network faults in force, and what they mean for one device or one server.

use std::cell::RefCell;

use rand::Rng as _;
use sim_core::plan::{self, Direction, Fault};
use sim_core::seed::Rng;

use crate::request::ServerRole;

/// The faults that have begun and not ended, by the keys of their steps, in the order in which they began.
#[derive(Default)]
pub(super) struct ActiveFaults {
    faults: RefCell<Vec<(u32, Fault)>>,
}

/// [`Fault::Lossy`], in percent.
#[derive(Clone, Copy)]
pub(super) struct Loss {
    pub(super) request_lost: u8,
    pub(super) reply_lost: u8,
    pub(super) duplicated: u8,
}

impl ActiveFaults {
    pub(super) fn add(&self, key: u32, fault: Fault) {
        self.faults.borrow_mut().push((key, fault));
    }

    /// Ends the faults of this step, and returns them.
    pub(super) fn remove(&self, key: u32) -> Vec<Fault> {
        let mut faults = self.faults.borrow_mut();
        let removed = faults.iter().filter(|(one, _)| *one == key).map(|(_, fault)| fault.clone()).collect();
        faults.retain(|(one, _)| *one != key);
        removed
    }

    fn any(&self, mut is: impl FnMut(&Fault) -> bool) -> bool {
        self.faults.borrow().iter().any(|(_, fault)| is(fault))
    }

    pub(super) fn is_offline(&self, device: u32) -> bool {
        self.any(|fault| matches!(fault, Fault::Offline { device: of, .. } if *of == device))
    }

    /// Whether a partition swallows messages between the device and the server; `up`: those to the server.
    pub(super) fn is_swallowed(&self, device: u32, server: ServerRole, up: bool) -> bool {
        self.any(|fault| match fault {
            Fault::Partition { device: of, from, direction, .. } => {
                *of == device
                    && affects(*from, server)
                    && match direction {
                        Direction::Up => up,
                        Direction::Down => !up,
                        Direction::Both => true,
                    }
            }
            _ => false,
        })
    }

    /// Whether nothing of an open stream reaches the device.
    pub(super) fn is_stream_silent(&self, device: u32) -> bool {
        self.is_swallowed(device, ServerRole::Service, false)
            || self.any(|fault| {
                matches!(fault, Fault::HalfOpen { device: of, .. } | Fault::Suspend { device: of, .. } if *of == device)
            })
    }

    pub(super) fn is_paused(&self, server: ServerRole) -> bool {
        server == ServerRole::Service && self.any(|fault| matches!(fault, Fault::ServicePaused { .. }))
    }

    pub(super) fn is_slow(&self, device: u32) -> bool {
        self.any(|fault| matches!(fault, Fault::Slow { device: of, .. } if *of == device))
    }

    pub(super) fn has_wrong_audience(&self, device: u32) -> bool {
        self.any(|fault| matches!(fault, Fault::WrongAudience { device: of, .. } if *of == device))
    }

    pub(super) fn loss(&self, device: u32, server: ServerRole) -> Option<Loss> {
        self.faults.borrow().iter().find_map(|(_, fault)| match fault {
            Fault::Lossy { device: of, server: lossy, request_lost, reply_lost, duplicated, .. }
                if *of == device && affects(*lossy, server) =>
            {
                Some(Loss { request_lost: *request_lost, reply_lost: *reply_lost, duplicated: *duplicated })
            }
            _ => None,
        })
    }

    /// Draws how much longer slow networks make a message of this length take, in microseconds.
    pub(super) fn draw_slowdown_us(&self, rng: &mut Rng, device: u32, bytes: usize) -> u64 {
        let mut slowdown_us = 0;
        for (_, fault) in self.faults.borrow().iter() {
            if let Fault::Slow { device: of, latency_us, jitter_us, bandwidth, .. } = fault
                && *of == device
            {
                slowdown_us += latency_us + if *jitter_us > 0 { rng.random_range(0..=*jitter_us) } else { 0 };
                if *bandwidth > 0 {
                    slowdown_us += bytes as u64 * 1_000_000 / bandwidth;
                }
            }
        }
        slowdown_us
    }
}

/// Whether a fault that names `servers` affects this one.
fn affects(servers: plan::Server, server: ServerRole) -> bool {
    match servers {
        plan::Server::Both => true,
        plan::Server::Service => server == ServerRole::Service,
        plan::Server::Backend => server == ServerRole::Backend,
    }
}
