//! The task that drives one device: it waits for commands, lines, answers and timers, and lets the host take one
//! step at a time. It never learns which world it is in.
//!
//! Every SQLite commit, every request sent and every answer received is a *step*; an armed crash strikes right
//! after one of them, and whatever was only in memory is gone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fixtures::App;
use serde::Deserialize;
use sim_core::Plan;
use sim_core::history::{
    CopyOf, Lifecycle, LocalTx, Moment, OpAnswer, Outcome, Phase, Scope, TxOutcome, Upload, What, Who,
};
use sim_core::plan::{EPOCH_US, Intent};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use crate::database::Database;
use crate::error::DeviceError;
use crate::host::{Host, Instruction, Queued, Step};
use crate::platform::{Platform, UPLOAD_TIMEOUT};
use crate::interpreter::{Bindings, Scene};
use sim_network::{Answer, Ask, Incoming, NetError, Network, Next, Opened, Purpose, Target};
use crate::recorder::Recorder;

/// Of what an upload is about, so many bits are the transaction; above them, how often the device lost its storage.
pub const ABOUT_TX_BITS: u32 = 40;

/// What a device is told.
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
    /// The database is gone with its queue; the app starts anew later, as another installation.
    LoseStorage {
        /// How long it stays down.
        down: Duration,
    },
    /// Make a copy of the database, for the step with this key.
    TakeCopy {
        /// The step.
        key: u32,
    },
    /// That copy takes the place of the database; the app starts on it later.
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
        /// How long nobody owns it.
        handover: Duration,
    },
    /// The clock jumps.
    ClockJump {
        /// By so many microseconds.
        by_us: i64,
    },
    /// Undo whatever still ails the device: start it if it is down, disarm a crash.
    Heal,
    /// Ask for a write checkpoint of its own, as a fence.
    Fence,
    /// Read every visible row into the history.
    FinalRead,
    /// Hand the database back.
    Stop,
}

/// What the run may see of a device while it waits for it.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// It runs and is not suspended.
    pub running: bool,
    /// It has a network.
    pub online: bool,
    /// Its stream is open.
    pub connected: bool,
    /// Operations queued.
    pub queued: u32,
    /// An upload, or the write checkpoint that follows it, is not finished.
    pub uploading: bool,
    /// The backend answered the last upload in a way that makes it be tried again.
    pub refused: bool,
    /// The fence's write checkpoint, once known.
    pub fence: Option<u64>,
    /// Whether a full checkpoint that includes the fence was applied.
    pub fenced: bool,
    /// Full checkpoints applied.
    pub applied: u64,
    /// The write checkpoint that the last of them carried.
    pub acknowledged: Option<u64>,
    /// The device's last complaint, for the sentence that says what is stuck.
    pub trouble: String,
    /// When any hop of its queue last advanced, in microseconds of plan time.
    pub advanced_us: i64,
}

/// What a device shares with the run.
#[derive(Clone)]
pub struct Window {
    /// Its status.
    pub status: Rc<RefCell<Status>>,
    /// Rings on every change.
    pub changed: Rc<Notify>,
}

/// What a device is made of.
pub struct Parts {
    /// Its index.
    pub device: u32,
    /// The plan.
    pub plan: Rc<Plan>,
    /// The application.
    pub app: Arc<App>,
    /// Where its story goes.
    pub recorder: Recorder,
    /// Its way to the servers.
    pub network: Rc<dyn Network>,
    /// What the run sees.
    pub window: Window,
    /// Its commands.
    pub commands: mpsc::UnboundedReceiver<Command>,
    /// How long a stream may be silent before it is given up, in plan time.
    pub stream_idle_timeout: Duration,
}

type Pending<T> = Option<Pin<Box<dyn Future<Output = T>>>>;

/// The task of one device.
pub struct Actor {
    parts: Parts,
    /// The history's name for this installation: the device's index, until it loses its storage.
    name: u32,
    client_id: String,
    /// How often it lost its storage, or had it replaced.
    losses: u32,
    /// The last transaction that it made.
    last_tx: i64,
    copies: BTreeMap<u32, Copy>,
    platform: Platform,
    life: Life,
    bindings: Bindings,
    jumped_us: i64,
    token: Option<String>,
    armed: Option<Armed>,
    streams: u64,
    checkpoints: u64,
    fences: u64,
    attempts: (i64, u32),
    sqlite_time: Duration,
    fence: Pending<Result<Answer, NetError>>,
    fence_retry: Option<Instant>,
}

/// An old copy of the database.
struct Copy {
    storage: rusqlite::Connection,
    client_id: String,
    /// Of whose database.
    of: u32,
    last_tx: i64,
}

#[derive(Clone, Copy)]
struct Armed {
    steps: u32,
    down: Duration,
    /// A crash whose steps never come strikes then.
    latest: Instant,
}

#[expect(clippy::large_enum_variant, reason = "there is one a device, and it is nearly always the large one")]
enum Life {
    Running(Session),
    Down { database: Option<Database>, until: Instant },
}

