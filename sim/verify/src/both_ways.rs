//! A row from a web client to a Tauri client, and one back: two whole devices, with the real sync core, over real HTTP.
//!
//! The rows have ids that nobody had before, and are deleted afterwards through the backend, as everything here is
//! written through it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use fixtures::{App, ValueShape};
use serde_json::{Value as Json, json};
use sim_core::history::{Event, History, Outcome as Answered, Scope, Time, What, Who};
use sim_core::plan::{Device, DeviceKind, EPOCH_US, Expr, Intent, Link, VERSION};
use sim_core::{Plan, Seed};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::real_network::RealNetwork;
use super::{Check, Lines, Outcome, failed};
use sim_device::actor::{Actor, DeviceContext};
use sim_device::command::Command;
use sim_device::database::{Database, DatabasePool};
use sim_device::platform::STREAM_IDLE_TIMEOUT;
use sim_device::recorder::Recorder;
use sim_device::status::{SharedStatus, Status};
use sim_stack::existing_stack::ExistingStack;

/// The lines, each by the device that writes: what it writes must come to the other.
const LINES: [&str; 2] = ["from web to tauri", "from tauri to web"];
const DELETED: &str = "its rows are gone again";
const NAMES: [&str; 2] = ["web", "tauri"];
/// A device may try again once (5 s after a failure) before it is given up.
const RETRY: Duration = Duration::from_secs(6);

/// The lines. `before` has those about the parts, which must stand before devices are tried.
pub(super) async fn checks(target: &ExistingStack, allow_writes: bool, before: &[Check]) -> Vec<Check> {
    let mut lines = Lines::about("end to end");
    let reason = match (&target.service, &target.backend, &target.token) {
        (None, ..) => Some("no --powersync-url".to_owned()),
        (_, None, _) => Some("no --backend-url".to_owned()),
        (_, _, None) => Some("no token: name --token-secret, --token-key or --token-command".to_owned()),
        _ if !allow_writes => Some("it writes two rows and deletes them: allow it with --allow-writes".to_owned()),
        _ => hindrance(before),
    };
    let trip = match reason {
        Some(reason) => Err(reason),
        None => Trip::new(target),
    };
    match trip {
        Err(reason) => lines.skip_all(&[LINES[0], LINES[1], DELETED], &reason),
        Ok(trip) => trip.run(&mut lines).await,
    }
    lines.checks
}

/// A line of the two servers that failed: devices would only fail for the same cause, more slowly.
fn hindrance(before: &[Check]) -> Option<String> {
    const NEEDED: [(&str, &str); 5] = [
        ("service", "liveness"),
        ("service", "token is accepted"),
        ("service", "a client connects"),
        ("backend", "liveness"),
        ("backend", "token is accepted"),
    ];
    let failed = before.iter().find(|check| {
        matches!(check.outcome, Outcome::Failed { .. }) && NEEDED.contains(&(check.group, check.name.as_str()))
    })?;
    Some(format!("`{}: {}` failed", failed.group, failed.name))
}

fn client(device: usize) -> Who {
    Who::Client(u32::try_from(device).unwrap_or(u32::MAX))
}

/// Both devices, and what is known of them.
struct Trip {
    plan: Rc<Plan>,
    recorder: Recorder,
    devices: Vec<Running>,
    changed: Rc<Notify>,
    set: Vec<(String, Expr)>,
    patience: Duration,
}

/// What a device was told to write, and how far that is.
#[derive(Default)]
struct Written {
    transactions: usize,
    queued: usize,
    answered: usize,
    read: usize,
}

struct Running {
    commands: mpsc::UnboundedSender<Command>,
    status: Rc<RefCell<Status>>,
    task: tokio::task::JoinHandle<(Option<Database>, Duration)>,
    told: Cell<usize>,
}

