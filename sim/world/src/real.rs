//! A world of real servers, whichever way they run: the upload backend and the sync service on a real PostgreSQL. The
//! devices, their network and its faults are those of the deterministic world.
//!
//! In reading order:
//! - What it runs on: `environment` (a database, and how servers are started on it), `server` (one that runs), `pool`
//!   (who keeps environments from plan to plan), `database_setup`, `timing`, `token_keys`.
//! - One plan: `context` (what all of this shares), `servers`, `supervisor` (what runs, and which faults hold),
//!   `faults`, `backend_kills`, `kill_before_commit`, `server_transaction` (writes that bypass the backend).
//! - A request: `forward`, `stream_progress`, `token_retiming`, `http_client`.
//! - Commits: `commit_log` reads them, `attributed_commit` is what it gives, `shared_database` with `uploads_under_way`
//!   and `upload_senders` say whose they are, `commit_recorder` writes them into the history.
//! - Time: `activity` (what is under way), `plan_time` (how plan time passes), `replication_lag`, `delivered_position`,
//!   `confirmed_position`.

mod activity;
mod attributed_commit;
mod backend_kills;
pub(crate) mod commit_log;
mod commit_recorder;
pub(crate) mod confirmed_position;
mod context;
pub(crate) mod database_setup;
mod delivered_position;
pub(crate) mod environment;
mod faults;
mod forward;
pub(crate) mod http_client;
mod kill_before_commit;
mod plan_time;
pub(crate) mod pool;
mod replication_lag;
pub(crate) mod server;
mod server_transaction;
mod servers;
pub(crate) mod shared_database;
pub(crate) mod sql;
mod stream_progress;
mod supervisor;
pub(crate) mod timing;
pub(crate) mod token_keys;
mod token_retiming;
mod upload_senders;
pub(crate) mod uploads_under_way;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sim_core::Plan;
use sim_core::history::{ConflictRecord, Scope, What, Who};
use sim_core::plan::{Action, Fault, TOKEN_OUTLIVES_S};
use sim_device::platform::STREAM_IDLE_TIMEOUT;
use sim_device::recorder::Recorder;
use sim_network::ServerRole;
use sim_network::sim::{Callbacks, Routers, SimNetwork};

use self::activity::Work;
use self::backend_kills::BackendKills;
use self::commit_recorder::CommitRecorder;
use self::context::RunContext;
use self::environment::{Environment, PlanData};
use self::faults::FaultInjector;
use self::forward::router;
use self::http_client::http_client;
use self::pool::WorkerEnvironment;
use self::replication_lag::let_service_see_clock;
use self::servers::Servers;
use self::supervisor::{StateGuard, Supervisor};
use self::timing::STREAM_IDLE_FACTOR;
use crate::clock::plan_clock;
use crate::ending::Ending;
use crate::plan_rows::{named_rows, seed_rows};
use crate::system::SystemUnderTest;
use crate::token::token_minter;
use crate::translator::{Translator, record_second_delivery};

/// One world of real servers.
pub struct World {
    environment: Arc<dyn Environment>,
    /// Gives the worker's environment to the next plan.
    give_back: Box<dyn FnOnce()>,
    context: Arc<RunContext>,
    servers: Servers,
    faults: FaultInjector,
    kills: Rc<BackendKills>,
    translator: Rc<Translator>,
    commits: Rc<CommitRecorder>,
    recorder: Recorder,
    system: Arc<SystemUnderTest>,
    time_driver: tokio::task::JoinHandle<()>,
}

