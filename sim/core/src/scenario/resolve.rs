//! From a scenario file to a [`Scenario`]: names looked up, ranges and contradictions checked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fixtures::App;

use super::definition::{DeviceChoice, DeviceGroup, Mix, Rate, Scenario, SeedRows};
use super::format::{ActEntry, File, MixEntry, RoundEntry, RoundsEntry, SeedEntry, TargetEntry};
use super::round::{Act, ActivityRef, ActorSet, Round, RoundTarget, Rounds, When};
use crate::activity::{self, Activity, Slot, Source, Term, TermEntry, TermScope, resolve_term};
use crate::checker::coverage;
use crate::fault::{Aim, FaultName, World};
use crate::file_error::{FieldError, ScenarioError, locate};
use crate::layout::Layout;
use crate::nemesis::FaultGenerator;
use crate::promise::Promises;
use crate::range::Range;

/// The name that stands for transactions driven from the schema alone.
const CRUD: &str = "crud-mix";
/// The name that stands for every activity of the application.
const EVERY: &str = "*";
/// The share of the picks that fall on a few rows unless a file says otherwise.
const HOT: f64 = 0.5;
/// A day.
const TOKEN_LIFETIME_S: f64 = 86_400.0;

fn invalid<T>(field: impl Into<String>, problem: impl Into<String>) -> Result<T, FieldError> {
    Err((field.into(), problem.into()))
}

impl Scenario {
    /// Reads a scenario for an application. `file` is the file's name; without folder and ending it names the
    /// scenario.
    ///
    /// # Errors
    /// The first thing that is malformed, contradicts itself, or is not in the application.
    pub fn parse(file: &str, text: &str, app: &App) -> Result<Self, ScenarioError> {
        let entries: File = toml::from_str(text).map_err(|error| locate(file, text, &error))?;
        let activities: Arc<[Activity]> = activity::parse(app)?.into();
        let names = Names { app, activities: &activities };
        let scenario = names.scenario(file, &entries);
        scenario.map_err(|(field, problem)| ScenarioError { file: file.to_owned(), field, problem })
    }

    /// The application that a scenario file names, without reading the rest of it.
    #[must_use]
    pub fn app_named_in(text: &str) -> Option<String> {
        let file: toml::Table = toml::from_str(text).ok()?;
        file.get("app")?.as_str().map(str::to_owned)
    }
}

struct Names<'a> {
    app: &'a App,
    activities: &'a Arc<[Activity]>,
}

