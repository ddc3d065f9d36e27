//! What everything on the real runtime shares during one plan.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::activity::Activity;
use super::commit_log::CommitLog;
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
    /// The position that the service is expected to reach.
    expected_lsn: AtomicU64,
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
        Arc::new(Self {
            runtime,
            http,
            log: Arc::new(log),
            activity: Activity::new(),
            clock,
            clock_file: environment.base().clock.clone(),
            timing,
            environment: Arc::downgrade(environment),
            progressing_service: Mutex::default(),
            expected_lsn: AtomicU64::new(0),
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
    }

    pub(super) fn expected_lsn(&self) -> u64 {
        self.expected_lsn.load(Ordering::Acquire)
    }

    pub(super) fn raise_expected_lsn(&self, lsn: u64) {
        self.expected_lsn.fetch_max(lsn, Ordering::AcqRel);
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
