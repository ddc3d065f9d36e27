//! What a device shows of itself to the run that waits for it.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A device's status.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// It runs and is not suspended.
    pub running: bool,
    /// It has a network.
    pub online: bool,
    /// Its stream is open.
    pub connected: bool,
    /// When the open stream last brought anything; `None` without one.
    pub last_received: Option<Instant>,
    /// Operations queued.
    pub queued: u32,
    /// An upload, or the write checkpoint that follows it, is not finished.
    pub uploading: bool,
    /// The backend answered the last upload in a way that makes the device try it again.
    pub upload_refused: bool,
    /// The fence's write checkpoint, once known.
    pub fence: Option<u64>,
    /// Whether a full checkpoint that includes the fence was applied.
    pub fence_applied: bool,
    /// Full checkpoints applied.
    pub applied: u64,
    /// The write checkpoint that the last of them carried.
    pub write_checkpoint: Option<u64>,
    /// The device's last error, for the sentence that says what is stuck.
    pub last_error: String,
    /// When any hop of its queue last advanced, in microseconds of plan time.
    pub last_progress_us: i64,
}

/// A status that a device writes and the run reads.
#[derive(Clone)]
pub struct SharedStatus {
    /// The status at this moment.
    pub current: Rc<RefCell<Status>>,
    /// Notified on every change.
    pub changed: Rc<Notify>,
}
