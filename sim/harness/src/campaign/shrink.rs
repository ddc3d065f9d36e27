//! Smaller plans that fail the same way, searched for on all workers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sim_core::promise::Promises;
use sim_core::verdict::Signature;
use sim_core::{Plan, shrink};
use sim_world::{TrialConfig, WorldKind};

use super::judge::judge;
use crate::databases::WorkerDatabases;

/// How often in a row a plan must fail where time is real, that was shrunk where it is not.
const CONFIRMATIONS: usize = 3;

/// Whether a plan fails with the signature.
fn fails_alike(
    config: &TrialConfig,
    promises: &Promises,
    plan: &Plan,
    signature: &Signature,
    databases: &mut WorkerDatabases,
) -> bool {
    judge(config, promises, plan, Some(&[signature.checker.as_str()]), databases).is_ok_and(|judged| {
        judged.failure.is_none() && judged.examined.report.anomalies().any(|one| one.signature() == *signature)
    })
}

/// Searches for a smaller plan that fails with the same signature.
///
/// Where time is real a plan takes a second. If the deterministic world shows the same failure, the search is made
/// there, and what it finds is tried where it belongs.
#[must_use]
pub fn search_smaller(
    config: &TrialConfig,
    promises: &Promises,
    plan: &Plan,
    signature: &Signature,
    workers: usize,
    patience: Duration,
    stop: &AtomicBool,
) -> shrink::Shrunk {
    if config.world.time().is_virtual() {
        return search(config, promises, plan, signature, workers, patience, stop);
    }
    if let Ok(mut databases) = WorkerDatabases::new(&config.system.app) {
        let elsewhere = TrialConfig { world: WorldKind::Deterministic, ..config.clone() };
        if fails_alike(&elsewhere, promises, plan, signature, &mut databases) {
            let found = search(&elsewhere, promises, plan, signature, workers, patience, stop);
            // A plan that two servers race over fails now and then: that is none to hand back.
            if (0..CONFIRMATIONS).all(|_| fails_alike(config, promises, &found.plan, signature, &mut databases)) {
                return found;
            }
        }
    }
    search(config, promises, plan, signature, workers, 4 * patience, stop)
}

fn search(
    config: &TrialConfig,
    promises: &Promises,
    plan: &Plan,
    signature: &Signature,
    workers: usize,
    patience: Duration,
    stop: &AtomicBool,
) -> shrink::Shrunk {
    let deadline = Instant::now() + patience;
    let databases_of_workers: Vec<Mutex<Option<WorkerDatabases>>> =
        (0..workers.max(1)).map(|_| Mutex::new(None)).collect();
    let fails = |candidate: &Plan, databases: &mut Option<WorkerDatabases>| -> bool {
        if databases.is_none() {
            *databases = WorkerDatabases::new(&config.system.app).ok();
        }
        let Some(databases) = databases.as_mut() else { return false };
        fails_alike(config, promises, candidate, signature, databases)
    };
    let mut first = |candidates: &[Plan]| -> Option<usize> {
        let next = AtomicUsize::new(0);
        let found = AtomicUsize::new(usize::MAX);
        std::thread::scope(|scope| {
            for databases in &databases_of_workers {
                scope.spawn(|| {
                    let mut databases = databases.lock().unwrap_or_else(PoisonError::into_inner);
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        // A candidate behind one that fails cannot be the first.
                        if index >= candidates.len() || index > found.load(Ordering::Relaxed) {
                            return;
                        }
                        if fails(&candidates[index], &mut databases) {
                            found.fetch_min(index, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let found = found.into_inner();
        (found < usize::MAX).then_some(found)
    };
    let limits = shrink::Limits { evaluations_max: 1200, ..Default::default() };
    shrink::shrink(plan, limits, &mut first, &mut || stop.load(Ordering::Relaxed) || Instant::now() >= deadline)
}
