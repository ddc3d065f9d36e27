//! What each command of the program does. Printing is `main`'s; here texts are made.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use reports::Failure;
use sim_core::checker::Report;
use sim_core::plan::Plan;
use sim_core::regression::{Regression, VERSION};
use sim_core::promise::NO_POLICY;
use sim_core::run::{AnomalyText, FailureKind, Run, ScenarioRun, Shrunk};
use sim_core::scenario::Scenario;
use sim_core::verdict::{Class, Signature, Verdict};
use sim_core::workload;

use crate::artifacts;
use crate::campaign::{self, Campaign, Failing, Judged, Tally};
use crate::catalogue;
use crate::cli::{ContainerArgs, DeployInitArgs, ExternalArgs, ReplayArgs, RunArgs, ShrinkArgs, UpArgs};
use crate::deploy;
use crate::device::database::Cabinet;
use crate::device::host::HostError;
use crate::invariants::Bench;
use crate::target::Target;
use crate::trial::Setup;
use crate::world::{self, containers, embedded, external};

/// Everything was well.
pub const EXIT_VALID: u8 = 0;
/// A line of a checklist failed.
pub const EXIT_FAILED: u8 = 1;
/// Something could not be judged.
pub const EXIT_UNKNOWN: u8 = 4;
/// The question was wrong.
pub const EXIT_USAGE: u8 = 64;
/// The harness itself failed.
pub const EXIT_HARNESS: u8 = 70;

/// Where reports go unless they are told otherwise.
const RUNS: &str = "reports/runs";

/// How long one failure may be shrunk.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a command ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The user's input: exit code 64.
    #[error("{0}")]
    Usage(String),
    /// Ours: exit code 70.
    #[error("{0}")]
    Harness(String),
}

impl CommandError {
    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Harness(_) => EXIT_HARNESS,
        }
    }
}

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
}

/// How many threads: those asked for, or every core.
#[must_use]
pub fn workers(asked: Option<u32>) -> usize {
    asked.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |asked| asked as usize)
}

/// The same; one where several would meet in somebody's database.
fn workers_in(setup: &Setup, asked: Option<u32>) -> usize {
    if setup.world.is_shared() { 1 } else { workers(asked) }
}

/// Plans a scenario where servers are real, unless more are asked for.
const PLANS_REAL: u32 = 2;
/// And as many as this where in these not everything has occurred that must.
const PLANS_REAL_MAX: u32 = 16;

/// How often a failure is replayed there, until it comes.
const REPLAYS_REAL: u32 = 5;

/// What there is to run.
pub struct Prepared {
    setup: Setup,
    /// With how many plans each gets: none where this world cannot run it.
    scenarios: Vec<(Scenario, u32)>,
    /// Why a scenario does not run in this world.
    not_run: Vec<Option<String>>,
    checkers: Option<Vec<&'static str>>,
    folder: PathBuf,
}