impl World {
    /// Brings the world up, with the seed rows in its database.
    pub(crate) async fn up<E: Environment + 'static>(
        system: Arc<SystemUnderTest>,
        plan: Rc<Plan>,
        recorder: Recorder,
        worker: WorkerEnvironment<E>,
        give_back: impl FnOnce(WorkerEnvironment<E>) + 'static,
    ) -> Result<Self, String> {
        let translator = Rc::new(Translator::new(system.app.clone(), recorder.clone()));
        let (clock, runtime) = (plan_clock(&recorder), worker.runtime_handle());
        let environment: Arc<dyn Environment> = worker.environment.clone();
        let mut timing = environment.base().timing;
        let uses_machine_clock = timing.service_uses_machine_clock || timing.backend_uses_machine_clock;
        if uses_machine_clock && plan.token_lifetime_s < TOKEN_OUTLIVES_S {
            // Tokens expire in this plan, and by the machine's clock.
            timing.leap = Duration::ZERO;
        }
        let data = plan_data(&system, &plan, &recorder);
        let starting = environment.clone();
        let started = runtime.spawn(async move {
            let (log, issuer) = starting.prepare(&data).await?;
            let http = http_client();
            let (backend, service) = tokio::join!(
                starting.start_server(ServerRole::Backend, &http, true),
                starting.start_server(ServerRole::Service, &http, true)
            );
            Ok::<_, String>((log, issuer, http, backend?, service?))
        });
        // No timer runs yet, so the paused clock stands still.
        let (log, issuer, http, backend, service) = started.await.map_err(|error| error.to_string())??;
        let context = RunContext::new(runtime, http, log, clock.clone(), timing, &environment);
        let commits = Rc::new(CommitRecorder {
            log: context.log.clone(),
            translator: translator.clone(),
            recorder: recorder.clone(),
        });
        let audience = &environment.base().keys.audience;
        let minter = Rc::new(RefCell::new(token_minter(plan.clone(), recorder.clone(), issuer, audience)));
        let network = SimNetwork::new(
            plan.clone(),
            Routers {
                backend: Some(router(&context, ServerRole::Backend, backend.address())),
                service: Some(router(&context, ServerRole::Service, service.address())),
            },
            Callbacks {
                mint_token: Box::new({
                    let minter = minter.clone();
                    move |device, wrong_audience| (minter.borrow())(device, wrong_audience)
                }),
                on_handled: Box::new({
                    let commits = commits.clone();
                    move |_| commits.record_new()
                }),
                on_duplicate: Box::new({
                    let recorder = recorder.clone();
                    move |device, request, status| record_second_delivery(&recorder, device, request, status)
                }),
            },
        );
        let supervisor = Supervisor::new(context.clone(), backend, service);
        let time_driver = drive_time(&context, &recorder);
        let servers = Servers { network, supervisor, context: context.clone() };
        let kills = BackendKills::new(servers.clone(), recorder.clone());
        let faults = FaultInjector {
            plan,
            system: system.clone(),
            recorder: recorder.clone(),
            servers: servers.clone(),
            kills: kills.clone(),
            commits: commits.clone(),
            minter,
        };
        let world = Self {
            environment,
            give_back: Box::new(move || give_back(worker)),
            context,
            servers,
            faults,
            kills,
            translator,
            commits,
            recorder,
            system,
            time_driver,
        };
        world.commits.record_new();
        Ok(world)
    }

    /// How devices reach the servers.
    #[must_use]
    pub fn network(&self) -> &SimNetwork {
        &self.servers.network
    }

    /// A fault begins.
    ///
    /// # Errors
    /// Why it could not be injected. It then has no effect.
    pub async fn inject(&self, key: u32, fault: &Fault) -> Result<(), String> {
        self.faults.inject(key, fault).await
    }

    /// A fault ends.
    ///
    /// # Errors
    /// Why it could not be undone.
    pub async fn heal(&self, key: u32, fault: &Fault) -> Result<(), String> {
        self.faults.heal(key, fault).await
    }

    /// Ends what faults without an end of their own have left.
    pub async fn heal_remaining(&self) {
        self.kills.heal_all().await;
    }

    /// What `GET /conflicts` gives the device's user; `None` where the backend has no such route.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn conflicts(&self, device: u32) -> Result<Option<Vec<ConflictRecord>>, String> {
        self.translator.conflicts(self.network(), device).await
    }

    /// Reads the commits that are still unread, and every row of the server, into the history.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn final_read(&self) -> Result<(), String> {
        let tables = self.system.app.schema.tables.len();
        let work = self.context.activity.begin(Work::Harness);
        let context = self.context.clone();
        let read = self.context.runtime.spawn(async move {
            let _work = work;
            context.log.read_new(context.clock_file.shown_us()).await?;
            let mut read = Vec::new();
            for table in 0..tables {
                read.extend(context.log.rows(table).await?.into_iter().map(|(id, row)| (table, id, row)));
            }
            Ok::<_, String>(read)
        });
        let read = read.await.map_err(|error| error.to_string())??;
        self.commits.record_new();
        let named = read.into_iter().map(|(table, id, row)| (self.recorder.row(table, &id), Some(row)));
        let mut rows: Vec<_> = named.collect();
        rows.sort_by_key(|(row, _)| *row);
        self.recorder.add(Who::Server, What::Read { scope: Scope::Final, rows });
        Ok(())
    }

    /// How long devices wait on a silent stream, in plan time.
    pub(super) fn stream_idle_timeout(&self) -> Duration {
        match self.context.timing.service_uses_machine_clock {
            true => STREAM_IDLE_TIMEOUT * STREAM_IDLE_FACTOR,
            false => STREAM_IDLE_TIMEOUT,
        }
    }

    /// What was waited for in vain and has not come since, in words.
    pub(crate) fn waits_in_vain(&self) -> Vec<String> {
        self.context.activity.waits_in_vain()
    }

    /// Takes the world down, and gives the worker's environment to the next plan.
    pub(crate) async fn down(mut self) -> Ending {
        self.time_driver.abort();
        let ended = self.servers.supervisor.act(StateGuard::end_all).await;
        let failure = self.context.log.failure().map_or(Ok(()), Err);
        let (environment, context) = (self.environment.clone(), self.context.clone());
        let cleaned = self.context.runtime.spawn(async move { environment.clean_up(&context.log).await }).await;
        let cleaned = cleaned.unwrap_or_else(|error| Err(error.to_string()));
        // Nothing of this plan holds the environment when another takes it.
        let give_back = std::mem::replace(&mut self.give_back, Box::new(|| ()));
        drop(self);
        give_back();
        Ending { left_behind: cleaned.err(), failure: ended.and(failure).err() }
    }
}

