//! A run for terminals: a table, then what failed, then the seed.

use sim_core::run::{FailureKind, Run, ScenarioRun};
use sim_core::verdict::Verdict;

use crate::headline;
use crate::words::{count, counted, milliseconds, plain, verdict_name, visible};

/// Whether to write colour codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// None at all.
    #[default]
    Plain,
    /// ANSI codes for verdicts.
    Ansi,
}

/// A run for terminals, without colour codes.
#[must_use]
pub fn summary(run: &Run) -> String {
    summary_in(run, Colour::Plain)
}

/// A run for terminals.
#[must_use]
pub fn summary_in(run: &Run, colour: Colour) -> String {
    let columns = [
        Column::new("scenario", Align::Left),
        Column::new("verdict", Align::Left),
        Column::new("plans", Align::Right),
        Column::new("conflicts", Align::Right),
        Column::new("overridden", Align::Right),
        Column::new("p50", Align::Right),
        Column::new("p95", Align::Right),
    ];
    let rows: Vec<Vec<String>> = run.scenarios.iter().map(|scenario| row(scenario, colour)).collect();
    let mut text = table(&columns, &rows);
    if run.scenarios.iter().any(|scenario| scenario.latency_ms.is_some()) {
        text.push_str(&format!("\np50, p95: {} {}\n", headline::latency_title(run), headline::latency_note(run)));
    }
    for scenario in run.scenarios.iter().filter(|scenario| ran(scenario) && scenario.verdict == Verdict::Invalid) {
        failure(&mut text, scenario, colour);
    }
    let unjudged = |scenario: &&ScenarioRun| ran(scenario) && scenario.verdict == Verdict::Unknown;
    for scenario in run.scenarios.iter().filter(unjudged) {
        text.push_str(&format!(
            "\n{}  {}\n",
            paint("could not be judged", Verdict::Unknown, colour),
            visible(&scenario.name)
        ));
        for why in &scenario.unknown {
            text.push_str(&format!("  {}\n", plain(why)));
        }
    }
    let not_owed: Vec<&ScenarioRun> = run.scenarios.iter().filter(|scenario| !scenario.not_owed.is_empty()).collect();
    if !not_owed.is_empty() {
        text.push_str(&format!("\nNot owed by {}, and not judged there:\n", visible(&run.policy)));
        for scenario in not_owed {
            text.push_str(&format!("  {}: {}\n", visible(&scenario.name), scenario.not_owed.join(", ")));
        }
    }
    let not_run: Vec<&ScenarioRun> = run.scenarios.iter().filter(|scenario| !ran(scenario)).collect();
    if !not_run.is_empty() {
        text.push_str("\nNot run in this world:\n");
        for scenario in not_run {
            let why = scenario.not_run.as_deref().unwrap_or_default();
            text.push_str(&format!("  {}: {}\n", visible(&scenario.name), plain(why)));
        }
    }
    text.push_str(&format!("\n{}\nseed {}\n", headline::sentence(run), visible(&run.seed)));
    text
}

/// The command that replays what is stored in a folder or file.
#[must_use]
pub fn replay_command(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    let path = visible(path);
    if !path.is_empty() && path.chars().all(plain) {
        format!("syncstorm replay {path}")
    } else {
        format!("syncstorm replay '{}'", path.replace('\'', r"'\''"))
    }
}

fn ran(scenario: &ScenarioRun) -> bool {
    scenario.not_run.is_none()
}

fn row(scenario: &ScenarioRun, colour: Colour) -> Vec<String> {
    let name = visible(&scenario.name);
    if !ran(scenario) {
        let dash = || "-".to_owned();
        return vec![name, "not run".to_owned(), dash(), dash(), dash(), dash(), dash()];
    }
    let verdict = match scenario.class {
        Some(class) if scenario.verdict == Verdict::Invalid => {
            format!("{} ({})", verdict_name(scenario.verdict), headline::class_name(class))
        }
        _ => verdict_name(scenario.verdict).to_owned(),
    };
    let latency = |pick: fn(&sim_core::run::Percentiles) -> u64| {
        scenario.latency_ms.as_ref().map_or_else(|| "-".to_owned(), |latency| milliseconds(pick(latency)))
    };
    vec![
        name,
        paint(&verdict, scenario.verdict, colour),
        count(u64::from(scenario.plans)),
        count(scenario.conflicts),
        count(scenario.overridden.values().sum()),
        latency(|latency| latency.p50),
        latency(|latency| latency.p95),
    ]
}