/// What a process holds in memory.
struct Session {
    host: Host,
    suspended: bool,
    opening: Pending<Result<Opened, NetError>>,
    incoming: Option<Box<dyn Incoming>>,
    heard: Instant,
    connect_at: Option<Instant>,
    upload_at: Option<Instant>,
    sending: Pending<Result<Answer, NetError>>,
    sent: Option<Queued>,
    asking: Pending<Result<Answer, NetError>>,
    sequence: i64,
    answered: bool,
}

enum Woken {
    Command(Option<Command>),
    Sent(Result<Answer, NetError>),
    Asked(Result<Answer, NetError>),
    Fenced(Result<Answer, NetError>),
    Opened(Result<Opened, NetError>),
    Line(Next),
    Timer,
}

/// Whether the process is still alive after a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alive {
    Yes,
    No,
}

#[derive(Deserialize)]
struct UploadReply {
    #[serde(default)]
    transactions: Vec<TxReply>,
}

#[derive(Deserialize)]
struct TxReply {
    tx_id: i64,
    outcome: TxOutcome,
    #[serde(default)]
    ops: Vec<OpReply>,
}

#[derive(Deserialize)]
struct OpReply {
    op_id: i64,
    outcome: Outcome,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    merged_into: Option<String>,
}

#[derive(Deserialize)]
struct CheckpointReply {
    data: CheckpointData,
}

#[derive(Deserialize)]
struct CheckpointData {
    write_checkpoint: String,
}

impl Actor {
    /// A device that is about to start for the first time.
    #[must_use]
    pub fn new(parts: Parts, database: Database) -> Self {
        let platform = Platform::of(parts.plan.devices[parts.device as usize].kind);
        let now = Instant::now();
        let host = Host::start(database, parts.app.clone(), parts.recorder.clone(), true);
        parts.window.status.borrow_mut().running = true;
        parts.window.status.borrow_mut().online = true;
        Self {
            name: parts.device,
            client_id: parts.plan.client_id(parts.device),
            losses: 0,
            last_tx: 0,
            copies: BTreeMap::new(),
            platform,
            life: Life::Running(Session::new(host, now)),
            bindings: Bindings::default(),
            jumped_us: 0,
            token: None,
            armed: None,
            streams: 0,
            checkpoints: 0,
            fences: 0,
            attempts: (0, 0),
            sqlite_time: Duration::ZERO,
            fence: None,
            fence_retry: None,
            parts,
        }
    }

    /// Runs until [`Command::Stop`]; gives the database back, and the time spent in SQLite.
    pub async fn run(mut self) -> (Option<Database>, Duration) {
        loop {
            let woken = self.wait().await;
            let result = match woken {
                Woken::Command(None | Some(Command::Stop)) => return self.stop(),
                Woken::Command(Some(command)) => self.command(command),
                Woken::Sent(answer) => self.sent(answer),
                Woken::Asked(answer) => self.asked(answer),
                Woken::Fenced(answer) => {
                    self.fenced(answer);
                    Ok(Alive::Yes)
                }
                Woken::Opened(opened) => self.opened(opened),
                Woken::Line(next) => self.received(next),
                Woken::Timer => self.timer(),
            };
            match result {
                Ok(Alive::Yes) => {}
                Ok(Alive::No) => self.die(),
                Err(error) => {
                    let device = self.parts.device;
                    self.parts.recorder.harness_failed(format!("device {device}: {error}"));
                }
            }
            self.publish();
        }
    }

    async fn wait(&mut self) -> Woken {
        let timer = self.next_timer();
        let commands = &mut self.parts.commands;
        let fence = &mut self.fence;
        let session = match &mut self.life {
            Life::Running(session) if !session.suspended => session,
            _ => {
                return tokio::select! {
                    biased;
                    command = commands.recv() => Woken::Command(command),
                    () = sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => Woken::Timer,
                };
            }
        };
        tokio::select! {
            biased;
            command = commands.recv() => Woken::Command(command),
            answer = poll(&mut session.sending) => Woken::Sent(answer),
            answer = poll(&mut session.asking) => Woken::Asked(answer),
            answer = poll(fence) => Woken::Fenced(answer),
            opened = poll(&mut session.opening) => Woken::Opened(opened),
            next = next_line(&mut session.incoming) => Woken::Line(next),
            () = sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => Woken::Timer,
        }
    }

    fn next_timer(&self) -> Option<Instant> {
        let armed = self.armed.map(|armed| armed.latest);
        match &self.life {
            Life::Down { until, .. } => Some(*until),
            Life::Running(session) if session.suspended => armed,
            Life::Running(session) => {
                let idle = session.incoming.is_some().then(|| session.heard + self.parts.stream_idle_timeout);
                [armed, session.connect_at, session.upload_at, idle, self.fence_retry].into_iter().flatten().min()
            }
        }
    }

    fn who(&self) -> Who {
        Who::Client(self.name)
    }

    fn record(&self, what: What) {
        self.parts.recorder.add(self.who(), what);
    }

    /// The device's clock, in microseconds since 1970.
    fn clock_us(&self) -> i64 {
        let skew = self.parts.plan.devices[self.parts.device as usize].clock_skew_us;
        EPOCH_US + self.parts.recorder.now_us() + skew + self.jumped_us
    }

    fn token(&mut self) -> String {
        let (network, device) = (&self.parts.network, self.parts.device);
        self.token.get_or_insert_with(|| network.token(device)).clone()
    }

