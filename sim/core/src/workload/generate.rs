//! Generates a plan: draws devices and seed rows, then the schedule, then the transactions in order of time.

use fixtures::App;
use rand::Rng as _;
use sha2::{Digest, Sha256};

use super::author::{Author, Decided};
use super::crud::{self, Edges};
use super::schedule::{self, DrawnRound, Schedule, What};
use super::seeds;
use super::tracker::Viewer;
use super::values::Mark;
use super::weights::weighted;
use crate::plan::{Action, Device, DeviceKind, Fault, Intent, Link, Plan, RESUMED_ACTIVITY, SeedRow, Step, VERSION};
use crate::scenario::{ActivityRef, Mix, Scenario};
use crate::seed::{Rng, Seed};

/// How often another activity is tried when a row that one needs is not there.
const TRIES: u32 = 4;
/// How many rows are looked at after a round.
const LOOKED_AT: usize = 6;
/// The most intents that one transaction of resumed traffic has.
const RESUMED: u32 = 2;

/// The seed of a scenario's plan number `index` in a run.
#[must_use]
pub fn plan_seed(run: Seed, scenario: &str, index: u64) -> Seed {
    let digest = Sha256::digest(scenario.as_bytes());
    let name = u64::from_le_bytes(digest[..8].try_into().expect("a SHA-256 digest has 32 bytes"));
    run.derive("plan", &[name, index])
}

/// What is drawn before the first step.
struct Beginning<'a> {
    devices: Vec<Device>,
    token_lifetime_s: u32,
    author: Author<'a>,
    seed_rows: Vec<SeedRow>,
}

impl<'a> Beginning<'a> {
    fn draw(scenario: &'a Scenario, app: &'a App, seed: Seed) -> Self {
        let mut rng = seed.fork("devices", &[]);
        let devices = devices(scenario, app, &mut rng);
        let token_lifetime_s = scenario.token_lifetime_s.count(&mut rng).max(1);
        let users = (0..devices.len()).map(|device| (device % app.users.len()) as u32).collect();
        let mut author = Author::new(app, scenario, users);
        let seed_rows = seeds::draw(scenario, &mut author, seed);
        Self { devices, token_lifetime_s, author, seed_rows }
    }
}

/// What the plan of this seed begins with: its devices and first rows, without a step.
#[must_use]
pub fn beginning(scenario: &Scenario, app: &App, seed: Seed) -> Plan {
    let Beginning { devices, author, seed_rows, .. } = Beginning::draw(scenario, app, seed);
    Plan {
        version: VERSION,
        app: app.name.clone(),
        scenario: scenario.name.clone(),
        seed,
        identity: None,
        devices,
        link: Link { latency_min_us: 0, latency_max_us: 0 },
        token_lifetime_s: 1,
        rows: author.rows,
        seed_rows,
        steps: Vec::new(),
        resume: Vec::new(),
    }
}

/// The plan that this seed draws from the scenario. `app` is the one that the scenario was parsed for.
#[must_use]
pub fn generate(scenario: &Scenario, app: &App, seed: Seed) -> Plan {
    let Beginning { devices, token_lifetime_s, mut author, seed_rows } = Beginning::draw(scenario, app, seed);
    let schedule = Schedule::draw(scenario, &mut author, &devices, seed);
    for event in &schedule.events {
        if let What::Fault(fault) = &event.what
            && let Some((device, from, to)) = fault.hindrance(event.at_us)
        {
            author.tracker.hinder(device, from, to);
        }
    }
    author.tracker.sort_hindrances();
    let mut writer = Writer::new(scenario, seed, &schedule);
    let mut steps = Vec::with_capacity(schedule.events.len());
    for (index, event) in schedule.events.iter().enumerate() {
        let key = index as u32 + 1;
        if let Some(action) = writer.action(&mut author, event, key) {
            steps.push(Step { at_us: event.at_us, key, action });
        }
    }
    let first = schedule.events.len() as u32 + 1;
    let resume = resume(scenario, &mut author, &devices, seed, first, schedule.end_us);
    Plan {
        version: VERSION,
        app: app.name.clone(),
        scenario: scenario.name.clone(),
        seed,
        identity: None,
        devices,
        link: Link {
            latency_min_us: (scenario.latency_ms.min * 1e3) as u64,
            latency_max_us: (scenario.latency_ms.max * 1e3) as u64,
        },
        token_lifetime_s,
        rows: author.rows,
        seed_rows,
        steps,
        resume,
    }
}

