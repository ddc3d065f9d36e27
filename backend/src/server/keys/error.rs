//! Why keys cannot be used.

use std::path::PathBuf;

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file or the directory cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// Others may read the keys.
    #[error("{} can be read by others than its owner; make it private with chmod go-rwx", path.display())]
    NotPrivate {
        /// The file or directory.
        path: PathBuf,
    },
    /// A key file is invalid.
    #[error("{} holds no key: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// No key could be generated.
    #[error("no key could be generated: {0}")]
    Generate(String),
}
