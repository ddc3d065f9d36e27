//! The embedded world: a private PostgreSQL, the upload backend and the sync service as processes of their own, on
//! loopback; the devices, their network and its faults as in the deterministic world.
//!
//! In reading order: `site` what a worker keeps from plan to plan, `process` one server, `link` a request's way to it
//! and back, `feed` the database's commits, `pgoutput` how the log tells them, `pace` how plan time passes.

mod feed;
mod link;
mod pace;
mod pgoutput;
mod process;
mod site;

use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError};

use jsonwebtoken::EncodingKey;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sim_core::Plan;
use sim_core::history::{ConflictRecord, Scope, What, Who};
use sim_core::plan::Fault;

pub use site::{Pool, Standing};
pub(crate) use site::Site;

use self::feed::Feed;
use self::link::Way;
use self::process::Process;
use self::site::Ground;
use crate::network::Target;
use crate::network::sim::{Routers, SimNetwork};
use crate::recorder::Recorder;
use crate::trial::Setup;
use crate::world::clock::plan_clock;
use crate::world::told::{Teller, minter, repeated};

/// How long replication's process may take to be there, when it is to be held.
const SENDER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// The faults that it cannot inject.
pub(super) const LACKS: [&str; 10] = [
    "backend-killed",
    "compaction",
    "copy-restored",
    "key-rotated",
    "postgres-down",
    "postgres-paused",
    "replication-cut",
    "server-write",
    "slot-dropped",
    "sync-config-changed",
];

/// One embedded world.
pub struct World {
    site: Site,
    stage: Arc<tokio::sync::Mutex<Stage>>,
    way: Arc<Way>,
    network: SimNetwork,
    teller: Rc<Teller>,
    recorder: Recorder,
    setup: Setup,
    pace: tokio::task::JoinHandle<()>,
}

/// The servers of a plan, and what ails them.
#[derive(Default)]
struct Stage {
    backend: Option<Process>,
    service: Option<Process>,
    /// How many faults hold each down, the service frozen, replication up.
    backend_downs: u32,
    service_downs: u32,
    pauses: u32,
    stalls: u32,
    /// The frozen process that sends replication.
    sender: Option<i32>,
}

impl World {
    /// Brings the world up, with the seed rows in its database.
    pub(crate) async fn up(setup: &Setup, plan: Rc<Plan>, recorder: Recorder, site: Site) -> Result<Self, String> {
        let teller = Rc::new(Teller::new(plan.clone(), setup.app.clone(), recorder.clone()));
        let (clock, real) = (plan_clock(&recorder), site.real());
        let pulse = pace::Pulse::new(site.ground.clock.clone());
        let (ground, seed) = (site.ground.clone(), teller.seed_rows());
        let made = real.spawn(async move {
            let feed = Arc::new(ground.reset(&seed).await?);
            let http = link::client();
            let (backend, service) =
                tokio::join!(ground.server(Target::Backend, &http), ground.server(Target::Service, &http));
            Ok::<_, String>((feed, http, backend?, service?))
        });
        // No timer runs yet, so that the paused clock stands still.
        let (feed, http, backend, service) = made.await.map_err(|error| error.to_string())??;
        let way = Arc::new(Way {
            real,
            http,
            feed,
            pulse,
            clock: clock.clone(),
            figures: std::sync::Mutex::new(Some(service.address())),
            expected: AtomicU64::new(0),
        });
        let key = EncodingKey::from_secret(&site.ground.secret);
        let network = SimNetwork::new(
            plan.clone(),
            Routers {
                backend: Some(link::router(&way, Target::Backend, backend.address())),
                service: Some(link::router(&way, Target::Service, service.address())),
            },
            Box::new(minter(plan, recorder.clone(), &site.ground.key_id, key)),
            Box::new({
                let (feed, teller, recorder) = (way.feed.clone(), teller.clone(), recorder.clone());
                move |_| tell(&feed, &teller, &recorder)
            }),
            Box::new({
                let recorder = recorder.clone();
                move |device, ask, status| repeated(&recorder, device, ask, status)
            }),
        );
        let looking = way.clone();
        let pace = tokio::task::spawn_local(pace::drive(way.pulse.clone(), clock, move || link::look(&looking)));
        let stage = Stage { backend: Some(backend), service: Some(service), ..Stage::default() };
        let world = Self {
            site,
            stage: Arc::new(tokio::sync::Mutex::new(stage)),
            way,
            network,
            teller,
            recorder,
            setup: setup.clone(),
            pace,
        };
        world.tell();
        Ok(world)
    }

    /// How devices reach the servers.
    #[must_use]
    pub fn network(&self) -> &SimNetwork {
        &self.network
    }

