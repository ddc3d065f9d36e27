//! A world of real servers, whichever way they run: the upload backend and the sync service on a real PostgreSQL; the
//! devices, their network and its faults as in the deterministic world.
//!
//! In reading order: `ground` what the servers stand on, `site` who keeps it from plan to plan, `stage` the servers of a plan with what ails them, `servers`,
//! `kills` and `doom` how they are reached and killed, `keys` the keys of tokens, `writes` what bypasses the backend,
//! `link` a request's way and back, `apart` tokens for servers by another clock, `senders` whose it was, `feed` the
//! database's commits (`share` which of them, where others use it), `pgoutput` how the log tells them, `pace` how plan
//! time passes.

mod apart;
mod doom;
pub(super) mod feed;
pub(super) mod ground;
pub(super) mod keys;
mod kills;
pub(super) mod link;
mod pace;
mod pgoutput;
mod senders;
mod servers;
pub(super) mod share;
pub(super) mod site;
mod stage;
pub(super) mod writes;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use sim_core::Plan;
use sim_core::history::{Commit, ConflictRecord, Scope, What, Who};
use sim_core::plan::{Action, ContainerFault, EPOCH_US, Fault, Intent, StackPart, TOKEN_OUTLIVES_S};

use self::ground::{Blow, Cast, Ground};
use self::keys::Issuer;
use self::kills::Kills;
use self::link::Way;
use self::pace::Work;
use self::senders::Senders;
use self::servers::Servers;
use self::feed::Told;
use self::share::Share;
use self::site::Site;
use self::stage::{Backstage, Fall, Hands};
use self::writes::Written;
use sim_device::platform::STREAM_IDLE_TIMEOUT;
use sim_network::ServerRole;
use sim_network::sim::{Callbacks, Routers, SimNetwork};
use sim_device::recorder::Recorder;
use crate::system::SystemUnderTest;
use crate::clock::plan_clock;
use crate::told::{Teller, minter, repeated, sender};
use crate::writes::statements;

/// By how much longer devices bear with silence where the service goes by the machine's clock: while nothing is under way,
/// plan time passes at most 300 times as fast as the machine's, by which keepalives come every 20 s.
pub const IDLE_STRETCH: u32 = 120;

/// Mints a token for a device, with a wrong audience if asked.
type Mint = Box<dyn Fn(u32, bool) -> String>;

/// One world of real servers.
pub struct World {
    plan: Rc<Plan>,
    ground: Arc<dyn Ground>,
    /// Gives the site to the next plan.
    give_back: Box<dyn FnOnce()>,
    servers: Servers,
    kills: Rc<Kills>,
    way: Arc<Way>,
    mint: Rc<RefCell<Mint>>,
    teller: Rc<Teller>,
    recorder: Recorder,
    system: Arc<SystemUnderTest>,
    pace: tokio::task::JoinHandle<()>,
}