fn devices(scenario: &Scenario, app: &App, rng: &mut Rng) -> Vec<Device> {
    let mut devices = Vec::new();
    for group in &scenario.devices {
        for _ in 0..group.count.count(rng) {
            let any = || [DeviceKind::Web, DeviceKind::Tauri, DeviceKind::Mobile][rng.random_range(0..3)];
            let kind = group.kind.fixed().unwrap_or_else(any);
            let user = app.users[devices.len() % app.users.len()].clone();
            devices.push(Device { kind, user, clock_skew_us: group.clock_skew_s.seconds(rng) });
        }
    }
    devices
}

/// Writes what the schedule says.
struct Writer<'a> {
    scenario: &'a Scenario,
    seed: Seed,
    rounds: &'a [DrawnRound],
    /// The rare shapes of each mix.
    edges: Vec<Edges>,
    /// Which event of each mix is the large transaction, if the plan has one; counts down.
    large_in: Vec<Option<usize>>,
}

impl<'a> Writer<'a> {
    fn new(scenario: &'a Scenario, seed: Seed, schedule: &'a Schedule) -> Self {
        let mut edges = Vec::new();
        let mut large_in = Vec::new();
        for (index, mix) in scenario.mixes.iter().enumerate() {
            let mut rng = seed.fork("edges", &[index as u64]);
            let drawn = Edges::draw(&mut rng, mix.edges, mix.large);
            let of_mix = |what: &What| matches!(what, What::Mix { mix, .. } if *mix == index);
            let events = schedule.events.iter().filter(|event| of_mix(&event.what)).count();
            large_in.push(drawn.large_transaction.then(|| rng.random_range(0..events.max(1))));
            edges.push(drawn);
        }
        Self { scenario, seed, rounds: &schedule.rounds, edges, large_in }
    }

    fn action(&mut self, author: &mut Author<'_>, event: &schedule::Event, key: u32) -> Option<Action> {
        let mut rng = self.seed.fork("tx", &[u64::from(key)]);
        let (device, activity, intents) = match &event.what {
            What::Fault(Fault::ServerWrite { .. }) => {
                author.mark = Mark::new(key, false, false);
                author.hot = 0.6;
                let intents = author.server_write(&mut rng, event.at_us);
                return (!intents.is_empty()).then_some(Action::Fault(Fault::ServerWrite { intents }));
            }
            What::Fault(fault) => return Some(Action::Fault(fault.clone())),
            What::Mix { mix, device } => {
                let who = Viewer { device: *device, at_us: event.at_us };
                let edges = self.edges[*mix];
                author.mark = Mark::new(key, edges.odd_text, edges.large_text);
                let (activity, intents) = self.mixed(author, &mut rng, who, *mix);
                (*device, activity, intents)
            }
            What::Look { round, place } => {
                let drawn = &self.rounds[*round];
                let who = Viewer { device: drawn.actors[*place], at_us: event.at_us };
                let mut rows: Vec<u32> =
                    drawn.targets.iter().flat_map(|target| target.of(*place).many()).copied().take(LOOKED_AT).collect();
                if rows.is_empty() {
                    rows = author.any_rows(&mut rng, who, LOOKED_AT);
                }
                let intents = if rows.is_empty() { Vec::new() } else { vec![Intent::Read { rows }] };
                (who.device, "look".to_owned(), intents)
            }
            What::Act { round, act, place } => {
                author.mark = Mark::new(key, false, false);
                self.acted(author, &mut rng, event.at_us, *round, *act, *place)?
            }
        };
        (!intents.is_empty()).then_some(Action::Tx { device, activity, intents })
    }

