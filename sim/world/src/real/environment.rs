//! What real servers run on: a database, and the means to start the two servers on it.

use std::net::SocketAddr;
use std::sync::Arc;

use backend::Rules;
use fixtures::App;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use nix::sys::signal::Signal;
use sim_core::plan::{ContainerFault, EPOCH_US, StackPart};
use sim_network::ServerRole;
use tokio_postgres::Client;

use super::commit_log::CommitLog;
use super::http_client::HttpClient;
use super::server::{BoxResult, Server};
use super::timing::Timing;
use super::token_keys::TokenKeys;
use crate::clock::ClockFile;
use crate::plan_rows::{RowKey, SeedRow};
use crate::token::TokenIssuer;

/// What the clock shows while a plan is prepared: a minute before plan time 0.
pub(crate) const PREPARATION_US: i64 = EPOCH_US - 60_000_000;

/// What is the same for all plans of an environment.
pub(crate) struct EnvironmentBase {
    pub(crate) app: Arc<App>,
    pub(crate) rules: Arc<Rules>,
    /// The plan's clock, as servers read it.
    pub(crate) clock: Arc<ClockFile>,
    pub(crate) keys: TokenKeys,
    pub(crate) timing: Timing,
}

/// What an environment must know of a plan.
#[derive(Default)]
pub(crate) struct PlanData {
    pub(crate) seed_rows: Vec<SeedRow>,
    /// Every row that it may make, seed rows included.
    pub(crate) rows: Vec<RowKey>,
    /// Every client id that its devices may have.
    pub(crate) clients: Vec<String>,
    pub(crate) users: Vec<String>,
    /// Whether devices become copies of others, with the same client id.
    pub(crate) has_copies: bool,
}

/// What is done to the database as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DatabaseAction {
    /// Kills it with all its processes.
    Kill,
    /// Asks it to end, and kills it if it does not.
    Stop,
    /// Starts it again; it answers when this is done.
    Start,
    Pause,
    Resume,
    /// Nobody reaches it.
    Disconnect,
    /// It is reached again.
    Reconnect,
}

pub(crate) trait Environment: Send + Sync {
    fn base(&self) -> &EnvironmentBase;

    /// Forgets the plan before, and writes the seed rows. Gives the commits from then on, and what makes tokens.
    fn prepare<'a>(&'a self, plan: &'a PlanData) -> BoxResult<'a, (CommitLog, TokenIssuer)>;

    /// Deletes what the plan has written, where the database is not ours alone.
    fn clean_up<'a>(&'a self, log: &'a CommitLog) -> BoxResult<'a, ()> {
        let _ = log;
        ready(Ok(())).boxed()
    }

    /// A session in the application's database.
    fn connect(&self) -> BoxResult<'_, Client>;

    /// Writes the service's sync configuration, with this text after it.
    fn write_sync_config(&self, appendix: &str) -> Result<(), String>;

    /// Starts a server; with `waits` until it is ready, else until it listens.
    fn start_server<'a>(
        &'a self,
        role: ServerRole,
        http: &'a HttpClient,
        waits: bool,
    ) -> BoxResult<'a, Box<dyn Server>>;

    fn control_database(&self, action: DatabaseAction) -> BoxResult<'_, ()>;

    /// Sends a signal to one of the database's processes, by the database's own process id for it.
    fn signal_database_process(&self, pid: i32, signal: Signal) -> BoxResult<'_, ()>;

    /// A fault of a container other than the two servers and the database.
    fn inject_container_fault(&self, part: StackPart, fault: ContainerFault) -> BoxResult<'_, ()> {
        let _ = (part, fault);
        ready(Err("there are no containers in this world".to_owned())).boxed()
    }

    /// It ends.
    fn heal_container_fault(&self, part: StackPart, fault: ContainerFault) -> BoxResult<'_, ()> {
        self.inject_container_fault(part, fault)
    }

    /// Empties the cache.
    fn flush_cache(&self) -> BoxResult<'_, ()> {
        ready(Err("there is no cache in this world".to_owned())).boxed()
    }

    /// The position up to which the service has replicated; `None` when that is not known.
    fn replicated_lsn<'a>(&'a self, http: &'a HttpClient, service: SocketAddr) -> BoxFuture<'a, Option<u64>>;
}