    /// Counts one step; says whether the process dies now.
    fn step(&mut self) -> Alive {
        match &mut self.armed {
            Some(armed) if armed.steps <= 1 => Alive::No,
            Some(armed) => {
                armed.steps -= 1;
                Alive::Yes
            }
            None => Alive::Yes,
        }
    }

    fn session(&mut self) -> Option<&mut Session> {
        match &mut self.life {
            Life::Running(session) => Some(session),
            Life::Down { .. } => None,
        }
    }

    // ---- Commands ----

    fn command(&mut self, command: Command) -> Result<Alive, DeviceError> {
        match command {
            Command::Tx { step, activity, intents } => return self.transact(step, activity, &intents),
            Command::Offline(offline) => self.parts.window.status.borrow_mut().online = !offline,
            Command::Crash { after_steps, down } => {
                if after_steps == 0 {
                    self.armed = Some(Armed { steps: 0, down, latest: Instant::now() });
                    return Ok(Alive::No);
                }
                let latest = Instant::now() + Duration::from_secs(10);
                self.armed = Some(Armed { steps: after_steps, down, latest });
            }
            Command::LoseStorage { down } => self.replace_storage(down, None)?,
            Command::TakeCopy { key } => self.take_copy(key)?,
            Command::RestoreCopy { key, down } => {
                if let Some(copy) = self.copies.remove(&key) {
                    self.replace_storage(down, Some((key, copy)))?;
                }
            }
            Command::Suspend => {
                if let Some(session) = self.session() {
                    session.suspended = true;
                    self.record(What::Lifecycle(Lifecycle::Suspended));
                }
            }
            Command::Resume => self.resume(),
            Command::TabClose { handover } => return self.tab_close(handover),
            Command::ClockJump { by_us } => self.jumped_us += by_us,
            Command::Heal => {
                if let Life::Down { until, .. } = &mut self.life {
                    *until = Instant::now();
                }
                self.armed = None;
                self.resume();
            }
            Command::Fence => {
                {
                    let mut status = self.parts.window.status.borrow_mut();
                    status.fence = None;
                    status.fenced = false;
                }
                self.ask_fence();
            }
            Command::FinalRead => self.final_read()?,
            Command::Stop => {}
        }
        Ok(Alive::Yes)
    }

    fn transact(&mut self, step: u32, activity: String, intents: &[Intent]) -> Result<Alive, DeviceError> {
        let clock_us = self.clock_us();
        let total = u32::try_from(intents.len()).unwrap_or(u32::MAX);
        let mut tx = LocalTx {
            step,
            activity,
            tx_id: None,
            ops: Vec::new(),
            skipped: total,
            intents: total,
            failed: None,
            clock_us,
        };
        let (app, plan, device) = (self.parts.app.clone(), self.parts.plan.clone(), self.parts.device);
        let bindings = std::mem::take(&mut self.bindings);
        let scene = Scene { app: &app, plan: &plan, bindings: &bindings, device, clock_us };
        let result = match self.session() {
            Some(session) if !session.suspended => {
                Some(session.host.transaction(|connection| scene.run(connection, intents)))
            }
            _ => None,
        };
        self.bindings = bindings;
        let Some(result) = result else {
            // The app does not run: nobody could do this.
            self.record(What::Tx(tx));
            return Ok(Alive::Yes);
        };
        let mut reads = Vec::new();
        match result {
            Ok((done, tx_id, ops)) => {
                for (row, id) in done.bound {
                    self.bindings.bind(row, id);
                }
                reads = done.reads;
                tx.tx_id = tx_id;
                self.last_tx = tx_id.unwrap_or(self.last_tx);
                tx.ops = ops;
                tx.skipped = done.skipped;
            }
            Err(error) => tx.failed = Some(error.to_string()),
        }
        let queued = tx.tx_id.is_some();
        self.record(What::Tx(tx));
        if !reads.is_empty() {
            self.look(&reads)?;
        }
        if !queued {
            return Ok(Alive::Yes);
        }
        self.advanced();
        if self.step() == Alive::No {
            return Ok(Alive::No);
        }
        let throttle = self.platform.upload_throttle;
        if let Some(session) = self.session()
            && session.sending.is_none()
            && session.asking.is_none()
            && session.upload_at.is_none()
        {
            session.upload_at = Some(Instant::now() + throttle);
        }
        Ok(Alive::Yes)
    }

    fn look(&mut self, reads: &[(usize, String)]) -> Result<(), DeviceError> {
        let recorder = self.parts.recorder.clone();
        let Some(session) = self.session() else { return Ok(()) };
        let mut rows = Vec::with_capacity(reads.len());
        for (table, id) in reads {
            rows.push((recorder.row(*table, id), session.host.visible_row(*table, id)?));
        }
        self.record(What::Read { scope: Scope::Look, rows });
        Ok(())
    }

    fn final_read(&mut self) -> Result<(), DeviceError> {
        let (recorder, tables) = (self.parts.recorder.clone(), self.parts.app.schema.tables.len());
        let Some(session) = self.session() else { return Ok(()) };
        let mut rows = Vec::new();
        for table in 0..tables {
            for (id, row) in session.host.visible(table)? {
                rows.push((recorder.row(table, &id), Some(row)));
            }
        }
        rows.sort_by_key(|(row, _)| *row);
        self.record(What::Read { scope: Scope::Final, rows });
        Ok(())
    }

