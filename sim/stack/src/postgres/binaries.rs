//! Where the server's programs are, and as whom they run.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Gid, Uid, User};

use crate::postgres::PostgresError;

/// The environment variable that names a folder with `initdb` and `postgres`.
const VARIABLE: &str = "SYNCSTORM_PG_BIN";
/// Newest first.
const VERSIONS: [&str; 4] = ["18", "17", "16", "15"];

/// A server's programs.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    folder: PathBuf,
    /// As `postgres --version` has it, such as `15.18`.
    pub(super) version: String,
}

impl Binaries {
    /// Finds a server: in the folder that the variable names, else the newest on the machine.
    pub(super) fn find() -> Result<Self, PostgresError> {
        if let Some(folder) = std::env::var_os(VARIABLE) {
            let folder = PathBuf::from(folder);
            let looked = format!(" in {} ({VARIABLE})", folder.display());
            return Self::of(&folder).ok_or(PostgresError::Missing { looked });
        }
        candidates().iter().find_map(|folder| Self::of(folder)).ok_or(PostgresError::Missing { looked: String::new() })
    }

    fn of(folder: &Path) -> Option<Self> {
        if !folder.join("initdb").is_file() {
            return None;
        }
        let told = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        let version = told.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
        let major: u32 = version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        (15..=18).contains(&major).then(|| Self { folder: folder.to_owned(), version: version.to_owned() })
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// PATH first: whoever put a server there means it.
fn candidates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    for version in VERSIONS {
        folders.push(PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
        folders.push(PathBuf::from(format!("/usr/pgsql-{version}/bin")));
    }
    for root in ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"] {
        for version in VERSIONS {
            folders.push(PathBuf::from(format!("{root}/postgresql@{version}/bin")));
        }
        folders.push(PathBuf::from(format!("{root}/postgresql/bin")));
    }
    folders
}

/// As whom the server runs: `None` = as we do.
pub(super) fn unprivileged() -> Result<Option<(Uid, Gid)>, PostgresError> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Ok(Some(user)) = User::from_name(name) {
            return Ok(Some((user.uid, user.gid)));
        }
    }
    Err(PostgresError::NoUser)
}
