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
mod search;
#[cfg(test)]
mod tests;

pub use self::search::Limits;
use self::search::Search;
use crate::plan::Plan;

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
