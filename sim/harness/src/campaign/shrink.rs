//! Smaller plans that fail the same way, searched for on all workers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sim_core::promise::Promises;
use sim_core::verdict::{Anomaly, Signature};
use sim_core::{Plan, shrink};
use sim_world::{TrialConfig, WorldKind};

use super::judge::judge;
use crate::databases::WorkerDatabases;

/// How often in a row a plan must fail where time is real, that was shrunk where it is not.
const CONFIRMATIONS: usize = 3;

/// What a smaller plan must still show.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    signature: &'a Signature,
    /// Whether it is about what two devices did: then it must not end as what one does alone.
    is_of_several: bool,
    /// Whether the plan does anything at all.
    has_operations: bool,
}

impl<'a> Wanted<'a> {
    fn of(
        config: &TrialConfig,
        promises: &Promises,
        plan: &Plan,
        signature: &'a Signature,
        databases: &mut WorkerDatabases,
    ) -> Self {
        let only = [signature.checker.as_str()];
        let judged = judge(config, promises, plan, Some(&only), databases).ok();
        let anomalies = judged.iter().flat_map(|judged| judged.examined.report.anomalies());
        let mut alike = anomalies.filter(|one| one.signature() == *signature);
        Self { signature, is_of_several: alike.any(is_of_several), has_operations: plan.operations() > 0 }
    }
}

/// Whether an anomaly is about what several devices did.
fn is_of_several(anomaly: &Anomaly) -> bool {
    anomaly.operations.windows(2).any(|pair| pair[0].0 != pair[1].0)
}

/// Whether a plan fails as it is to.
fn fails_alike(
    config: &TrialConfig,
    promises: &Promises,
    plan: &Plan,
    wanted: Wanted<'_>,
    databases: &mut WorkerDatabases,
) -> bool {
    if wanted.has_operations && plan.operations() == 0 {
        return false;
    }
    judge(config, promises, plan, Some(&[wanted.signature.checker.as_str()]), databases).is_ok_and(|judged| {
        let is_alike =
            |one: &Anomaly| one.signature() == *wanted.signature && (!wanted.is_of_several || is_of_several(one));
        judged.failure.is_none() && judged.examined.report.anomalies().any(is_alike)
    })
}

/// Searches for a smaller plan that fails with the same signature, and by as many devices' doing.
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
    let Ok(mut databases) = WorkerDatabases::new(&config.system.app) else {
        return shrink::Shrunk { plan: plan.clone(), evaluations: 0, finished: false };
    };
    let elsewhere = TrialConfig { world: WorldKind::Deterministic, ..config.clone() };
    let is_virtual = config.world.time().is_virtual();
    let wanted = Wanted::of(&elsewhere, promises, plan, signature, &mut databases);
    if is_virtual {
        return search(config, promises, plan, wanted, workers, patience, stop);
    }
    if fails_alike(&elsewhere, promises, plan, wanted, &mut databases) {
        let found = search(&elsewhere, promises, plan, wanted, workers, patience, stop);
        // A plan that two servers race over fails now and then: that is none to hand back.
        if (0..CONFIRMATIONS).all(|_| fails_alike(config, promises, &found.plan, wanted, &mut databases)) {
            return found;
        }
    }
    search(config, promises, plan, wanted, workers, 4 * patience, stop)
}

fn search(
    config: &TrialConfig,
    promises: &Promises,
    plan: &Plan,
    wanted: Wanted<'_>,
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
        fails_alike(config, promises, candidate, wanted, databases)
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
