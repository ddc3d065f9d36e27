//! Why a device's database did not do as it was asked.

/// What SQLite or the sync core refused.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// SQLite, or the core through it.
    #[error("SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The core's answer is not in its interface.
    #[error("the sync core answered {0}")]
    Core(#[from] serde_json::Error),
}
