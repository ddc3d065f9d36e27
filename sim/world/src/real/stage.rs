//! The servers of a plan and its database, and what ails them. Everything here happens on the real runtime.
//!
//! Faults of a kind may overlap: each is counted, and the last that goes undoes it. What cannot be done to a database
//! that is away is done when it is back.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sim_core::plan::{ContainerFault, StackPart};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_postgres::Client;

use super::feed;
use super::ground::{Blow, Ground, Killer, Server};
use super::keys::Issuer;
use super::link::{self, Way};
use super::pace::{Still, Work};
use super::writes::Written;
use sim_network::ServerRole;

/// How long replication's process may take to be there when it is to be held, or to be gone when it is ended: machines
/// stand still at times.
const SENDER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The service's slot, as a condition.
const SLOT: &str = "slot_name LIKE 'powersync%'";

/// The way to the stage, for the plan's thread. Clones share it.
#[derive(Clone)]
pub(super) struct Backstage {
    way: Arc<Way>,
    stage: Arc<Mutex<Stage>>,
}

/// What runs, and what ails it.
#[derive(Default)]
struct Stage {
    backend: Option<Box<dyn Server>>,
    service: Option<Box<dyn Server>>,
    /// How often the sync configuration was changed, and whether buckets are to be compacted that nobody has open.
    deployed: u32,
    compacts: bool,
    backend_downs: u32,
    service_downs: u32,
    backend_pauses: u32,
    service_pauses: u32,
    postgres_downs: u32,
    postgres_pauses: u32,
    postgres_cuts: u32,
    /// How many faults hold replication up, and how many keep the service without a slot.
    stalls: u32,
    losses: u32,
    /// The frozen process that sends replication.
    sender: Option<i32>,
    /// Its open transaction keeps a new slot in the making.
    holder: Option<Client>,
    /// What waits for the database.
    later: Vec<Later>,
}

/// How a server goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fall {
    Killed,
    Stopped,
    /// It runs, and nobody reaches it.
    CutOff,
}

/// What is done when the database is back.
enum Later {
    Write(Written),
    DropSlot,
    Cut,
}

/// The stage, in the hands of one who changes it.
pub(super) struct Hands {
    ground: Arc<dyn Ground>,
    way: Arc<Way>,
    stage: OwnedMutexGuard<Stage>,
}

impl Backstage {
    pub(super) fn new(way: Arc<Way>, backend: Box<dyn Server>, service: Box<dyn Server>) -> Self {
        can_kill(&way, Some(backend.killer()));
        let stage = Stage { backend: Some(backend), service: Some(service), ..Stage::default() };
        Self { way, stage: Arc::new(Mutex::new(stage)) }
    }

    /// Does something on the real runtime, while plan time follows.
    pub(super) async fn act<T, F>(&self, act: impl FnOnce(Hands) -> F + Send + 'static) -> Result<T, String>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, String>> + Send + 'static,
    {
        let (stage, way) = (self.stage.clone(), self.way.clone());
        let busy = way.pulse.begin(Work::Own);
        let job = self.way.real.spawn(async move {
            let _busy = busy;
            let ground = way.ground.upgrade().ok_or("the site is gone")?;
            act(Hands { ground, way, stage: stage.lock_owned().await }).await
        });
        job.await.map_err(|error| error.to_string())?
    }
}

impl Stage {
    fn is_away(&self) -> bool {
        self.postgres_downs > 0 || self.postgres_pauses > 0 || self.postgres_cuts > 0
    }
}

// ---- The two servers ----

impl Hands {
    pub(super) async fn take_down(mut self, target: ServerRole, fall: Fall) -> Result<(), String> {
        let stage = &mut *self.stage;
        let server = match target {
            ServerRole::Backend => {
                stage.backend_downs += 1;
                self.way.feed.is_unsure();
                can_kill(&self.way, None);
                stage.backend.take()
            }
            ServerRole::Service => {
                stage.service_downs += 1;
                set_figures(&self.way, None);
                stage.service.take()
            }
        };
        match server {
            Some(server) => match fall {
                Fall::Killed => server.kill().await,
                Fall::Stopped => server.stop().await,
                Fall::CutOff => server.disconnect().await,
            },
            None => Ok(()),
        }
    }

