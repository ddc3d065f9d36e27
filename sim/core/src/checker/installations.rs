//! When installations of the app ended: their storage was lost, or an old copy of it took its place.
//!
//! What such a device had accepted and not yet uploaded may be lost with it; nothing is owed to it any more. What was
//! in the queue of a copy is still in the queue of the installation that starts on the copy.

use crate::history::{History, Lifecycle, What, Who};

/// When each installation ended, and which came of a copy.
#[derive(Clone, Debug, Default)]
pub struct Installations {
    ended: Vec<Option<usize>>,
    copies: Vec<RestoredCopy>,
}

/// An installation that began as a copy of another's database.
#[derive(Clone, Copy, Debug)]
struct RestoredCopy {
    device: u32,
    /// The device whose database was copied.
    of: u32,
    /// The event at which the copy was made.
    taken: usize,
}

impl Installations {
    /// Reads them off a history.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let devices = &history.header.devices;
        let mut installations = Self { ended: vec![None; devices.len()], copies: Vec::new() };
        if devices.iter().all(|device| device.after.is_none()) {
            return installations;
        }
        for (event, seen) in history.events.iter().enumerate() {
            let (Who::Client(of), What::Lifecycle(lifecycle)) = (seen.who, &seen.what) else { continue };
            match lifecycle {
                Lifecycle::StorageLost | Lifecycle::CopyRestored(_) => {
                    if let Some(ended) = installations.ended.get_mut(of as usize) {
                        ended.get_or_insert(event);
                    }
                }
                Lifecycle::CopyTaken(key) => {
                    let copy = devices.iter().position(|device| device.copy.is_some_and(|copy| copy.key == *key));
                    if let Some(device) = copy.and_then(|copy| u32::try_from(copy).ok()) {
                        installations.copies.push(RestoredCopy { device, of, taken: event });
                    }
                }
                _ => {}
            }
        }
        installations
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

    /// Whether what was queued on the device at this event is in no queue any more, unless it was completed.
    #[must_use]
    pub fn is_lost(&self, device: u32, queued: usize) -> bool {
        self.is_gone(device)
            && self.copies.iter().filter(|copy| copy.of == device && copy.taken > queued).all(|copy| {
                // What the copy held is in its own queue from the beginning.
                self.is_lost(copy.device, copy.taken)
            })
    }

    /// Whether the device began as a copy that holds what another had done by this event.
    #[must_use]
    pub fn has_seen(&self, device: u32, other: u32, event: usize) -> bool {
        self.copies.iter().any(|copy| {
            copy.device == device
                && if copy.of == other { event < copy.taken } else { self.has_seen(copy.of, other, event) }
        })
    }
}
