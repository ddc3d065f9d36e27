//! What a scenario file says, with every name looked up: the claim, the devices, what they do, what goes wrong.
//!
//! This module owns the format and its checks. Drawing a plan from a scenario is [`crate::workload`]'s.
//! `scenarios/README.md` explains each field to those who write them.

pub mod catalogue;
mod format;
pub mod range;
mod resolve;

use std::collections::BTreeSet;
use std::sync::Arc;

use fixtures::App;
use serde::Deserialize;

pub(crate) use format::Parameters;
use range::Range;

use crate::activity::{Activity, Term};
use crate::nemesis::FaultSpec;
use crate::plan::{Kind, TOKEN_OUTLIVES_S};
use crate::promise::Promises;
use crate::workload::layout::Layout;

include!(concat!(env!("OUT_DIR"), "/scenarios.rs"));

/// One scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file's name without its ending.
    pub name: String,
    /// One sentence.
    pub claim: String,
    /// The application that it is about; `None`: any.
    pub app: Option<String>,
    /// The known failures that it can bring about, by their number in the catalogue.
    pub reproduces: Vec<String>,
    /// How many plans a run draws unless it is told otherwise.
    pub plans: u32,
    /// The only worlds that it is for; empty: all.
    pub worlds: Vec<String>,
    /// What it claims.
    pub promises: Promises,
    pub(crate) devices: Vec<DeviceGroup>,
    pub(crate) latency_ms: Range,
    pub(crate) token_lifetime_s: Range,
    pub(crate) resume: Range,
    pub(crate) seeds: Vec<SeedSpec>,
    pub(crate) mixes: Vec<Mix>,
    pub(crate) rounds: Option<Rounds>,
    pub(crate) faults: Vec<FaultSpec>,
    pub(crate) activities: Arc<[Activity]>,
    pub(crate) layout: Arc<Layout>,
}

/// Some devices.
#[derive(Clone, Debug)]
pub(crate) struct DeviceGroup {
    pub(crate) kind: DeviceKind,
    pub(crate) count: Range,
    pub(crate) clock_skew_s: Range,
}

/// A kind of device, or whichever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DeviceKind {
    Web,
    Tauri,
    Mobile,
    Any,
}

impl DeviceKind {
    pub(crate) fn fixed(self) -> Option<Kind> {
        match self {
            Self::Web => Some(Kind::Web),
            Self::Tauri => Some(Kind::Tauri),
            Self::Mobile => Some(Kind::Mobile),
            Self::Any => None,
        }
    }
}

/// Rows of a table that are there from the beginning.
#[derive(Clone, Debug)]
pub(crate) struct SeedSpec {
    pub(crate) table: usize,
    pub(crate) rows: Range,
    pub(crate) set: Vec<(usize, Term)>,
}

/// Activities at random times.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    pub(crate) by: By,
    pub(crate) start_s: Range,
    pub(crate) for_s: Range,
    pub(crate) rate: Rate,
    /// What, and with which weight; the weights add up to more than 0.
    pub(crate) deeds: Vec<(f64, Deed)>,
    /// The chance that a row is one of a few that everybody writes.
    pub(crate) hot: f64,
    /// Whether `crud-mix` has edge cases.
    pub(crate) edges: bool,
    /// The chance that a plan has one transaction of hundreds of statements, or texts over 10 kB.
    pub(crate) large: f64,
    /// The mean number of intents in a transaction of `crud-mix`.
    pub(crate) size: f64,
}

/// How many transactions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rate {
    /// So many in all.
    InAll(Range),
    /// One a device and so many seconds.
    Every(Range),
}

/// One transaction of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// This activity.
    Activity(usize),
    /// Anything that schema and generators allow.
    Crud,
}

/// Rounds: devices come apart, act on the same rows, and meet again.
#[derive(Clone, Debug)]
pub(crate) struct Rounds {
    pub(crate) count: Range,
    pub(crate) pause_s: Range,
    pub(crate) kinds: Vec<Round>,
}

/// One kind of round.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) weight: f64,
    pub(crate) actors: Range,
    pub(crate) apart: Vec<Apart>,
    pub(crate) apart_by: By,
    pub(crate) reconnect_s: Range,
    pub(crate) targets: Vec<(String, Target)>,
    pub(crate) values: Vec<(String, Term)>,
    pub(crate) acts: Vec<Act>,
    pub(crate) faults: Vec<(By, Range, FaultSpec)>,
}

/// A row, or rows, that a round is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// A seed row that no other round of the plan is about.
    Pick(usize),
    /// A seed row that other rounds may be about as well.
    Hot(usize),
    /// A row that each actor makes for itself.
    New(usize),
    /// One row for all actors, which is not there until one of them makes it.
    Made(usize),
    /// Seed rows in a list that other rounds may be about as well.
    List(usize, Range),
}

