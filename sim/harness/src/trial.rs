//! One plan, from a world brought up to a finished history. The phases read in order in [`run`].

mod deadline;
mod fault_commands;
mod unsettled;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fixtures::App;
use sim_core::Plan;
use sim_core::history::{Barrier, History, Phase, What, Who};
use sim_core::plan::{Action, Fault, Step};
use sim_core::promise::Promises;
use sim_device::actor::{Actor, DeviceContext};
use sim_device::command::Command;
use sim_device::database::Database;
use sim_device::recorder::Recorder;
use sim_device::status::{SharedStatus, Status};
use sim_world::seams::Seams;
use sim_world::{TrialConfig, World};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use self::deadline::{Deadline, Window};
use self::fault_commands::command_for;
use self::unsettled::unsettled;
use crate::databases::{DatabaseError, WorkerDatabases};

/// What came of a plan.
pub struct Outcome {
    /// What was seen.
    pub history: History,
    /// Time spent in SQLite and the core.
    pub sqlite_time: Duration,
    /// Plan time that passed.
    pub simulated: Duration,
    /// Why this is no evidence: the harness itself failed.
    pub failure: Option<String>,
    /// Why the plan was given up before its end: it took too long. The history ends there.
    pub given_up: Option<String>,
    /// Whether the user ended it: there is nothing to judge.
    pub interrupted: bool,
    /// What stays in somebody else's database.
    pub left_behind: Option<String>,
}

/// Devices get this long to start and fetch the seed rows before plan time 0. Virtual, so it costs nothing.
const WARM_UP: Duration = Duration::from_secs(60);
/// From the last step of a plan to the end of its faults.
const AFTER_LAST_STEP: Duration = Duration::from_secs(2);
/// How often a plan that takes real time looks whether the user wants no more, in plan time.
const STOP_POLL: Duration = Duration::from_millis(100);

/// Runs a plan.
///
/// # Errors
/// SQLite's, when not even the devices' databases could be made.
pub fn run(
    config: &TrialConfig,
    plan: &Plan,
    promises: &Promises,
    databases: &mut WorkerDatabases,
) -> Result<Outcome, DatabaseError> {
    let app = &config.system.app;
    let plan = &config.world.adapt(plan, app);
    let WorkerDatabases { devices, invariants } = databases;
    let databases = (0..plan.devices.len())
        .map(|device| devices.take(&plan.client_id(u32::try_from(device).unwrap_or(u32::MAX))))
        .collect::<Result<Vec<_>, _>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing from the machine");
    let local = tokio::task::LocalSet::new();
    let (mut outcome, databases) =
        local.block_on(&runtime, execute(config.clone(), Rc::new(plan.clone()), promises.clone(), databases));
    drop(local);
    drop(runtime);
    invariants.ask(app, &mut outcome.history);
    for database in databases.into_iter().flatten() {
        devices.give_back(database)?;
    }
    Ok(outcome)
}

async fn execute(
    config: TrialConfig,
    plan: Rc<Plan>,
    promises: Promises,
    databases: Vec<Database>,
) -> (Outcome, Vec<Option<Database>>) {
    let began = Instant::now();
    let (system, kind) = (&config.system, &config.world);
    let recorder = Recorder::new(system.app.clone(), &plan, kind.name(), kind.time(), &system.promised_name());
    recorder.start_clock(began + WARM_UP);

    // 1. The world comes up, with the seed rows in its database.
    let world = match World::up(&config, plan.clone(), recorder.clone()).await {
        Ok(world) => world,
        Err(problem) => {
            let failure = Some(format!("the world did not come up: {problem}"));
            let outcome = Outcome {
                history: recorder.finish(),
                sqlite_time: Duration::ZERO,
                simulated: Duration::ZERO,
                failure,
                given_up: None,
                interrupted: false,
                left_behind: None,
            };
            return (outcome, databases.into_iter().map(Some).collect());
        }
    };

    // 2. The devices start and fetch them.
    let mut trial = Trial {
        plan,
        promises,
        recorder: recorder.clone(),
        world,
        seams: config.seams.clone(),
        devices: Vec::new(),
        active: BTreeMap::new(),
    };
    trial.start(&system.app, databases);

    // 3. to 6., unless the user ends it: then only what a fault has broken is undone.
    let interrupted = if kind.time().is_virtual() {
        trial.execute(began + WARM_UP).await;
        false
    } else {
        let interrupted = tokio::select! {
            biased;
            () = asked_to_stop(&config) => true,
            () = trial.execute(began + WARM_UP) => false,
        };
        if interrupted {
            trial.heal().await;
        }
        interrupted
    };
    let (databases, sqlite_time, world) = trial.stop().await;
    let simulated = Instant::now() - began;
    let ending = world.down().await;
    if let Some(problem) = ending.failure {
        recorder.record_harness_failure(problem);
    }
    let outcome = Outcome {
        history: recorder.finish(),
        sqlite_time,
        simulated,
        failure: recorder.harness_failure().filter(|_| !interrupted),
        given_up: recorder.given_up(),
        interrupted,
        left_behind: ending.left_behind,
    };
    (outcome, databases)
}

