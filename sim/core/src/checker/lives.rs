//! Installations that ended: their storage was lost, and another installation took their place.
//!
//! What such a device had accepted and not seen through may be gone with it; nothing is owed to it any more.

use crate::history::{History, Lifecycle, What, Who};

/// When each installation ended.
#[derive(Clone, Debug, Default)]
pub struct Lives {
    ended: Vec<Option<usize>>,
}

impl Lives {
    /// Reads them off a history.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let mut ended = vec![None; history.header.devices.len()];
        if history.header.devices.iter().any(|device| device.after.is_some()) {
            for (event, seen) in history.events.iter().enumerate() {
                if let (Who::Client(device), What::Lifecycle(Lifecycle::StorageLost)) = (seen.who, &seen.what)
                    && let Some(ended) = ended.get_mut(device as usize)
                {
                    ended.get_or_insert(event);
                }
            }
        }
        Self { ended }
    }

    /// The event with which the device ended; `None`: it is there to the end of the run.
    #[must_use]
    pub fn end(&self, device: u32) -> Option<usize> {
        self.ended.get(device as usize).copied().flatten()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_gone(&self, device: u32) -> bool {
        self.end(device).is_some()
    }
}
