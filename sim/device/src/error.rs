//! What can fail on a device.

/// An error of SQLite or of the sync core.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// SQLite, or the core through it.
    #[error("SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The core's answer is not in its interface.
    #[error("the sync core answered {0}")]
    Core(#[from] serde_json::Error),
}