    /// A fault begins.
    ///
    /// # Errors
    /// Why it could not be injected.
    pub async fn strike(&self, key: u32, fault: &Fault) -> Result<(), String> {
        self.network.strike(key, fault);
        match fault {
            Fault::BackendDown { .. } => {
                self.network.set_router(Target::Backend, None);
                self.on_stage(|_, way, stage| {
                    stage.backend_downs += 1;
                    way.feed.is_unsure();
                    stage.backend.take().map_or(Ok(()), Process::kill)
                })
                .await
            }
            Fault::ServiceDown { .. } => {
                self.network.set_router(Target::Service, None);
                self.on_stage(|_, way, stage| {
                    stage.service_downs += 1;
                    set_figures(way, None);
                    stage.service.take().map_or(Ok(()), Process::kill)
                })
                .await
            }
            Fault::ServicePaused { .. } => {
                self.on_stage(|_, way, stage| {
                    stage.pauses += 1;
                    way.pulse.stand_still(Target::Service, true);
                    set_figures(way, None);
                    stage.service.as_ref().map_or(Ok(()), Process::pause)
                })
                .await
            }
            Fault::ReplicationStalled { .. } => self.stall(true).await,
            // These are the network's, or the device's own.
            Fault::Offline { .. }
            | Fault::Partition { .. }
            | Fault::Slow { .. }
            | Fault::Lossy { .. }
            | Fault::StreamCut { .. }
            | Fault::HalfOpen { .. }
            | Fault::Crash { .. }
            | Fault::Suspend { .. }
            | Fault::TabClose { .. }
            | Fault::ClockJump { .. }
            | Fault::WrongAudience { .. }
            | Fault::StorageLost { .. } => Ok(()),
            Fault::BackendKilled { .. }
            | Fault::Compaction
            | Fault::CopyRestored { .. }
            | Fault::KeyRotated { .. }
            | Fault::PostgresDown { .. }
            | Fault::PostgresPaused { .. }
            | Fault::ReplicationCut { .. }
            | Fault::ServerWrite { .. }
            | Fault::SlotDropped { .. }
            | Fault::SyncConfigChanged { .. } => Err("this world cannot inject it".to_owned()),
        }
    }

    /// A fault ends.
    ///
    /// # Errors
    /// Why it could not be undone.
    pub async fn heal(&self, key: u32, fault: &Fault) -> Result<(), String> {
        let healed = match fault {
            Fault::BackendDown { .. } => self.restart(Target::Backend).await,
            Fault::ServiceDown { .. } => self.restart(Target::Service).await,
            Fault::ServicePaused { .. } => {
                self.on_stage(|_, way, stage| {
                    stage.pauses = stage.pauses.saturating_sub(1);
                    if stage.pauses > 0 {
                        return Ok(());
                    }
                    let resumed = stage.service.as_ref().map_or(Ok(()), Process::resume);
                    way.pulse.stand_still(Target::Service, false);
                    is_back(way, stage);
                    resumed
                })
                .await
            }
            Fault::ReplicationStalled { .. } => self.stall(false).await,
            _ => Ok(()),
        };
        self.network.heal(key);
        healed
    }

    /// What `GET /conflicts` gives the device's user; `None` where the backend has no such route.
    ///
    /// # Errors
    /// In words, when the answer is none.
    pub async fn conflicts(&self, device: u32) -> Result<Option<Vec<ConflictRecord>>, String> {
        self.teller.conflicts(&self.network, device).await
    }

