//! `run`: runs scenarios and judges them, shrinks what failed, and writes the report.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backend::PolicyKind;
use fixtures::App;
use reports::Failure;
use sim_core::run::Run;
use sim_core::scenario::{Scenario, by_name as scenarios};
use sim_stack::files;
use sim_world::{TrialConfig, WorldKind};

use super::beginnings;
use super::exit_code::{self, CommandError};
use super::findings::Gathering;
use super::summary::summarize;
use super::world::{WorldRequest, suited, trial_config, why_not};
use super::{RUNS, workers_for};
use crate::campaign::{self, Campaign, ScenarioResult};
use crate::cli::RunArgs;
use crate::interruption::Interruption;

/// What `run` found.
pub struct RunOutcome {
    /// The summary.
    pub run: Run,
    /// Where the report is.
    pub folder: PathBuf,
    /// The exit code.
    pub exit_code: u8,
    /// What the harness itself could not do.
    pub broken: Vec<String>,
    /// What plans have left in somebody else's database.
    pub left_behind: Vec<String>,
}

/// Plans a scenario where servers are real, unless more are asked for.
const PLANS_REAL: u32 = 2;
/// And as many as this where in these not everything has occurred that must.
const PLANS_REAL_MAX: u32 = 16;

/// What there is to run.
pub struct RunRequest {
    config: TrialConfig,
    /// With how many plans each gets: none where this world cannot run it.
    scenarios: Vec<(Scenario, u32)>,
    /// Why a scenario does not run in this world.
    not_run: Vec<Option<String>>,
    checkers: Option<Vec<&'static str>>,
    folder: PathBuf,
    told: Vec<String>,
}

impl RunRequest {
    /// Reads application and scenarios, and checks every argument.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(args: &RunArgs, stop: Arc<AtomicBool>) -> Result<Self, CommandError> {
        let app = Arc::new(App::named(&args.app.app).map_err(CommandError::Usage)?);
        let all = scenarios::of_app(&app).map_err(CommandError::Usage)?;
        let chosen = scenarios::choose(all, &args.scenarios).map_err(CommandError::Usage)?;
        if chosen.is_empty() {
            return Err(CommandError::Usage(format!("--app {}: it has no scenario", args.app.app)));
        }
        let out = args.out.as_deref();
        if let Some(folder) = out.filter(|folder| folder.is_file()) {
            return Err(CommandError::Usage(format!("--out {}: is a file; give a folder", folder.display())));
        }
        let request = WorldRequest {
            name: &args.world,
            containers: Some(&args.containers),
            external: Some(&args.external),
            policy: args.policy,
            out,
            flags: Some(&args.world_flags),
        };
        let checkers = checkers(args.checkers.as_deref())?;
        let promised = args.policy.unwrap_or(PolicyKind::FieldMerge);
        let mut config = trial_config(app, &args.app.app, Some(promised), &request)?;
        for name in checkers.iter().flatten() {
            if let Some(why) = why_not_judged(name, &config) {
                return Err(CommandError::Usage(format!("--checkers {name}: it judges nothing here: {why}")));
            }
        }
        let chosen: Vec<_> = chosen.into_iter().map(|scenario| suited(scenario, &config.world)).collect();
        config.stop = stop;
        let not_run: Vec<Option<String>> = chosen.iter().map(|scenario| why_not(scenario, &config.world)).collect();
        let scenarios = chosen
            .into_iter()
            .zip(&not_run)
            .map(|(scenario, not_run)| {
                let usual = match &config.world {
                    WorldKind::Deterministic => scenario.plans,
                    WorldKind::Embedded(_) => PLANS_REAL,
                    // Each takes its time; what is for containers alone says itself how many.
                    WorldKind::External(_) => 1,
                    WorldKind::Containers(_) if scenario.worlds.is_empty() => 1,
                    WorldKind::Containers(_) => scenario.plans,
                };
                let plans = if not_run.is_some() { 0 } else { args.plans.unwrap_or(usual) };
                (scenario, plans)
            })
            .collect();
        let scenarios: Vec<(Scenario, u32)> = scenarios;
        let told = beginnings::look(&config.system.app, &scenarios, args.seed, args.first)?;
        let folder = args.out.clone().unwrap_or_else(|| {
            let app = Path::new(&config.system.app.name).file_name().map(|name| name.to_string_lossy().into_owned());
            let world = if config.world.time().is_virtual() { String::new() } else { format!("-{}", args.world) };
            let app = app.unwrap_or_default();
            PathBuf::from(RUNS).join(format!("{app}-{}-{}{world}", config.system.promised_name(), args.seed))
        });
        Ok(Self { config, scenarios, not_run, checkers, folder, told })
    }

    /// The policy that the backend is held to.
    #[must_use]
    pub fn policy(&self) -> String {
        self.config.system.promised_name()
    }

    /// What of the application a user should be told of before plans run.
    #[must_use]
    pub fn told(&self) -> &[String] {
        &self.told
    }

    /// How many plans each scenario gets, for progress.
    #[must_use]
    pub fn plans(&self) -> Vec<(String, u32)> {
        self.scenarios.iter().map(|(scenario, plans)| (scenario.name.clone(), *plans)).collect()
    }
}