impl Trip {
    /// Starts the devices.
    fn new(target: &ExistingStack) -> Result<Self, String> {
        let (app, token) = (target.app.clone(), target.token.as_ref().ok_or("no token")?);
        let (table, set) =
            writable(&app, &token.subject()).ok_or("the application has no table that a row of its own fits in")?;
        let word = sim_stack::postgres::random_word().map_err(|error| error.to_string())?;
        let seed = Seed(u64::from_str_radix(word.get(..16).unwrap_or("0"), 16).unwrap_or(0));
        // Devices count from the plan's epoch: here they are to show the real time.
        let clock_skew_us = ::backend::server::machine_clock_us() - EPOCH_US;
        let device = |kind: DeviceKind| Device { kind, user: token.subject(), clock_skew_us };
        let plan = Rc::new(Plan {
            version: VERSION,
            app: app.name.clone(),
            scenario: "verify".to_owned(),
            seed,
            identity: None,
            devices: vec![device(DeviceKind::Web), device(DeviceKind::Tauri)],
            link: Link { latency_min_us: 0, latency_max_us: 0 },
            token_lifetime_s: 900,
            rows: vec![app.schema.tables[table].name.clone(); 2],
            seed_rows: Vec::new(),
            steps: Vec::new(),
            resume: Vec::new(),
        });
        let recorder = Recorder::new(app.clone(), &plan, "external", Time::Real, "unknown");
        recorder.start_clock(Instant::now());
        let urls = [target.service.clone().unwrap_or_default(), target.backend.clone().unwrap_or_default()];
        let network = Rc::new(RealNetwork::new(target.http.clone(), urls, token.text.clone()));
        let mut cabinet = DatabasePool::new(&app).map_err(|error| error.to_string())?;
        let changed = Rc::new(Notify::new());
        let mut devices = Vec::new();
        for index in [0, 1] {
            let database = cabinet.take(&plan.client_id(index)).map_err(|error| error.to_string())?;
            let (commands, inbox) = mpsc::unbounded_channel();
            let status: Rc<RefCell<Status>> = Rc::default();
            let shared = SharedStatus { current: status.clone(), changed: changed.clone() };
            let (plan, app, recorder, network) = (plan.clone(), app.clone(), recorder.clone(), network.clone());
            let stream_idle_timeout = STREAM_IDLE_TIMEOUT;
            let context = DeviceContext {
                device: index,
                plan,
                app,
                recorder,
                network,
                status: shared,
                commands: inbox,
                stream_idle_timeout,
            };
            let task = tokio::task::spawn_local(Actor::new(context, database).run());
            devices.push(Running { commands, status, task, told: Cell::new(0) });
        }
        let patience = target.patience() + RETRY;
        Ok(Self { plan, recorder, devices, changed, set, patience })
    }

    fn tell(&self, device: usize, command: Command) {
        // A device that has ended is told of by its status.
        let _ = self.devices[device].commands.send(command);
    }

    async fn until(&self, device: usize, what: &str, is: impl Fn(&Status) -> bool) -> Result<(), String> {
        let status = &self.devices[device].status;
        let waited = tokio::time::timeout(self.patience, async {
            while !is(&status.borrow()) {
                self.changed.notified().await;
            }
        });
        if waited.await.is_ok() {
            return Ok(());
        }
        let trouble = status.borrow().last_error.clone();
        let trouble = if trouble.is_empty() { "no error was seen".to_owned() } else { trouble };
        Err(format!("{what} within {} s ({trouble})", self.patience.as_secs()))
    }

    fn transact(&self, device: usize, intent: Intent) {
        let told = &self.devices[device].told;
        told.set(told.get() + 1);
        self.tell(device, Command::Tx { step: 0, activity: "verify".to_owned(), intents: vec![intent] });
    }

    fn written(&self, device: usize) -> Written {
        let mut written = Written::default();
        self.recorder.for_each_event(|event| {
            if event.who != client(device) {
                return;
            }
            match &event.what {
                What::Tx(tx) => {
                    written.transactions += 1;
                    written.queued += usize::from(tx.tx_id.is_some());
                }
                What::Complete { .. } => written.answered += 1,
                What::Read { .. } => written.read += 1,
                _ => {}
            }
        });
        written
    }

    /// Waits until a device has done what it was told, and has nothing left to upload.
    async fn uploaded(&self, device: usize) -> Result<(), String> {
        let what = format!("what the {} device wrote is not uploaded and acknowledged", NAMES[device]);
        let told = self.devices[device].told.get();
        self.until(device, &what, |status| {
            let written = self.written(device);
            written.transactions >= told
                && written.answered >= written.queued
                && status.queued == 0
                && !status.uploading
        })
        .await
    }

    async fn run(self, lines: &mut Lines) {
        let mut sent = Vec::new();
        for (writer, reader) in [(0, 1), (1, 0)] {
            sent.push(self.direction(writer, reader).await);
        }
        for device in [0, 1] {
            self.tell(device, Command::FinalRead);
            let _ = self.until(device, "its rows are not read", |_| self.written(device).read > 0).await;
        }
        let mut gone = Ok(());
        for (device, row) in [(0, 0), (1, 1)] {
            if self.devices[device].told.get() > 0 {
                self.transact(device, Intent::Delete { row });
                gone = gone.and(self.uploaded(device).await);
            }
        }
        let has_written = self.devices.iter().any(|device| device.told.get() > 0);
        for device in &self.devices {
            let _ = device.commands.send(Command::Stop);
        }
        let history = self.recorder.finish();
        for device in self.devices {
            let _ = tokio::time::timeout(self.patience, device.task).await;
        }
        for (writer, arrived) in sent.into_iter().enumerate() {
            lines.add(LINES[writer], judged(&self.plan, &history, writer, arrived));
        }
        match gone {
            _ if !has_written => lines.skipped(DELETED, "nothing was written"),
            Ok(()) => lines.ok(DELETED, "deleted through the backend"),
            Err(said) => lines.failed(
                DELETED,
                format!("{said}; ids {} and {}", self.plan.row_id(0), self.plan.row_id(1)),
                "delete the rows with these ids by hand",
            ),
        }
    }

