//! When who does something, and when what goes wrong: the events of a plan, before anything is written.

use std::collections::BTreeMap;

use rand::Rng as _;
use rand::seq::SliceRandom as _;

use crate::nemesis::TransactionTime;
use crate::plan::{Device, Expr, Fault};
use crate::range::Range;
use crate::scenario::{Mix, Rate, Round, RoundTarget, Rounds, Scenario, When};
use crate::seed::{Rng, Seed};
use crate::workload::author::{Author, Bound};
use crate::workload::tracker::Viewer;
use crate::workload::values::Mark;
use crate::workload::weights::weighted;

/// When the first round begins.
const FIRST_ROUND_US: i64 = 2_000_000;
/// How long after they came apart, or met again, actors begin to act.
const LEAD_US: i64 = 1_000_000;
/// How long after a round is over its actors look at what came of it, in seconds.
const LOOK_S: Range = Range::new(2.0, 9.0);
/// How long an app needs to be there again.
const START_US: i64 = 300_000;

/// The events of a plan, in order.
#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) events: Vec<Event>,
    pub(super) rounds: Vec<DrawnRound>,
    pub(super) end_us: i64,
}

/// One event; its place in the order is its key.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) at_us: i64,
    pub(super) what: What,
}

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A device does something of a mix.
    Mix { mix: usize, device: u32 },
    /// An actor of a round acts.
    Act { round: usize, act: usize, place: usize },
    /// An actor of a round looks at what it was about.
    Look { round: usize, place: usize },
    /// Something goes wrong.
    Fault(Fault),
}

/// A round as drawn.
#[derive(Debug)]
pub(super) struct DrawnRound {
    pub(super) kind: usize,
    /// The devices, in the order in which acts name them.
    pub(super) actors: Vec<u32>,
    pub(super) targets: Vec<DrawnTarget>,
    pub(super) values: Vec<Expr>,
}

/// A target as drawn.
#[derive(Debug)]
pub(super) enum DrawnTarget {
    Shared(Bound),
    Each(Vec<Bound>),
}

impl DrawnTarget {
    /// What it is for the actor in this place.
    pub(super) fn of(&self, place: usize) -> &Bound {
        match self {
            Self::Shared(bound) => bound,
            Self::Each(bounds) => &bounds[place],
        }
    }
}

impl Schedule {
    pub(super) fn draw(scenario: &Scenario, author: &mut Author<'_>, devices: &[Device], seed: Seed) -> Self {
        let mut schedule = Self { events: Vec::new(), rounds: Vec::new(), end_us: 0 };
        for (index, mix) in scenario.mixes.iter().enumerate() {
            schedule.mix(index, mix, devices, &mut seed.fork("mix", &[index as u64]));
        }
        if let Some(rounds) = &scenario.rounds {
            schedule.all_rounds(rounds, author, devices, seed);
        }
        schedule.end_us = schedule.events.iter().map(|event| event.at_us).max().unwrap_or(0);
        schedule.faults(scenario, devices, seed);
        schedule.keep_out_of_downtimes(devices.len(), seed);
        // The sort is stable: what was drawn first comes first.
        schedule.events.sort_by_key(|event| event.at_us);
        schedule
    }

    fn mix(&mut self, index: usize, mix: &Mix, devices: &[Device], rng: &mut Rng) {
        let mut order: Vec<u32> = (0..devices.len() as u32).collect();
        order.shuffle(rng);
        let who: Vec<u32> =
            order.iter().enumerate().filter(|(place, _)| mix.by.includes(*place)).map(|(_, device)| *device).collect();
        if who.is_empty() {
            return;
        }
        let start_us = mix.start_s.seconds(rng);
        let for_us = mix.for_s.seconds(rng);
        match mix.rate {
            Rate::InAll(count) => {
                for _ in 0..count.count(rng) {
                    let device = who[rng.random_range(0..who.len())];
                    let at_us = start_us + rng.random_range(0..=for_us);
                    self.events.push(Event { at_us, what: What::Mix { mix: index, device } });
                }
            }
            Rate::Every(gap) => {
                for device in who {
                    let mut at_us = start_us + (gap.seconds(rng) as f64 * rng.random_range(0.0..1.0)) as i64;
                    while at_us < start_us + for_us {
                        self.events.push(Event { at_us, what: What::Mix { mix: index, device } });
                        at_us += gap.seconds(rng).max(1);
                    }
                }
            }
        }
    }

