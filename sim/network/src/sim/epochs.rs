//! Connection epochs: a connection is dead once the epoch in which it was made is over.

use std::cell::RefCell;

use crate::request::ServerRole;

/// How often connections of each device and each server were reset.
pub(super) struct Epochs {
    counts: RefCell<Counts>,
}

struct Counts {
    devices: Vec<u64>,
    stream_cuts: Vec<u64>,
    half_open: Vec<u64>,
    backend: u64,
    service: u64,
}

/// The epoch of a connection, by its two ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch {
    pub(super) device: u64,
    pub(super) server: u64,
}

/// What else ends an open stream: that it is cut, or reset after it was half open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamEpoch {
    cuts: u64,
    half_open: u64,
}

impl Epochs {
    pub(super) fn new(devices: usize) -> Self {
        let counts = Counts {
            devices: vec![0; devices],
            stream_cuts: vec![0; devices],
            half_open: vec![0; devices],
            backend: 0,
            service: 0,
        };
        Self { counts: RefCell::new(counts) }
    }

    /// The epoch of a connection that is made now.
    pub(super) fn of(&self, device: u32, server: ServerRole) -> Epoch {
        let counts = self.counts.borrow();
        let server = match server {
            ServerRole::Backend => counts.backend,
            ServerRole::Service => counts.service,
        };
        Epoch { device: counts.devices[device as usize], server }
    }

    pub(super) fn of_stream(&self, device: u32) -> StreamEpoch {
        let counts = self.counts.borrow();
        StreamEpoch { cuts: counts.stream_cuts[device as usize], half_open: counts.half_open[device as usize] }
    }

    pub(super) fn reset_device(&self, device: u32) {
        self.counts.borrow_mut().devices[device as usize] += 1;
    }

    pub(super) fn reset_server(&self, server: ServerRole) {
        let mut counts = self.counts.borrow_mut();
        match server {
            ServerRole::Backend => counts.backend += 1,
            ServerRole::Service => counts.service += 1,
        }
    }

    pub(super) fn cut_stream(&self, device: u32) {
        self.counts.borrow_mut().stream_cuts[device as usize] += 1;
    }

    pub(super) fn reset_half_open(&self, device: u32) {
        self.counts.borrow_mut().half_open[device as usize] += 1;
    }
}