    /// A row from one device until the other has applied everything up to it.
    async fn direction(&self, writer: usize, reader: usize) -> Result<Duration, String> {
        for device in [writer, reader] {
            let what = format!("the {} device does not get its first checkpoint", NAMES[device]);
            self.until(device, &what, |status| status.applied > 0).await?;
        }
        let began = Instant::now();
        let row = u32::try_from(writer).unwrap_or(0);
        self.transact(writer, Intent::Insert { row, set: self.set.clone(), replace: false });
        self.uploaded(writer).await?;
        self.tell(reader, Command::Fence);
        let what = format!("the row is uploaded, and the {} device gets no checkpoint that includes it", NAMES[reader]);
        self.until(reader, &what, |status| status.fence_applied).await?;
        Ok(began.elapsed())
    }
}

/// Whether what one device wrote is what the other shows.
fn judged(plan: &Plan, history: &History, writer: usize, arrived: Result<Duration, String>) -> Outcome {
    let reader = 1 - writer;
    let parts = "look at the lines about the backend, replication and the service, in this order: the first that is not \
                 ok is the cause; else look at their logs";
    let row_id = plan.row_id(u32::try_from(writer).unwrap_or(0));
    if let Some(reason) = refusal(history, writer) {
        return failed(
            format!("the backend refuses the {} device's row: {reason}", NAMES[writer]),
            "compare the backend's schema.sql and policy.toml with the database and with --app",
        );
    }
    let took = match arrived {
        Ok(took) => took,
        Err(said) => return failed(said, parts),
    };
    let is_it = |row: &u32| history.rows.get(*row as usize).is_some_and(|name| *name.id == *row_id);
    let seen = |event: &Event| match &event.what {
        What::Read { scope: Scope::Final, rows } if event.who == client(reader) => {
            Some(rows.iter().any(|(row, image)| image.is_some() && is_it(row)))
        }
        _ => None,
    };
    match history.events.iter().find_map(seen) {
        Some(true) => Outcome::Ok { note: format!("{} ms", took.as_millis()) },
        Some(false) => failed(
            format!(
                "the {} device has synced past the row of the {} device, and does not show it",
                NAMES[reader], NAMES[writer]
            ),
            "let the sync rules select that table for the token's user, and see that the publication covers it",
        ),
        None => Outcome::Skipped { reason: format!("the {} device was not read", NAMES[reader]) },
    }
}

/// Why the backend did not take a device's operation, if it did not.
fn refusal(history: &History, writer: usize) -> Option<String> {
    let own = history.events.iter().filter(|event| event.who == client(writer));
    let mut answers =
        own.filter_map(|event| if let What::Upload(upload) = &event.what { Some(&upload.ops) } else { None });
    let first = answers.find(|ops| !ops.is_empty())?;
    let refused = first.iter().find(|op| matches!(op.outcome, Answered::Rejected | Answered::RolledBack))?;
    Some(refused.reason.clone().unwrap_or_else(|| "it does not say why".to_owned()))
}

/// A table that takes a row by itself, and what the row must say; `user` is who writes it.
fn writable(app: &App, user: &str) -> Option<(usize, Vec<(String, Expr)>)> {
    (0..app.schema.tables.len()).find_map(|table| {
        let declared = &app.schema.tables[table];
        let is_bound = !declared.unique.is_empty() || app.policy.exclusives.iter().any(|rule| rule.table == table);
        if is_bound {
            return None;
        }
        let mut set = Vec::new();
        for (index, column) in declared.columns.iter().enumerate() {
            let shape = &app.generator(table, index).shape;
            let is_needed = column.not_null && column.default == fixtures::ColumnDefault::Null;
            if is_needed || matches!(shape, ValueShape::User) {
                set.push((column.name.clone(), value(shape, user)?));
            }
        }
        Some((table, set)).filter(|(_, set)| !set.is_empty())
    })
}

/// A plain value; `None` where another row would have to be named.
fn value(shape: &ValueShape, user: &str) -> Option<Expr> {
    let json: Json = match shape {
        ValueShape::OneOf(values) => values.first()?.to_json(),
        ValueShape::Words { .. } => json!("syncstorm verify: may be deleted"),
        ValueShape::Int { min, .. } => json!(min),
        ValueShape::Real { min, .. } => json!(min),
        ValueShape::Set(_) | ValueShape::SetOfRows(_) => json!("[]"),
        ValueShape::Json => json!("{}"),
        ValueShape::Date { .. } => json!("2026-01-05"),
        ValueShape::TimeOfDay => json!("09:00"),
        ValueShape::Instant { .. } => return Some(Expr::Now),
        ValueShape::Bool => json!(0),
        ValueShape::Device => return Some(Expr::Device),
        ValueShape::User => json!(user),
        ValueShape::Row(_) => return None,
    };
    Some(Expr::Value(json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_application_has_a_table_to_try() {
        for name in App::builtin_names() {
            let app = App::builtin(name).expect("it is built in");
            let (table, set) = writable(&app, "somebody").expect("there is one");
            let declared = &app.schema.tables[table];
            assert!(declared.unique.is_empty() && !set.is_empty(), "{name}");
        }
    }
}