    fn all_rounds(&mut self, rounds: &Rounds, author: &mut Author<'_>, devices: &[Device], seed: Seed) {
        let mut rng = seed.fork("rounds", &[]);
        let mut fresh = Fresh::default();
        let mut start_us = FIRST_ROUND_US;
        for index in 0..rounds.count.count(&mut rng) {
            let mut rng = seed.fork("round", &[u64::from(index)]);
            let kind = weighted(&mut rng, rounds.kinds.iter().map(|kind| kind.weight));
            author.mark = Mark::new(format!("r{index}"), false, false);
            let end_us = self.round(kind, &rounds.kinds[kind], author, devices, &mut fresh, &mut rng, start_us);
            start_us = end_us + rounds.pause_s.seconds(&mut rng);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "they are what one round is drawn from")]
    fn round(
        &mut self,
        kind: usize,
        round: &Round,
        author: &mut Author<'_>,
        devices: &[Device],
        fresh: &mut Fresh,
        rng: &mut Rng,
        start_us: i64,
    ) -> i64 {
        let actors = actors(round, author, devices, rng);
        let who = Viewer { device: actors[0], at_us: start_us };
        let values = round.values.iter().map(|(_, term)| author.term(rng, who, term, &[], &[])).collect();
        let mut targets = Vec::new();
        let mut taken = Vec::new();
        for (_, target) in &round.targets {
            let target = fresh.target(*target, author, who, actors.len(), &taken, rng);
            if let DrawnTarget::Shared(Bound::One(row)) = &target {
                taken.push(*row);
            }
            targets.push(target);
        }
        let number = self.rounds.len();
        let act_us = start_us + LEAD_US;
        let apart_end_us = self.acts(round, number, &actors, When::Apart, act_us, rng);
        let mut over_us = apart_end_us;
        for (by, at, fault) in &round.faults {
            for (_, device) in actors.iter().enumerate().filter(|(place, _)| by.includes(*place)) {
                let at_us = act_us + at.seconds(rng);
                let fault = fault.fault(rng, *device);
                over_us = over_us.max(fault.hindrance(at_us).map_or(at_us, |(.., until_us)| until_us));
                self.events.push(Event { at_us, what: What::Fault(fault) });
            }
        }
        let mut met_us = apart_end_us;
        for (place, device) in actors.iter().enumerate() {
            let from_us = start_us + rng.random_range(0..200_000);
            let until_us = apart_end_us + 100_000 + round.reconnect_s.seconds(rng);
            if round.apart.is_empty() || !round.apart_by.includes(place) {
                continue;
            }
            let separation = round.apart[rng.random_range(0..round.apart.len())];
            met_us = met_us.max(until_us);
            let fault = separation.fault(*device, (until_us - from_us).unsigned_abs());
            self.events.push(Event { at_us: from_us, what: What::Fault(fault) });
        }
        let end_us = self.acts(round, number, &actors, When::Together, met_us + LEAD_US, rng);
        over_us = over_us.max(end_us).max(met_us);
        // Whoever looks sees what came of it; and the last round has time to end by itself, before all is healed.
        let mut looked_us = over_us;
        for place in 0..actors.len() {
            let at_us = over_us + LOOK_S.seconds(rng);
            looked_us = looked_us.max(at_us);
            self.events.push(Event { at_us, what: What::Look { round: number, place } });
        }
        self.rounds.push(DrawnRound { kind, actors, targets, values });
        looked_us
    }

    /// Draws the acts of one half of a round and returns when the last of them is.
    fn acts(&mut self, round: &Round, number: usize, actors: &[u32], when: When, from_us: i64, rng: &mut Rng) -> i64 {
        let mut end_us = from_us;
        for (index, act) in round.acts.iter().enumerate().filter(|(_, act)| act.when == when) {
            for place in (0..actors.len()).filter(|place| act.by.includes(*place)) {
                let mut at_us = from_us + act.at_s.seconds(rng);
                for _ in 0..act.times.count(rng) {
                    self.events.push(Event { at_us, what: What::Act { round: number, act: index, place } });
                    end_us = end_us.max(at_us);
                    at_us += act.gap_s.seconds(rng);
                }
            }
        }
        end_us
    }

    fn faults(&mut self, scenario: &Scenario, devices: &[Device], seed: Seed) {
        let device_of = |event: &Event| match &event.what {
            What::Mix { device, .. } => Some(*device),
            What::Act { round, place, .. } => Some(self.rounds[*round].actors[*place]),
            What::Look { .. } | What::Fault(_) => None,
        };
        let transactions: Vec<TransactionTime> = self
            .events
            .iter()
            .filter_map(|event| Some(TransactionTime { at_us: event.at_us, device: device_of(event)? }))
            .collect();
        for (index, fault) in scenario.faults.iter().enumerate() {
            let mut rng = seed.fork("fault", &[index as u64]);
            for (at_us, fault) in fault.strikes(&mut rng, devices, &transactions, self.end_us) {
                self.events.push(Event { at_us, what: What::Fault(fault) });
            }
        }
    }