impl Names<'_> {
    fn scenario(&self, file: &str, entries: &File) -> Result<Scenario, FieldError> {
        let name = Path::new(file).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if entries.claim.trim().is_empty() {
            return invalid("claim", "states in one sentence what the scenario claims");
        }
        if let Some(app) = &entries.app
            && *app != self.app.name
        {
            return invalid("app", format!("is {app}; the application is {}", self.app.name));
        }
        let plans = entries.plans.unwrap_or(100);
        if plans == 0 {
            return invalid("plans", "at least 1");
        }
        if entries.mix.is_empty() && entries.rounds.is_none() {
            return invalid("mix", "a scenario has [[mix]] or [rounds]: else nobody does anything");
        }
        let devices = devices(entries)?;
        let seeds = self.seeds(&entries.seed)?;
        let least_devices: f64 = devices.iter().map(|group| group.count.min).sum();
        let mut mixes = Vec::new();
        for (index, mix) in entries.mix.iter().enumerate() {
            mixes.push(self.mix(mix).map_err(|(field, problem)| (format!("mix[{index}].{field}"), problem))?);
        }
        let rounds = match (&entries.rounds, entries.round.is_empty()) {
            (Some(rounds), false) => Some(self.rounds(rounds, &entries.round, least_devices, &seeds)?),
            (None, true) => None,
            (Some(_), true) => return invalid("round", "[rounds] needs at least one [[round]]"),
            (None, false) => return invalid("rounds", "[[round]] needs [rounds] with a count"),
        };
        Ok(Scenario {
            name,
            claim: entries.claim.clone(),
            app: entries.app.clone(),
            reproduces: entries.reproduces.clone(),
            plans,
            worlds: worlds(&entries.worlds)?,
            promises: promises(entries)?,
            devices,
            latency_ms: positive("latency_ms", entries.latency_ms.unwrap_or(Range::new(5.0, 80.0)))?,
            token_lifetime_s: positive(
                "token_lifetime_s",
                entries.token_lifetime_s.unwrap_or(Range::exactly(TOKEN_LIFETIME_S)),
            )?,
            resume: positive("resume", entries.resume.unwrap_or(Range::new(1.0, 2.0)))?,
            seeds,
            mixes,
            rounds,
            faults: faults(entries)?,
            activities: Arc::clone(self.activities),
            layout: Arc::new(Layout::of(self.app)),
        })
    }

    fn seeds(&self, entries: &[SeedEntry]) -> Result<Vec<SeedRows>, FieldError> {
        let mut seeds = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let field = |field: &str| format!("seed[{index}].{field}");
            let rows = positive(&field("rows"), entry.rows)?;
            if entry.table == EVERY {
                if !entry.set.is_empty() {
                    return invalid(field("set"), "is for one table; this entry is for all");
                }
                seeds.extend((0..self.app.schema.tables.len()).map(|table| SeedRows { table, rows, set: Vec::new() }));
                continue;
            }
            let Some(table) = self.app.schema.table_index(&entry.table) else {
                let names: Vec<&str> = self.app.schema.tables.iter().map(|table| table.name.as_str()).collect();
                return invalid(field("table"), format!("no table {}; there are {}", entry.table, names.join(", ")));
            };
            let mut set = Vec::new();
            for (name, term) in &entry.set {
                let field = field(&format!("set.{name}"));
                let Some(column) = self.app.schema.tables[table].column_index(name) else {
                    return invalid(field, format!("table {} has no such column", entry.table));
                };
                let scope = TermScope { app: self.app, column: Some((table, column)), slots: &[], given: &[] };
                set.push((column, resolve_term(term, &scope).map_err(|problem| (field, problem))?));
            }
            seeds.push(SeedRows { table, rows, set });
        }
        Ok(seeds)
    }

    fn mix(&self, entry: &MixEntry) -> Result<Mix, FieldError> {
        let rate = match (entry.transactions, entry.every_s) {
            (Some(transactions), None) => Rate::InAll(positive("transactions", transactions)?),
            (None, Some(every)) if every.min > 0.0 => Rate::Every(every),
            (None, Some(_)) => return invalid("every_s", "is more than 0"),
            _ => return invalid("transactions", "a mix has either `transactions` (in all) or `every_s` (a device)"),
        };
        Ok(Mix {
            by: entry.by.unwrap_or(ActorSet::All),
            start_s: positive("start_s", entry.start_s.unwrap_or(Range::exactly(1.0)))?,
            for_s: positive("for_s", entry.for_s)?,
            rate,
            activities: self.choices(&entry.activities)?,
            hot: fraction("hot", entry.hot.unwrap_or(HOT))?,
            edges: entry.edges.unwrap_or(true),
            large: fraction("large", entry.large.unwrap_or(0.05))?,
            size: match entry.transaction_size.unwrap_or(3.0) {
                size if (1.0..=100.0).contains(&size) => size,
                _ => return invalid("transaction_size", "is a mean from 1 to 100"),
            },
        })
    }

    fn choices(&self, entries: &BTreeMap<String, f64>) -> Result<Vec<(f64, ActivityRef)>, FieldError> {
        let mut choices = Vec::new();
        for (name, weight) in entries {
            let field = format!("activities.{name}");
            if !(*weight >= 0.0 && weight.is_finite()) {
                return invalid(field, "is a weight from 0");
            }
            if name == CRUD {
                choices.push((*weight, ActivityRef::Crud));
            } else if name == EVERY {
                let sum: f64 = self.activities.iter().map(|activity| activity.weight).sum();
                for (index, activity) in self.activities.iter().enumerate() {
                    choices.push((weight * activity.weight / sum, ActivityRef::Activity(index)));
                }
            } else if let Some(index) = self.activities.iter().position(|activity| activity.name == *name) {
                choices.push((*weight, ActivityRef::Activity(index)));
            } else {
                let names: Vec<&str> = self.activities.iter().map(|activity| activity.name.as_str()).collect();
                return invalid(field, format!("no such activity; there are {CRUD}, {EVERY}, {}", names.join(", ")));
            }
        }
        choices.retain(|(weight, _)| *weight > 0.0);
        if choices.is_empty() {
            invalid("activities", format!("needs one with a weight, such as {CRUD} = 1"))
        } else {
            Ok(choices)
        }
    }

    fn rounds(
        &self,
        entry: &RoundsEntry,
        kinds: &[RoundEntry],
        devices: f64,
        seeds: &[SeedRows],
    ) -> Result<Rounds, FieldError> {
        let mut rounds = Rounds {
            count: positive("rounds.count", entry.count)?,
            pause_s: positive("rounds.pause_s", entry.pause_s.unwrap_or(Range::new(8.0, 15.0)))?,
            kinds: Vec::new(),
        };
        for (index, kind) in kinds.iter().enumerate() {
            let at = |(field, problem): FieldError| (format!("round[{index}].{field}"), problem);
            let round = self.round(kind, devices).map_err(at)?;
            for (name, target) in &round.targets {
                let (table, each) = match target {
                    RoundTarget::Pick(table) => (*table, rounds.count.max),
                    RoundTarget::Hot(table) => (*table, 1.0),
                    RoundTarget::List(table, rows) => (*table, rows.max),
                    RoundTarget::New(_) | RoundTarget::Made(_) => continue,
                };
                let same = round.targets.iter().filter(|(_, other)| other == target).count() as f64;
                let there: f64 = seeds.iter().filter(|seed| seed.table == table).map(|seed| seed.rows.min).sum();
                if there < each * same {
                    let problem = format!(
                        "the rounds of one plan need up to {} rows of {}; [[seed]] gives {there} at least",
                        each * same,
                        self.app.schema.tables[table].name,
                    );
                    return Err(at((format!("targets.{name}"), problem)));
                }
            }
            rounds.kinds.push(round);
        }
        Ok(rounds)
    }

    fn round(&self, entry: &RoundEntry, devices: f64) -> Result<Round, FieldError> {
        let actors = positive("actors", entry.actors.unwrap_or(Range::exactly(2.0)))?;
        if actors.min < 1.0 || actors.min > devices {
            return invalid(
                "actors",
                format!("at least 1 and no more than the {devices} devices that are always there"),
            );
        }
        let weight = entry.weight.unwrap_or(1.0);
        if !(weight > 0.0 && weight.is_finite()) {
            return invalid("weight", "is more than 0");
        }
        let mut targets = Vec::new();
        for (name, target) in &entry.targets {
            let table = match target {
                TargetEntry::Pick(table)
                | TargetEntry::Hot(table)
                | TargetEntry::New(table)
                | TargetEntry::Made(table) => table,
                TargetEntry::List(list) => &list.table,
            };
            let Some(index) = self.app.schema.table_index(table) else {
                return invalid(format!("targets.{name}"), format!("no table {table}"));
            };
            let target = match target {
                TargetEntry::Pick(_) => RoundTarget::Pick(index),
                TargetEntry::Hot(_) => RoundTarget::Hot(index),
                TargetEntry::New(_) => RoundTarget::New(index),
                TargetEntry::Made(_) => RoundTarget::Made(index),
                TargetEntry::List(list) => RoundTarget::List(index, positive(&format!("targets.{name}"), list.rows)?),
            };
            targets.push((name.clone(), target));
        }
        let values = self.values("values", &entry.values)?;
        if entry.act.is_empty() {
            return invalid("act", "a round has at least one [[round.act]]");
        }
        let mut acts = Vec::new();
        for (index, act) in entry.act.iter().enumerate() {
            let at = |(field, problem): FieldError| (format!("act[{index}].{field}"), problem);
            acts.push(self.act(act, &targets).map_err(at)?);
        }
        for (name, _) in &values {
            let takes = |choice: &ActivityRef| match choice {
                ActivityRef::Activity(index) => self.activities[*index].given.iter().any(|(given, _)| given == name),
                ActivityRef::Crud => false,
            };
            if !acts.iter().flat_map(|act| &act.activities).any(|(_, choice)| takes(choice)) {
                return invalid(format!("values.{name}"), "no activity of this round takes a value of this name");
            }
        }
        let mut faults = Vec::new();
        for (index, entry) in entry.faults.iter().enumerate() {
            let at = |(field, problem): FieldError| (format!("faults[{index}].{field}"), problem);
            let spec = FaultGenerator::always(entry.fault, &entry.with).map_err(at)?;
            faults.push((entry.by, positive("faults.at_s", entry.at_s.unwrap_or(Range::exactly(0.0)))?, spec));
        }
        Ok(Round {
            weight,
            actors,
            apart: entry.apart.clone(),
            apart_by: entry.apart_by.unwrap_or(ActorSet::All),
            reconnect_s: positive("reconnect_s", entry.reconnect_s.unwrap_or(Range::new(0.2, 8.0)))?,
            targets,
            values,
            acts,
            faults,
        })
    }

    fn values(&self, field: &str, entries: &BTreeMap<String, TermEntry>) -> Result<Vec<(String, Term)>, FieldError> {
        let resolve = |(name, entry): (&String, &TermEntry)| {
            let scope = TermScope { app: self.app, column: None, slots: &[], given: &[] };
            let term = resolve_term(entry, &scope).map_err(|problem| (format!("{field}.{name}"), problem))?;
            Ok((name.clone(), term))
        };
        entries.iter().map(resolve).collect()
    }

    fn act(&self, entry: &ActEntry, targets: &[(String, RoundTarget)]) -> Result<Act, FieldError> {
        let activities = self.choices(&entry.activities)?;
        let own = self.values("values", &entry.values)?;
        let mut rows = Vec::new();
        for (slot, target) in &entry.rows {
            let Some(index) = targets.iter().position(|(name, _)| name == target) else {
                return invalid(format!("rows.{slot}"), format!("no target is named {target}"));
            };
            rows.push((slot.clone(), index));
        }
        for (_, choice) in &activities {
            let ActivityRef::Activity(index) = choice else { continue };
            let activity = &self.activities[*index];
            for (slot, _) in &rows {
                if !activity.slots.iter().any(|own| own.name == *slot) {
                    return invalid(format!("rows.{slot}"), format!("{} has no row of this name", activity.name));
                }
            }
            for slot in &activity.slots {
                let bound = rows.iter().find(|(name, _)| *name == slot.name).map(|(_, target)| *target);
                let bound = bound.or_else(|| targets.iter().position(|(name, _)| *name == slot.name));
                if let Some(target) = bound {
                    fits(slot, &targets[target]).map_err(|problem| {
                        (format!("rows.{}", slot.name), format!("{} of {problem}", activity.name))
                    })?;
                }
            }
            for (name, _) in &own {
                if !activity.given.iter().any(|(given, _)| given == name) {
                    return invalid(format!("values.{name}"), format!("{} takes no such value", activity.name));
                }
            }
        }
        Ok(Act {
            by: entry.by,
            activities,
            when: entry.when.unwrap_or(When::Apart),
            at_s: positive("at_s", entry.at_s.unwrap_or(Range::new(0.0, 3.0)))?,
            times: positive("times", entry.times.unwrap_or(Range::exactly(1.0)))?,
            gap_s: positive("gap_s", entry.gap_s.unwrap_or(Range::new(0.5, 3.0)))?,
            rows,
            values: own,
        })
    }
}

