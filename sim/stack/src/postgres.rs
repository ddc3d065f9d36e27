//! PostgreSQL for the asking: a private cluster of its own process, gone when its handle is.
//!
//! In reading order: `binaries` finds the server, `template` prepares a data folder once, [`cluster`] starts, kills,
//! pauses and stops one, `process` signals its processes, `certificate` gives it TLS, `leftovers` sweeps what a
//! crashed run left behind.
//!
//! A cluster listens on a free loopback port only, has no Unix socket, wants a generated password
//! (scram-sha-256) and offers TLS with a certificate that is generated when it starts. PostgreSQL refuses to run as
//! root; started by root, it runs as `postgres` or `nobody`.

mod binaries;
pub mod certificate;
pub mod cluster;
mod leftovers;
mod process;
mod template;

use std::path::PathBuf;

pub use cluster::trusting;
pub use cluster::{Postgres, Settings};
pub use leftovers::end_all;
pub use leftovers::{is_there, this_process};
pub use template::random_word;

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No server was found.
    #[error(
        "no PostgreSQL server (15 to 18) was found{looked}: install one (Debian and Ubuntu: apt-get install \
         postgresql; macOS: brew install postgresql@17), or set SYNCSTORM_PG_BIN to the folder that holds initdb \
         and postgres"
    )]
    Missing {
        /// Where it was looked for, when that was stated; else empty.
        looked: String,
    },
    /// There is no user that it could run as.
    #[error("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody to run it as")]
    NoUser,
    /// A file or folder could not be made or read.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A program of PostgreSQL failed.
    #[error("{program} failed: {said}")]
    Program {
        /// Its name.
        program: &'static str,
        /// The end of what it wrote.
        said: String,
    },
    /// The server ended, or did not answer in time.
    #[error("PostgreSQL did not come up: {said}")]
    Start {
        /// The end of its log.
        said: String,
    },
    /// A certificate could not be generated.
    #[error("no certificate could be generated: {0}")]
    Certificate(String),
    /// The server does not take a statement or a connection.
    #[error("PostgreSQL: {0}")]
    Sql(String),
    /// A process could not be signalled.
    #[error("PostgreSQL could not be signalled: {0}")]
    Signal(String),
}

/// The path of a failed file operation.
fn at(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> PostgresError {
    let path = path.to_owned();
    move |error| PostgresError::File { path, error }
}