impl World {
    /// Brings the world up, with the seed rows in its database.
    pub(crate) async fn up<G: Ground + 'static>(
        system: Arc<SystemUnderTest>,
        plan: Rc<Plan>,
        recorder: Recorder,
        site: Site<G>,
        give_back: impl FnOnce(Site<G>) + 'static,
    ) -> Result<Self, String> {
        let teller = Rc::new(Teller::new(plan.clone(), system.app.clone(), recorder.clone()));
        let (clock, real) = (plan_clock(&recorder), site.real());
        let ground: Arc<dyn Ground> = site.ground.clone();
        let pulse = pace::Pulse::new(ground.common().clock.clone());
        let mut pace = ground.common().pace;
        if (pace.is_service_apart || pace.is_backend_apart) && plan.token_lifetime_s < TOKEN_OUTLIVES_S {
            // Tokens expire in this plan, and by the machine's clock where the service looks at that.
            pace.leap = Duration::ZERO;
        }
        let (on, cast) = (ground.clone(), cast(&plan, &teller));
        let made = real.spawn(async move {
            let (feed, key) = on.prepare(&cast).await?;
            let http = link::client();
            let (backend, service) =
                tokio::join!(on.server(ServerRole::Backend, &http, true), on.server(ServerRole::Service, &http, true));
            Ok::<_, String>((Arc::new(feed), key, http, backend?, service?))
        });
        // No timer runs yet, so that the paused clock stands still.
        let (feed, key, http, backend, service) = made.await.map_err(|error| error.to_string())??;
        let way = Arc::new(Way {
            real,
            http,
            feed,
            pulse,
            clock: clock.clone(),
            figures: std::sync::Mutex::new(Some(service.address())),
            expected: AtomicU64::new(0),
            backend: std::sync::Mutex::default(),
            ground: Arc::downgrade(&ground),
            pace,
            senders: plan.steps.iter().any(|step| copies(&step.action)).then(Senders::default),
        });
        let mint = Rc::new(RefCell::new(signed_with(&plan, &recorder, key, &ground.common().keys.audience)));
        let network = SimNetwork::new(
            plan.clone(),
            Routers {
                backend: Some(link::router(&way, ServerRole::Backend, backend.address())),
                service: Some(link::router(&way, ServerRole::Service, service.address())),
            },
            Callbacks {
                mint_token: Box::new({
                    let mint = mint.clone();
                    move |device, wrong_audience| (mint.borrow())(device, wrong_audience)
                }),
                on_handled: Box::new({
                    let (way, teller, recorder) = (way.clone(), teller.clone(), recorder.clone());
                    move |_| tell(&way, &teller, &recorder)
                }),
                on_duplicate: Box::new({
                    let recorder = recorder.clone();
                    move |device, ask, status| repeated(&recorder, device, ask, status)
                }),
            },
        );
        let looking = way.clone();
        let given_up = {
            let recorder = recorder.clone();
            move |patience: Duration| {
                let minutes = patience.as_secs() / 60;
                recorder.record_harness_failure(format!("the plan was given up after {minutes} minutes; it is not judged"));
            }
        };
        let look = move || link::look(&looking);
        let pace = tokio::task::spawn_local(pace::drive(way.pulse.clone(), pace, clock, look, given_up));
        let backstage = Backstage::new(way.clone(), backend, service);
        let servers = Servers { network, backstage, way: way.clone() };
        let world = Self {
            plan,
            ground,
            give_back: Box::new(move || give_back(site)),
            kills: Kills::new(servers.clone(), recorder.clone()),
            servers,
            way,
            mint,
            teller,
            recorder,
            system,
            pace,
        };
        world.tell();
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
    /// Why it could not be injected. It is then none.
    pub async fn strike(&self, key: u32, fault: &Fault) -> Result<(), String> {
        self.network().begin_fault(key, fault);
        let struck = self.inject(key, fault).await;
        if struck.is_err() {
            self.network().end_fault(key);
        }
        struck
    }

    async fn inject(&self, key: u32, fault: &Fault) -> Result<(), String> {
        let stage = &self.servers.backstage;
        match fault {
            Fault::BackendDown { .. } => self.servers.take_down(ServerRole::Backend).await,
            Fault::BackendKilled { .. } => {
                self.kills.arm(key, fault);
                Ok(())
            }
            Fault::ServiceDown { .. } => self.servers.take_down(ServerRole::Service).await,
            Fault::SyncConfigChanged { .. } => {
                stage.act(Hands::deploy).await?;
                self.servers.take_down(ServerRole::Service).await
            }
            Fault::Compaction => stage.act(Hands::compact).await,
            Fault::KeyRotated { .. } => self.rotate_keys().await,
            Fault::ServicePaused { .. } => stage.act(Hands::pause_service).await,
            Fault::ReplicationStalled { .. } => stage.act(Hands::stall).await,
            Fault::ReplicationCut { .. } => stage.act(Hands::cut).await,
            Fault::SlotDropped { .. } => stage.act(Hands::drop_slot).await,
            Fault::PostgresDown { .. } => stage.act(|hands| hands.end_postgres(Blow::Kill)).await,
            Fault::PostgresPaused { .. } => stage.act(Hands::pause_postgres).await,
            Fault::ServerWrite { intents } => self.write(intents).await,
            Fault::Container { part, how, .. } => self.befall(*part, *how).await,
            Fault::CacheFlushed => stage.act(Hands::flush_cache).await,
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
            | Fault::StorageLost { .. }
            | Fault::CopyRestored { .. } => Ok(()),
        }
    }

    /// A fault ends.
    ///
    /// # Errors
    /// Why it could not be undone.
    pub async fn heal(&self, key: u32, fault: &Fault) -> Result<(), String> {
        let stage = &self.servers.backstage;
        let healed = match fault {
            Fault::BackendDown { .. } => self.servers.bring_up(ServerRole::Backend).await,
            Fault::ServiceDown { .. } | Fault::SyncConfigChanged { .. } => self.servers.bring_up(ServerRole::Service).await,
            Fault::KeyRotated { .. } => stage.act(Hands::fetch_keys).await,
            Fault::ServicePaused { .. } => stage.act(Hands::resume_service).await,
            Fault::ReplicationStalled { .. } | Fault::ReplicationCut { .. } => stage.act(Hands::go_on).await,
            Fault::SlotDropped { .. } => stage.act(Hands::allow_slot).await,
            Fault::PostgresDown { .. } => stage.act(Hands::start_postgres).await,
            Fault::PostgresPaused { .. } => stage.act(Hands::resume_postgres).await,
            Fault::Container { part, how, .. } => self.undo(*part, *how).await,
            // These are the network's or the device's own, have no end, or end by themselves.
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
            | Fault::StorageLost { .. }
            | Fault::CopyRestored { .. }
            | Fault::BackendKilled { .. }
            | Fault::Compaction
            | Fault::CacheFlushed
            | Fault::ServerWrite { .. } => Ok(()),
        };
        self.network().end_fault(key);
        healed
    }

    /// Undoes what faults without a length of their own have left.
    pub async fn mend(&self) {
        self.kills.mend().await;
    }

    /// What `GET /conflicts` gives the device's user; `None` where the backend has no such route.
    ///
    /// # Errors
    /// In words, when the answer is none.
    pub async fn conflicts(&self, device: u32) -> Result<Option<Vec<ConflictRecord>>, String> {
        self.teller.conflicts(self.network(), device).await
    }

    /// Reads what is still unread of the commits, and every row of the server, into the history.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn final_read(&self) -> Result<(), String> {
        let tables = self.system.app.schema.tables.len();
        let busy = self.way.pulse.begin(Work::Own);
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

    /// How long devices bear with silence on a stream, in plan time.
    pub(super) fn stream_idle_timeout(&self) -> Duration {
        if self.ground.common().pace.is_service_apart { STREAM_IDLE_TIMEOUT * IDLE_STRETCH } else { STREAM_IDLE_TIMEOUT }
    }

    /// Takes the world down; the site is for the next plan. A server that ended by itself is told of.
    pub(crate) async fn down(mut self) -> Result<(), String> {
        self.pace.abort();
        let ended = self.servers.backstage.act(Hands::clear).await;
        let broken = self.way.feed.broken().map_or(Ok(()), Err);
        let (ground, way) = (self.ground.clone(), self.way.clone());
        let cleaned = self.way.real.spawn(async move { ground.clean(&way.feed).await }).await;
        let cleaned = cleaned.unwrap_or_else(|error| Err(error.to_string()));
        // What is left behind is the first thing to know.
        // Nothing of this plan holds on to the site when another takes it.
        let give_back = std::mem::replace(&mut self.give_back, Box::new(|| ()));
        drop(self);
        give_back();
        cleaned.and(ended).and(broken)
    }

    fn tell(&self) {
        tell(&self.way, &self.teller, &self.recorder);
    }

    /// A new key signs from now on; the backend, which made it, knows it at once.
    async fn rotate_keys(&self) -> Result<(), String> {
        let lifetime_us = i64::from(self.plan.token_lifetime_s) * 1_000_000;
        let key = self.servers.backstage.act(move |hands| hands.rotate_keys(lifetime_us)).await?;
        *self.mint.borrow_mut() = signed_with(&self.plan, &self.recorder, key, &self.ground.common().keys.audience);
        Ok(())
    }

    /// Something befalls a container.
    async fn befall(&self, part: StackPart, how: ContainerFault) -> Result<(), String> {
        let (servers, stage) = (&self.servers, &self.servers.backstage);
        let target = match part {
            StackPart::Backend => ServerRole::Backend,
            StackPart::Service => ServerRole::Service,
            StackPart::Postgres => {
                return match how {
                    ContainerFault::Kill => stage.act(|hands| hands.end_postgres(Blow::Kill)).await,
                    ContainerFault::Stop => stage.act(|hands| hands.end_postgres(Blow::Stop)).await,
                    ContainerFault::Restart => {
                        stage.act(|hands| hands.end_postgres(Blow::Stop)).await?;
                        stage.act(Hands::start_postgres).await
                    }
                    ContainerFault::Pause => stage.act(Hands::pause_postgres).await,
                    ContainerFault::Disconnect => stage.act(Hands::cut_postgres_off).await,
                };
            }
            StackPart::Redis | StackPart::Mongodb => return stage.act(move |hands| hands.befall(part, how)).await,
        };
        match how {
            ContainerFault::Kill => servers.take(target, Fall::Killed).await,
            ContainerFault::Stop => servers.take(target, Fall::Stopped).await,
            ContainerFault::Restart => {
                servers.take(target, Fall::Stopped).await?;
                servers.bring_up(target).await
            }
            ContainerFault::Pause if target == ServerRole::Backend => stage.act(Hands::pause_backend).await,
            ContainerFault::Pause => stage.act(Hands::pause_service).await,
            ContainerFault::Disconnect => servers.take(target, Fall::CutOff).await,
        }
    }

    /// And is over.
    async fn undo(&self, part: StackPart, how: ContainerFault) -> Result<(), String> {
        let (servers, stage) = (&self.servers, &self.servers.backstage);
        let target = match part {
            StackPart::Backend => ServerRole::Backend,
            StackPart::Service => ServerRole::Service,
            StackPart::Postgres => {
                return match how {
                    ContainerFault::Kill | ContainerFault::Stop => stage.act(Hands::start_postgres).await,
                    ContainerFault::Restart => Ok(()),
                    ContainerFault::Pause => stage.act(Hands::resume_postgres).await,
                    ContainerFault::Disconnect => stage.act(Hands::connect_postgres).await,
                };
            }
            StackPart::Redis | StackPart::Mongodb => return stage.act(move |hands| hands.undo(part, how)).await,
        };
        match how {
            ContainerFault::Kill | ContainerFault::Stop | ContainerFault::Disconnect => servers.bring_up(target).await,
            ContainerFault::Restart => Ok(()),
            ContainerFault::Pause if target == ServerRole::Backend => stage.act(Hands::resume_backend).await,
            ContainerFault::Pause => stage.act(Hands::resume_service).await,
        }
    }

    /// A transaction of the server's own.
    async fn write(&self, intents: &[Intent]) -> Result<(), String> {
        let now_us = EPOCH_US + self.recorder.now_us();
        let statements = statements(&self.system.app, &self.plan, intents, now_us)?;
        let written = Written { statements, now_us };
        let result = self.servers.backstage.act(move |hands| hands.write(written)).await;
        self.tell();
        result
    }
}

