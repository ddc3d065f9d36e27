//! From a plan that fails to a small one that fails the same way.
//!
//! This is a pure search. Whoever calls it runs candidates and says which of them still fail the same way (same
//! checker, same code, same roles); coverage must not enter that answer. Candidates come in batches, so that
//! several may run at once; the batch does not depend on how many do, so the search is the same on every machine.
//!
//! What it may take away: resumed traffic, faults, devices, transactions, intents, seed rows, columns. Then it
//! makes what is left plainer: texts, times, links, clocks. A candidate stays possible: what names a row goes with
//! the row. Step keys and row numbers never change, so that the
//! fate of what is left stays the same.

mod edits;
mod passes;
mod plainer;
mod repair;

use crate::plan::Plan;

/// How long to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most candidates to run.
    pub evaluations_max: usize,
    /// How many candidates are handed out at once.
    pub batch: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { evaluations_max: 400, batch: 8 }
    }
}

/// What the search ended with.
#[derive(Clone, Debug, PartialEq)]
pub struct Shrunk {
    /// The smallest plan found.
    pub plan: Plan,
    /// How many candidates were judged; a batch counts up to its first failing one.
    pub evaluations: usize,
    /// Whether nothing more could be taken away, rather than that time was up.
    pub finished: bool,
}

/// Searches for a smaller plan.
///
/// A plan that was possible stays so: see `repair`. One that was not is made so at once, if it still fails then.
///
/// `fails` is given candidates and returns the index of the first one that still fails the same way: the lowest
/// index, however many ran at once. `should_stop` is asked before each batch.
pub fn shrink(
    plan: &Plan,
    limits: Limits,
    fails: &mut dyn FnMut(&[Plan]) -> Option<usize>,
    should_stop: &mut dyn FnMut() -> bool,
) -> Shrunk {
    let mut search = Search { plan: plan.clone(), limits, evaluations: 0, stopped: false, fails, should_stop };
    passes::run(&mut search);
    Shrunk { plan: search.plan, evaluations: search.evaluations, finished: !search.stopped }
}

/// One change of a plan, where it applies.
type Edit = dyn Fn(&Plan) -> Option<Plan>;

/// The search: the smallest plan so far, and how to judge others.
struct Search<'a> {
    plan: Plan,
    limits: Limits,
    evaluations: usize,
    stopped: bool,
    fails: &'a mut dyn FnMut(&[Plan]) -> Option<usize>,
    should_stop: &'a mut dyn FnMut() -> bool,
}

impl Search<'_> {
    /// Takes the first of the candidates that fails, and says which it was.
    fn take_first(&mut self, mut candidates: Vec<Plan>) -> Option<usize> {
        let left = self.limits.evaluations_max - self.evaluations;
        if self.stopped || left == 0 || (self.should_stop)() {
            self.stopped = true;
            return None;
        }
        candidates.truncate(left);
        let found = (self.fails)(&candidates);
        self.evaluations += found.map_or(candidates.len(), |index| index + 1);
        let index = found?;
        self.plan = candidates.swap_remove(index);
        Some(index)
    }

    /// Takes each of the candidates in turn that fails. Each is made from the plan as it then is; `None` is none.
    fn try_each(&mut self, edits: &[&Edit]) {
        let mut next = 0;
        while next < edits.len() && !self.stopped {
            let mut places = Vec::new();
            let mut candidates = Vec::new();
            while next < edits.len() && candidates.len() < self.limits.batch.max(1) {
                let candidate = edits[next](&self.plan).map(repair::repaired);
                if let Some(candidate) = candidate.filter(|candidate| *candidate != self.plan) {
                    places.push(next);
                    candidates.push(candidate);
                }
                next += 1;
            }
            if !candidates.is_empty()
                && let Some(index) = self.take_first(candidates)
            {
                next = places[index] + 1;
            }
        }
    }

    /// Takes away as many of the plan's units as it can: all, halves, quarters, down to single ones.
    ///
    /// `units` lists what may go, and `without` takes some of them away: what is gone is no longer listed.
    fn reduce<U>(&mut self, units: impl Fn(&Plan) -> Vec<U>, without: impl Fn(&Plan, &[U]) -> Plan) {
        let mut chunk = units(&self.plan).len();
        while chunk > 0 && !self.stopped {
            let mut from = 0;
            loop {
                let units = units(&self.plan);
                if from >= units.len() || self.stopped {
                    break;
                }
                let batch = self.limits.batch.max(1);
                let starts: Vec<usize> = (0..batch).map(|k| from + k * chunk).take_while(|start| *start < units.len()).collect();
                let mut tried = Vec::new();
                let mut candidates = Vec::new();
                for start in &starts {
                    let candidate = without(&self.plan, &units[*start..units.len().min(start + chunk)]);
                    let candidate = repair::repaired(candidate);
                    if candidate != self.plan {
                        tried.push(*start);
                        candidates.push(candidate);
                    }
                }
                let taken = if candidates.is_empty() { None } else { self.take_first(candidates) };
                from = taken.map_or(from + batch * chunk, |index| tried[index]);
            }
            chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
        }
    }
}

#[cfg(test)]
mod tests;