    fn resume(&mut self) {
        let Some(session) = self.session() else { return };
        if session.suspended {
            // Timers that came due meanwhile fire now, once; what its sockets missed shows at the next read.
            session.suspended = false;
            self.record(What::Lifecycle(Lifecycle::Resumed));
        }
    }

    fn tab_close(&mut self, handover: Duration) -> Result<Alive, DeviceError> {
        let life = std::mem::replace(&mut self.life, Life::Down { database: None, until: Instant::now() });
        let Life::Running(session) = life else {
            self.life = life;
            return Ok(Alive::Yes);
        };
        let (database, spent) = session.host.kill();
        self.sqlite_time += spent;
        self.record(What::Lifecycle(Lifecycle::TabClosed));
        let host = Host::start(database, self.parts.app.clone(), self.parts.recorder.clone(), false);
        let mut session = Session::new(host, Instant::now() + handover);
        session.upload_at = session.connect_at;
        self.life = Life::Running(session);
        Ok(Alive::Yes)
    }

    // ---- Life and death ----

    fn die(&mut self) {
        let down = self.armed.take().map_or(Duration::ZERO, |armed| armed.down);
        let now = Instant::now();
        let life = std::mem::replace(&mut self.life, Life::Down { database: None, until: now + down });
        let Life::Running(mut session) = life else {
            self.life = life;
            return;
        };
        let moment = session.moment().unwrap_or(Moment::Idle);
        let (database, spent) = session.host.kill();
        self.sqlite_time += spent;
        self.life = Life::Down { database: Some(database), until: now + down };
        self.token = None;
        self.fence = None;
        self.fence_retry = None;
        self.record(What::Lifecycle(Lifecycle::Killed(moment)));
    }

    fn take_copy(&mut self, key: u32) -> Result<(), DeviceError> {
        let database = match &self.life {
            Life::Running(session) => Some(session.host.database()),
            Life::Down { database, .. } => database.as_ref(),
        };
        let Some(storage) = database.map(Database::copy).transpose()? else { return Ok(()) };
        let copy = Copy { storage, client_id: self.client_id.clone(), of: self.name, last_tx: self.last_tx };
        self.copies.insert(key, copy);
        self.record(What::Lifecycle(Lifecycle::CopyTaken(key)));
        Ok(())
    }

    /// The database is gone, running or not, and so is whatever the app held in memory. An old copy takes its place, or
    /// nothing.
    fn replace_storage(&mut self, down: Duration, copy: Option<(u32, Copy)>) -> Result<(), DeviceError> {
        let until = Instant::now() + down;
        let database = match std::mem::replace(&mut self.life, Life::Down { database: None, until }) {
            Life::Running(session) => {
                let (database, spent) = session.host.kill();
                self.sqlite_time += spent;
                Some(database)
            }
            Life::Down { database, .. } => database,
        };
        self.record(What::Lifecycle(match &copy {
            Some((key, _)) => Lifecycle::CopyRestored(*key),
            None => Lifecycle::StorageLost,
        }));
        self.losses += 1;
        let origin = copy.as_ref().map(|(key, copy)| (CopyOf { device: copy.of, key: *key }, copy.last_tx));
        self.last_tx = copy.as_ref().map_or(0, |(_, copy)| copy.last_tx);
        self.client_id = match &copy {
            Some((_, copy)) => copy.client_id.clone(),
            None => self.parts.plan.client_id_again(self.parts.device, self.losses),
        };
        self.name = self.parts.recorder.reborn(self.name, self.client_id.clone(), origin);
        (self.token, self.fence, self.fence_retry, self.armed) = (None, None, None, None);
        self.attempts = (0, 0);
        self.parts.window.status.borrow_mut().acknowledged = None;
        if let Some(mut database) = database {
            match copy {
                Some((_, copy)) => database.restore(&copy.storage)?,
                None => database.wipe(&self.client_id)?,
            }
            self.life = Life::Down { database: Some(database), until };
        }
        Ok(())
    }

    fn start_again(&mut self) {
        let Life::Down { database, .. } = &mut self.life else { return };
        let Some(database) = database.take() else { return };
        let host = Host::start(database, self.parts.app.clone(), self.parts.recorder.clone(), false);
        let mut session = Session::new(host, Instant::now());
        session.upload_at = Some(Instant::now());
        self.life = Life::Running(session);
        self.record(What::Lifecycle(Lifecycle::Started));
    }

    fn stop(self) -> (Option<Database>, Duration) {
        match self.life {
            Life::Running(session) => {
                let (database, spent) = session.host.stop();
                (Some(database), self.sqlite_time + spent)
            }
            Life::Down { database, .. } => (database, self.sqlite_time),
        }
    }

    // ---- Timers ----