impl Prepared {
    /// Reads application and scenarios, and checks every argument.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(args: &RunArgs) -> Result<Self, CommandError> {
        let app = Arc::new(catalogue::app(&args.app.app).map_err(CommandError::Usage)?);
        let all = catalogue::scenarios(&app).map_err(CommandError::Usage)?;
        let chosen = catalogue::choose(all, &args.scenarios).map_err(CommandError::Usage)?;
        if chosen.is_empty() {
            return Err(CommandError::Usage(format!("--app {}: it has no scenario", args.app.app)));
        }
        let out = args.out.as_deref();
        if let Some(folder) = out.filter(|folder| folder.is_file()) {
            return Err(CommandError::Usage(format!("--out {}: is a file; give a folder", folder.display())));
        }
        let asked = Asked { world: &args.world, containers: Some(&args.containers), external: Some(&args.external), policy: args.policy, out };
        let setup = in_world(setup(app, args.policy.unwrap_or(backend::PolicyKind::FieldMerge))?, &args.app.app, &asked)?;
        let not_run: Vec<Option<String>> = chosen.iter().map(|scenario| why_not(scenario, &setup.world)).collect();
        let scenarios = chosen
            .into_iter()
            .zip(&not_run)
            .map(|(scenario, not_run)| {
                let usual = match &setup.world {
                    world::Kind::Deterministic => scenario.plans,
                    world::Kind::Embedded(_) => PLANS_REAL,
                    // Each takes its time; what is for containers alone says itself how many.
                    world::Kind::External(_) => 1,
                    world::Kind::Containers(_) if scenario.worlds.is_empty() => 1,
                    world::Kind::Containers(_) => scenario.plans,
                };
                let plans = if not_run.is_some() { 0 } else { args.plans.unwrap_or(usual) };
                (scenario, plans)
            })
            .collect();
        let folder = args.out.clone().unwrap_or_else(|| {
            let app = Path::new(&setup.app.name).file_name().map(|name| name.to_string_lossy().into_owned());
            let world = if setup.world.time().is_virtual() { String::new() } else { format!("-{}", args.world) };
            let app = app.unwrap_or_default();
            PathBuf::from(RUNS).join(format!("{app}-{}-{}{world}", setup.promised(), args.seed))
        });
        Ok(Self { setup, scenarios, not_run, checkers: checkers(args.checkers.as_deref())?, folder })
    }

    /// The policy that the backend is held to.
    #[must_use]
    pub fn policy(&self) -> String {
        self.setup.promised()
    }

    /// How many plans each scenario gets, for progress.
    #[must_use]
    pub fn plans(&self) -> Vec<(String, u32)> {
        self.scenarios.iter().map(|(scenario, plans)| (scenario.name.clone(), *plans)).collect()
    }
}

fn setup(app: Arc<fixtures::App>, policy: backend::PolicyKind) -> Result<Setup, CommandError> {
    Bench::new(&app).map_err(CommandError::Usage)?;
    Setup::new(app, policy).map_err(|error| CommandError::Usage(format!("sync-config.yaml: {error}")))
}

/// Which world is asked for, and what it is made of.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asked<'a> {
    pub(crate) world: &'a str,
    pub(crate) containers: Option<&'a ContainerArgs>,
    pub(crate) external: Option<&'a ExternalArgs>,
    /// The policy, where one is named.
    pub(crate) policy: Option<backend::PolicyKind>,
    /// The folder of the report, where one is named.
    pub(crate) out: Option<&'a Path>,
}

impl<'a> Asked<'a> {
    /// For a case, in the world in which it was found unless another is named.
    fn again(world: Option<&'a str>, containers: &'a ContainerArgs, external: &'a ExternalArgs) -> Self {
        let world = world.unwrap_or_default();
        Self { world, containers: Some(containers), external: Some(external), ..Self::default() }
    }
}

/// Where plans run. A world that cannot be had is refused at once.
pub(crate) fn in_world(setup: Setup, app: &str, asked: &Asked<'_>) -> Result<Setup, CommandError> {
    let world = match asked.world {
        "embedded" => {
            let program = std::env::current_exe()
                .map_err(|error| CommandError::Harness(format!("this program's own path: {error}")))?;
            let pool = embedded::Pool::new(&setup, app, program);
            pool.warm().map_err(|problem| CommandError::Harness(format!("--world embedded: {problem}")))?;
            world::Kind::Embedded(Arc::new(pool))
        }
        "containers" => {
            let stack = asked.containers.ok_or_else(|| CommandError::Usage("this command is not for containers".to_owned()))?;
            let choice = containers::Choice {
                storage: stack.storage,
                stand_ins: stack.stand_ins,
                images: stack.images.iter().cloned().collect(),
            };
            let pool = containers::Pool::new(&setup, choice);
            pool.warm().map_err(|problem| CommandError::Harness(format!("--world containers: {problem}")))?;
            world::Kind::Containers(Arc::new(pool))
        }
        "external" => return in_external(setup, app, asked),
        _ => world::Kind::Deterministic,
    };
    Ok(Setup { world, ..setup })
}

