//! Writes the history of one plan while it runs, and knows the names that the history has for rows and devices.
//!
//! Whoever saw something asks for names, makes an event of it and hands it over; the recorder adds the plan time and
//! asks nobody for anything.

mod installations;
mod planned_rows;
mod row_image;
mod row_names;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use fixtures::{App, Row};
use sim_core::Plan;
use sim_core::history::{DeviceName, Event, Header, History, Origin, RowId, Time, VERSION, What, Who, Writer};
use tokio::time::Instant;

use installations::Installations;
use row_names::RowNames;

pub use installations::RestoredCopy;

/// Writes one history. Clones share it.
#[derive(Clone)]
pub struct Recorder {
    inner: Rc<RefCell<Inner>>,
    app: Arc<App>,
}

struct Inner {
    /// Without devices: those are in `installations`.
    header: Header,
    events: Vec<Event>,
    rows: RowNames,
    installations: Installations,
    images: BTreeMap<Box<str>, Row>,
    /// The instant that is plan time 0.
    start: Instant,
    harness_failure: Option<String>,
    /// Why the plan was given up, and how many events had been seen by then.
    given_up: Option<(String, usize)>,
    /// Rows from this one on are not the plan's, and are left out; `None`: nobody else uses the database.
    planned_rows: Option<RowId>,
}

impl Recorder {
    /// An empty history of the plan.
    #[must_use]
    pub fn new(app: Arc<App>, plan: &Plan, world: &str, time: Time, policy: &str) -> Self {
        let devices = (0u32..)
            .zip(&plan.devices)
            .map(|(index, device)| DeviceName {
                kind: device.kind,
                user: device.user.clone(),
                client_id: plan.client_id(index),
                after: None,
                copy: None,
            })
            .collect();
        let header = Header {
            v: VERSION,
            app: plan.app.clone(),
            scenario: plan.scenario.clone(),
            seed: plan.seed,
            world: world.to_owned(),
            time,
            policy: policy.to_owned(),
            devices: Vec::new(),
        };
        let mut rows = RowNames::default();
        for (number, table) in (0u32..).zip(&plan.rows) {
            let table = app.schema.table_index(table).expect("plans are checked against the schema");
            rows.add(table, &Arc::from(plan.row_id(number)));
        }
        let inner = Inner {
            header,
            events: Vec::with_capacity(512),
            rows,
            installations: Installations::new(devices),
            images: BTreeMap::new(),
            start: Instant::now(),
            harness_failure: None,
            given_up: None,
            planned_rows: None,
        };
        Self { inner: Rc::new(RefCell::new(inner)), app }
    }

    // ---- Events ----

    /// Adds an event at the present instant.
    pub fn add(&self, who: Who, what: What) {
        let at_us = self.now_us();
        let mut inner = self.inner.borrow_mut();
        let what = match inner.planned_rows {
            Some(end) => planned_rows::only(what, end),
            None => what,
        };
        inner.events.push(Event { at_us, who, what });
    }

    /// Says whose a commit is that was taken for somebody else's, and of each change the operation that made it.
    pub fn attribute_commit(&self, seq: u64, origin: Option<Origin>, operations: &[Option<i64>]) {
        let mut inner = self.inner.borrow_mut();
        let commits = inner.events.iter_mut().rev().filter_map(|event| match &mut event.what {
            What::Commit(commit) => Some(commit),
            _ => None,
        });
        let Some(commit) = commits.into_iter().find(|commit| commit.seq == seq) else { return };
        (commit.origin, commit.foreign) = (origin, origin.is_none());
        for (change, op_id) in commit.changes.iter_mut().zip(operations) {
            change.op_id = *op_id;
        }
    }

    /// Leaves everything out that is about rows which the plan does not name: others use the database as well.
    pub fn omit_unplanned_rows(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.planned_rows = Some(inner.rows.count());
    }

    /// Shows every event so far.
    pub fn for_each_event(&self, visit: impl FnMut(&Event)) {
        self.inner.borrow().events.iter().for_each(visit);
    }

    /// Notes that something did not go as the harness itself must guarantee; the plan is then no evidence.
    pub fn record_harness_failure(&self, message: String) {
        self.inner.borrow_mut().harness_failure.get_or_insert(message);
    }

    /// The first of these failures.
    #[must_use]
    pub fn harness_failure(&self) -> Option<String> {
        self.inner.borrow().harness_failure.clone()
    }

