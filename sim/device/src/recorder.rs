//! Writes the history of one plan while it runs.
//!
//! It turns what devices and servers say (ids, JSON, client ids) into the history's own words, and times
//! everything by plan time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use fixtures::{App, Row, Value};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use sim_core::Plan;
use sim_core::history::{
    CopyOf, DeviceName, Event, Header, History, OpAnswer, RowId, RowName, Time, VERSION, What, Who, Writer,
};
use tokio::time::Instant;

/// Writes one history. Clones share it.
#[derive(Clone)]
pub struct Recorder {
    inner: Rc<RefCell<Inner>>,
    app: Arc<App>,
}

struct Inner {
    history: History,
    ids: BTreeMap<Arc<str>, Vec<(usize, RowId)>>,
    images: BTreeMap<Box<str>, Row>,
    start: Instant,
    fault: Option<String>,
    /// Of devices that began as copies: whose, and the last transaction that was made there.
    inherited: BTreeMap<u32, Vec<(u32, i64)>>,
    /// (client, epoch, operation) and its device, since there are copies.
    ledger: BTreeMap<(Arc<str>, u32, i64), u32>,
    speaker: Option<u32>,
    /// Rows from this one on are not the plan's, and are left out; `None`: there are no others.
    own: Option<RowId>,
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
            devices,
        };
        let mut inner = Inner {
            history: History { header, rows: Vec::new(), events: Vec::with_capacity(512) },
            ids: BTreeMap::new(),
            images: BTreeMap::new(),
            start: Instant::now(),
            fault: None,
            inherited: BTreeMap::new(),
            ledger: BTreeMap::new(),
            speaker: None,
            own: None,
        };
        for (number, table) in (0u32..).zip(&plan.rows) {
            let table = app.schema.table_index(table).expect("plans are checked against the schema");
            inner.intern(table, &Arc::from(plan.row_id(number)));
        }
        Self { inner: Rc::new(RefCell::new(inner)), app }
    }

    /// Leaves everything out that is about rows which the plan does not name: others use the database as well.
    pub fn keep_own(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.own = RowId::try_from(inner.history.rows.len()).ok();
    }

    /// Another installation takes the place of a device, with another client id; gives the name by which the history
    /// knows it.
    /// For one that begins as a `copy` of another's database, `inherited` is the last transaction that was made there.
    #[must_use]
    pub fn reborn(&self, ended: u32, client_id: String, copy: Option<(CopyOf, i64)>) -> u32 {
        let mut inner = self.inner.borrow_mut();
        let devices = &mut inner.history.header.devices;
        let DeviceName { kind, user, .. } = devices[ended as usize].clone();
        devices.push(DeviceName { kind, user, client_id, after: Some(ended), copy: copy.map(|(copy, _)| copy) });
        let name = u32::try_from(devices.len() - 1).expect("a plan has few devices");
        if let Some((copy, last_tx)) = copy {
            let mut inherited = inner.inherited.get(&copy.device).cloned().unwrap_or_default();
            inherited.push((copy.device, last_tx));
            inner.inherited.insert(name, inherited);
        }
        name
    }

    /// The device that made a transaction which this one has: itself, or one of whose database it is a copy.
    #[must_use]
    pub fn maker(&self, device: u32, tx_id: i64) -> u32 {
        let inner = self.inner.borrow();
        let inherited = inner.inherited.get(&device).map_or(&[][..], Vec::as_slice);
        inherited.iter().find(|(_, last_tx)| tx_id <= *last_tx).map_or(device, |(maker, _)| *maker)
    }

    /// Says whose request the server handles now: of several copies of one database, the client id does not tell.
    pub fn listen_to(&self, device: Option<u32>) {
        self.inner.borrow_mut().speaker = device;
    }

    /// The device that made a client's transaction which the server has just committed.
    #[must_use]
    pub fn origin(&self, client_id: &str, tx_id: i64) -> Option<u32> {
        let (only, speaker) = {
            let inner = self.inner.borrow();
            let is_client = |device: u32| inner.history.header.devices[device as usize].client_id == client_id;
            (inner.clients(client_id), inner.speaker.filter(|speaker| is_client(*speaker)))
        };
        match only.as_slice() {
            [only] => Some(*only),
            several => speaker.or_else(|| several.last().copied()).map(|device| self.maker(device, tx_id)),
        }
    }

    /// Notes which device an operation in the backend's ledger is of.
    pub fn enter(&self, client_id: &str, epoch: u32, op_id: i64, device: u32) {
        let mut inner = self.inner.borrow_mut();
        if !inner.inherited.is_empty() {
            inner.ledger.insert((Arc::from(client_id), epoch, op_id), device);
        }
    }

    /// The history's name for what a device was after it had lost its storage so many times.
    #[must_use]
    pub fn after_losses(&self, device: u32, losses: u32) -> u32 {
        let inner = self.inner.borrow();
        let devices = &inner.history.header.devices;
        (0..losses).fold(device, |name, _| {
            let next = devices.iter().position(|device| device.after == Some(name));
            next.and_then(|index| u32::try_from(index).ok()).unwrap_or(name)
        })
    }

    /// The device whose operation this is.
    #[must_use]
    pub fn device(&self, client_id: &str, epoch: u32, op_id: i64) -> Option<u32> {
        let inner = self.inner.borrow();
        match inner.clients(client_id).as_slice() {
            [] => None,
            [only] => Some(*only),
            // What was in the ledger before there was a copy is of the first.
            [first, ..] => Some(inner.ledger.get(&(Arc::from(client_id), epoch, op_id)).copied().unwrap_or(*first)),
        }
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
                Some(Writer::Client { device: self.device(client, epoch, op_id)?, op_id })
            })
            .unwrap_or_else(|| Writer::Other(text.to_owned()))
    }

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

    /// Adds an event at the present instant.
    pub fn add(&self, who: Who, what: What) {
        let at_us = self.now_us();
        let mut inner = self.inner.borrow_mut();
        let what = match inner.own {
            Some(end) => own_part(what, end),
            None => what,
        };
        inner.history.events.push(Event { at_us, who, what });
    }

    /// The history's name for a row.
    #[must_use]
    pub fn row(&self, table: usize, id: &str) -> RowId {
        let mut inner = self.inner.borrow_mut();
        if let Some(row) = inner.find(table, id) {
            return row;
        }
        inner.intern(table, &Arc::from(id))
    }

    /// Reads a row as a device or a service writes it, typed. Equal texts give one shared row.
    #[must_use]
    pub fn image(&self, table: usize, json: &str) -> Option<Row> {
        if let Some(row) = self.inner.borrow().images.get(json) {
            return Some(row.clone());
        }
        let row = row_from_json(&self.app, table, json)?;
        self.inner.borrow_mut().images.insert(Box::from(json), row.clone());
        Some(row)
    }

    /// Notes that something did not go as the harness itself must guarantee; the plan is then no evidence.
    pub fn harness_failed(&self, message: String) {
        self.inner.borrow_mut().fault.get_or_insert(message);
    }

    /// What [`Recorder::harness_failed`] was told first.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.inner.borrow().fault.clone()
    }

    /// Shows every event so far.
    pub fn look(&self, mut see: impl FnMut(&Event)) {
        self.inner.borrow().history.events.iter().for_each(&mut see);
    }

    /// The finished history.
    #[must_use]
    pub fn finish(&self) -> History {
        let mut inner = self.inner.borrow_mut();
        if let Some(end) = inner.own {
            inner.history.rows.truncate(end as usize);
        }
        let empty = History { header: inner.history.header.clone(), rows: Vec::new(), events: Vec::new() };
        std::mem::replace(&mut inner.history, empty)
    }
}

