//! Installations that ended: their storage was lost, or an old copy of it took its place.
//!
//! What such a device had accepted and not seen through may be gone with it; nothing is owed to it any more. What was
//! in the queue of a copy lives on in the installation that the copy became.

use crate::history::{History, Lifecycle, What, Who};

/// When each installation ended, and which came of a copy.
#[derive(Clone, Debug, Default)]
pub struct Lives {
    ended: Vec<Option<usize>>,
    heirs: Vec<Heir>,
}

/// An installation that began as a copy of another's database.
#[derive(Clone, Copy, Debug)]
struct Heir {
    device: u32,
    of: u32,
    /// The event at which the copy was made.
    taken: usize,
}

impl Lives {
    /// Reads them off a history.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let devices = &history.header.devices;
        let mut lives = Self { ended: vec![None; devices.len()], heirs: Vec::new() };
        if devices.iter().all(|device| device.after.is_none()) {
            return lives;
        }
        for (event, seen) in history.events.iter().enumerate() {
            let (Who::Client(of), What::Lifecycle(lifecycle)) = (seen.who, &seen.what) else { continue };
            match lifecycle {
                Lifecycle::StorageLost | Lifecycle::CopyRestored(_) => {
                    if let Some(ended) = lives.ended.get_mut(of as usize) {
                        ended.get_or_insert(event);
                    }
                }
                Lifecycle::CopyTaken(key) => {
                    let heir = devices.iter().position(|device| device.copy.is_some_and(|copy| copy.key == *key));
                    if let Some(device) = heir.and_then(|heir| u32::try_from(heir).ok()) {
                        lives.heirs.push(Heir { device, of, taken: event });
                    }
                }
                _ => {}
            }
        }
        lives
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

    /// Whether what was queued on the device at this event is in nobody's queue any more, unless it was completed.
    #[must_use]
    pub fn is_lost(&self, device: u32, queued: usize) -> bool {
        self.is_gone(device)
            && self.heirs.iter().filter(|heir| heir.of == device && heir.taken > queued).all(|heir| {
                // What the copy held is in its heir's queue from the beginning.
                self.is_lost(heir.device, heir.taken)
            })
    }

    /// Whether the device began as a copy that holds what another had done by this event.
    #[must_use]
    pub fn has_seen(&self, device: u32, other: u32, event: usize) -> bool {
        self.heirs.iter().any(|heir| {
            heir.device == device
                && if heir.of == other { event < heir.taken } else { self.has_seen(heir.of, other, event) }
        })
    }
}
