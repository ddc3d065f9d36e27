//! Which stack somebody else runs, and how it is written to.

use std::path::PathBuf;
use std::sync::Arc;

use backend::store::postgres::tls::Address;
use sim_stack::existing_stack::{ExistingStack, database};
use tokio_postgres::Client;

use super::mapping::Mapping;

/// The stack of a run.
pub struct ExternalConfig {
    /// Where it is.
    pub target: ExistingStack,
    /// How its upload endpoint is spoken to.
    pub mapping: Arc<Mapping>,
    /// Where the lists of written rows go.
    pub folder: PathBuf,
}

impl ExternalConfig {
    /// A session in its database.
    pub(super) async fn connect(&self) -> Result<Client, String> {
        let url = self.target.postgres.as_deref().unwrap_or_default();
        let address = Address::parse(url)?;
        database::connect(&address, self.target.patience()).await.map_err(|none| format!("--postgres-url: {none}"))
    }
}
