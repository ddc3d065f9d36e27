//! Which world a command asks for, and what plans then run against. A world that cannot be had is refused at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use backend::PolicyKind;
use fixtures::App;
use sim_core::scenario::Scenario;
use sim_stack::existing_stack::ExistingStack;
use sim_world::{SystemUnderTest, TrialConfig, WorldKind, containers, embedded, external};

use super::RUNS;
use super::exit_code::CommandError;
use crate::invariants::InvariantDatabase;
use crate::world_args::{ContainerArgs, ExternalArgs, WorldFlags};

/// The world that is asked for, and what it is made of.
#[derive(Clone, Copy, Default)]
pub(super) struct WorldRequest<'a> {
    pub(super) name: &'a str,
    pub(super) containers: Option<&'a ContainerArgs>,
    pub(super) external: Option<&'a ExternalArgs>,
    /// The policy, where one is named.
    pub(super) policy: Option<PolicyKind>,
    /// The folder of the report, where one is named.
    pub(super) out: Option<&'a Path>,
    /// The flags that were given for one world.
    pub(super) flags: Option<&'a WorldFlags>,
}

impl<'a> WorldRequest<'a> {
    /// For a case: the world in which it was found, unless another is named.
    pub(super) fn for_case(
        world: Option<&'a str>,
        containers: &'a ContainerArgs,
        external: &'a ExternalArgs,
        flags: &'a WorldFlags,
    ) -> Self {
        let name = world.unwrap_or_default();
        Self { name, containers: Some(containers), external: Some(external), flags: Some(flags), ..Self::default() }
    }
}

/// What plans run against: the application, from `source`, in the world that is asked for. Our own backend is held to
/// the `promised` policy; somebody else's to the one that is named, or else its mapping's.
///
/// # Errors
/// What is wrong with the application or the arguments, or why there is no such world.
pub(super) fn trial_config(
    app: Arc<App>,
    source: &str,
    promised: Option<PolicyKind>,
    request: &WorldRequest<'_>,
) -> Result<TrialConfig, CommandError> {
    if let Some(flags) = request.flags {
        flags.check(request.name).map_err(CommandError::Usage)?;
    }
    match request.name {
        "embedded" => {
            let system = system_under_test(app, promised)?;
            let program = std::env::current_exe()
                .map_err(|error| CommandError::Harness(format!("this program's own path: {error}")))?;
            let pool = embedded::EmbeddedPool::new(&system, source, program);
            pool.preflight().map_err(|problem| CommandError::Harness(format!("--world embedded: {problem}")))?;
            Ok(TrialConfig::new(system, WorldKind::Embedded(Arc::new(pool))))
        }
        "containers" => {
            let system = system_under_test(app, promised)?;
            let not_here = || CommandError::Usage("this command is not for containers".to_owned());
            let args = request.containers.ok_or_else(not_here)?;
            containers::require_gateway()
                .map_err(|problem| CommandError::Harness(format!("--world containers: {problem}")))?;
            let choice = containers::ContainersConfig {
                storage: args.storage,
                stand_ins: args.stand_ins,
                images: args.images.iter().cloned().collect(),
            };
            let pool = containers::ContainersPool::new(&system, choice);
            pool.preflight().map_err(|problem| CommandError::Harness(format!("--world containers: {problem}")))?;
            Ok(TrialConfig::new(system, WorldKind::Containers(Arc::new(pool))))
        }
        "external" => external_config(app, source, request),
        _ => Ok(TrialConfig::new(system_under_test(app, promised)?, WorldKind::Deterministic)),
    }
}

/// The world is somebody else's. Nothing is asked of it until writing is allowed.
fn external_config(app: Arc<App>, source: &str, request: &WorldRequest<'_>) -> Result<TrialConfig, CommandError> {
    let usage = CommandError::Usage;
    let args = request.external.ok_or_else(|| usage("this command is not for the external world".to_owned()))?;
    if !args.allow_writes {
        let why = "--world external: devices write to it, rows with ids of their own that are deleted again; allow it with --allow-writes";
        return Err(usage(why.to_owned()));
    }
    let mapping = external::Mapping::read(&args.mapping).map_err(usage)?;
    let target = ExistingStack::new(&args.stack, Some(source)).map_err(usage)?;
    let system = system_under_test(app, request.policy.or(mapping.policy))?;
    let folder = request.out.map_or_else(|| PathBuf::from(RUNS), Path::to_owned);
    let choice = external::ExternalConfig { target, mapping: Arc::new(mapping), folder };
    let pool = external::ExternalPool::new(&system, choice).map_err(usage)?;
    pool.preflight().map_err(|problem| CommandError::Harness(format!("--world external: {problem}")))?;
    Ok(TrialConfig::new(system, WorldKind::External(Arc::new(pool))))
}

fn system_under_test(app: Arc<App>, promised: Option<PolicyKind>) -> Result<Arc<SystemUnderTest>, CommandError> {
    InvariantDatabase::new(&app).map_err(CommandError::Usage)?;
    let system = SystemUnderTest::new(app, promised);
    system.map(Arc::new).map_err(|error| CommandError::Usage(format!("sync-config.yaml: {error}")))
}

/// A scenario as a world can run it: its swarm is drawn from the faults that the world can bring about.
pub(super) fn suited(scenario: Scenario, world: &WorldKind) -> Scenario {
    match world {
        WorldKind::External(pool) => external::suited(&scenario, pool.signs()),
        _ => scenario,
    }
}

/// Why a world does not run a scenario: it is for others, or about something that there is not or may not be touched.
pub(super) fn why_not(scenario: &Scenario, world: &WorldKind) -> Option<String> {
    let is_for = scenario.worlds.is_empty() || scenario.worlds.iter().any(|name| name == world.name());
    if !is_for {
        return Some(format!("it is for {}", scenario.worlds.join(", ")));
    }
    let pool = match world {
        WorldKind::Containers(pool) => pool,
        WorldKind::External(pool) => return external::why_unsupported(scenario, pool.signs()),
        WorldKind::Deterministic | WorldKind::Embedded(_) => return None,
    };
    let missing = scenario.parts().into_iter().find(|part| !pool.has(*part))?;
    Some(format!("this stack has no {}", format!("{missing:?}").to_lowercase()))
}
