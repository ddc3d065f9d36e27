//! A history in plain words, step by step, for people who have never seen one.

mod step;

use std::collections::BTreeSet;

use fixtures::App;
use sim_core::history::RowId;
use sim_core::run::AnomalyText;
use sim_core::{History, Plan};

use self::step::Sentences;
use crate::joined::JoinedHistory;
use crate::registers::{Register, RegisterState};
use crate::selection::select;
use crate::words::{counted, device_name, listed, moment, plain, visible};

/// Of a larger history, the story holds the events around its anomalies.
const STEPS_MAX: usize = 60;
/// Registers compared in the end.
const REGISTERS_MAX: usize = 6;

/// A story.
#[derive(Debug)]
pub(crate) struct Story {
    /// Who takes part, and what there is before anything happens.
    pub(crate) start: Vec<String>,
    /// What happens.
    pub(crate) steps: Vec<Step>,
    /// How many steps of a large history are left out.
    pub(crate) left_out: usize,
    /// What the registers hold in the end.
    pub(crate) end: Vec<String>,
}

/// One step.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) at_us: i64,
    pub(crate) text: String,
    /// Whether an anomaly names it.
    pub(crate) marked: bool,
}

/// The story in lines: first who takes part, then each step with its time, then what the registers hold in the end and
/// what is wrong with that.
#[must_use]
pub fn lines(plan: &Plan, history: &History, app: &App, anomalies: &[AnomalyText]) -> Vec<String> {
    let joined = JoinedHistory::new(plan, history, app);
    let story = story(&joined, anomalies);
    let width = story.steps.iter().map(|step| moment(step.at_us).len()).max().unwrap_or(0);
    let mut lines = story.start;
    for step in &story.steps {
        let mark = if step.marked { '>' } else { ' ' };
        lines.push(format!("{mark} {:>width$}  {}", moment(step.at_us), step.text));
    }
    if story.left_out > 0 {
        lines.push(format!("({} not shown)", counted(story.left_out as u64, "further event", "further events")));
    }
    lines.extend(story.end);
    for anomaly in anomalies {
        lines.push(format!("What is wrong: {} {}", plain(&anomaly.what), plain(&anomaly.because)));
    }
    lines
}

/// Every event that an anomaly names, ascending: what a diagram marks.
#[must_use]
pub fn highlights(anomalies: &[AnomalyText]) -> Vec<usize> {
    let all: BTreeSet<usize> = anomalies.iter().flat_map(|anomaly| anomaly.events.iter().copied()).collect();
    all.into_iter().collect()
}

/// The story of a history that is joined already.
pub(crate) fn story(joined: &JoinedHistory<'_>, anomalies: &[AnomalyText]) -> Story {
    let marked = highlights(anomalies);
    let selection = select(joined, &marked, STEPS_MAX);
    let sentences = Sentences { joined };
    let steps = selection
        .events
        .iter()
        .filter_map(|index| {
            let event = &joined.names.history.events[*index];
            let text = sentences.of(*index, event)?;
            Some(Step { at_us: event.at_us, text, marked: marked.binary_search(index).is_ok() })
        })
        .collect();
    let registers = joined.main_registers(&marked, REGISTERS_MAX);
    Story {
        start: start_lines(joined, &registers),
        steps,
        left_out: selection.left_out,
        end: registers.iter().map(|register| end_line(joined, register)).collect(),
    }
}

/// Who takes part, and the rows that exist before anything happens.
fn start_lines(joined: &JoinedHistory<'_>, registers: &[Register]) -> Vec<String> {
    let names = &joined.names;
    let devices: Vec<String> = (0..names.devices())
        .map(|device| match names.several_users() {
            true => format!("{} ({}, {})", device_name(device), names.kind(device), visible(names.user(device))),
            false => format!("{} ({}{})", device_name(device), names.kind(device), names.predecessor(device)),
        })
        .collect();
    let mut lines = match devices.len() {
        0 => Vec::new(),
        1..=6 => vec![format!("Taking part: {}.", listed(&devices))],
        many => vec![format!("Taking part: {many} devices.")],
    };
    let rows: BTreeSet<RowId> = registers.iter().map(|register| register.row).collect();
    for row in rows.iter().filter_map(|row| Some((*row, joined.initial.get(row)?))).take(3) {
        let values: Vec<String> = registers
            .iter()
            .filter(|register| register.row == row.0)
            .filter_map(|register| register.column)
            .filter_map(|column| Some(format!("{} {}", names.column(row.0, column), names.value(row.1.get(column)?))))
            .collect();
        let with = if values.is_empty() { String::new() } else { format!(", with {}", listed(&values)) };
        lines.push(format!("At the start, {} is on the server and on every device{with}.", names.row(row.0)));
    }
    lines
}

/// What server and devices hold in one register in the end, grouped by value.
fn end_line(joined: &JoinedHistory<'_>, register: &Register) -> String {
    let names = &joined.names;
    let mut groups: Vec<(RegisterState, Vec<String>)> =
        vec![(joined.server_state(register), vec!["the server".to_owned()])];
    for device in (0..names.devices()).filter(|device| !names.is_replaced(*device)) {
        let state = joined.device_state(device, register);
        match groups.iter_mut().find(|(other, _)| *other == state) {
            Some((_, members)) => members.push(device_name(device)),
            None => groups.push((state, vec![device_name(device)])),
        }
    }
    let row = names.row(register.row);
    let what = register.column.map_or_else(|| row.clone(), |column| names.register(register.row, column));
    if let [(state, members)] = &groups[..]
        && members.len() > 1
    {
        return format!("In the end, {what} is {} everywhere.", state.text(names));
    }
    let parts: Vec<String> = groups
        .iter()
        .map(|(state, members)| match members.len() {
            5.. => format!("{} on {} and {} devices", state.text(names), members[0], members.len() - 1),
            _ => format!("{} on {}", state.text(names), listed(members)),
        })
        .collect();
    format!("In the end, {what} is {}.", parts.join(", but "))
}