fn fits(slot: &Slot, (name, target): &(String, RoundTarget)) -> Result<(), String> {
    let (table, list) = match target {
        RoundTarget::Pick(table) | RoundTarget::Hot(table) | RoundTarget::New(table) | RoundTarget::Made(table) => {
            (*table, false)
        }
        RoundTarget::List(table, _) => (*table, true),
    };
    if table != slot.source.table() || list != slot.source.is_list() {
        return Err(format!("{}: the target {name} is of another table, or a list where one row is needed", slot.name));
    }
    if matches!(slot.source, Source::Children { .. }) {
        return Err(format!("{}: children follow from their parent", slot.name));
    }
    Ok(())
}

fn devices(entries: &File) -> Result<Vec<DeviceGroup>, FieldError> {
    if entries.devices.is_empty() {
        let count = Range::exactly(3.0);
        return Ok(vec![DeviceGroup { kind: DeviceChoice::Any, count, clock_skew_s: Range::exactly(0.0) }]);
    }
    let mut groups = Vec::new();
    for (index, entry) in entries.devices.iter().enumerate() {
        groups.push(DeviceGroup {
            kind: entry.kind,
            count: positive(&format!("devices[{index}].count"), entry.count.unwrap_or(Range::exactly(1.0)))?,
            clock_skew_s: entry.clock_skew_s.unwrap_or(Range::exactly(0.0)),
        });
    }
    if groups.iter().map(|group| group.count.min).sum::<f64>() < 1.0 {
        return invalid("devices", "at least one device in every plan");
    }
    Ok(groups)
}

