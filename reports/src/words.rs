//! How reports name things: devices, rows, values, moments, sizes. Every text from outside passes through here.

use std::collections::BTreeMap;

use fixtures::{App, Rule, Value};
use sim_core::history::{RowId, Who, Writer};
use sim_core::plan::{DeviceKind, EPOCH_US};
use sim_core::verdict::Verdict;
use sim_core::{History, Plan};

/// Texts longer than this are cut when shown.
const VALUE_CHARS: usize = 40;
const DAY_US: i64 = 86_400_000_000;

/// Names what a history holds.
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

    /// Whose place a device took, if it did.
    pub(crate) fn place(&self, device: u32) -> String {
        let after = self.history.header.devices.get(device as usize).and_then(|device| device.after);
        after.map_or_else(String::new, |after| format!(", in the place of {}", device_name(after)))
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

    /// Whether a column only carries the writer's clock: a change of it tells nobody anything.
    pub(crate) fn is_clock(&self, row: RowId, column: usize) -> bool {
        self.table(row)
            .and_then(|table| self.app.policy.tables.get(table))
            .is_some_and(|policy| policy.clock == Some(column))
    }

    /// Whether a column tells little about a row that is created: its clock, or what never changes afterwards.
    pub(crate) fn is_bookkeeping(&self, row: RowId, column: usize) -> bool {
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

/// A text in quotes, on one line, cut after so many characters.
pub(crate) fn quoted(text: &str, most: usize) -> String {
    format!("\"{}\"", shortened(&visible(text), most))
}

/// The text, cut after so many characters.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// The text without anything that moves a cursor, breaks a line, turns the direction of writing or may not stand
/// in XML: control characters become their pictures, the others a replacement character.
pub(crate) fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
            '\u{7f}' => '\u{2421}',
            '\u{80}'..='\u{9f}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{fffe}'
            | '\u{ffff}' => '\u{fffd}',
            other => other,
        })
        .collect()
}

/// A sentence of a checker for people: devices are called as everywhere else in a report.
pub(crate) fn plain(text: &str) -> String {
    let text = visible(text);
    let mut words = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("lient/") {
        let (before, after) = (&rest[..at], &rest[at + "lient/".len()..]);
        let device = match before.chars().last() {
            Some('c') if after.starts_with(|c: char| c.is_ascii_digit()) => "device ",
            Some('C') if after.starts_with(|c: char| c.is_ascii_digit()) => "Device ",
            _ => {
                words.push_str(&rest[..at + "lient/".len()]);
                rest = after;
                continue;
            }
        };
        words.push_str(&before[..before.len() - 1]);
        words.push_str(device);
        rest = after;
    }
    words.push_str(rest);
    words
}

/// A moment of plan time: `12.043 s`, `2 min 03.5 s`, `1 h 02 min 03 s`.
pub(crate) fn moment(at_us: i64) -> String {
    let sign = if at_us < 0 { "-" } else { "" };
    let micros = at_us.unsigned_abs();
    let ms = micros / 1000;
    let (minutes, rest_ms) = (ms / 60_000, ms % 60_000);
    if minutes == 0 {
        format!("{sign}{}.{:03} s", ms / 1000, ms % 1000)
    } else if minutes < 60 {
        format!("{sign}{minutes} min {:02}.{} s", rest_ms / 1000, rest_ms % 1000 / 100)
    } else {
        format!("{sign}{} h {:02} min {:02} s", minutes / 60, minutes % 60, rest_ms / 1000)
    }
}

/// A length of time: `300 ms`, `20 s`, `1.5 s`, `2 min`, `1 h 5 min`.
pub(crate) fn duration(micros: u64) -> String {
    let ms = micros.div_ceil(1000);
    if ms < 1000 {
        return format!("{ms} ms");
    }
    if ms < 60_000 {
        return match ms % 1000 / 100 {
            0 => format!("{} s", ms / 1000),
            tenths => format!("{}.{tenths} s", ms / 1000),
        };
    }
    let seconds = ms / 1000;
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let shown = parts.iter().skip_while(|(count, _)| *count == 0).take(2).filter(|(count, _)| *count > 0);
    shown.map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
}

/// A length of time in seconds, for sums over a run.
pub(crate) fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds <= 0.0 {
        return "0 s".to_owned();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and saturating is right")]
    let micros = (seconds * 1e6) as u64;
    duration(micros)
}

/// A number of milliseconds: `340 ms`, `1.2 s`, `3 min`.
pub(crate) fn milliseconds(ms: u64) -> String {
    duration(ms.saturating_mul(1000))
}

/// `61,000`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 plan`, `2,431 plans`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// The name as it may stand in a file name or a link: letters, digits and dashes.
pub(crate) fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = name.chars().map(plain).take(80).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}

/// `a, b and c`.
pub(crate) fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// An instant as a device's clock shows it; the date only where it is not the plan's day.
fn clock(micros: i64) -> String {
    if micros == i64::MIN || micros == i64::MAX {
        return if micros > 0 { "infinity" } else { "-infinity" }.to_owned();
    }
    let iso = fixtures::value::time_to_iso(micros);
    let trimmed = iso.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    match trimmed.split_once('T') {
        Some((_, time)) if micros.div_euclid(DAY_US) == EPOCH_US.div_euclid(DAY_US) => time.to_owned(),
        Some((date, time)) => format!("{date} {time}"),
        None => iso,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_durations_read_well() {
        let check = |micros: u64, at: &str, long: &str| {
            assert_eq!(moment(i64::try_from(micros).expect("test input fits")), at);
            assert_eq!(duration(micros), long);
        };
        check(0, "0.000 s", "0 ms");
        check(40_000, "0.040 s", "40 ms");
        check(1_500_000, "1.500 s", "1.5 s");
        check(12_043_000, "12.043 s", "12 s");
        check(123_500_000, "2 min 03.5 s", "2 min 3 s");
        check(3_600_000_000, "1 h 00 min 00 s", "1 h");
        check(3_900_000_000, "1 h 05 min 00 s", "1 h 5 min");
        check(90_000_000_000, "25 h 00 min 00 s", "1 d 1 h");
    }

    #[test]
    fn moments_before_the_plan_are_negative() {
        assert_eq!(moment(-1_500_000), "-1.500 s");
    }

    #[test]
    fn counts_have_thousands() {
        let check = |number, expect: &str| assert_eq!(count(number), expect);
        check(0, "0");
        check(999, "999");
        check(1000, "1,000");
        check(61_000, "61,000");
        check(1_234_567, "1,234,567");
    }

    #[test]
    fn hostile_texts_stay_on_one_line() {
        let check = |text: &str, expect: &str| assert_eq!(visible(text), expect);
        check("plain <b> \"x\" 🌀", "plain <b> \"x\" 🌀");
        check("a\nb\u{1b}[31m", "a␊b␛[31m");
        check("a\u{202e}b\u{0}", "a\u{fffd}b␀");
    }

    #[test]
    fn clients_are_devices_to_people() {
        let check = |text: &str, expect: &str| assert_eq!(plain(text), expect);
        check("client/0 op 1, Client/12.", "device 0 op 1, Device 12.");
        check("client/x, lient/3, client/", "client/x, lient/3, client/");
    }

    #[test]
    fn instants_name_the_day_only_when_it_is_another() {
        assert_eq!(clock(EPOCH_US + 1_500_000), "08:00:01.5");
        assert_eq!(clock(EPOCH_US + DAY_US), "2026-01-06 08:00:00");
    }
}