/// Why a checker judges nothing of these runs.
fn why_not_judged(checker: &str, config: &TrialConfig) -> Option<String> {
    match checker {
        "latency" if !config.world.time().is_virtual() => {
            Some("a budget is judged where time is simulated, in the deterministic world".to_owned())
        }
        "policy" if config.system.promised.is_none() => {
            Some("the backend promises no policy; name one with --policy".to_owned())
        }
        _ => None,
    }
}

fn checkers(asked: Option<&[String]>) -> Result<Option<Vec<&'static str>>, CommandError> {
    let Some(asked) = asked else { return Ok(None) };
    let known: Vec<&'static str> = sim_core::checker::CHECKERS.iter().map(|(name, _)| *name).collect();
    asked
        .iter()
        .map(|name| {
            known.iter().copied().find(|known| known == name).ok_or_else(|| {
                CommandError::Usage(format!("--checkers {name}: unknown; there are {}", known.join(", ")))
            })
        })
        .collect::<Result<Vec<_>, _>>()
        .map(Some)
}

/// Runs scenarios and judges them, shrinks what failed, and writes the report.
///
/// # Errors
/// When the report cannot be written.
pub fn run(
    args: &RunArgs,
    request: &RunRequest,
    interruption: &Interruption,
    progress: &(dyn Fn(usize) + Sync),
    note: &(dyn Fn(&str) + Sync),
) -> Result<RunOutcome, CommandError> {
    let began = Instant::now();
    let workers = workers_for(&request.config, args.workers);
    let campaign = Campaign {
        config: &request.config,
        scenarios: &request.scenarios,
        seed: args.seed,
        first: args.first,
        workers,
        checkers: request.checkers.clone(),
        stop: interruption.stop(),
    };
    let results: Vec<Mutex<ScenarioResult>> = request.scenarios.iter().map(|_| Mutex::default()).collect();
    let known = || -> Vec<ScenarioResult> { results.iter().map(|one| campaign::lock(one).clone()).collect() };
    let at_once = || {
        // The process ends after this, whether it could be written or not.
        let _ = report(args, request, &known(), began.elapsed(), workers, &Shrinking { is_wanted: false, note });
    };
    interruption.with_report(at_once, || {
        campaign::run(&campaign, &results, progress);
        if args.plans.is_none() && !request.config.world.time().is_virtual() && request.checkers.is_none() {
            campaign::further(&campaign, &results, PLANS_REAL_MAX, progress);
        }
        report(args, request, &known(), began.elapsed(), workers, &Shrinking { is_wanted: !args.no_shrink, note })
    })
}

/// Whether failures are shrunk before they are reported, and who is told.
struct Shrinking<'a> {
    is_wanted: bool,
    note: &'a (dyn Fn(&str) + Sync),
}

/// Writes the report of what was judged.
fn report(
    args: &RunArgs,
    request: &RunRequest,
    results: &[ScenarioResult],
    wall: Duration,
    workers: usize,
    shrinking: &Shrinking<'_>,
) -> Result<RunOutcome, CommandError> {
    let gathering = Gathering {
        config: &request.config,
        scenarios: &request.scenarios,
        folder: &request.folder,
        workers,
        searches: shrinking.is_wanted,
        app: &args.app.app,
        note: shrinking.note,
    };
    let found = gathering.gather(results)?;
    let mut scenarios = Vec::new();
    let mut broken = Vec::new();
    let mut left_behind = Vec::new();
    let all = request.scenarios.iter().zip(&request.not_run).zip(results);
    for (index, (((scenario, planned), not_run), result)) in all.enumerate() {
        broken.extend(result.broken.iter().map(|(plan, why)| format!("{} plan {plan}: {why}", scenario.name)));
        let left = result.left_behind.iter();
        left_behind.extend(left.map(|(plan, left)| format!("{} plan {plan}: {left}", scenario.name)));
        let class = found.invalid.get(&index).copied();
        let mut scenario_run =
            summarize(scenario, result, class, *planned, request.checkers.as_deref(), &request.policy());
        scenario_run.not_run.clone_from(not_run);
        scenarios.push(scenario_run);
    }
    let run = Run {
        version: sim_core::run::VERSION,
        seed: args.seed.to_string(),
        world: args.world.clone(),
        app: request.config.system.app.name.clone(),
        policy: request.policy(),
        commit: env!("SYNCSTORM_COMMIT").to_owned(),
        findings: found.runs,
        scenarios,
        totals: campaign::totals(results, wall),
    };
    write_reports(&request.folder, &run, &found.failures)?;
    let exit_code = exit_code::of_run(&run, &broken, &left_behind, args.strict);
    Ok(RunOutcome { run, folder: request.folder.clone(), exit_code, broken, left_behind })
}

fn write_reports(folder: &Path, run: &Run, failures: &[Failure<'_>]) -> Result<(), CommandError> {
    let files = [
        ("report.html", reports::html::render(run, failures)),
        ("run.json", reports::json::render(run)),
        ("junit.xml", reports::junit::render(run)),
        ("findings.md", reports::markdown::findings(run)),
        ("summary.txt", reports::text::summary(run)),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        files::write_file(&path, &text)
            .map_err(|error| CommandError::Harness(format!("{}: {error}", path.display())))?;
    }
    Ok(())
}
