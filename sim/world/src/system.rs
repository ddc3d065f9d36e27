//! The system under test: an application with its sync configuration, and the policy that its backend is held to.

use std::sync::Arc;

use backend::PolicyKind;
use fixtures::{App, Schema};
use sim_core::promise::NO_POLICY;
use sim_service::sync_config::{ConfigError, SyncConfig};

/// An application as backend and service read it. Made whole once, then only read.
#[derive(Debug)]
pub struct SystemUnderTest {
    /// The application.
    pub app: Arc<App>,
    /// Its schema, as the service takes it.
    pub schema: Arc<Schema>,
    /// Its sync configuration, as the service reads it.
    pub sync_config: Arc<SyncConfig>,
    /// Its rules, as the backend reads them.
    pub rules: Arc<backend::Rules>,
    /// The policy that the backend is held to; `None` where somebody else's backend promises none.
    pub promised: Option<PolicyKind>,
}

impl SystemUnderTest {
    /// Prepares an application for many plans.
    ///
    /// # Errors
    /// What of its sync configuration the service does not know.
    pub fn new(app: Arc<App>, promised: Option<PolicyKind>) -> Result<Self, ConfigError> {
        let sync_config = Arc::new(SyncConfig::parse(&app.sync_config, &app.schema)?);
        let schema = Arc::new(app.schema.clone());
        let rules = Arc::new(backend::Rules::new(&app.schema, &app.policy));
        Ok(Self { app, schema, sync_config, rules, promised })
    }

    /// The policy that our own backend runs: the promised one, or the one that promises least.
    #[must_use]
    pub fn policy(&self) -> PolicyKind {
        self.promised.unwrap_or(PolicyKind::ArrivalOrder)
    }

    /// The name of the promised policy, for histories and reports.
    #[must_use]
    pub fn promised_name(&self) -> String {
        self.promised.map_or_else(|| NO_POLICY.to_owned(), |policy| policy.to_string())
    }
}