    fn timer(&mut self) -> Result<Alive, DeviceError> {
        let now = Instant::now();
        if self.armed.is_some_and(|armed| armed.latest <= now) {
            if matches!(self.life, Life::Running(_)) {
                return Ok(Alive::No);
            }
            self.armed = None;
        }
        if let Life::Down { until, .. } = &self.life {
            if *until <= now {
                self.start_again();
            }
            return Ok(Alive::Yes);
        }
        if self.fence_retry.is_some_and(|at| at <= now) {
            self.fence_retry = None;
            self.ask_fence();
        }
        let patience = self.parts.stream_idle_timeout;
        let Some(session) = self.session() else { return Ok(Alive::Yes) };
        if session.suspended {
            return Ok(Alive::Yes);
        }
        if session.incoming.is_some() && session.heard + patience <= now {
            return self.stream_ended("idle timeout");
        }
        if session.connect_at.is_some_and(|at| at <= now) {
            session.connect_at = None;
            return self.connect();
        }
        if session.upload_at.is_some_and(|at| at <= now) {
            session.upload_at = None;
            return self.upload();
        }
        Ok(Alive::Yes)
    }

    // ---- The sync stream ----

    fn connect(&mut self) -> Result<Alive, DeviceError> {
        let Some(session) = self.session() else { return Ok(Alive::Yes) };
        match session.host.control("start", Some("{\"parameters\":{}}")) {
            Ok(step) => self.follow(step),
            Err(error) => self.protocol_error(&error),
        }
    }

    fn opened(&mut self, opened: Result<Opened, NetError>) -> Result<Alive, DeviceError> {
        match opened {
            Ok(Opened::Stream(stream)) => {
                self.record(What::Stream { phase: Phase::Ok, status: Some(200), reason: "open" });
                let Some(session) = self.session() else { return Ok(Alive::Yes) };
                session.incoming = Some(stream);
                session.heard = Instant::now();
                if session.sending.is_none() && session.asking.is_none() {
                    session.upload_at = Some(Instant::now());
                }
                self.event("connection", "established")
            }
            Ok(Opened::Refused(answer)) => {
                self.record(What::Stream { phase: Phase::Fail, status: Some(answer.status), reason: "refused" });
                self.trouble(format!("the sync stream answered {}", answer.status));
                if answer.status == 401 {
                    self.token = None;
                }
                self.event("connection", "end")
            }
            Err(error) => {
                self.record(What::Stream { phase: Phase::Fail, status: None, reason: reason(error) });
                self.trouble(format!("the sync stream: {error}"));
                self.event("connection", "end")
            }
        }
    }

    fn received(&mut self, next: Next) -> Result<Alive, DeviceError> {
        let line = match next {
            Next::Line(line) => line,
            Next::End => return self.stream_ended("ended by the service"),
            Next::Reset => return self.stream_ended("connection reset"),
        };
        let Some(session) = self.session() else { return Ok(Alive::Yes) };
        session.heard = Instant::now();
        match session.host.line(&line) {
            Ok(step) => self.follow(step),
            Err(error) => self.protocol_error(&error),
        }
    }

    fn stream_ended(&mut self, why: &'static str) -> Result<Alive, DeviceError> {
        if let Some(session) = self.session() {
            session.incoming = None;
        }
        self.record(What::Stream { phase: Phase::Info, status: None, reason: why });
        self.event("connection", "end")
    }

    fn event(&mut self, op: &str, payload: &str) -> Result<Alive, DeviceError> {
        let Some(session) = self.session() else { return Ok(Alive::Yes) };
        match session.host.control(op, Some(payload)) {
            Ok(step) => self.follow(step),
            Err(error) => self.protocol_error(&error),
        }
    }

    /// The core refused a line or an event: the iteration is over, and the SDK starts another.
    fn protocol_error(&mut self, error: &DeviceError) -> Result<Alive, DeviceError> {
        self.record(What::Protocol { message: error.to_string() });
        let retry = self.platform.retry;
        if let Some(session) = self.session() {
            session.incoming = None;
            session.opening = None;
            session.connect_at = Some(Instant::now() + retry);
        }
        Ok(Alive::Yes)
    }

    fn follow(&mut self, step: Step) -> Result<Alive, DeviceError> {
        if let Some(applied) = step.applied {
            let full = applied.priority.is_none();
            let write_checkpoint = applied.write_checkpoint;
            self.record(What::Apply(applied));
            if full {
                let mut status = self.parts.window.status.borrow_mut();
                status.applied += 1;
                status.acknowledged = write_checkpoint;
                status.fenced |= status.fence.is_some_and(|fence| write_checkpoint >= Some(fence));
            }
            self.advanced();
        }
        if self.step() == Alive::No {
            return Ok(Alive::No);
        }
        for instruction in step.instructions {
            match instruction {
                Instruction::EstablishSyncStream { request } => self.open(request.get()),
                Instruction::FetchCredentials { did_expire } => {
                    self.token = None;
                    if !did_expire {
                        self.token();
                        if self.event("refreshed_token", "")? == Alive::No {
                            return Ok(Alive::No);
                        }
                    }
                }
                Instruction::CloseSyncStream { hide_disconnect } => {
                    let pause = if hide_disconnect { Duration::ZERO } else { self.platform.retry };
                    if let Some(session) = self.session() {
                        session.incoming = None;
                        session.opening = None;
                        session.connect_at = Some(Instant::now() + pause);
                    }
                }
                Instruction::LogLine { severity, line } => {
                    if severity == "WARNING" {
                        self.record(What::Protocol { message: line });
                    }
                }
                Instruction::UpdateSyncStatus(_)
                | Instruction::FlushFileSystem(_)
                | Instruction::DidCompleteSync(_)
                | Instruction::HandleDiagnostics(_) => {}
            }
        }
        Ok(Alive::Yes)
    }