/// The world is somebody else's. Nothing is asked of it until writing is allowed.
fn in_external(setup: Setup, app: &str, asked: &Asked<'_>) -> Result<Setup, CommandError> {
    let usage = CommandError::Usage;
    let args = asked.external.ok_or_else(|| usage("this command is not for the external world".to_owned()))?;
    if !args.allow_writes {
        let why = "--world external: devices write to it, rows with ids of their own that are deleted again; allow it with --allow-writes";
        return Err(usage(why.to_owned()));
    }
    let mapping = external::Mapping::read(&args.mapping).map_err(usage)?;
    let target = Target::new(&args.stack, Some(app)).map_err(usage)?;
    let setup = setup.held_to(asked.policy.or(mapping.policy));
    let folder = asked.out.map_or_else(|| PathBuf::from(RUNS), Path::to_owned);
    let choice = external::Choice { target, mapping: Arc::new(mapping), folder };
    let pool = external::Pool::new(&setup, choice).map_err(usage)?;
    pool.warm().map_err(|problem| CommandError::Harness(format!("--world external: {problem}")))?;
    Ok(Setup { world: world::Kind::External(Arc::new(pool)), ..setup })
}

/// Why a world does not run a scenario: it is for others, or about something that there is not or may not be touched.
fn why_not(scenario: &Scenario, world: &world::Kind) -> Option<String> {
    let is_for = scenario.worlds.is_empty() || scenario.worlds.iter().any(|name| name == world.name());
    if !is_for {
        return Some(format!("it is for {}", scenario.worlds.join(", ")));
    }
    let pool = match world {
        world::Kind::Containers(pool) => pool,
        world::Kind::External(pool) => return external::why_not(scenario, pool.signs()),
        world::Kind::Deterministic | world::Kind::Embedded(_) => return None,
    };
    let missing = scenario.parts().into_iter().find(|part| !pool.has(*part))?;
    Some(format!("this stack has no {}", format!("{missing:?}").to_lowercase()))
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

/// Brings the embedded world up, to stay.
///
/// # Errors
/// Why it did not come up.
pub fn up(args: &UpArgs) -> Result<embedded::Standing, CommandError> {
    let app = Arc::new(catalogue::app(&args.app.app).map_err(CommandError::Usage)?);
    let asked = Asked { world: "embedded", ..Asked::default() };
    let setup = in_world(setup(app, args.policy)?, &args.app.app, &asked)?;
    let world::Kind::Embedded(pool) = &setup.world else { unreachable!("it was just asked for") };
    embedded::Standing::up(pool).map_err(CommandError::Harness)
}

/// Makes a deployment's folder.
///
/// # Errors
/// What is wrong with the arguments, or why the folder could not be made.
pub fn deploy_init(args: &DeployInitArgs) -> Result<(), CommandError> {
    let app = catalogue::app(&args.app.app).map_err(CommandError::Usage)?;
    let choice = deploy::Choice {
        storage: args.containers.storage,
        audience: args.audience.clone(),
        origin: args.web_origin.clone(),
        stand_ins: args.containers.stand_ins,
        images: args.containers.images.iter().cloned().collect(),
    };
    deploy::init(&args.folder, &app, &choice).map_err(CommandError::Usage)
}

/// Runs scenarios and judges them, shrinks what failed, and writes the report.
///
/// # Errors
/// When the report cannot be written.
pub fn run(
    args: &RunArgs,
    prepared: &Prepared,
    stop: &AtomicBool,
    progress: &(dyn Fn(usize) + Sync),
    note: &(dyn Fn(&str) + Sync),
) -> Result<RunOutcome, CommandError> {
    let began = Instant::now();
    let workers = workers_in(&prepared.setup, args.workers);
    let campaign = Campaign {
        setup: &prepared.setup,
        scenarios: &prepared.scenarios,
        seed: args.seed,
        first: args.first,
        workers,
        checkers: prepared.checkers.clone(),
        stop,
    };
    let mut tallies = campaign::run(&campaign, progress);
    if args.plans.is_none() && !prepared.setup.world.time().is_virtual() && prepared.checkers.is_none() {
        campaign::further(&campaign, &mut tallies, PLANS_REAL_MAX, progress);
    }
    let wall = began.elapsed();
    let mut failures = Vec::new();
    let mut scenarios = Vec::new();
    let mut broken = Vec::new();
    for (((scenario, planned), not_run), tally) in prepared.scenarios.iter().zip(&prepared.not_run).zip(&tallies) {
        broken.extend(tally.broken.iter().map(|(plan, why)| format!("{} plan {plan}: {why}", scenario.name)));
        let mut told = summarize(scenario, tally, *planned, prepared.checkers.is_none(), &prepared.policy());
        told.not_run.clone_from(not_run);
        if let Some((failing, signature, class)) = primary(tally) {
            let index = failing.index;
            note(&format!("shrinking {}: {} {}", scenario.name, signature.checker, signature.code));
            told.class = Some(class);
            let seed = workload::plan_seed(args.seed, &scenario.name, u64::from(index));
            let plan = workload::generate(scenario, &prepared.setup.app, seed);
            let smallest = if args.no_shrink {
                plan.clone()
            } else {
                campaign::shrink(&prepared.setup, &scenario.promises, &plan, &signature, workers, PATIENCE, stop).plan
            };
            let searched = !args.no_shrink;
            let found = Found { scenario, plan, smallest, searched, signature, seen: failing.seen.clone(), app: &args.app.app };
            let (failure, shrunk) = keep(prepared, &found)?;
            told.anomalies.clone_from(&failure.anomalies);
            told.shrunk = Some(shrunk);
            failures.push(failure);
        }
        scenarios.push(told);
    }
    let run = Run {
        version: sim_core::run::VERSION,
        seed: args.seed.to_string(),
        world: args.world.clone(),
        app: prepared.setup.app.name.clone(),
        policy: prepared.policy(),
        commit: env!("SYNCSTORM_COMMIT").to_owned(),
        scenarios,
        totals: campaign::totals(&tallies, wall),
    };
    write_reports(&prepared.folder, &run, &failures)?;
    let worst: Vec<Option<Class>> = tallies.iter().map(worst).collect();
    let exit_code = exit_code(&run, &worst, &broken, args.strict);
    Ok(RunOutcome { run, folder: prepared.folder.clone(), exit_code, broken })
}

fn write_reports(folder: &Path, run: &Run, failures: &[Failure<'_>]) -> Result<(), CommandError> {
    let files = [
        ("report.html", reports::html::render(run, failures)),
        ("run.json", reports::json::render(run)),
        ("junit.xml", reports::junit::render(run)),
        ("summary.txt", reports::text::summary(run)),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        artifacts::write_file(&path, &text)
            .map_err(|error| CommandError::Harness(format!("{}: {error}", path.display())))?;
    }
    Ok(())
}

/// The lowest code that any scenario gives; `worst` has the worst class of each.
fn exit_code(run: &Run, worst: &[Option<Class>], broken: &[String], strict: bool) -> u8 {
    if !broken.is_empty() {
        return EXIT_HARNESS;
    }
    run.scenarios
        .iter()
        .zip(worst)
        .filter_map(|(scenario, worst)| match (scenario.verdict, *worst) {
            _ if scenario.not_run.is_some() => strict.then_some(EXIT_UNKNOWN),
            (Verdict::Valid, _) => None,
            (Verdict::Unknown, _) => Some(EXIT_UNKNOWN),
            (Verdict::Invalid, Some(Class::Liveness)) => Some(2),
            (Verdict::Invalid, Some(Class::Latency)) => Some(3),
            (Verdict::Invalid, _) => Some(1),
        })
        .min()
        .unwrap_or(EXIT_VALID)
}

/// The failure to show of a scenario: the most frequent signature, of equally frequent ones one of the worst class;
/// and of the plans that show it the one with the fewest operations.
fn primary(tally: &Tally) -> Option<(&Failing, Signature, Class)> {
    let mut counts: std::collections::BTreeMap<(Class, &Signature), usize> = std::collections::BTreeMap::new();
    for (signature, class) in tally.failing.iter().flat_map(|failing| &failing.signatures) {
        *counts.entry((*class, signature)).or_default() += 1;
    }
    let most = counts.values().max().copied()?;
    let ((class, signature), _) = counts.into_iter().find(|(_, count)| *count == most)?;
    let plan = tally
        .failing
        .iter()
        .filter(|failing| failing.signatures.iter().any(|(one, _)| one == signature))
        .min_by_key(|failing| (failing.operations, failing.index))?;
    Some((plan, signature.clone(), class))
}

/// The ways in which a scenario's plans failed, most frequent first.
fn failure_kinds(tally: &Tally) -> Vec<FailureKind> {
    let mut plans: std::collections::BTreeMap<(&Signature, Class), Vec<u32>> = std::collections::BTreeMap::new();
    for failing in &tally.failing {
        for (signature, class) in &failing.signatures {
            plans.entry((signature, *class)).or_default().push(failing.index);
        }
    }
    let mut kinds: Vec<FailureKind> = plans
        .into_iter()
        .map(|((signature, class), plans)| FailureKind {
            checker: signature.checker.clone(),
            code: signature.code.clone(),
            role: signature.role.clone(),
            class,
            plans,
        })
        .collect();
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.plans.len()));
    kinds
}

