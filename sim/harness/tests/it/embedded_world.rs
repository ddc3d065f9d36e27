//! Plans against real processes: they hold, also when servers are killed; the baseline is caught; both worlds end in
//! the same rows; and nothing is left behind, however a run ends.

mod endings;
mod parity;
mod verdicts;

use std::path::PathBuf;
use std::sync::Arc;

use backend::PolicyKind;
use fixtures::App;
use sim_world::{TrialConfig, WorldKind, embedded::EmbeddedPool};

/// An application in the embedded world.
fn config(policy: PolicyKind) -> TrialConfig {
    let app = Arc::new(App::builtin("flowstate").expect("it is built in"));
    let config = TrialConfig::deterministic(app, policy).expect("the sync configuration is known");
    let pool = EmbeddedPool::new(&config.system, "flowstate", PathBuf::from(env!("CARGO_BIN_EXE_syncstorm")));
    TrialConfig { world: WorldKind::Embedded(Arc::new(pool)), ..config }
}