    fn open(&mut self, request: &str) {
        self.streams += 1;
        let ask = Ask {
            target: Target::Service,
            purpose: Purpose::Stream,
            about: self.streams,
            attempt: 1,
            body: Some(Bytes::copy_from_slice(request.as_bytes())),
            path: "/sync/stream".to_owned(),
            token: self.token(),
            timeout: UPLOAD_TIMEOUT,
        };
        self.record(What::Stream { phase: Phase::Invoke, status: None, reason: "request" });
        let future = self.parts.network.open(self.parts.device, ask);
        if let Some(session) = self.session() {
            session.opening = Some(future);
        }
    }

    // ---- The upload queue ----

    fn upload(&mut self) -> Result<Alive, DeviceError> {
        let Some(session) = self.session() else { return Ok(Alive::Yes) };
        if session.sending.is_some() || session.asking.is_some() {
            return Ok(Alive::Yes);
        }
        if let Some(queued) = session.host.next_queued()? {
            return self.send(queued);
        }
        let Some(sequence) = session.host.wants_write_checkpoint()? else { return Ok(Alive::Yes) };
        session.sequence = sequence;
        self.checkpoints += 1;
        let (about, path) = (self.checkpoints, self.checkpoint_path());
        let token = self.token();
        let future = self.ask(Purpose::WriteCheckpoint, Target::Service, about, 1, None, path, token);
        if let Some(session) = self.session() {
            session.asking = Some(future);
        }
        self.record(What::WriteCheckpoint { phase: Phase::Invoke, number: None, status: None });
        Ok(Alive::Yes)
    }

    fn send(&mut self, queued: Queued) -> Result<Alive, DeviceError> {
        let tx_id = queued.tx_id;
        self.attempts = if self.attempts.0 == tx_id { (tx_id, self.attempts.1 + 1) } else { (tx_id, 1) };
        let attempt = self.attempts.1;
        let body = format!(
            "{{\"client_id\":\"{}\",\"transactions\":[{{\"tx_id\":{tx_id},\"ops\":{}}}]}}",
            self.client_id, queued.ops_json
        );
        let token = self.token();
        // Transactions count from 1 again after a loss: their messages are others all the same.
        let about = u64::try_from(tx_id).unwrap_or(0) | u64::from(self.losses) << ABOUT_TX_BITS;
        let future =
            self.ask(Purpose::Upload, Target::Backend, about, attempt, Some(body.into()), "/upload".into(), token);
        if let Some(session) = self.session() {
            session.sending = Some(future);
            session.sent = Some(queued);
            session.answered = false;
        }
        self.record_upload(Phase::Invoke, tx_id, None, None, Vec::new());
        Ok(self.step())
    }