/// The worst class of a scenario's failures.
fn worst(tally: &Tally) -> Option<Class> {
    tally.failing.iter().flat_map(|failing| &failing.signatures).map(|(_, class)| *class).min()
}

fn summarize(
    scenario: &Scenario,
    tally: &Tally,
    planned: u32,
    all_checkers: bool,
    policy: &str,
) -> ScenarioRun {
    let not_owed = scenario.promises.claims.iter().filter(|claim| !claim.is_owed_by(policy));
    let mut verdict = tally.verdict;
    let mut unknown: Vec<String> =
        tally.unknown.iter().flat_map(|(plan, why)| why.iter().map(move |why| format!("plan {plan}: {why}"))).collect();
    unknown.truncate(10);
    if tally.plans < planned {
        unknown.push(format!("{} of {planned} plans ran", tally.plans));
        verdict = verdict.max(Verdict::Unknown);
    }
    if all_checkers && tally.plans > 0 && verdict == Verdict::Valid {
        let missing = sim_core::checker::coverage::missing(&scenario.promises.must_occur, &tally.occurred);
        if !missing.is_empty() {
            verdict = Verdict::Unknown;
            unknown.extend(missing.into_iter().map(|missing| format!("vacuous: {missing}")));
        }
    }
    ScenarioRun {
        name: scenario.name.clone(),
        claim: scenario.claim.clone(),
        not_owed: not_owed.map(|claim| claim.name()).collect(),
        plans: tally.plans,
        verdict,
        class: None,
        conflicts: tally.conflicts,
        overridden: tally.overridden.clone(),
        occurred: tally.occurred.clone(),
        checkers: tally.checkers.clone(),
        anomalies: Vec::new(),
        unknown,
        not_run: None,
        latency_ms: tally.latency.end_to_end(),
        hops_ms: tally.latency.hops(),
        failed_plans: tally.failed,
        failures: failure_kinds(tally),
        shrunk: None,
    }
}