    /// Nobody uses an app that is suspended or down: such transactions come right after.
    fn keep_out_of_downtimes(&mut self, devices: usize, seed: Seed) {
        let mut down: Vec<Vec<(i64, i64)>> = vec![Vec::new(); devices];
        for event in &self.events {
            let What::Fault(fault) = &event.what else { continue };
            let (Some(device), Some(beyond_us)) = (fault.device(), fault.spec().app_down_us) else { continue };
            let waits_us = fault.waits_us();
            // A fault that waits for commits may be waiting for a transaction that comes right after it is armed.
            let from_us = if waits_us > 0 { event.at_us + START_US } else { event.at_us };
            let until_us = event.at_us.saturating_add_unsigned(waits_us + fault.time_us().unwrap_or(0) + beyond_us);
            down[device as usize].push((from_us, until_us + START_US));
        }
        down.iter_mut().for_each(|spans| spans.sort_unstable());
        for (index, event) in self.events.iter_mut().enumerate() {
            let device = match &event.what {
                What::Mix { device, .. } => *device,
                What::Act { round, place, .. } | What::Look { round, place } => self.rounds[*round].actors[*place],
                What::Fault(_) => continue,
            };
            for (from_us, until_us) in &down[device as usize] {
                if (*from_us..=*until_us).contains(&event.at_us) {
                    let mut rng = seed.fork("moved", &[index as u64]);
                    event.at_us = until_us + rng.random_range(1..2_000_000);
                }
            }
        }
    }
}

/// The actors of a round. Where rows are a user's own, all are of one user.
fn actors(round: &Round, author: &Author<'_>, devices: &[Device], rng: &mut Rng) -> Vec<u32> {
    let count = round.actors.count(rng) as usize;
    let mut actors: Vec<u32> = (0..devices.len() as u32).collect();
    actors.shuffle(rng);
    let owned = round.targets.iter().any(|(_, target)| {
        let (RoundTarget::Pick(table)
        | RoundTarget::Hot(table)
        | RoundTarget::New(table)
        | RoundTarget::Made(table)
        | RoundTarget::List(table, _)) = target;
        author.layout.tables[*table].owned
    });
    if owned {
        let user_of = |device: &u32| author.users[*device as usize];
        let least = round.actors.min as usize;
        let enough = |user: u32| actors.iter().filter(|device| user_of(device) == user).count() >= least;
        if let Some(user) = actors.iter().map(user_of).find(|user| enough(*user)) {
            actors.retain(|device| user_of(device) == user);
        }
    }
    actors.truncate(count.max(1));
    actors
}

/// Seed rows that no round has been about.
#[derive(Debug, Default)]
struct Fresh {
    left: BTreeMap<usize, Vec<u32>>,
}

impl Fresh {
    fn target(
        &mut self,
        target: RoundTarget,
        author: &mut Author<'_>,
        who: Viewer,
        actors: usize,
        taken: &[u32],
        rng: &mut Rng,
    ) -> DrawnTarget {
        match target {
            RoundTarget::New(table) => {
                DrawnTarget::Each((0..actors).map(|_| Bound::One(author.new_row(table))).collect())
            }
            RoundTarget::Made(table) => DrawnTarget::Shared(Bound::One(author.new_row(table))),
            RoundTarget::Hot(table) => {
                let row = author.tracker.pick(rng, who, table, 0.0, taken);
                DrawnTarget::Shared(Bound::One(row.unwrap_or_else(|| author.new_row(table))))
            }
            RoundTarget::Pick(table) => {
                let left = self.left.entry(table).or_insert_with(|| {
                    let mut all = author.tracker.all(table);
                    all.shuffle(rng);
                    all
                });
                let mine = left.iter().rposition(|row| author.tracker.is_visible(*row, who) && !taken.contains(row));
                let row = mine.map(|index| left.remove(index));
                let row = row.or_else(|| author.tracker.pick(rng, who, table, 0.0, taken));
                DrawnTarget::Shared(Bound::One(row.unwrap_or_else(|| author.new_row(table))))
            }
            RoundTarget::List(table, rows) => {
                let mut list: Vec<u32> = Vec::new();
                for _ in 0..rows.count(rng).max(2) {
                    list.extend(author.tracker.pick(rng, who, table, 0.0, &list));
                }
                DrawnTarget::Shared(Bound::Many(list))
            }
        }
    }
}
