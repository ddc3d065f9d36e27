//! What a plan runs against.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use backend::PolicyKind;
use fixtures::App;
use sim_service::sync_config::ConfigError;

use crate::kind::WorldKind;
use crate::seams::{PassThrough, Seams};
use crate::system::SystemUnderTest;

/// What is tested, where it runs, and what is put between its parts. Made whole once, then only read.
#[derive(Clone, Debug)]
pub struct TrialConfig {
    /// The system under test.
    pub system: Arc<SystemUnderTest>,
    /// What stands between its parts.
    pub seams: Arc<dyn Seams>,
    /// Where plans run.
    pub world: WorldKind,
    /// Set when the user wants no more: a plan that takes real time is then given up.
    pub stop: Arc<AtomicBool>,
}

impl TrialConfig {
    /// An application in the deterministic world, held to a policy.
    ///
    /// # Errors
    /// What of its sync configuration the service does not know.
    pub fn deterministic(app: Arc<App>, policy: PolicyKind) -> Result<Self, ConfigError> {
        Ok(Self::new(Arc::new(SystemUnderTest::new(app, Some(policy))?), WorldKind::Deterministic))
    }

    /// A system in a world, with nothing between its parts.
    #[must_use]
    pub fn new(system: Arc<SystemUnderTest>, world: WorldKind) -> Self {
        Self { system, seams: Arc::new(PassThrough), world, stop: Arc::default() }
    }
}