/// Waits until the user wants no more.
async fn asked_to_stop(config: &TrialConfig) {
    while !config.stop.load(Ordering::Relaxed) {
        tokio::time::sleep(STOP_POLL).await;
    }
}

struct RunningDevice {
    commands: mpsc::UnboundedSender<Command>,
    status: SharedStatus,
    task: tokio::task::JoinHandle<(Option<Database>, Duration)>,
}

struct Trial {
    plan: Rc<Plan>,
    promises: Promises,
    recorder: Recorder,
    world: World,
    seams: Arc<dyn Seams>,
    devices: Vec<RunningDevice>,
    active: BTreeMap<u32, Fault>,
}

/// What happens at one instant of a plan.
enum Scheduled<'a> {
    /// The copy is made that a later step restores.
    Copy {
        device: u32,
        key: u32,
    },
    Begin(&'a Step),
    End(u32),
}

impl Trial {
    fn start(&mut self, app: &Arc<App>, databases: Vec<Database>) {
        let changed = Rc::new(Notify::new());
        for (device, database) in (0u32..).zip(databases) {
            let (commands, inbox) = mpsc::unbounded_channel();
            let status = SharedStatus { current: Rc::new(RefCell::new(Status::default())), changed: changed.clone() };
            let actor = Actor::new(
                DeviceContext {
                    device,
                    plan: self.plan.clone(),
                    app: app.clone(),
                    recorder: self.recorder.clone(),
                    network: self.seams.network(Rc::new(self.world.network().clone())),
                    status: status.clone(),
                    commands: inbox,
                    stream_idle_timeout: self.world.stream_idle_timeout(),
                },
                database,
            );
            self.devices.push(RunningDevice { commands, status, task: tokio::task::spawn_local(actor.run()) });
        }
    }

    fn send(&self, device: u32, command: Command) {
        if let Some(running) = self.devices.get(device as usize) {
            // A device that has stopped needs no commands.
            let _ = running.commands.send(command);
        }
    }

    fn send_all(&self, command: impl Fn() -> Command) {
        for running in &self.devices {
            let _ = running.commands.send(command());
        }
    }

    /// The phases from the seed rows on the devices to the final reads.
    async fn execute(&mut self, start: Instant) {
        // 2. A device that has not fetched the seed rows when the plan begins fetches them later. If it never does, the
        // run does not settle, which is the verdict.
        sleep_until(start).await;

        // 3. The plan.
        let steps = self.plan.steps.clone();
        self.play(&steps, start).await;

        // 4. Every fault is undone, and everything settles.
        self.heal().await;
        let settled = self.settle(Barrier::Settle).await;

        // 5. A little more traffic tells stuck from slow.
        self.barrier(Barrier::Resume, Phase::Invoke, Vec::new());
        let resume = self.plan.resume.clone();
        self.play(&resume, Instant::now()).await;
        let settled_again = self.settle(Barrier::SettleAgain).await;

        // 6. Final reads everywhere.
        if settled || settled_again {
            self.read_conflicts().await;
        }
        self.send_all(|| Command::FinalRead);
        if let Err(problem) = self.world.final_read().await {
            self.recorder.record_harness_failure(format!("the server's rows: {problem}"));
        }
    }

