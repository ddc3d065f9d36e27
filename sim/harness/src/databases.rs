//! The databases that one worker thread keeps from plan to plan: those of the devices, and the one that invariants are
//! asked of.

use fixtures::App;
use sim_device::database::DatabasePool;
use sim_device::error::DeviceError;

use crate::invariants::InvariantDatabase;

/// One worker's databases, for one application.
pub struct WorkerDatabases {
    /// Those of devices.
    pub devices: DatabasePool,
    /// Where the application's invariants are asked.
    pub invariants: InvariantDatabase,
}

/// Why a worker has no databases, or a plan no devices.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// A device's database.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// An invariant that SQLite does not take.
    #[error("{0}")]
    Invariant(String),
}

impl WorkerDatabases {
    /// Prepares the application's client schema and invariants once.
    ///
    /// # Errors
    /// SQLite's or the sync core's, if they refuse the schema or an invariant.
    pub fn new(app: &App) -> Result<Self, DatabaseError> {
        let devices = DatabasePool::new(app)?;
        Ok(Self { devices, invariants: InvariantDatabase::new(app).map_err(DatabaseError::Invariant)? })
    }
}