    /// One fault fewer holds a server down; starts it when none is left, and says where it is.
    pub(super) async fn bring_up(mut self, target: ServerRole) -> Result<Option<SocketAddr>, String> {
        let downs = match target {
            ServerRole::Backend => &mut self.stage.backend_downs,
            ServerRole::Service => &mut self.stage.service_downs,
        };
        *downs = downs.saturating_sub(1);
        if *downs > 0 {
            return Ok(None);
        }
        // Without its database a server listens, and is not ready. One that may be anybody's comes up as it can.
        let waits = !self.stage.is_away() && !self.way.pace.is_service_apart;
        let server = self.ground.server(target, &self.way.http, waits).await?;
        let address = server.address();
        match target {
            ServerRole::Backend => {
                if self.stage.backend_pauses > 0 {
                    server.pause().await?;
                }
                can_kill(&self.way, Some(server.killer()));
                self.stage.backend = Some(server);
            }
            ServerRole::Service => {
                if self.stage.service_pauses > 0 {
                    server.pause().await?;
                }
                if std::mem::take(&mut self.stage.compacts) {
                    server.compact().await?;
                }
                self.stage.service = Some(server);
                self.hold_replication().await?;
                self.is_back();
            }
        }
        Ok(Some(address))
    }

    pub(super) async fn pause_backend(mut self) -> Result<(), String> {
        self.stage.backend_pauses += 1;
        match &self.stage.backend {
            Some(backend) if self.stage.backend_pauses == 1 => backend.pause().await,
            _ => Ok(()),
        }
    }

    pub(super) async fn resume_backend(mut self) -> Result<(), String> {
        self.stage.backend_pauses = self.stage.backend_pauses.saturating_sub(1);
        match &self.stage.backend {
            Some(backend) if self.stage.backend_pauses == 0 => backend.resume().await,
            _ => Ok(()),
        }
    }

    pub(super) async fn pause_service(mut self) -> Result<(), String> {
        self.stage.service_pauses += 1;
        self.show_still();
        set_figures(&self.way, None);
        match &self.stage.service {
            // One that is paused twice is paused.
            Some(service) if self.stage.service_pauses == 1 => service.pause().await,
            _ => Ok(()),
        }
    }

    pub(super) async fn resume_service(mut self) -> Result<(), String> {
        self.stage.service_pauses = self.stage.service_pauses.saturating_sub(1);
        if self.stage.service_pauses > 0 {
            return Ok(());
        }
        let resumed = match &self.stage.service {
            Some(service) => service.resume().await,
            None => Ok(()),
        };
        self.show_still();
        self.hold_replication().await?;
        self.is_back();
        resumed
    }
}

// ---- What servers are told ----

impl Hands {
    /// The service compacts its buckets, as soon as it runs.
    pub(super) async fn compact(mut self) -> Result<(), String> {
        self.stage.compacts = self.stage.service.is_none();
        match &self.stage.service {
            Some(service) => service.compact().await,
            None => Ok(()),
        }
    }

    /// From its next start on the service has a sync configuration of another text: the same rules as a new version.
    pub(super) async fn deploy(mut self) -> Result<(), String> {
        self.stage.deployed += 1;
        self.ground.configure(&format!("\n# Deployed again: {}.\n", self.stage.deployed))
    }

    /// A new key signs; the backend knows it at once.
    pub(super) async fn rotate_keys(self, lifetime_us: i64) -> Result<Issuer, String> {
        let (now_us, backend) = (self.way.pulse.shown_us(), self.stage.backend.as_deref());
        self.ground.common().keys.rotate(now_us, lifetime_us, backend, &self.way.http).await
    }