    /// The plan is given up: what is seen from now on says nothing of the stack, and the history ends here.
    pub fn record_given_up(&self, reason: String) {
        let mut inner = self.inner.borrow_mut();
        let events = inner.events.len();
        inner.given_up.get_or_insert((reason, events));
    }

    /// Why it was.
    #[must_use]
    pub fn given_up(&self) -> Option<String> {
        self.inner.borrow().given_up.as_ref().map(|(reason, _)| reason.clone())
    }

    /// The finished history.
    #[must_use]
    pub fn finish(&self) -> History {
        let mut inner = self.inner.borrow_mut();
        let mut rows = inner.rows.take();
        if let Some(end) = inner.planned_rows {
            rows.truncate(end as usize);
        }
        let header = Header { devices: inner.installations.devices().to_vec(), ..inner.header.clone() };
        let mut events = std::mem::take(&mut inner.events);
        if let Some((_, seen)) = &inner.given_up {
            events.truncate(*seen);
        }
        History { header, rows, events }
    }

    // ---- Plan time ----

    /// Says which instant is plan time 0.
    pub fn start_clock(&self, start: Instant) {
        self.inner.borrow_mut().start = start;
    }

    /// The instant that is plan time 0.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.inner.borrow().start
    }

    /// Plan time in microseconds; negative while the world warms up.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        let start = self.inner.borrow().start;
        let now = Instant::now();
        let micros = |duration: std::time::Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        match now.checked_duration_since(start) {
            Some(since) => micros(since),
            None => -micros(start - now),
        }
    }

    // ---- The history's names ----

    /// The history's name for a row.
    #[must_use]
    pub fn row(&self, table: usize, id: &str) -> RowId {
        self.inner.borrow_mut().rows.find_or_add(table, id)
    }

    /// Reads a row as a device or a service writes it, typed. Equal texts give one shared row.
    #[must_use]
    pub fn image(&self, table: usize, json: &str) -> Option<Row> {
        if let Some(row) = self.inner.borrow().images.get(json) {
            return Some(row.clone());
        }
        let row = row_image::parse(&self.app.schema.tables[table], json)?;
        self.inner.borrow_mut().images.insert(Box::from(json), row.clone());
        Some(row)
    }

    /// Another installation replaces a device, perhaps on a copy of a database; gives the history's name for it.
    #[must_use]
    pub fn add_installation(&self, ended: u32, client_id: String, copy: Option<RestoredCopy>) -> u32 {
        self.inner.borrow_mut().installations.add(ended, client_id, copy)
    }

    /// The history's name for what a device was after it had lost its storage so many times.
    #[must_use]
    pub fn installation(&self, device: u32, losses: u32) -> u32 {
        self.inner.borrow().installations.after_losses(device, losses)
    }

    /// The device that made a transaction which this one has: itself, or one whose database was copied.
    #[must_use]
    pub fn tx_author(&self, device: u32, tx_id: i64) -> u32 {
        self.inner.borrow().installations.tx_author(device, tx_id)
    }

    /// The device that made a client's transaction which the server has committed. `sender`: the device whose request it
    /// was, if that is known; among several copies of one database the client id alone does not say.
    #[must_use]
    pub fn committed_tx_author(&self, client_id: &str, tx_id: i64, sender: Option<u32>) -> Option<u32> {
        self.inner.borrow().installations.committed_tx_author(client_id, tx_id, sender)
    }

    /// Notes which device made an operation in the backend's ledger.
    pub fn note_op_author(&self, client_id: &str, epoch: u32, op_id: i64, device: u32) {
        self.inner.borrow_mut().installations.note_op_author(client_id, epoch, op_id, device);
    }

    /// The device that made an operation.
    #[must_use]
    pub fn op_author(&self, client_id: &str, epoch: u32, op_id: i64) -> Option<u32> {
        self.inner.borrow().installations.op_author(client_id, epoch, op_id)
    }

    /// Reads `client/op` or `client@epoch/op` as the backend writes it.
    #[must_use]
    pub fn writer(&self, text: &str) -> Writer {
        if text == "server" {
            return Writer::Server;
        }
        text.rsplit_once('/')
            .and_then(|(client, op)| {
                let (client, epoch) = client.split_once('@').unwrap_or((client, "1"));
                let (epoch, op_id) = (epoch.parse().ok()?, op.parse().ok()?);
                Some(Writer::Client { device: self.op_author(client, epoch, op_id)?, op_id })
            })
            .unwrap_or_else(|| Writer::Other(text.to_owned()))
    }
}
