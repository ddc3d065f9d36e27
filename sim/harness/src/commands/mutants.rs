//! `mutants`: plants each defect in turn, and runs plans until one is judged invalid.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use backend::PolicyKind;
use fixtures::App;
use sim_core::run::MutantResult;
use sim_core::scenario::{Scenario, by_name as scenarios};
use sim_core::verdict::{Signature, Verdict};
use sim_core::{Plan, workload};
use sim_world::TrialConfig;

use super::exit_code::CommandError;
use super::world::{WorldRequest, trial_config};
use super::{SHRINKING_MAX, workers};
use crate::campaign;
use crate::cli::MutantsArgs;
use crate::databases::WorkerDatabases;
use crate::mutants::{Mutant, Planted};

/// Plants each defect in turn, and runs plans until one is judged invalid.
///
/// # Errors
/// A name that is none, or a scenario that is missing.
pub fn mutants(args: &MutantsArgs, stop: &AtomicBool, note: &dyn Fn(&str)) -> Result<Vec<MutantResult>, CommandError> {
    let chosen: Vec<Mutant> = if args.mutants.is_empty() {
        Mutant::ALL.to_vec()
    } else {
        args.mutants
            .iter()
            .map(|name| {
                Mutant::ALL.into_iter().find(|mutant| mutant.name() == name).ok_or_else(|| {
                    let known: Vec<&str> = Mutant::ALL.into_iter().map(Mutant::name).collect();
                    CommandError::Usage(format!("mutant {name}: unknown; there are {}", known.join(", ")))
                })
            })
            .collect::<Result<_, _>>()?
    };
    let app = Arc::new(App::named("flowstate").map_err(CommandError::Harness)?);
    let scenarios = scenarios::of_app(&app).map_err(CommandError::Harness)?;
    let request = WorldRequest {
        name: &args.world,
        containers: Some(&args.containers),
        flags: Some(&args.world_flags),
        ..WorldRequest::default()
    };
    let sound = trial_config(app, "flowstate", Some(PolicyKind::FieldMerge), &request)?;
    let mut results = Vec::new();
    for mutant in chosen {
        if !mutant.is_for(&sound.world) {
            note(&format!(
                "{}: not for this world: it wraps a server, which is a process of its own there",
                mutant.name()
            ));
            continue;
        }
        note(&format!("planting {}", mutant.name()));
        let scenario = scenarios
            .iter()
            .find(|scenario| scenario.name == mutant.scenario())
            .ok_or_else(|| CommandError::Harness(format!("scenario {} is missing", mutant.scenario())))?;
        let config = TrialConfig { seams: Arc::new(Planted(mutant)), ..sound.clone() };
        results.push(plans_until_caught(mutant, &config, scenario, args, stop));
    }
    Ok(results)
}

/// The plan that caught a defect.
struct Caught {
    index: u32,
    signature: Signature,
    checkers: Vec<String>,
    plan: Plan,
}

/// Runs plans in order of their number until one is invalid; several at once, but the lowest number counts.
fn plans_until_caught(
    mutant: Mutant,
    config: &TrialConfig,
    scenario: &Scenario,
    args: &MutantsArgs,
    stop: &AtomicBool,
) -> MutantResult {
    let next = AtomicU32::new(0);
    let caught: Mutex<Option<Caught>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..workers(args.workers) {
            scope.spawn(|| {
                let Ok(mut databases) = WorkerDatabases::new(&config.system.app) else { return };
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let lowest = caught.lock().ok().and_then(|caught| caught.as_ref().map(|caught| caught.index));
                    if index >= args.plans
                        || lowest.is_some_and(|lowest| index > lowest)
                        || stop.load(Ordering::Relaxed)
                    {
                        return;
                    }
                    let seed = workload::plan_seed(args.seed, &scenario.name, u64::from(index));
                    let plan = workload::generate(scenario, &config.system.app, seed);
                    let Ok(judged) = campaign::judge(config, &scenario.promises, &plan, None, &mut databases) else {
                        return;
                    };
                    let report = &judged.examined.report;
                    if report.verdict() == Verdict::Invalid
                        && let Some(anomaly) = report.anomalies().next()
                        && let Ok(mut caught) = caught.lock()
                        && caught.as_ref().is_none_or(|caught| index < caught.index)
                    {
                        let checkers: BTreeSet<&str> = report.anomalies().map(|anomaly| anomaly.checker).collect();
                        let checkers = checkers.into_iter().map(str::to_owned).collect();
                        *caught = Some(Caught { index, signature: anomaly.signature(), checkers, plan });
                    }
                }
            });
        }
    });
    let caught = caught.into_inner().ok().flatten();
    let smallest = caught.as_ref().filter(|_| args.shrink).map(|caught| {
        let (promises, workers) = (&scenario.promises, workers(args.workers));
        let found =
            campaign::search_smaller(config, promises, &caught.plan, &caught.signature, workers, SHRINKING_MAX, stop);
        found.plan.operations()
    });
    MutantResult {
        name: mutant.name().to_owned(),
        place: mutant.place(),
        caught: caught.is_some(),
        plans: caught.as_ref().map_or(args.plans, |caught| caught.index + 1),
        scenario: scenario.name.clone(),
        checker: caught.as_ref().map(|caught| caught.signature.checker.clone()),
        checkers: caught.map(|caught| caught.checkers).unwrap_or_default(),
        smallest,
    }
}