    /// The service gets all keys, and reads them if it runs.
    pub(super) async fn fetch_keys(self) -> Result<(), String> {
        let count = self.ground.common().keys.publish()?;
        let Some(service) = &self.stage.service else { return Ok(()) };
        service.learn_keys(&self.way.http, count, self.stage.service_pauses == 0).await
    }
}

// ---- Replication ----

impl Hands {
    /// Holds replication up, by freezing what sends it.
    pub(super) async fn stall(mut self) -> Result<(), String> {
        self.stage.stalls += 1;
        set_figures(&self.way, None);
        let held = self.hold_replication().await;
        if held.is_err() {
            self.stage.stalls -= 1;
            self.is_back();
        }
        held
    }

    /// One fault fewer holds replication up.
    pub(super) async fn go_on(mut self) -> Result<(), String> {
        self.stage.stalls = self.stage.stalls.saturating_sub(1);
        if self.stage.stalls == 0 && self.stage.postgres_pauses == 0 {
            self.release().await;
        }
        self.is_back();
        Ok(())
    }

    /// Cuts the connection of replication. The service connects again by itself, and nothing comes over that one
    /// before the fault ends.
    pub(super) async fn cut(mut self) -> Result<(), String> {
        if self.stage.is_away() {
            self.stage.later.push(Later::Cut);
        } else {
            self.end_sender().await?;
        }
        self.stall().await
    }

    /// Drops the service's slot. It makes another by itself, which is in the making as long as a transaction is open
    /// that was there before: until the fault ends.
    pub(super) async fn drop_slot(mut self) -> Result<(), String> {
        if self.stage.is_away() {
            self.stage.losses += 1;
            self.stage.later.push(Later::DropSlot);
            return Ok(());
        }
        set_figures(&self.way, None);
        let dropped = self.drop_slot_now().await;
        match dropped {
            Ok(()) => self.stage.losses += 1,
            Err(_) => {
                self.let_slot_be_made();
                self.is_back();
            }
        }
        dropped
    }

    /// One fault fewer keeps the service without a slot.
    pub(super) async fn allow_slot(mut self) -> Result<(), String> {
        self.stage.losses = self.stage.losses.saturating_sub(1);
        self.let_slot_be_made();
        self.is_back();
        Ok(())
    }

    /// Ends the transaction that keeps a new slot in the making, unless a fault wants it.
    fn let_slot_be_made(&mut self) {
        if self.stage.losses == 0 {
            // Its connection ends with it, and with that the transaction.
            self.stage.holder = None;
        }
    }

    async fn drop_slot_now(&mut self) -> Result<(), String> {
        self.hold_slot().await?;
        // A service that connects again at once may take the slot before it is dropped.
        let runs = self.stage.service_pauses == 0;
        if let Some(service) = self.stage.service.as_ref().filter(|_| runs) {
            service.pause().await?;
        }
        let dropped = self.drop_idle_slot().await;
        if let Some(service) = self.stage.service.as_ref().filter(|_| runs) {
            service.resume().await?;
        }
        dropped?;
        self.hold_replication().await
    }

