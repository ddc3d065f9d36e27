//! Kills of the backend in the middle of an upload that have yet to happen.

use std::cell::RefCell;
use std::rc::Rc;

use sim_core::plan::KillInstant;

/// A kill of the backend at one instant of a device's next upload.
#[derive(Clone)]
pub(super) struct Kill {
    pub(super) key: u32,
    pub(super) device: u32,
    pub(super) instant: KillInstant,
    /// The router itself kills the backend, before the commit; `strike` is called after that.
    pub(super) by_router: bool,
    pub(super) strike: Rc<dyn Fn()>,
}

/// The kills that are planned.
#[derive(Default)]
pub(super) struct PendingKills {
    kills: RefCell<Vec<Kill>>,
}

impl PendingKills {
    pub(super) fn add(&self, kill: Kill) {
        self.kills.borrow_mut().push(kill);
    }

    pub(super) fn cancel(&self, key: u32) {
        self.kills.borrow_mut().retain(|kill| kill.key != key);
    }

    pub(super) fn find(&self, device: u32, instant: KillInstant) -> Option<Kill> {
        self.kills.borrow().iter().find(|kill| kill.device == device && kill.instant == instant).cloned()
    }
}