fn failure(text: &mut String, scenario: &ScenarioRun, colour: Colour) {
    let title = paint("did not hold", Verdict::Invalid, colour);
    text.push_str(&format!("\n{title}  {}: {}\n", visible(&scenario.name), visible(&scenario.claim)));
    for anomaly in &scenario.anomalies {
        text.push_str(&format!(
            "  {}/{}: {}\n",
            visible(&anomaly.checker),
            visible(&anomaly.code),
            plain(&anomaly.what)
        ));
        text.push_str(&format!("    {}\n", plain(&anomaly.because)));
        for evidence in &anomaly.evidence {
            text.push_str(&format!("    - {}\n", plain(evidence)));
        }
        let convergence = if anomaly.passes_plain_convergence { "passed" } else { "failed" };
        text.push_str(&format!("    A plain convergence check would have {convergence}.\n"));
    }
    if let Some(why) = scenario.unknown.first() {
        let more = match scenario.unknown.len() {
            1 => String::new(),
            all => format!(" (and {} more)", all - 1),
        };
        text.push_str(&format!("  Not judged beside that: {}{more}\n", plain(why)));
    }
    let failed = counted(u64::from(scenario.failed_plans), "plan", "plans");
    match &scenario.shrunk {
        Some(shrunk) => text.push_str(&format!(
            "  {failed} failed; the {} has {}, {}, {}\n  replay: {}\n",
            if shrunk.searched { "smallest" } else { "one shown" },
            counted(shrunk.operations as u64, "operation", "operations"),
            counted(shrunk.faults as u64, "fault", "faults"),
            counted(shrunk.devices as u64, "device", "devices"),
            replay_command(&shrunk.path)
        )),
        None => text.push_str(&format!("  {failed} failed\n")),
    }
    let others = other_failures(scenario);
    if !others.is_empty() {
        text.push_str(&format!("  other ways to fail: {}\n", others.join("; ")));
    }
}

/// How a scenario's plans failed otherwise than the one shown, most frequent first.
pub(crate) fn other_failures(scenario: &ScenarioRun) -> Vec<String> {
    const MOST: usize = 6;
    let is_shown = |kind: &FailureKind| {
        scenario.anomalies.iter().any(|anomaly| anomaly.checker == kind.checker && anomaly.code == kind.code)
    };
    let others: Vec<&FailureKind> = scenario.failures.iter().filter(|kind| !is_shown(kind)).collect();
    let mut told: Vec<String> = others
        .iter()
        .take(MOST)
        .map(|kind| {
            let plans = counted(kind.plans.len() as u64, "plan", "plans");
            let role = if kind.role.is_empty() { String::new() } else { format!(" of {}", visible(&kind.role)) };
            format!("{}/{}{role} ({plans}, the first is {})", visible(&kind.checker), visible(&kind.code), kind.plans[0])
        })
        .collect();
    if others.len() > MOST {
        told.push(format!("and {} more", others.len() - MOST));
    }
    told
}

fn paint(text: &str, verdict: Verdict, colour: Colour) -> String {
    let code = match verdict {
        Verdict::Valid => 32,
        Verdict::Unknown => 33,
        Verdict::Invalid => 31,
    };
    paint_code(text, code, colour)
}

/// The text in a colour of ANSI's, where colours are wanted.
pub(crate) fn paint_code(text: &str, code: u8, colour: Colour) -> String {
    match colour {
        Colour::Plain => text.to_owned(),
        Colour::Ansi => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
    }
}

/// Where a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    align: Align,
}

impl Column {
    pub(crate) fn new(title: &'static str, align: Align) -> Self {
        Self { title, align }
    }
}

/// A table with aligned columns; empty without rows.
pub(crate) fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell));
            cells.fold(width(column.title), usize::max)
        })
        .collect();
    let mut text = String::new();
    let titles: Vec<String> = columns.iter().map(|column| column.title.to_owned()).collect();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for ((cell, column), wanted) in row.iter().zip(columns).zip(&widths) {
            let space = " ".repeat(wanted.saturating_sub(width(cell)));
            if !line.is_empty() {
                line.push_str("  ");
            }
            match column.align {
                Align::Left => line.push_str(&format!("{cell}{space}")),
                Align::Right => line.push_str(&format!("{space}{cell}")),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// How many characters a cell shows; colour codes show none.
fn width(cell: &str) -> usize {
    let mut shown = 0;
    let mut in_code = false;
    for c in cell.chars() {
        match c {
            '\u{1b}' => in_code = true,
            'm' if in_code => in_code = false,
            _ if in_code => {}
            _ => shown += 1,
        }
    }
    shown
}