    async fn drop_idle_slot(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + SENDER_TIMEOUT;
        loop {
            self.end_sender().await?;
            let sql = format!("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE {SLOT}");
            match self.way.feed.sql(&sql).await {
                Ok(()) => return Ok(()),
                // It had asked for the slot again before it was stopped.
                Err(_) if Instant::now() < deadline => tokio::time::sleep(LOOK_EVERY).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens the transaction that keeps a new slot in the making.
    async fn hold_slot(&mut self) -> Result<(), String> {
        if self.stage.holder.as_ref().is_none_or(Client::is_closed) {
            let holder = self.ground.connect().await?;
            holder.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.map_err(|error| feed::said(&error))?;
            self.stage.holder = Some(holder);
        }
        Ok(())
    }

    /// Ends the server process that sends replication, if there is one.
    async fn end_sender(&mut self) -> Result<(), String> {
        // A frozen process takes no notice.
        self.release().await;
        let wait_ms = SENDER_TIMEOUT.as_millis();
        let sql = format!(
            "SELECT pg_terminate_backend(active_pid, {wait_ms}) FROM pg_replication_slots \
             WHERE {SLOT} AND active_pid IS NOT NULL"
        );
        self.way.feed.sql(&sql).await
    }

    /// Freezes what sends replication to the service, if faults want that and there can be any.
    async fn hold_replication(&mut self) -> Result<(), String> {
        let stage = &*self.stage;
        let can_be = stage.service.is_some() && stage.service_pauses == 0 && !stage.is_away();
        if stage.stalls == 0 || !can_be || stage.sender.is_some() {
            return Ok(());
        }
        let deadline = Instant::now() + SENDER_TIMEOUT;
        loop {
            if let Some(pid) = self.sender().await? {
                self.ground.signal(pid, Signal::SIGSTOP).await?;
                self.stage.sender = Some(pid);
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err("nothing replicates that could be held up".to_owned());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn sender(&self) -> Result<Option<i32>, String> {
        let sql = format!("SELECT active_pid FROM pg_replication_slots WHERE {SLOT} ORDER BY active_pid NULLS LAST LIMIT 1");
        self.way.feed.number(&sql).await
    }

    async fn release(&mut self) {
        // One that has gone meanwhile holds nothing up.
        if let Some(pid) = self.stage.sender.take() {
            let _ = self.ground.signal(pid, Signal::SIGCONT).await;
        }
    }
}

// ---- The database ----

impl Hands {
    /// The database goes: killed, or stopped.
    pub(super) async fn end_postgres(mut self, blow: Blow) -> Result<(), String> {
        if !self.stage.is_away() {
            self.seal().await?;
        }
        self.stage.postgres_downs += 1;
        // Everything it was went with it.
        self.stage.sender = None;
        // One that is down stays down.
        let killed = if self.stage.postgres_downs == 1 { self.ground.strike(blow).await } else { Ok(()) };
        self.show_still();
        killed
    }

    pub(super) async fn start_postgres(mut self) -> Result<(), String> {
        self.stage.postgres_downs = self.stage.postgres_downs.saturating_sub(1);
        if self.stage.postgres_downs > 0 {
            return Ok(());
        }
        self.ground.strike(Blow::Restart).await?;
        if self.stage.postgres_pauses > 0 {
            self.ground.strike(Blow::Pause).await?;
        }
        self.open().await
    }

    pub(super) async fn pause_postgres(mut self) -> Result<(), String> {
        if !self.stage.is_away() {
            self.seal().await?;
        }
        self.stage.postgres_pauses += 1;
        let is_first = self.stage.postgres_pauses == 1 && self.stage.postgres_downs == 0;
        let paused = if is_first { self.ground.strike(Blow::Pause).await } else { Ok(()) };
        self.show_still();
        paused
    }

    /// Nobody reaches the database.
    pub(super) async fn cut_postgres_off(mut self) -> Result<(), String> {
        if !self.stage.is_away() {
            self.seal().await?;
        }
        self.stage.postgres_cuts += 1;
        let cut = if self.stage.postgres_cuts == 1 { self.ground.strike(Blow::Disconnect).await } else { Ok(()) };
        self.show_still();
        cut
    }

    /// One fault fewer cuts the database off.
    pub(super) async fn connect_postgres(mut self) -> Result<(), String> {
        self.stage.postgres_cuts = self.stage.postgres_cuts.saturating_sub(1);
        if self.stage.postgres_cuts > 0 {
            return Ok(());
        }
        self.ground.strike(Blow::Reconnect).await?;
        self.open().await
    }

    pub(super) async fn resume_postgres(mut self) -> Result<(), String> {
        self.stage.postgres_pauses = self.stage.postgres_pauses.saturating_sub(1);
        if self.stage.postgres_pauses > 0 || self.stage.postgres_downs > 0 {
            return Ok(());
        }
        self.ground.strike(Blow::Resume).await?;
        self.open().await
    }

    /// What the service can have seen by now is read, and nobody reads until the database is back.
    async fn seal(&mut self) -> Result<(), String> {
        set_figures(&self.way, None);
        if self.stage.sender.is_none()
            && let Some(pid) = self.sender().await?
        {
            self.ground.signal(pid, Signal::SIGSTOP).await?;
            self.stage.sender = Some(pid);
        }
        let sealed = self.way.feed.seal(self.way.pulse.shown_us()).await;
        if sealed.is_err() {
            if self.stage.stalls == 0 {
                self.release().await;
            }
            self.is_back();
        }
        sealed
    }

    /// The database may be back: does what has waited for it.
    async fn open(&mut self) -> Result<(), String> {
        self.show_still();
        if self.stage.is_away() {
            return Ok(());
        }
        // It was held before the database went, and not everything that lets that go on lets it go on, too.
        self.release().await;
        self.way.feed.open(self.ground.connect().await?).await;
        if self.stage.losses > 0 {
            self.hold_slot().await?;
        }
        for later in std::mem::take(&mut self.stage.later) {
            match later {
                Later::Write(written) => self.write_now(&written).await?,
                Later::DropSlot => self.drop_slot_now().await?,
                Later::Cut => self.end_sender().await?,
            }
        }
        // The fault of a slot that has only now been dropped may have ended while the database was away.
        self.let_slot_be_made();
        self.hold_replication().await?;
        self.is_back();
        Ok(())
    }

    /// A transaction that bypasses the backend.
    pub(super) async fn write(mut self, written: Written) -> Result<(), String> {
        if self.stage.is_away() {
            self.stage.later.push(Later::Write(written));
            return Ok(());
        }
        self.write_now(&written).await
    }

    async fn write_now(&mut self, written: &Written) -> Result<(), String> {
        let writing = self.way.feed.writes();
        let result = written.run(&*self.ground).await;
        drop(writing);
        self.way.feed.drain(self.way.pulse.shown_us()).await?;
        self.is_back();
        result
    }
}

// ---- Other containers ----

impl Hands {
    pub(super) async fn befall(self, part: StackPart, how: ContainerFault) -> Result<(), String> {
        self.ground.befall(part, how).await
    }

    pub(super) async fn undo(self, part: StackPart, how: ContainerFault) -> Result<(), String> {
        self.ground.undo(part, how).await
    }

    pub(super) async fn flush_cache(self) -> Result<(), String> {
        self.ground.flush_cache().await
    }
}

// ---- All ----

impl Hands {
    /// Everything is undone, and the servers end. One that ended by itself is told of.
    pub(super) async fn clear(mut self) -> Result<(), String> {
        set_figures(&self.way, None);
        self.release().await;
        let ground = self.ground.clone();
        let stage = &mut *self.stage;
        stage.holder = None;
        let mut ended = Ok(());
        if stage.postgres_cuts > 0 {
            ended = ground.strike(Blow::Reconnect).await;
        }
        if stage.postgres_downs > 0 {
            ended = ended.and(ground.strike(Blow::Restart).await);
        } else if stage.postgres_pauses > 0 {
            ended = ended.and(ground.strike(Blow::Resume).await);
        }
        for server in [&mut stage.backend, &mut stage.service] {
            let Some(mut server) = server.take() else { continue };
            if let Some(by_itself) = server.ended().await {
                ended = ended.and(Err(by_itself));
            }
            // Killed as it goes.
        }
        ended
    }

    /// Something is to be expected of the service again, unless a fault is in the way.
    fn is_back(&self) {
        let stage = &*self.stage;
        let hindered = stage.service_pauses > 0 || stage.stalls > 0 || stage.losses > 0 || stage.is_away();
        if !hindered && let Some(service) = &stage.service {
            set_figures(&self.way, Some(service.address()));
            link::expect(&self.way, self.way.feed.lsn());
        }
    }

    fn show_still(&self) {
        let (stage, pulse) = (&*self.stage, &self.way.pulse);
        pulse.stand_still(Still::Service, stage.service_pauses > 0);
        let hangs = stage.postgres_pauses > 0 || stage.postgres_cuts > 0;
        pulse.stand_still(Still::Database, hangs && stage.postgres_downs == 0);
        pulse.stand_still(Still::Commits, stage.is_away());
    }
}

fn set_figures(way: &Way, address: Option<SocketAddr>) {
    *way.figures.lock().unwrap_or_else(PoisonError::into_inner) = address;
}

fn can_kill(way: &Way, killer: Option<Killer>) {
    *way.backend.lock().unwrap_or_else(PoisonError::into_inner) = killer;
}