    /// Reads what is still unread of the commits, and every row of the server, into the history.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn final_read(&self) -> Result<(), String> {
        let tables = self.setup.app.schema.tables.len();
        let busy = self.way.pulse.begin(None);
        let way = self.way.clone();
        let read = self.way.real.spawn(async move {
            let _busy = busy;
            way.feed.drain(way.pulse.shown_us()).await?;
            let mut read = Vec::new();
            for table in 0..tables {
                read.extend(way.feed.rows(table).await?.into_iter().map(|(id, row)| (table, id, row)));
            }
            Ok::<_, String>(read)
        });
        let read = read.await.map_err(|error| error.to_string())??;
        self.tell();
        let named = read.into_iter().map(|(table, id, row)| (self.recorder.row(table, &id), Some(row)));
        let mut rows: Vec<_> = named.collect();
        rows.sort_by_key(|(row, _)| *row);
        self.recorder.add(Who::Server, What::Read { scope: Scope::Final, rows });
        Ok(())
    }

    /// Takes the world down; the site is for the next plan. A server that ended by itself is told of.
    pub(crate) async fn down(self) -> (Site, Result<(), String>) {
        self.pace.abort();
        let ended = self
            .on_stage(|_, way, stage| {
                set_figures(way, None);
                release(stage);
                let ended = [&mut stage.backend, &mut stage.service].map(|server| {
                    let mut server = server.take()?;
                    let ended = server.ended();
                    // Killed as it goes.
                    drop(server);
                    ended
                });
                ended.into_iter().flatten().next().map_or(Ok(()), Err)
            })
            .await;
        let broken = self.way.feed.broken().map_or(Ok(()), Err);
        (self.site, ended.and(broken))
    }

    fn tell(&self) {
        tell(&self.way.feed, &self.teller, &self.recorder);
    }

    /// Does something to the servers on the real runtime, while plan time follows.
    async fn on_stage(
        &self,
        act: impl FnOnce(&Ground, &Arc<Way>, &mut Stage) -> Result<(), String> + Send + 'static,
    ) -> Result<(), String> {
        let (stage, way, ground) = (self.stage.clone(), self.way.clone(), self.site.ground.clone());
        let busy = way.pulse.begin(None);
        let job = self.way.real.spawn(async move {
            let _busy = busy;
            act(&ground, &way, &mut *stage.lock().await)
        });
        job.await.map_err(|error| error.to_string())?
    }

    /// One fault fewer holds a server down; starts it when none is left.
    async fn restart(&self, target: Target) -> Result<(), String> {
        let (stage, way, ground) = (self.stage.clone(), self.way.clone(), self.site.ground.clone());
        let busy = way.pulse.begin(None);
        let job = self.way.real.spawn(async move {
            let _busy = busy;
            let mut stage = stage.lock().await;
            let downs = match target {
                Target::Backend => &mut stage.backend_downs,
                Target::Service => &mut stage.service_downs,
            };
            *downs = downs.saturating_sub(1);
            if *downs > 0 {
                return Ok(None);
            }
            let server = ground.server(target, &way.http).await?;
            let address = server.address();
            match target {
                Target::Backend => stage.backend = Some(server),
                Target::Service => {
                    if stage.pauses > 0 {
                        server.pause()?;
                    }
                    stage.service = Some(server);
                    if stage.stalls > 0 && stage.sender.is_none() {
                        stage.sender = freeze_sender(&way.feed).await?;
                    }
                    is_back(&way, &stage);
                }
            }
            Ok::<_, String>(Some(address))
        });
        if let Some(address) = job.await.map_err(|error| error.to_string())?? {
            self.network.set_router(target, Some(link::router(&self.way, target, address)));
        }
        Ok(())
    }

    /// Holds replication up, or lets it go on.
    async fn stall(&self, begins: bool) -> Result<(), String> {
        let (stage, way) = (self.stage.clone(), self.way.clone());
        let busy = way.pulse.begin(None);
        let job = self.way.real.spawn(async move {
            let _busy = busy;
            let mut stage = stage.lock().await;
            if begins {
                stage.stalls += 1;
                set_figures(&way, None);
                if stage.sender.is_none() && stage.service.is_some() {
                    stage.sender = freeze_sender(&way.feed).await?;
                }
                return Ok(());
            }
            stage.stalls = stage.stalls.saturating_sub(1);
            if stage.stalls == 0 {
                release(&mut stage);
                is_back(&way, &stage);
            }
            Ok::<_, String>(())
        });
        job.await.map_err(|error| error.to_string())?
    }
}

/// Writes the commits that were read into the history.
fn tell(feed: &Feed, teller: &Teller, recorder: &Recorder) {
    for commit in feed.told() {
        recorder.add(Who::Server, What::Commit(teller.commit(&commit)));
    }
    if let Some(problem) = feed.broken() {
        recorder.harness_failed(format!("the history's slot: {problem}"));
    }
}

fn set_figures(way: &Way, address: Option<std::net::SocketAddr>) {
    *way.figures.lock().unwrap_or_else(PoisonError::into_inner) = address;
}

/// Something is to be expected of the service again, unless another fault is in the way.
fn is_back(way: &Arc<Way>, stage: &Stage) {
    if stage.pauses == 0
        && stage.stalls == 0
        && let Some(service) = &stage.service
    {
        set_figures(way, Some(service.address()));
        link::expect(way, way.feed.lsn());
    }
}

/// Freezes the server process that sends replication to the service, once there is one.
async fn freeze_sender(feed: &Feed) -> Result<Option<i32>, String> {
    let sql = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'powersync_replication_slot'";
    let deadline = std::time::Instant::now() + SENDER_TIMEOUT;
    loop {
        if let Some(pid) = feed.number(sql).await? {
            return signal(pid, Signal::SIGSTOP).map(|()| Some(pid));
        }
        if std::time::Instant::now() > deadline {
            return Err("nothing replicates that could be held up".to_owned());
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn release(stage: &mut Stage) {
    // A sender that has gone meanwhile holds nothing up.
    if let Some(pid) = stage.sender.take() {
        let _ = signal(pid, Signal::SIGCONT);
    }
}

fn signal(pid: i32, signal: Signal) -> Result<(), String> {
    kill(Pid::from_raw(pid), signal).map_err(|error| format!("replication's process: {error}"))
}