/// Whether it makes several devices share a client id.
fn copies(action: &Action) -> bool {
    matches!(action, Action::Fault(Fault::CopyRestored { .. }))
}

/// What a plan brings with it.
fn cast(plan: &Plan, teller: &Teller) -> Cast {
    let users: std::collections::BTreeSet<&String> = plan.devices.iter().map(|device| &device.user).collect();
    Cast {
        seed: teller.seed_rows(),
        rows: teller.rows(),
        clients: plan.client_ids(),
        users: users.into_iter().cloned().collect(),
    }
}

fn signed_with(plan: &Rc<Plan>, recorder: &Recorder, issuer: Issuer, audience: &str) -> Mint {
    Box::new(minter(plan.clone(), recorder.clone(), issuer, audience))
}

/// Writes the commits that were read into the history.
fn tell(way: &Way, teller: &Teller, recorder: &Recorder) {
    for Told { commit, sent, foreign } in way.feed.told() {
        let sent = sent.or_else(|| way.senders.as_ref()?.of(&commit));
        let sender = sent.map(|sent| sender(recorder, sent));
        recorder.add(Who::Server, What::Commit(Commit { foreign, ..teller.commit(&commit, sender) }));
    }
    if let Some(problem) = way.feed.broken() {
        recorder.record_harness_failure(format!("the history's slot: {problem}"));
    }
    if let Some(strayed) = way.feed.share().map(Share::strayed).filter(|strayed| !strayed.is_empty()) {
        let rows = strayed.join(", ");
        recorder.record_harness_failure(format!("an upload of the plan changed rows that are not its own: {rows}"));
    }
}