/// A failing plan, shrunk.
struct Found<'a> {
    scenario: &'a Scenario,
    plan: Plan,
    smallest: Plan,
    searched: bool,
    signature: Signature,
    /// What was seen of the plan when it failed, where another run may see something else.
    seen: Option<Arc<Judged>>,
    app: &'a str,
}

/// Runs the smallest plan once more with every checker, and writes the failure's folder.
fn keep<'a>(prepared: &'a Prepared, found: &Found<'_>) -> Result<(Failure<'a>, Shrunk), CommandError> {
    let harness = |error: &dyn std::fmt::Display| CommandError::Harness(error.to_string());
    let setup = &prepared.setup;
    let mut cabinet = Cabinet::new(&setup.app).map_err(|error| harness(&error))?;
    let (plan, judged, anomalies) = again(setup, found, &mut cabinet).map_err(|error| harness(&error))?;
    let folder = prepared.folder.join("failures").join(&found.scenario.name);
    let what = anomalies.first().map_or_else(String::new, |anomaly| anomaly.what.clone());
    let mut versions = artifacts::versions();
    versions.insert("app".to_owned(), found.app.to_owned());
    let case = Regression {
        version: VERSION,
        what,
        expected: Some(found.signature.clone()),
        policy: setup.promised(),
        mutant: None,
        world: setup.world.name().to_owned(),
        app_hash: setup.app.hash.clone(),
        versions,
        promises: found.scenario.promises.clone(),
        plan: plan.clone(),
    };
    let pretty = |value: serde_json::Result<String>| value.map_err(|error| CommandError::Harness(error.to_string()));
    let files = [
        ("case.json", pretty(serde_json::to_string_pretty(&case))?),
        ("original.json", pretty(serde_json::to_string_pretty(&found.plan))?),
        ("history.jsonl", judged.history.to_jsonl(&setup.app)),
        ("verdict.json", pretty(serde_json::to_string_pretty(&judged.examined.report))?),
        ("story.txt", reports::story::tell(plan, &judged.history, &setup.app, &anomalies).join("\n") + "\n"),
        ("diagram.svg", {
            let marked = reports::story::highlights(&anomalies);
            reports::diagram::svg(plan, &judged.history, &setup.app, &marked)
        }),
    ];
    artifacts::write_folder(&folder, &files).map_err(|error| harness(&format!("{}: {error}", folder.display())))?;
    let path = folder.display().to_string();
    let shrunk = Shrunk {
        searched: found.searched,
        operations: plan.operations(),
        faults: plan.faults(),
        devices: plan.devices.len(),
        path: path.clone(),
    };
    let failure = Failure {
        scenario: found.scenario.name.clone(),
        plan: plan.clone(),
        history: judged.history.clone(),
        anomalies,
        replay: reports::text::replay_command(&path),
        app: &setup.app,
    };
    Ok((failure, shrunk))
}