    fn sent(&mut self, answer: Result<Answer, NetError>) -> Result<Alive, DeviceError> {
        let Some(session) = self.session() else { return Ok(Alive::Yes) };
        session.sending = None;
        let Some(queued) = session.sent.take() else { return Ok(Alive::Yes) };
        let tx_id = queued.tx_id;
        let is_refused = answer.as_ref().is_ok_and(|answer| !matches!(answer.status, 200..=299 | 400 | 413));
        self.parts.window.status.borrow_mut().refused = is_refused;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let phase = match error {
                    NetError::Offline | NetError::Refused => Phase::Fail,
                    NetError::Reset | NetError::Timeout => Phase::Info,
                };
                self.record_upload(phase, tx_id, None, None, Vec::new());
                return Ok(self.retry_upload(format!("the backend: {error}")));
            }
        };
        match answer.status {
            200..=299 => {
                let (outcome, ops, stored) = self.read_reply(&queued, &answer.body);
                self.record_upload(Phase::Ok, tx_id, Some(answer.status), Some(outcome), ops);
                if outcome == TxOutcome::NotAttempted {
                    return Ok(self.retry_upload("the backend did not attempt the transaction".to_owned()));
                }
                self.complete(queued, &stored)
            }
            400 | 413 => {
                let ops = queued.op_ids.iter().map(|op_id| refused(*op_id, answer.status)).collect();
                self.record_upload(Phase::Ok, tx_id, Some(answer.status), Some(TxOutcome::Refused), ops);
                let reason = format!("HTTP {}", answer.status);
                self.complete(queued, &[(None, "refused".to_owned(), Some(reason))])
            }
            status => {
                let phase = if status >= 500 { Phase::Info } else { Phase::Fail };
                self.record_upload(phase, tx_id, Some(status), None, Vec::new());
                if status == 401 {
                    self.token = None;
                }
                Ok(self.retry_upload(format!("the backend answered {status}")))
            }
        }
    }

    fn complete(
        &mut self,
        queued: Queued,
        stored: &[(Option<i64>, String, Option<String>)],
    ) -> Result<Alive, DeviceError> {
        if let Some(session) = self.session() {
            session.answered = true;
        }
        if self.step() == Alive::No {
            return Ok(Alive::No);
        }
        let outcomes: Vec<(Option<i64>, &str, Option<&str>)> =
            stored.iter().map(|(op_id, outcome, reason)| (*op_id, outcome.as_str(), reason.as_deref())).collect();
        if let Some(session) = self.session() {
            session.host.complete(&queued, &outcomes)?;
            session.answered = false;
        }
        let maker = self.parts.recorder.maker(self.name, queued.tx_id);
        self.parts.recorder.add(Who::Client(maker), What::Complete { tx_id: queued.tx_id });
        self.advanced();
        if self.step() == Alive::No {
            return Ok(Alive::No);
        }
        self.upload()
    }

    /// Reads the backend's answer; gives the history's form and what the device stores.
    #[expect(clippy::type_complexity, reason = "the rows that the device stores: operation, outcome, reason")]
    fn read_reply(
        &mut self,
        queued: &Queued,
        body: &[u8],
    ) -> (TxOutcome, Vec<OpAnswer>, Vec<(Option<i64>, String, Option<String>)>) {
        let reply: Option<UploadReply> = serde_json::from_slice(body).ok();
        let reply = reply.and_then(|reply| reply.transactions.into_iter().find(|tx| tx.tx_id == queued.tx_id));
        let Some(reply) = reply else {
            // A foreign backend that answers a bare 2xx has applied every operation of the request.
            let ops = queued
                .op_ids
                .iter()
                .map(|op_id| OpAnswer {
                    op_id: *op_id,
                    outcome: Outcome::Applied,
                    reason: None,
                    by: None,
                    merged_into: None,
                })
                .collect();
            return (TxOutcome::Committed, ops, vec![(None, "committed".to_owned(), None)]);
        };
        let word = if reply.outcome == TxOutcome::Refused { "refused" } else { "committed" };
        let mut stored = vec![(None, word.to_owned(), None)];
        let mut ops = Vec::with_capacity(reply.ops.len());
        for op in reply.ops {
            let merged_into = op.merged_into.as_deref().and_then(|survivor| self.rebind(queued, op.op_id, survivor));
            if op.outcome != Outcome::Applied {
                let outcome = serde_json::to_value(op.outcome).ok();
                let outcome = outcome.and_then(|json| json.as_str().map(str::to_owned)).unwrap_or_default();
                stored.push((Some(op.op_id), outcome, op.reason.clone()));
            }
            ops.push(OpAnswer {
                op_id: op.op_id,
                outcome: op.outcome,
                reason: op.reason,
                by: op.by.map(|by| self.parts.recorder.writer(&by)),
                merged_into,
            });
        }
        (reply.outcome, ops, stored)
    }

    /// Takes the survivor for the symbolic row that was merged into it.
    fn rebind(&mut self, queued: &Queued, op_id: i64, survivor: &str) -> Option<u32> {
        #[derive(Deserialize)]
        struct WireOp {
            op_id: i64,
            table: String,
            id: String,
        }
        let ops: Vec<WireOp> = serde_json::from_str(&queued.ops_json).ok()?;
        let op = ops.into_iter().find(|op| op.op_id == op_id)?;
        let plan = self.parts.plan.clone();
        for (row, table) in (0u32..).zip(&plan.rows) {
            if *table == op.table && plan.row_id(row) == op.id {
                self.bindings.bind(row, Arc::from(survivor));
            }
        }
        let table = self.parts.app.schema.table_index(&op.table)?;
        Some(self.parts.recorder.row(table, survivor))
    }

    fn record_upload(
        &self,
        phase: Phase,
        tx_id: i64,
        status: Option<u16>,
        outcome: Option<TxOutcome>,
        ops: Vec<OpAnswer>,
    ) {
        let attempt = self.attempts.1;
        // What was queued in a copy is a transaction of the device that the copy was made of.
        let maker = self.parts.recorder.maker(self.name, tx_id);
        self.parts.recorder.add(Who::Client(maker), What::Upload(Upload { phase, tx_id, attempt, status, outcome, ops }));
    }

    fn retry_upload(&mut self, trouble: String) -> Alive {
        self.trouble(trouble);
        let retry = self.platform.retry;
        if let Some(session) = self.session() {
            session.upload_at = Some(Instant::now() + retry);
        }
        Alive::Yes
    }

    fn asked(&mut self, answer: Result<Answer, NetError>) -> Result<Alive, DeviceError> {
        let Some(session) = self.session() else { return Ok(Alive::Yes) };
        session.asking = None;
        let sequence = session.sequence;
        let number = match self.checkpoint_number(&answer) {
            Ok(number) => number,
            Err(trouble) => return Ok(self.retry_upload(trouble)),
        };
        self.advanced();
        let Some(session) = self.session() else { return Ok(Alive::Yes) };
        let set = session.host.set_target(sequence, number)?;
        if self.step() == Alive::No {
            return Ok(Alive::No);
        }
        if set {
            let Some(session) = self.session() else { return Ok(Alive::Yes) };
            return match session.host.control("completed_upload", None) {
                Ok(step) => self.follow(step),
                Err(error) => self.no_iteration(&error),
            };
        }
        self.upload()
    }

    /// `completed_upload` without an open iteration: SDKs ignore that the core has nothing to retry.
    fn no_iteration(&mut self, error: &DeviceError) -> Result<Alive, DeviceError> {
        match self.session() {
            Some(session) if session.incoming.is_none() => Ok(Alive::Yes),
            _ => self.protocol_error(error),
        }
    }

    fn checkpoint_number(&mut self, answer: &Result<Answer, NetError>) -> Result<u64, String> {
        let (number, status, trouble) = match answer {
            Ok(answer) if answer.status == 200 => {
                let reply: Option<CheckpointReply> = serde_json::from_slice(&answer.body).ok();
                let number = reply.and_then(|reply| reply.data.write_checkpoint.parse().ok());
                (number, Some(200), "the service's write checkpoint is unreadable".to_owned())
            }
            Ok(answer) => {
                if answer.status == 401 {
                    self.token = None;
                }
                (None, Some(answer.status), format!("the write checkpoint answered {}", answer.status))
            }
            Err(error) => (None, None, format!("the write checkpoint: {error}")),
        };
        let phase = match (number, status) {
            (Some(_), _) => Phase::Ok,
            (None, Some(_)) => Phase::Fail,
            (None, None) => Phase::Info,
        };
        self.record(What::WriteCheckpoint { phase, number, status });
        number.ok_or(trouble)
    }

    fn checkpoint_path(&self) -> String {
        format!("/write-checkpoint2.json?client_id={}", self.client_id)
    }

    // ---- The fence ----

    fn ask_fence(&mut self) {
        self.fences += 1;
        let (about, path) = (self.fences, self.checkpoint_path());
        let token = self.token();
        self.fence = Some(self.ask(Purpose::Fence, Target::Service, about, 1, None, path, token));
        self.record(What::WriteCheckpoint { phase: Phase::Invoke, number: None, status: None });
    }

    fn fenced(&mut self, answer: Result<Answer, NetError>) {
        self.fence = None;
        match self.checkpoint_number(&answer) {
            Ok(number) => {
                // The stream may have acknowledged the number before the answer that tells it arrived.
                let mut status = self.parts.window.status.borrow_mut();
                status.fence = Some(number);
                status.fenced = status.acknowledged >= Some(number);
            }
            Err(trouble) => {
                self.trouble(trouble);
                self.fence_retry = Some(Instant::now() + self.platform.retry);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one request has that many parts")]
    fn ask(
        &self,
        purpose: Purpose,
        target: Target,
        about: u64,
        attempt: u32,
        body: Option<Bytes>,
        path: String,
        token: String,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, NetError>>>> {
        let ask = Ask { target, purpose, about, attempt, body, path, token, timeout: UPLOAD_TIMEOUT };
        self.parts.network.ask(self.parts.device, ask)
    }

    // ---- What the run sees ----

    fn advanced(&self) {
        self.parts.window.status.borrow_mut().advanced_us = self.parts.recorder.now_us();
    }

    fn trouble(&self, trouble: String) {
        self.parts.window.status.borrow_mut().trouble = trouble;
    }

    fn publish(&mut self) {
        let (mut running, mut connected, mut uploading, mut queued) = (false, false, true, None);
        if let Life::Running(session) = &mut self.life {
            running = !session.suspended;
            connected = session.incoming.is_some();
            let wants = session.sending.is_some() || session.asking.is_some() || session.upload_at.is_some();
            uploading = wants;
            queued = session.host.queue_length().ok();
        }
        let mut status = self.parts.window.status.borrow_mut();
        status.running = running;
        status.connected = connected;
        status.uploading = uploading;
        status.queued = queued.unwrap_or(status.queued);
        drop(status);
        self.parts.window.changed.notify_one();
    }
}

impl Session {
    fn new(host: Host, connect_at: Instant) -> Self {
        Self {
            host,
            suspended: false,
            opening: None,
            incoming: None,
            heard: connect_at,
            connect_at: Some(connect_at),
            upload_at: None,
            sending: None,
            sent: None,
            asking: None,
            sequence: 0,
            answered: false,
        }
    }

    fn moment(&mut self) -> Result<Moment, DeviceError> {
        Ok(if self.answered {
            Moment::AfterAnswer
        } else if self.sending.is_some() {
            Moment::AfterSend
        } else if self.host.queue_length()? > 0 {
            Moment::BeforeSend
        } else if self.asking.is_some() || self.host.wants_write_checkpoint()?.is_some() {
            Moment::BeforeWriteCheckpoint
        } else {
            Moment::Idle
        })
    }
}

fn refused(op_id: i64, status: u16) -> OpAnswer {
    let reason = Some(format!("HTTP {status}"));
    OpAnswer { op_id, outcome: Outcome::Rejected, reason, by: None, merged_into: None }
}

fn reason(error: NetError) -> &'static str {
    match error {
        NetError::Offline => "offline",
        NetError::Refused => "connection refused",
        NetError::Reset => "connection reset",
        NetError::Timeout => "timed out",
    }
}

async fn poll<T>(pending: &mut Pending<T>) -> T {
    match pending {
        Some(future) => {
            let value = future.await;
            *pending = None;
            value
        }
        None => std::future::pending().await,
    }
}

async fn next_line(incoming: &mut Option<Box<dyn Incoming>>) -> Next {
    match incoming {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}
