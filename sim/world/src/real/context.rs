//! What everything on the real runtime shares during one plan.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::activity::Activity;
use super::commit_log::CommitLog;
use super::delivered_position::DeliveredPosition;
use super::environment::Environment;
use super::http_client::HttpClient;
use super::server::ServerKiller;
use super::timing::Timing;
use crate::clock::{Clock, ClockFile};

/// How long the database may be away before an answer that waits for the log is taken for lost.
const LOG_TIMEOUT: Duration = Duration::from_secs(20);
/// How often reading is tried meanwhile.
const LOG_POLL: Duration = Duration::from_millis(20);

/// One plan's run. Made whole before the plan begins.
pub(super) struct RunContext {
    pub(super) runtime: Handle,
    pub(super) http: HttpClient,
    pub(super) log: Arc<CommitLog>,
    pub(super) activity: Arc<Activity>,
    /// Plan time, for the plan's thread; and the file that shows it to the servers.
    pub(super) clock: Clock,
    pub(super) clock_file: Arc<ClockFile>,
    pub(super) timing: Timing,
    /// Dropped with the worker's environment, which the pool keeps.
    environment: Weak<dyn Environment>,
    /// Where the service is; `None` while no progress is to be expected of it.
    progressing_service: Mutex<Option<SocketAddr>>,
    /// The position that the service is expected to reach, and the one that it is known to have reached.
    expected_lsn: AtomicU64,
    replicated_lsn: AtomicU64,
    /// Notified when it is known to have got further.
    pub(super) replicated: Notify,
    /// Whether somebody waits for it.
    is_catching_up: AtomicBool,
    /// When it was last asked how far it is.
    asked_at: Mutex<Option<Instant>>,
    /// What devices receive tells of it.
    pub(super) delivered: Arc<DeliveredPosition>,
    /// For kills in the middle of a request; `None` while the backend is down.
    backend_killer: Mutex<Option<ServerKiller>>,
}

impl RunContext {
    pub(super) fn new(
        runtime: Handle,
        http: HttpClient,
        log: CommitLog,
        clock: Clock,
        timing: Timing,
        environment: &Arc<dyn Environment>,
    ) -> Arc<Self> {
        let activity = Activity::new();
        Arc::new(Self {
            runtime,
            http,
            log: Arc::new(log),
            activity: activity.clone(),
            clock,
            clock_file: environment.base().clock.clone(),
            timing,
            environment: Arc::downgrade(environment),
            progressing_service: Mutex::default(),
            expected_lsn: AtomicU64::new(0),
            replicated_lsn: AtomicU64::new(0),
            replicated: Notify::new(),
            is_catching_up: AtomicBool::new(false),
            asked_at: Mutex::default(),
            delivered: Arc::new(DeliveredPosition::new(activity)),
            backend_killer: Mutex::default(),
        })
    }

    pub(super) fn environment(&self) -> Result<Arc<dyn Environment>, String> {
        self.environment.upgrade().ok_or_else(|| "the environment is gone".to_owned())
    }

    pub(super) fn progressing_service(&self) -> Option<SocketAddr> {
        *self.progressing_service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_progressing_service(&self, address: Option<SocketAddr>) {
        *self.progressing_service.lock().unwrap_or_else(PoisonError::into_inner) = address;
        self.activity.set_service_held_up(address.is_none());
    }

    pub(super) fn expected_lsn(&self) -> u64 {
        self.expected_lsn.load(Ordering::Acquire)
    }

    pub(super) fn raise_expected_lsn(&self, lsn: u64) {
        self.expected_lsn.fetch_max(lsn, Ordering::AcqRel);
    }

    /// Whether the service has replicated everything that it is expected to.
    pub(super) fn has_caught_up(&self) -> bool {
        self.replicated_lsn.load(Ordering::Acquire) >= self.expected_lsn()
    }

    pub(super) fn raise_replicated_lsn(&self, lsn: u64) {
        self.replicated_lsn.fetch_max(lsn, Ordering::AcqRel);
        self.replicated.notify_one();
    }

    /// Sets whether somebody waits until the service has caught up; gives whether somebody did.
    pub(super) fn set_catching_up(&self, is_catching_up: bool) -> bool {
        self.is_catching_up.swap(is_catching_up, Ordering::AcqRel)
    }

    /// Whether the service may be asked how far it is, when it was not asked for so long; if so, it was asked now.
    pub(super) fn may_ask(&self, pause: Duration) -> bool {
        let mut asked_at = self.asked_at.lock().unwrap_or_else(PoisonError::into_inner);
        let may_ask = asked_at.is_none_or(|asked_at| asked_at.elapsed() >= pause);
        if may_ask {
            *asked_at = Some(Instant::now());
        }
        may_ask
    }

    pub(super) fn backend_killer(&self) -> Option<ServerKiller> {
        self.backend_killer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_backend_killer(&self, killer: Option<ServerKiller>) {
        *self.backend_killer.lock().unwrap_or_else(PoisonError::into_inner) = killer;
    }

    /// Reads what was committed, also when the database has to come back first; says whether it could.
    pub(super) async fn read_log(&self) -> bool {
        let deadline = Instant::now() + LOG_TIMEOUT;
        loop {
            match self.log.read_new(self.clock_file.shown_us()).await {
                Ok(()) => return true,
                Err(error) if self.log.failure().is_some() || Instant::now() > deadline => {
                    tracing::warn!(error, "the history's slot");
                    return false;
                }
                Err(_) => tokio::time::sleep(LOG_POLL).await,
            }
        }
    }
}