impl Inner {
    /// The devices with this client id.
    fn clients(&self, client_id: &str) -> Vec<u32> {
        let devices = (0u32..).zip(&self.history.header.devices);
        devices.filter(|(_, device)| device.client_id == client_id).map(|(index, _)| index).collect()
    }

    fn find(&self, table: usize, id: &str) -> Option<RowId> {
        self.ids.get(id)?.iter().find(|(of, _)| *of == table).map(|(_, row)| *row)
    }

    fn intern(&mut self, table: usize, id: &Arc<str>) -> RowId {
        let row = RowId::try_from(self.history.rows.len()).expect("a plan has fewer than 2^32 rows");
        self.history.rows.push(RowName { table, id: id.clone() });
        self.ids.entry(id.clone()).or_default().push((table, row));
        row
    }
}

/// What of it is about rows before the end.
fn own_part(mut what: What, end: RowId) -> What {
    let survivors = |answers: &mut Vec<OpAnswer>| {
        for answer in answers {
            answer.merged_into = answer.merged_into.filter(|row| *row < end);
        }
    };
    match &mut what {
        What::Apply(apply) => apply.rows.retain(|(row, _)| *row < end),
        What::Read { rows, .. } => rows.retain(|(row, _)| *row < end),
        What::Conflicts { records, .. } => records.retain(|record| record.row < end),
        What::Upload(upload) => survivors(&mut upload.ops),
        What::Commit(commit) => survivors(&mut commit.ledger),
        _ => {}
    }
    what
}

/// Reads one row's JSON object; keys that are no columns are skipped, missing ones are NULL.
fn row_from_json(app: &App, table: usize, json: &str) -> Option<Row> {
    struct Columns<'a> {
        table: &'a fixtures::Table,
    }
    impl<'de> Visitor<'de> for Columns<'_> {
        type Value = Vec<Value>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a row as a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let columns = &self.table.columns;
            let mut values = vec![Value::Null; columns.len()];
            let mut hint = 0;
            while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                let index = if columns.get(hint).is_some_and(|column| column.name == *key) {
                    Some(hint)
                } else {
                    self.table.column_index(&key)
                };
                match index {
                    Some(index) => {
                        hint = index + 1;
                        let json: serde_json::Value = map.next_value()?;
                        values[index] =
                            Value::from_json(columns[index].ty, &json).map_err(serde::de::Error::custom)?;
                    }
                    None => {
                        map.next_value::<serde::de::IgnoredAny>()?;
                    }
                }
            }
            Ok(values)
        }
    }
    impl<'de> DeserializeSeed<'de> for Columns<'_> {
        type Value = Vec<Value>;

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_map(self)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    Columns { table: &app.schema.tables[table] }.deserialize(&mut reader).ok().map(Row::from)
}