/// Runs the smallest plan again, with every checker. Where time is real it may need several attempts, the plan in
/// full may fail where the smallest does not, and if neither does, what was seen the first time is told.
fn again<'f>(
    setup: &Setup,
    found: &'f Found<'_>,
    cabinet: &mut Cabinet,
) -> Result<(&'f Plan, Arc<Judged>, Vec<AnomalyText>), HostError> {
    let attempts = if setup.world.time().is_virtual() { vec![&found.smallest] } else { [[&found.smallest; 3], [&found.plan; 3]].concat() };
    let mut last = None;
    for plan in &attempts {
        let judged = campaign::judge(setup, &found.scenario.promises, plan, None, cabinet)?;
        let anomalies = texts(&judged.examined.report, &found.signature);
        if judged.examined.report.anomalies().any(|anomaly| anomaly.signature() == found.signature) {
            return Ok((plan, Arc::new(judged), anomalies));
        }
        last = Some((*plan, Arc::new(judged), anomalies));
    }
    let seen = found.seen.as_ref().map(|seen| (&found.plan, seen.clone(), texts(&seen.examined.report, &found.signature)));
    let (plan, judged, mut anomalies) = seen.or(last).expect("there is at least one attempt");
    let signature = &found.signature;
    anomalies.insert(
        0,
        AnomalyText {
            checker: signature.checker.clone(),
            code: signature.code.clone(),
            what: format!("A plan failed with this once, and not again in {} attempts.", attempts.len()),
            because: "Real servers answer in an order of their own; this is the history that showed it.".to_owned(),
            evidence: Vec::new(),
            passes_plain_convergence: false,
            events: Vec::new(),
        },
    );
    Ok((plan, judged, anomalies))
}

/// A report's anomalies for people, one a signature, the given one first.
fn texts(report: &Report, first: &Signature) -> Vec<AnomalyText> {
    let passes = report.finding("convergence").is_some_and(|finding| finding.verdict == Verdict::Valid);
    let mut seen: Vec<Signature> = Vec::new();
    let mut texts: Vec<(bool, AnomalyText)> = Vec::new();
    for anomaly in report.anomalies() {
        let signature = anomaly.signature();
        if seen.contains(&signature) {
            continue;
        }
        texts.push((signature != *first, AnomalyText::new(anomaly, passes && anomaly.checker != "convergence")));
        seen.push(signature);
    }
    texts.sort_by_key(|(later, _)| *later);
    texts.into_iter().map(|(_, text)| text).collect()
}