    /// Waits until every device is as wished, or the deadline. It waits longer than usual only while a device that is not
    /// there yet waits on a stream that was silent all the time, or has got on meanwhile.
    async fn wait(&self, deadline: Deadline, wish: impl Fn(&Status) -> bool) -> bool {
        let window = || Window { began: Instant::now(), began_us: self.recorder.now_us() };
        let (mut last, mut until) = (window(), deadline.usual);
        loop {
            if self.devices.iter().all(|running| wish(&running.status.current.borrow())) {
                return true;
            }
            let Some(first) = self.devices.first() else { return true };
            tokio::select! {
                biased;
                () = first.status.changed.notified() => {}
                () = sleep_until(until) => {
                    let statuses = || self.devices.iter().map(|running| running.status.current.borrow());
                    if until >= deadline.longest
                        || statuses().any(|status| status.upload_refused)
                        || !statuses().any(|status| !wish(&status) && last.may_come(&status))
                    {
                        return false;
                    }
                    last = window();
                    until = (until + deadline.patience).min(deadline.longest);
                }
            }
        }
    }

    /// Plays steps on a time line that begins at `start`, and waits for the faults' own ends only as long as steps
    /// remain.
    async fn play(&mut self, steps: &[Step], start: Instant) {
        let at = |micros: i64| start + Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        let mut schedule: BTreeMap<(Instant, u8, u32), Scheduled<'_>> = BTreeMap::new();
        for step in steps {
            schedule.insert((at(step.at_us), 1, step.key), Scheduled::Begin(step));
            if let Action::Fault(Fault::CopyRestored { device, age_us, .. }) = step.action {
                let taken = at(step.at_us.saturating_sub_unsigned(age_us).max(0));
                schedule.insert((taken, 0, step.key), Scheduled::Copy { device, key: step.key });
            }
            if let Action::Fault(fault) = &step.action
                && let Some(length) = fault.duration()
            {
                schedule.insert((at(step.at_us) + length, 0, step.key), Scheduled::End(step.key));
            }
        }
        let Some(last) = steps.iter().map(|step| at(step.at_us)).max() else { return };
        let last = last + AFTER_LAST_STEP;
        for ((when, _, _), moment) in schedule {
            if when > last {
                break;
            }
            sleep_until(when).await;
            match moment {
                Scheduled::Begin(step) => self.begin(step).await,
                Scheduled::End(key) => self.end(key).await,
                Scheduled::Copy { device, key } => self.send(device, Command::TakeCopy { key }),
            }
        }
        sleep_until(last).await;
    }

    async fn begin(&mut self, step: &Step) {
        match &step.action {
            Action::Tx { device, activity, intents } => {
                let (activity, intents) = (activity.clone(), intents.clone());
                self.send(*device, Command::Tx { step: step.key, activity, intents });
            }
            Action::Fault(fault) => {
                // This one strikes in an upload that is yet to come; the world records it then.
                if !matches!(fault, Fault::BackendKilled { .. }) {
                    self.record_fault(Phase::Invoke, step.key, fault);
                }
                if let Err(problem) = self.world.inject(step.key, fault).await {
                    tracing::warn!(fault = fault.name(), problem, "not injected");
                    self.record_fault(Phase::Fail, step.key, fault);
                    return;
                }
                if let Some(device) = fault.device()
                    && let Some(command) = command_for(step.key, fault)
                {
                    self.send(device, command);
                }
                if fault.duration().is_some() {
                    self.active.insert(step.key, fault.clone());
                }
            }
        }
    }

