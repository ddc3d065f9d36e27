//! A history in plain words, step by step, for somebody who has never seen one.

mod step;

use std::collections::BTreeSet;

use fixtures::App;
use sim_core::history::RowId;
use sim_core::run::AnomalyText;
use sim_core::{History, Plan};

use crate::reading::{Held, Reading, Register};
use crate::selection::select;
use crate::words::{counted, device_name, listed, moment, plain, visible};

/// Larger histories are told around the events of their anomalies.
const STEPS_MAX: usize = 60;
/// Registers compared in the end.
const REGISTERS_MAX: usize = 6;

/// A story.
#[derive(Debug)]
pub(crate) struct Story {
    /// Who takes part, and what there is before anything happens.
    pub(crate) setting: Vec<String>,
    /// What happens.
    pub(crate) steps: Vec<Step>,
    /// How many steps of a large history are not told.
    pub(crate) left_out: usize,
    /// Where it ends.
    pub(crate) ending: Vec<String>,
}

/// One step.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) at_us: i64,
    pub(crate) text: String,
    /// Whether an anomaly is about it.
    pub(crate) marked: bool,
}

/// Tells a history in plain words, a line a step: first the setting, then what happened with its time, then where
/// it ended and what is wrong with that.
#[must_use]
pub fn tell(plan: &Plan, history: &History, app: &App, anomalies: &[AnomalyText]) -> Vec<String> {
    let reading = Reading::new(plan, history, app);
    let story = story(&reading, anomalies);
    let width = story.steps.iter().map(|step| moment(step.at_us).len()).max().unwrap_or(0);
    let mut lines = story.setting;
    for step in &story.steps {
        let mark = if step.marked { '>' } else { ' ' };
        lines.push(format!("{mark} {:>width$}  {}", moment(step.at_us), step.text));
    }
    if story.left_out > 0 {
        lines.push(format!(
            "({} not told: they do not bear on it)",
            counted(story.left_out as u64, "further event", "further events")
        ));
    }
    lines.extend(story.ending);
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

pub(crate) fn story(reading: &Reading<'_>, anomalies: &[AnomalyText]) -> Story {
    let marked = highlights(anomalies);
    let selection = select(reading, &marked, STEPS_MAX);
    let teller = Teller { reading };
    let steps = selection
        .events
        .iter()
        .filter_map(|index| {
            let event = &reading.names.history.events[*index];
            let text = teller.step(*index, event)?;
            Some(Step { at_us: event.at_us, text, marked: marked.binary_search(index).is_ok() })
        })
        .collect();
    let registers = reading.main_registers(&marked, REGISTERS_MAX);
    Story {
        setting: teller.setting(&registers),
        steps,
        left_out: selection.left_out,
        ending: registers.iter().map(|register| teller.ending(register)).collect(),
    }
}

struct Teller<'r, 'a> {
    reading: &'r Reading<'a>,
}

impl Teller<'_, '_> {
    fn setting(&self, registers: &[Register]) -> Vec<String> {
        let names = &self.reading.names;
        let devices: Vec<String> = (0..names.devices())
            .map(|device| match names.several_users() {
                true => format!("{} ({}, {})", device_name(device), names.kind(device), visible(names.user(device))),
                false => format!("{} ({}{})", device_name(device), names.kind(device), names.place(device)),
            })
            .collect();
        let mut lines = match devices.len() {
            0 => Vec::new(),
            1..=6 => vec![format!("Taking part: {}.", listed(&devices))],
            many => vec![format!("Taking part: {many} devices.")],
        };
        let rows: BTreeSet<RowId> = registers.iter().map(|register| register.row).collect();
        for row in rows.iter().filter_map(|row| Some((*row, self.reading.initial.get(row)?))).take(3) {
            let values: Vec<String> = registers
                .iter()
                .filter(|register| register.row == row.0)
                .filter_map(|register| register.column)
                .filter_map(|column| {
                    Some(format!("{} {}", names.column(row.0, column), names.value(row.1.get(column)?)))
                })
                .collect();
            let with = if values.is_empty() { String::new() } else { format!(", with {}", listed(&values)) };
            lines.push(format!("At the start, {} is on the server and on every device{with}.", names.row(row.0)));
        }
        lines
    }

    /// Who holds what in one register in the end, those who agree together.
    fn ending(&self, register: &Register) -> String {
        let names = &self.reading.names;
        let mut groups: Vec<(Held, Vec<String>)> =
            vec![(self.reading.server_held(register), vec!["the server".to_owned()])];
        for device in 0..names.devices() {
            let held = self.reading.device_held(device, register);
            match groups.iter_mut().find(|(other, _)| *other == held) {
                Some((_, members)) => members.push(device_name(device)),
                None => groups.push((held, vec![device_name(device)])),
            }
        }
        let row = names.row(register.row);
        let what = register.column.map_or_else(|| row.clone(), |column| names.register(register.row, column));
        if let [(held, members)] = &groups[..]
            && members.len() > 1
        {
            return format!("In the end, {what} is {} everywhere.", self.held(held));
        }
        let parts: Vec<String> = groups
            .iter()
            .map(|(held, members)| match members.len() {
                5.. => format!("{} on {} and {} devices", self.held(held), members[0], members.len() - 1),
                _ => format!("{} on {}", self.held(held), listed(members)),
            })
            .collect();
        format!("In the end, {what} is {}.", parts.join(", but "))
    }

    fn held(&self, held: &Held) -> String {
        match held {
            Held::Absent => "absent".to_owned(),
            Held::Present => "there".to_owned(),
            Held::Value(value) => self.reading.names.value(value),
        }
    }
}
