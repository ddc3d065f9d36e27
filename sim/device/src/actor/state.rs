//! What a device is and remembers, and what everything that it does needs: its clock, its token, its steps.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fixtures::App;
use sim_core::Plan;
use sim_core::history::{What, Who};
use sim_core::plan::EPOCH_US;
use sim_network::{NetError, Network, Response};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::session::{Pending, Session};
use crate::command::Command;
use crate::database::Database;
use crate::error::DeviceError;
use crate::host::Host;
use crate::interpreter::RowAliases;
use crate::platform::Platform;
use crate::recorder::Recorder;
use crate::status::SharedStatus;

/// What a device is given.
pub struct DeviceContext {
    /// Its index.
    pub device: u32,
    /// The plan.
    pub plan: Rc<Plan>,
    /// The application.
    pub app: Arc<App>,
    /// Where its events go.
    pub recorder: Recorder,
    /// How it reaches the servers.
    pub network: Rc<dyn Network>,
    /// What the run sees of it.
    pub status: SharedStatus,
    /// Its commands.
    pub commands: mpsc::UnboundedReceiver<Command>,
    /// How long a stream may be silent before it is given up, in plan time.
    pub stream_idle_timeout: Duration,
}

/// The task of one device.
pub struct Actor {
    pub(super) context: DeviceContext,
    /// The history's name for this installation: the device's index, until it loses its storage.
    pub(super) installation: u32,
    pub(super) client_id: String,
    /// How often it lost its storage, or had it replaced.
    pub(super) losses: u32,
    /// The last transaction that it made.
    pub(super) last_tx: i64,
    pub(super) copies: BTreeMap<u32, StorageCopy>,
    pub(super) platform: Platform,
    pub(super) process: Process,
    pub(super) row_aliases: RowAliases,
    /// By how much the clock has jumped.
    pub(super) jumped_us: i64,
    pub(super) cached_token: Option<String>,
    pub(super) armed_crash: Option<ArmedCrash>,
    pub(super) requests: RequestCounts,
    pub(super) sqlite_time: Duration,
    pub(super) fence: Pending<Result<Response, NetError>>,
    pub(super) fence_retry_at: Option<Instant>,
}

/// How many requests of each purpose were sent, as their subjects.
#[derive(Default)]
pub(super) struct RequestCounts {
    pub(super) streams: u64,
    pub(super) write_checkpoints: u64,
    pub(super) fences: u64,
    /// The transaction that was sent last, and how often.
    pub(super) upload_attempts: (i64, u32),
}

/// An old copy of the database.
pub(super) struct StorageCopy {
    pub(super) storage: rusqlite::Connection,
    pub(super) client_id: String,
    /// Of whose database.
    pub(super) of: u32,
    pub(super) last_tx: i64,
}

/// A crash that is to come.
#[derive(Clone, Copy)]
pub(super) struct ArmedCrash {
    pub(super) steps_left: u32,
    pub(super) down: Duration,
    /// It strikes then at the latest, if its steps do not come.
    pub(super) latest: Instant,
}

/// The app's process.
#[expect(clippy::large_enum_variant, reason = "there is one a device, and it is nearly always the large one")]
pub(super) enum Process {
    Running(Session),
    Down { database: Option<Database>, until: Instant },
}

/// Whether the process goes on after a step or crashes now.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterStep {
    Continue,
    Crash,
}

impl Actor {
    /// A device that is about to start for the first time.
    #[must_use]
    pub fn new(context: DeviceContext, database: Database) -> Self {
        let platform = Platform::of(context.plan.devices[context.device as usize].kind);
        let now = Instant::now();
        let host = Host::start(database, context.app.clone(), context.recorder.clone(), true);
        context.status.current.borrow_mut().running = true;
        context.status.current.borrow_mut().online = true;
        Self {
            installation: context.device,
            client_id: context.plan.client_id(context.device),
            losses: 0,
            last_tx: 0,
            copies: BTreeMap::new(),
            platform,
            process: Process::Running(Session::new(host, now)),
            row_aliases: RowAliases::default(),
            jumped_us: 0,
            cached_token: None,
            armed_crash: None,
            requests: RequestCounts::default(),
            sqlite_time: Duration::ZERO,
            fence: None,
            fence_retry_at: None,
            context,
        }
    }

    pub(super) fn session(&mut self) -> Option<&mut Session> {
        match &mut self.process {
            Process::Running(session) => Some(session),
            Process::Down { .. } => None,
        }
    }

    /// Counts one step; says whether the process crashes now.
    pub(super) fn count_step(&mut self) -> AfterStep {
        match &mut self.armed_crash {
            Some(crash) if crash.steps_left <= 1 => AfterStep::Crash,
            Some(crash) => {
                crash.steps_left -= 1;
                AfterStep::Continue
            }
            None => AfterStep::Continue,
        }
    }

    /// The device's clock, in microseconds since 1970.
    pub(super) fn clock_us(&self) -> i64 {
        let skew = self.context.plan.devices[self.context.device as usize].clock_skew_us;
        EPOCH_US + self.context.recorder.now_us() + skew + self.jumped_us
    }

    pub(super) fn token(&mut self) -> String {
        let (network, device) = (&self.context.network, self.context.device);
        self.cached_token.get_or_insert_with(|| network.token(device)).clone()
    }

    pub(super) fn record(&self, what: What) {
        self.context.recorder.add(Who::Client(self.installation), what);
    }

    pub(super) fn note_progress(&self) {
        self.context.status.current.borrow_mut().last_progress_us = self.context.recorder.now_us();
    }

    pub(super) fn note_error(&self, error: String) {
        self.context.status.current.borrow_mut().last_error = error;
    }

    /// Shows the run how the device is now.
    pub(super) fn publish_status(&mut self) {
        let (mut running, mut last_received, mut uploading, mut queued) = (false, None, true, None);
        if let Process::Running(session) = &mut self.process {
            running = !session.is_suspended;
            last_received = session.stream.is_some().then_some(session.last_received);
            uploading = session.is_uploading() || session.upload_at.is_some();
            queued = session.host.queue_length().ok();
        }
        let mut status = self.context.status.current.borrow_mut();
        status.running = running;
        status.connected = last_received.is_some();
        status.last_received = last_received;
        status.uploading = uploading;
        status.queued = queued.unwrap_or(status.queued);
        drop(status);
        self.context.status.changed.notify_one();
    }

    /// A failure of the device's own database: the harness's, not the stack's.
    pub(super) fn report_failure(&self, error: &DeviceError) {
        let device = self.context.device;
        self.context.recorder.record_harness_failure(format!("device {device}: {error}"));
    }
}
