//! What a run tells a device to do.

use std::time::Duration;

use sim_core::plan::Intent;

/// One command.
#[derive(Debug)]
pub enum Command {
    /// Run a local transaction.
    Tx {
        /// The plan's step.
        step: u32,
        /// What people call it.
        activity: String,
        /// What it does.
        intents: Vec<Intent>,
    },
    /// The network is gone (true) or back.
    Offline(bool),
    /// The process dies after so many further steps, and starts again later.
    Crash {
        /// Further steps.
        after_steps: u32,
        /// How long it stays down.
        down: Duration,
    },
    /// The database is gone with its queue; the app starts later, as another installation.
    LoseStorage {
        /// How long it stays down.
        down: Duration,
    },
    /// Make a copy of the database, for the step with this key.
    TakeCopy {
        /// The step.
        key: u32,
    },
    /// That copy replaces the database; the app starts on it later.
    RestoreCopy {
        /// The step.
        key: u32,
        /// How long it stays down.
        down: Duration,
    },
    /// All timers and sockets freeze.
    Suspend,
    /// They go on; sockets are dead.
    Resume,
    /// The tab that owns the connection closes.
    TabClose {
        /// How long no tab owns it.
        handover: Duration,
    },
    /// The clock jumps.
    ClockJump {
        /// By so many microseconds.
        by_us: i64,
    },
    /// Undo whatever faults have left: start the device if it is down, disarm a crash.
    Heal,
    /// Ask for a write checkpoint of its own, as a fence.
    Fence,
    /// Read every visible row into the history.
    FinalRead,
    /// Hand the database back.
    Stop,
}
