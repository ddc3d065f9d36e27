//! The search: the smallest plan so far, and which candidates are tried next.

use super::repair;
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

/// One change of a plan, where it applies.
pub(super) type Edit = dyn Fn(&Plan) -> Option<Plan>;

/// The search: the smallest plan so far, and how to judge others.
pub(super) struct Search<'a> {
    pub(super) plan: Plan,
    pub(super) limits: Limits,
    pub(super) evaluations: usize,
    pub(super) stopped: bool,
    pub(super) fails: &'a mut dyn FnMut(&[Plan]) -> Option<usize>,
    pub(super) should_stop: &'a mut dyn FnMut() -> bool,
}

impl Search<'_> {
    /// Takes the first of the candidates that fails, and says which it was.
    pub(super) fn take_first(&mut self, mut candidates: Vec<Plan>) -> Option<usize> {
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

    /// Tries one edit after the other, each on the plan as it then is, and keeps those that still fail. An edit may not
    /// apply (`None`).
    pub(super) fn try_each(&mut self, edits: &[&Edit]) {
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
    pub(super) fn reduce<U>(&mut self, units: impl Fn(&Plan) -> Vec<U>, without: impl Fn(&Plan, &[U]) -> Plan) {
        let mut chunk = units(&self.plan).len();
        while chunk > 0 && !self.stopped {
            let mut from = 0;
            loop {
                let units = units(&self.plan);
                if from >= units.len() || self.stopped {
                    break;
                }
                let batch = self.limits.batch.max(1);
                let starts: Vec<usize> =
                    (0..batch).map(|k| from + k * chunk).take_while(|start| *start < units.len()).collect();
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