/// Lets plan time pass, in a task of the plan's thread.
fn drive_time(context: &Arc<RunContext>, recorder: &Recorder) -> tokio::task::JoinHandle<()> {
    let recorder = recorder.clone();
    let given_up = move |limit: Duration| {
        let minutes = limit.as_secs() / 60;
        recorder.record_given_up(format!(
            "slow: the plan was given up after {minutes} minutes of real time, the most that one may take; what was seen \
             by then is judged"
        ));
    };
    let look = {
        let context = context.clone();
        move || let_service_see_clock(&context)
    };
    let (activity, file) = (context.activity.clone(), context.clock_file.clone());
    let driving = plan_time::drive(activity, file, context.timing, context.clock.clone(), look, given_up);
    tokio::task::spawn_local(driving)
}

/// What the environment must know of a plan.
fn plan_data(system: &SystemUnderTest, plan: &Plan, recorder: &Recorder) -> PlanData {
    let makes_copy = |action: &Action| matches!(action, Action::Fault(Fault::CopyRestored { .. }));
    let users: std::collections::BTreeSet<&String> = plan.devices.iter().map(|device| &device.user).collect();
    PlanData {
        seed_rows: seed_rows(&system.app, plan, recorder),
        rows: named_rows(&system.app, plan),
        clients: plan.client_ids(),
        users: users.into_iter().cloned().collect(),
        has_copies: plan.steps.iter().any(|step| makes_copy(&step.action)),
    }
}
