//! Plans against real processes: they hold, also when servers are killed; the baseline is caught; both worlds end in
//! the same rows; and nothing is left behind, however a run ends.

mod endings;
mod parity;
mod verdicts;

use std::path::PathBuf;
use std::sync::Arc;

use backend::PolicyKind;
use fixtures::App;
use syncstorm::trial::Setup;
use syncstorm::world::{Kind, embedded::Pool};

/// An application in the embedded world.
fn setup(policy: PolicyKind) -> Setup {
    let app = Arc::new(App::builtin("flowstate").expect("it is built in"));
    let setup = Setup::new(app, policy).expect("the sync configuration is known");
    let pool = Pool::new(&setup, "flowstate", PathBuf::from(env!("CARGO_BIN_EXE_syncstorm")));
    Setup { world: Kind::Embedded(Arc::new(pool)), ..setup }
}
