//! The names of what a history and a run hold: devices, rows, columns, values, writers, verdicts.

use std::collections::BTreeMap;

use fixtures::{App, Rule, Value};
use sim_core::history::{LocalOp, Op, RowId, Who, Writer};
use sim_core::plan::DeviceKind;
use sim_core::verdict::Verdict;
use sim_core::{History, Plan};

use super::format::clock;
use super::shown_text::{quoted, visible};

/// Texts longer than this are cut when shown.
const VALUE_CHARS: usize = 40;

/// The names in one history.
#[derive(Clone, Debug)]
pub(crate) struct Names<'a> {
    plan: &'a Plan,
    pub(crate) history: &'a History,
    pub(crate) app: &'a App,
    /// Rows by their ids, so that a value that refers to a row is shown as that row.
    rows: BTreeMap<&'a str, RowId>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(plan: &'a Plan, history: &'a History, app: &'a App) -> Self {
        let rows = (0..).zip(&history.rows).map(|(number, row)| (&*row.id, number)).collect();
        Self { plan, history, app, rows }
    }

    /// How many devices there are.
    pub(crate) fn devices(&self) -> u32 {
        let devices = self.history.header.devices.len().max(self.plan.devices.len());
        u32::try_from(devices).unwrap_or(u32::MAX)
    }

    /// The platform of a device.
    pub(crate) fn kind(&self, device: u32) -> &'static str {
        let index = device as usize;
        let kind = self.history.header.devices.get(index).map(|device| device.kind);
        kind.or_else(|| self.plan.devices.get(index).map(|device| device.kind)).map_or("unknown", kind_name)
    }

    /// `, in the place of device 1` for the successor of a device that lost its storage or got a copy; else empty.
    pub(crate) fn predecessor(&self, device: u32) -> String {
        let after = self.history.header.devices.get(device as usize).and_then(|device| device.after);
        after.map_or_else(String::new, |after| format!(", in the place of {}", device_name(after)))
    }

    /// Whether another installation took the device's place: it is not there in the end.
    pub(crate) fn is_replaced(&self, device: u32) -> bool {
        self.history.header.devices.iter().any(|other| other.after == Some(device))
    }

    /// The subject of a device's tokens.
    pub(crate) fn user(&self, device: u32) -> &'a str {
        self.history.header.devices.get(device as usize).map_or("", |device| &device.user)
    }

    /// Whether the devices belong to more than one user.
    pub(crate) fn several_users(&self) -> bool {
        self.history.header.devices.windows(2).any(|pair| pair[0].user != pair[1].user)
    }

    /// `notes#12`.
    pub(crate) fn row(&self, row: RowId) -> String {
        match self.table(row) {
            Some(table) => format!("{}#{row}", visible(&self.app.schema.tables[table].name)),
            None => format!("row#{row}"),
        }
    }

    /// The index of a row's table.
    pub(crate) fn table(&self, row: RowId) -> Option<usize> {
        let table = self.history.rows.get(row as usize)?.table;
        (table < self.app.schema.tables.len()).then_some(table)
    }

    /// The name of a column of a row.
    pub(crate) fn column(&self, row: RowId, column: usize) -> String {
        let table = self.table(row).map(|table| &self.app.schema.tables[table]);
        table.and_then(|table| table.columns.get(column)).map_or_else(|| "?".to_owned(), |column| visible(&column.name))
    }

    /// `notes#12.title`.
    pub(crate) fn register(&self, row: RowId, column: usize) -> String {
        format!("{}.{}", self.row(row), self.column(row, column))
    }

    /// Whether a column only carries the writer's clock: reports do not show its changes.
    pub(crate) fn is_clock(&self, row: RowId, column: usize) -> bool {
        self.table(row)
            .and_then(|table| self.app.policy.tables.get(table))
            .is_some_and(|policy| policy.clock == Some(column))
    }

    /// Whether reports leave out a column of an operation: the clock, and of a new row what never changes afterwards.
    pub(crate) fn is_left_out(&self, op: &LocalOp, column: usize) -> bool {
        match op.op {
            Op::Put => self.is_bookkeeping(op.row, column),
            Op::Patch | Op::Delete => self.is_clock(op.row, column),
        }
    }

    /// Whether a column says little about a row that is created: its clock, or what never changes afterwards.
    fn is_bookkeeping(&self, row: RowId, column: usize) -> bool {
        let policy = self.table(row).and_then(|table| self.app.policy.tables.get(table));
        let rule = policy.and_then(|policy| policy.rules.get(column));
        self.is_clock(row, column) || rule == Some(&Rule::KeepServer)
    }

    /// A value, short and on one line.
    pub(crate) fn value(&self, value: &Value) -> String {
        match value {
            Value::Text(text) => match self.rows.get(&**text) {
                Some(row) => self.row(*row),
                None => quoted(text, VALUE_CHARS),
            },
            Value::Time(micros) => clock(*micros),
            Value::Null => "null".to_owned(),
            other => match other.to_json() {
                serde_json::Value::String(text) => visible(&text),
                json => json.to_string(),
            },
        }
    }

    /// Who wrote something.
    pub(crate) fn writer(&self, writer: &Writer) -> String {
        match writer {
            Writer::Client { device, .. } => device_name(*device),
            Writer::Server => "the server".to_owned(),
            Writer::Other(words) => visible(words),
        }
    }
}

/// `device 2`.
pub(crate) fn device_name(device: u32) -> String {
    format!("device {device}")
}

/// The device that something was seen on.
pub(crate) fn device_of(who: Who) -> Option<u32> {
    match who {
        Who::Client(device) => Some(device),
        Who::Server | Who::Run => None,
    }
}

/// The name of a platform.
pub(crate) fn kind_name(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Web => "web",
        DeviceKind::Tauri => "tauri",
        DeviceKind::Mobile => "mobile",
    }
}

/// The name of a verdict.
pub(crate) fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "valid",
        Verdict::Unknown => "unknown",
        Verdict::Invalid => "invalid",
    }
}