    fn mixed(&mut self, author: &mut Author<'_>, rng: &mut Rng, who: Viewer, index: usize) -> (String, Vec<Intent>) {
        let mix: &Mix = &self.scenario.mixes[index];
        let edges = self.edges[index];
        author.hot = mix.hot;
        let large = self.large_in[index] == Some(0);
        self.large_in[index] = self.large_in[index].and_then(|left| left.checked_sub(1));
        if large {
            let size = rng.random_range(100..=500);
            return ("bulk".to_owned(), author.crud(rng, who, size, &edges));
        }
        for _ in 0..TRIES {
            match activity_by_weight(rng, &mix.activities) {
                ActivityRef::Activity(index) => {
                    if let Some(intents) = author.activity(rng, who, index, &Decided::default()) {
                        return (self.scenario.activities[index].name.clone(), intents);
                    }
                }
                ActivityRef::Crud => break,
            }
        }
        let size = crud::size(rng, mix.size);
        ("crud".to_owned(), author.crud(rng, who, size, &edges))
    }

    fn acted(
        &self,
        author: &mut Author<'_>,
        rng: &mut Rng,
        at_us: i64,
        round: usize,
        act: usize,
        place: usize,
    ) -> Option<(u32, String, Vec<Intent>)> {
        let drawn = &self.rounds[round];
        let rounds = self.scenario.rounds.as_ref().expect("acts are drawn from rounds alone");
        let kind = &rounds.kinds[drawn.kind];
        let act = &kind.acts[act];
        let device = drawn.actors[place];
        let who = Viewer { device, at_us };
        author.hot = 0.3;
        for _ in 0..TRIES {
            let index = match activity_by_weight(rng, &act.activities) {
                ActivityRef::Crud => {
                    let size = crud::size(rng, 3.0);
                    return Some((device, "crud".to_owned(), author.crud(rng, who, size, &Edges::default())));
                }
                ActivityRef::Activity(index) => index,
            };
            let own: Vec<_> =
                act.values.iter().map(|(name, term)| (name, author.term(rng, who, term, &[], &[]))).collect();
            let slots = &self.scenario.activities[index].slots;
            let mut decided = Decided::default();
            for slot in slots {
                let bound = act.rows.iter().find(|(name, _)| *name == slot.name).map(|(_, target)| *target);
                let bound = bound.or_else(|| kind.targets.iter().position(|(name, _)| *name == slot.name));
                if let Some(target) = bound {
                    decided.rows.push((&slot.name, drawn.targets[target].of(place)));
                }
            }
            decided.given.extend(own.iter().map(|(name, value)| (name.as_str(), value)));
            decided
                .given
                .extend(kind.values.iter().zip(&drawn.values).map(|((name, _), value)| (name.as_str(), value)));
            if let Some(intents) = author.activity(rng, who, index, &decided) {
                return Some((device, self.scenario.activities[index].name.clone(), intents));
            }
        }
        None
    }
}

/// One of them, by weight.
fn activity_by_weight(rng: &mut Rng, activities: &[(f64, ActivityRef)]) -> ActivityRef {
    activities[weighted(rng, activities.iter().map(|(weight, _)| *weight))].1
}

/// A little traffic after healing, from every device: it distinguishes what is stuck from what is slow.
fn resume(
    scenario: &Scenario,
    author: &mut Author<'_>,
    devices: &[Device],
    seed: Seed,
    first: u32,
    end_us: i64,
) -> Vec<Step> {
    let mut steps = Vec::new();
    author.hot = 0.0;
    for device in 0..devices.len() as u32 {
        let mut rng = seed.fork("resume", &[u64::from(device)]);
        for _ in 0..scenario.resume.count(&mut rng) {
            let key = first + steps.len() as u32;
            let at_us = rng.random_range(0..2_000_000);
            author.mark = Mark::new(key, false, false);
            // Whatever was done is settled by then; only what the device itself deletes now would be missing.
            let who = Viewer { device, at_us: end_us.saturating_add(at_us) };
            let size = rng.random_range(1..=RESUMED);
            let intents = author.plain_edits(&mut rng, who, size);
            if !intents.is_empty() {
                steps.push(Step {
                    at_us,
                    key,
                    action: Action::Tx { device, activity: RESUMED_ACTIVITY.to_owned(), intents },
                });
            }
        }
    }
    steps.sort_by_key(|step| (step.at_us, step.key));
    steps
}