/// What `replay` found.
pub struct Replayed {
    /// What was expected, in words.
    pub expected: String,
    /// What came.
    pub report: Report,
    /// Whether the verdict is the one that was expected.
    pub same_verdict: bool,
    /// Whether the history is the stored one, byte for byte; `None` where none is stored.
    pub same_history: Option<bool>,
    /// The history.
    pub history: String,
    /// The world that it ran in.
    pub world: &'static str,
    /// How often it ran.
    pub attempts: u32,
    /// The story, a line each.
    pub story: Vec<String>,
    /// The anomalies, for people.
    pub anomalies: Vec<AnomalyText>,
    /// The case.
    pub case: Regression,
}

/// Reads a case with its application and policy.
fn open_case(path: &Path, asked: &Asked<'_>) -> Result<(Regression, Setup), CommandError> {
    let case = artifacts::read_case(path).map_err(|error| CommandError::Usage(error.to_string()))?;
    let name = case.versions.get("app").map_or(case.plan.app.as_str(), String::as_str);
    let app = catalogue::app(name).map_err(|error| CommandError::Usage(format!("{}: {error}", path.display())))?;
    if app.hash != case.app_hash {
        return Err(CommandError::Usage(format!(
            "{}: app_hash: the application {name} has changed since this case was found (it was {}, it is {}); run the scenario again",
            path.display(),
            case.app_hash,
            app.hash
        )));
    }
    check_plan(&case.plan, &app).map_err(|error| CommandError::Usage(format!("{}: plan: {error}", path.display())))?;
    let unknown = |_| CommandError::Usage(format!("{}: policy: unknown policy {}", path.display(), case.policy));
    let policy = (case.policy != NO_POLICY).then(|| case.policy.parse().map_err(unknown)).transpose()?;
    let world = if asked.world.is_empty() { &case.world } else { asked.world };
    if !world::NAMES.contains(&world) {
        return Err(CommandError::Usage(format!("{}: world: there is no world {world}", path.display())));
    }
    let setup = setup(Arc::new(app), backend::PolicyKind::FieldMerge)?.held_to(policy);
    let asked = Asked { world, policy, ..*asked };
    let setup = in_world(setup, name, &asked)?;
    Ok((case, setup))
}

/// A plan from a file may name rows, tables and devices that are not there.
fn check_plan(plan: &Plan, app: &fixtures::App) -> Result<(), String> {
    if plan.devices.is_empty() || plan.devices.len() > 1000 {
        return Err(format!("devices: {} of them; a plan has 1 to 1000", plan.devices.len()));
    }
    for (row, table) in plan.rows.iter().enumerate() {
        if app.schema.table_index(table).is_none() {
            return Err(format!("rows[{row}]: the application has no table {table}"));
        }
    }
    let rows = u32::try_from(plan.rows.len()).unwrap_or(u32::MAX);
    if let Some(seed) = plan.seed_rows.iter().find(|seed| seed.row >= rows) {
        return Err(format!("seed_rows: row {} is not in rows, which has {rows}", seed.row));
    }
    for step in plan.steps.iter().chain(&plan.resume) {
        step.check(plan).map_err(|problem| format!("step {}: {problem}", step.key))?;
    }
    Ok(())
}