    async fn end(&mut self, key: u32) {
        let Some(fault) = self.active.remove(&key) else { return };
        if let Err(problem) = self.world.heal(key, &fault).await {
            self.recorder.record_harness_failure(format!("the fault {} could not be undone: {problem}", fault.name()));
        }
        if let Some(device) = fault.device() {
            let still =
                |is: fn(&Fault) -> bool| self.active.values().any(|other| other.device() == Some(device) && is(other));
            match fault {
                Fault::Offline { .. } if !still(|fault| matches!(fault, Fault::Offline { .. })) => {
                    self.send(device, Command::Offline(false));
                }
                Fault::Suspend { .. } if !still(|fault| matches!(fault, Fault::Suspend { .. })) => {
                    self.send(device, Command::Resume);
                }
                _ => {}
            }
        }
        self.record_fault(Phase::Ok, key, &fault);
    }

    fn record_fault(&self, phase: Phase, key: u32, fault: &Fault) {
        self.recorder.add(Who::Run, What::Fault { phase, key, fault: fault.clone() });
    }

    async fn heal(&mut self) {
        self.barrier(Barrier::Heal, Phase::Invoke, Vec::new());
        let keys: Vec<u32> = self.active.keys().copied().collect();
        for key in keys {
            self.end(key).await;
        }
        self.world.heal_remaining().await;
        self.send_all(|| Command::Heal);
        self.barrier(Barrier::Heal, Phase::Ok, Vec::new());
    }

    fn barrier(&self, barrier: Barrier, phase: Phase, open: Vec<String>) {
        self.recorder.add(Who::Run, What::Barrier { barrier, phase, open });
    }

    /// Settles as docs/semantics.md, section 2, says: queues empty at one moment; a write checkpoint each; each applied.
    async fn settle(&mut self, barrier: Barrier) -> bool {
        self.barrier(barrier, Phase::Invoke, Vec::new());
        let deadline = self.deadline();
        let quiet = |status: &Status| status.running && status.online && status.queued == 0 && !status.uploading;
        let reached = self.wait(deadline, quiet).await && self.in_flight_landed(deadline.longest).await && {
            self.send_all(|| Command::Fence);
            for running in &self.devices {
                let mut status = running.status.current.borrow_mut();
                status.fence = None;
                status.fence_applied = false;
            }
            self.wait(deadline, |status| status.fence_applied).await
        };
        if reached {
            self.barrier(barrier, Phase::Ok, Vec::new());
            return true;
        }
        let mut open: Vec<String> = (0u32..)
            .zip(&self.devices)
            .filter_map(|(device, running)| unsettled(device, &running.status.current.borrow()))
            .collect();
        // It is said first: only the first ones are shown.
        open.splice(0..0, self.world.waits_in_vain());
        self.barrier(barrier, Phase::Fail, open);
        false
    }

    /// Messages that were delivered twice or slowly may still be on their way.
    async fn in_flight_landed(&self, deadline: Instant) -> bool {
        while self.world.network().in_flight() > 0 {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        true
    }

    fn deadline(&self) -> Deadline {
        let queued = self.devices.iter().map(|running| running.status.current.borrow().queued).sum();
        Deadline::of(&self.plan, &self.promises, queued, self.world.stream_idle_timeout())
    }

    async fn read_conflicts(&self) {
        let mut users: BTreeMap<&str, u32> = BTreeMap::new();
        for (index, device) in (0u32..).zip(&self.plan.devices) {
            users.entry(&device.user).or_insert(index);
        }
        for (user, device) in users {
            match self.world.conflicts(device).await {
                Ok(Some(records)) => {
                    self.recorder.add(Who::Server, What::Conflicts { user: user.to_owned(), records });
                }
                Ok(None) => {}
                Err(problem) => self.recorder.record_harness_failure(format!("GET /conflicts: {problem}")),
            }
        }
    }

    async fn stop(self) -> (Vec<Option<Database>>, Duration, World) {
        self.send_all(|| Command::Stop);
        let mut databases = Vec::new();
        let mut spent = Duration::ZERO;
        for running in self.devices {
            match running.task.await {
                Ok((database, time)) => {
                    databases.push(database);
                    spent += time;
                }
                Err(error) => self.recorder.record_harness_failure(format!("a device's task ended: {error}")),
            }
        }
        (databases, spent, self.world)
    }
}