fn faults(entries: &File) -> Result<Vec<FaultGenerator>, FieldError> {
    let mut faults: Vec<FaultGenerator> = entries.swarm.iter().map(|name| FaultGenerator::swarm(*name)).collect();
    for (index, entry) in entries.faults.iter().enumerate() {
        let at = |(field, problem): FieldError| (format!("faults[{index}].{field}"), problem);
        let mut spec = FaultGenerator::always(entry.fault, &entry.with).map_err(at)?;
        spec.chance = fraction("chance", entry.chance.unwrap_or(1.0)).map_err(at)?;
        if let Some(times) = entry.times {
            spec.times = positive("times", times).map_err(at)?;
        }
        if let Some(aim) = entry.aim {
            spec.aim = aim;
        }
        if let Some(range) = entry.at_s {
            if entry.aim == Some(Aim::Transaction) {
                return Err(at(("at_s".to_owned(), "a fault has either a time or an aim".to_owned())));
            }
            spec.at_s = Some(positive("at_s", range).map_err(at)?);
        }
        if let Some(kinds) = &entry.kinds {
            spec.kinds.clone_from(kinds);
        }
        faults.push(spec);
    }
    Ok(faults)
}

fn promises(entries: &File) -> Result<Promises, FieldError> {
    let promises = &entries.promises;
    for name in &promises.must_occur {
        if !coverage::is_known(name) {
            let such = "retry, concurrent:column, unseen-override:latest, crash:after-send or fault:lossy";
            return invalid("promises.must_occur", format!("nothing counts {name}; what is counted is such as {such}"));
        }
    }
    let server_writes = entries.swarm.contains(&FaultName::ServerWrite)
        || entries.faults.iter().any(|fault| fault.fault == FaultName::ServerWrite);
    if let Some(claim) = promises.claims.iter().find(|claim| server_writes && claim.leaves_out_server_writes()) {
        let problem = format!(
            "{} counts only what devices write, and the fault server-write changes the same rows: leave one of them out",
            claim.name()
        );
        return invalid("promises.claims", problem);
    }
    let deadline_us = match promises.deadline_s {
        Some(seconds) if seconds > 0.0 && seconds.is_finite() => Some((seconds * 1e6) as u64),
        Some(_) => return invalid("promises.deadline_s", "is a number above 0"),
        None => None,
    };
    Ok(Promises {
        claims: promises.claims.clone(),
        deadline_us,
        latency_p95_ms_max: promises.latency_p95_ms_max,
        must_occur: promises.must_occur.clone(),
        refused_percent_max: match promises.refused_percent_max {
            Some(101..) => return invalid("promises.refused_percent_max", "is a percentage, at most 100"),
            percent => percent,
        },
    })
}

fn worlds(names: &[String]) -> Result<Vec<String>, FieldError> {
    let worlds = World::ALL.map(World::name);
    match names.iter().find(|name| !worlds.contains(&name.as_str())) {
        Some(name) => invalid("worlds", format!("no world {name}; there are {}", worlds.join(", "))),
        None => Ok(names.to_vec()),
    }
}

fn positive(field: &str, range: Range) -> Result<Range, FieldError> {
    if range.min >= 0.0 { Ok(range) } else { invalid(field, "is not below 0") }
}

fn fraction(field: &str, fraction: f64) -> Result<f64, FieldError> {
    if (0.0..=1.0).contains(&fraction) { Ok(fraction) } else { invalid(field, "is a share from 0 to 1") }
}