/// Runs a failure again.
///
/// # Errors
/// What is wrong with the file, or with the harness.
pub fn replay(args: &ReplayArgs) -> Result<Replayed, CommandError> {
    let asked = Asked::again(args.world.as_deref(), &args.containers, &args.external);
    let (case, setup) = open_case(&args.path, &asked)?;
    let harness = |error: &dyn std::fmt::Display| CommandError::Harness(error.to_string());
    let mut cabinet = Cabinet::new(&setup.app).map_err(|error| harness(&error))?;
    // Real servers answer in an order of their own, so that a failure may need another attempt; a plan that must hold
    // has one.
    let attempts = if case.expected.is_some() && !setup.world.time().is_virtual() { REPLAYS_REAL } else { 1 };
    let mut attempt = 0;
    let judged = loop {
        attempt += 1;
        let judged = campaign::judge(&setup, &case.promises, &case.plan, None, &mut cabinet)
            .map_err(|error| harness(&error))?;
        if let Some(failure) = judged.failure {
            return Err(CommandError::Harness(failure));
        }
        let is_expected = |signature: &Signature| judged.examined.report.anomalies().any(|one| one.signature() == *signature);
        if attempt >= attempts || case.expected.as_ref().is_some_and(is_expected) {
            break judged;
        }
    };
    let history = judged.history.to_jsonl(&setup.app);
    let stored = args.path.join("history.jsonl");
    // Where time is real, the verdict is promised and the history is another each time.
    let is_same = |stored: String| setup.world.time().is_virtual().then(|| stored == history);
    let same_history = std::fs::read_to_string(stored).ok().filter(|_| case.world == setup.world.name()).and_then(is_same);
    let report = judged.examined.report;
    let (expected, same_verdict) = match &case.expected {
        Some(signature) => (
            format!("{} {} ({})", signature.checker, signature.code, signature.role),
            report.anomalies().any(|anomaly| anomaly.signature() == *signature),
        ),
        None => ("every checker holds".to_owned(), report.verdict() == Verdict::Valid),
    };
    let none = Signature { checker: String::new(), code: String::new(), role: String::new() };
    let anomalies = texts(&report, case.expected.as_ref().unwrap_or(&none));
    let story = reports::story::tell(&case.plan, &judged.history, &setup.app, &anomalies);
    if let Some(path) = &args.history {
        artifacts::write_file(path, &history).map_err(|error| harness(&format!("{}: {error}", path.display())))?;
    }
    let world = setup.world.name();
    Ok(Replayed { expected, report, same_verdict, same_history, history, world, attempts: attempt, story, anomalies, case })
}

/// The exit code that a report means.
#[must_use]
pub fn report_code(report: &Report) -> u8 {
    match (report.verdict(), report.class()) {
        (Verdict::Valid, _) => EXIT_VALID,
        (Verdict::Unknown, _) => EXIT_UNKNOWN,
        (Verdict::Invalid, Some(Class::Liveness)) => 2,
        (Verdict::Invalid, Some(Class::Latency)) => 3,
        (Verdict::Invalid, _) => 1,
    }
}

/// Searches for a smaller plan that fails the same way, and writes it as a case of its own.
///
/// # Errors
/// What is wrong with the file, or a case that does not fail as it says.
pub fn shrink(args: &ShrinkArgs, stop: &AtomicBool) -> Result<(Plan, Plan, PathBuf), CommandError> {
    let asked = Asked::again(args.world.as_deref(), &args.containers, &args.external);
    let (case, setup) = open_case(&args.path, &asked)?;
    let Some(signature) = case.expected.clone() else {
        return Err(CommandError::Usage(format!("{}: expected: is null; this plan must pass", args.path.display())));
    };
    let harness = |error: &dyn std::fmt::Display| CommandError::Harness(error.to_string());
    let workers = workers_in(&setup, args.workers);
    let shrunk = campaign::shrink(&setup, &case.promises, &case.plan, &signature, workers, PATIENCE, stop);
    let mut cabinet = Cabinet::new(&setup.app).map_err(|error| harness(&error))?;
    let judged = campaign::judge(&setup, &case.promises, &shrunk.plan, None, &mut cabinet)
        .map_err(|error| harness(&error))?;
    if !judged.examined.report.anomalies().any(|anomaly| anomaly.signature() == signature) {
        return Err(CommandError::Usage(format!(
            "{}: expected: the plan does not fail with {} {} any more; nothing to shrink",
            args.path.display(),
            signature.checker,
            signature.code
        )));
    }
    let folder = args.out.clone().unwrap_or_else(|| match args.path.is_dir() {
        true => args.path.join("shrunk"),
        false => args.path.with_extension("shrunk"),
    });
    let world = setup.world.name().to_owned();
    let smaller = Regression { plan: shrunk.plan.clone(), world, ..case.clone() };
    let text = serde_json::to_string_pretty(&smaller).map_err(|error| harness(&error))?;
    let files = [("case.json", text), ("history.jsonl", judged.history.to_jsonl(&setup.app))];
    artifacts::write_folder(&folder, &files).map_err(|error| harness(&format!("{}: {error}", folder.display())))?;
    Ok((case.plan, shrunk.plan, folder))
}