/// What some of the actors do in a round.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub(crate) by: By,
    pub(crate) deeds: Vec<(f64, Deed)>,
    pub(crate) when: When,
    pub(crate) at_s: Range,
    pub(crate) times: Range,
    pub(crate) gap_s: Range,
    /// (slot of the activity, target of the round), by name.
    pub(crate) rows: Vec<(String, usize)>,
    /// Values given to the activity, before those of the round.
    pub(crate) values: Vec<(String, Term)>,
}

/// Which of the actors, whose order is drawn for each round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum By {
    /// All of them.
    All,
    /// The first.
    First,
    /// The second.
    Second,
    /// The third, if there is one.
    Third,
    /// All but the first.
    Others,
    /// None.
    Nobody,
}

impl By {
    /// Whether the actor in this place is meant.
    pub(crate) fn includes(self, place: usize) -> bool {
        match self {
            Self::All => true,
            Self::First => place == 0,
            Self::Second => place == 1,
            Self::Third => place == 2,
            Self::Others => place > 0,
            Self::Nobody => false,
        }
    }
}

/// Whether actors act before or after they can reach each other again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum When {
    /// While they are apart.
    Apart,
    /// After all have met again.
    Together,
}

/// How actors are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Apart {
    /// Each is offline and knows it.
    Offline,
    /// Each loses all messages and does not know it.
    Partition,
    /// Each loses messages to the backend: it sees others, and nobody sees it.
    Unheard,
    /// Each loses messages of the service: it is seen, and sees nobody.
    Unseeing,
}

/// Why a scenario or activity could not be used: always file, field and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {field}: {problem}")]
pub struct ScenarioError {
    /// The file, as it was named to the parser.
    pub file: String,
    /// The field or the place in it.
    pub field: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl Scenario {
    /// The containers of a stack that it names in its faults.
    #[must_use]
    pub fn parts(&self) -> std::collections::BTreeSet<crate::plan::Part> {
        self.faults.iter().filter_map(FaultSpec::part).collect()
    }

    /// Whether tokens may end in the middle of its plans.
    #[must_use]
    pub fn tokens_expire(&self) -> bool {
        self.token_lifetime_s.min < f64::from(TOKEN_OUTLIVES_S)
    }

    /// Reads a scenario for an application. `file` is the file's name; without folder and ending it names the
    /// scenario.
    ///
    /// # Errors
    /// The first thing that is malformed, contradicts itself, or is not in the application.
    pub fn parse(file: &str, text: &str, app: &App) -> Result<Self, ScenarioError> {
        let entries: format::File = toml::from_str(text).map_err(|error| locate(file, text, &error))?;
        resolve::scenario(file, &entries, app)
    }

    /// The application that a scenario file names, without reading the rest of it.
    #[must_use]
    pub fn app_named_in(text: &str) -> Option<String> {
        let file: toml::Table = toml::from_str(text).ok()?;
        file.get("app")?.as_str().map(str::to_owned)
    }

    /// The names of all faults that its plans may hold.
    #[must_use]
    pub fn fault_names(&self) -> BTreeSet<&'static str> {
        let mut names: BTreeSet<&'static str> = self.faults.iter().map(|fault| fault.name.as_str()).collect();
        for round in self.rounds.iter().flat_map(|rounds| &rounds.kinds) {
            names.extend(round.faults.iter().map(|(.., fault)| fault.name.as_str()));
            names.extend(round.apart.iter().map(|apart| match apart {
                Apart::Offline => "offline",
                Apart::Partition | Apart::Unheard | Apart::Unseeing => "partition",
            }));
        }
        names
    }
}

/// Puts a TOML error into our words: the line, the table and the key.
pub(crate) fn locate(file: &str, text: &str, error: &toml::de::Error) -> ScenarioError {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = &text[..start];
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let section = before.lines().rev().find(|line| line.starts_with('[')).unwrap_or_default();
    let key = line.split('=').next().unwrap_or_default().trim();
    let field = match (section.is_empty(), key.is_empty() || key.starts_with('[')) {
        (_, true) if line.starts_with('[') => line.trim().to_owned(),
        (true, true) => String::new(),
        (true, false) => key.to_owned(),
        (false, true) => section.to_owned(),
        (false, false) => format!("{section} {key}"),
    };
    let field = if field.is_empty() { format!("line {number}") } else { format!("line {number}, {field}") };
    ScenarioError { file: file.to_owned(), field, problem: error.message().replace('\n', " ") }
}
