//! Why keys cannot be used.

use std::path::PathBuf;

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file or the directory.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system message.
        error: std::io::Error,
    },
    /// Others may read the keys.
    #[error("{} can be read by others than its owner; make it private with chmod go-rwx", path.display())]
    Open {
        /// Which file or directory.
        path: PathBuf,
    },
    /// A key file is none.
    #[error("{} holds no key: {message}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// No key could be generated.
    #[error("no key could be generated: {0}")]
    Generate(String),
}
