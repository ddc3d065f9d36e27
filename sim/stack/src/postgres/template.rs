//! A data folder, prepared once for each version of the server and its settings, and copied for each cluster.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid};
use sha2::{Digest, Sha256};

use crate::postgres::binaries::Binaries;
use crate::postgres::{PostgresError, at};

/// The superuser of every cluster.
pub(super) const SUPERUSER: &str = "syncstorm";
/// Arguments of `initdb`. Segments of 1 MB make a folder that is quick to copy.
const ARGUMENTS: [&str; 7] = [
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--no-sync",
    "--no-instructions",
    "--wal-segsize=1",
    "--username=syncstorm",
];

/// A prepared folder, and the password that its superuser has until a cluster gets its own.
pub(super) struct Template {
    pub(super) data: PathBuf,
    pub(super) password: String,
}

/// A word that nobody guesses: 32 hex digits from the system.
pub fn random_word() -> Result<String, PostgresError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| PostgresError::Certificate(error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The folder of templates. Root keeps it where an unprivileged server can reach it.
fn cache() -> PathBuf {
    let uid = Uid::effective();
    if !uid.is_root() {
        if let Some(folder) = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()) {
            return folder.join("syncstorm");
        }
        if let Some(home) = std::env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute()) {
            return home.join(".cache/syncstorm");
        }
    }
    std::env::temp_dir().join(format!("syncstorm-cache-{uid}"))
}

/// The template for a server, made if there is none yet.
pub(super) fn prepare(binaries: &Binaries, user: Option<(Uid, Gid)>) -> Result<Template, PostgresError> {
    let cache = cache();
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o711).create(&cache).map_err(at(&cache))?;
    let owner = fs::symlink_metadata(&cache).map_err(at(&cache))?;
    if !owner.is_dir() || owner.uid() != Uid::effective().as_raw() {
        let error = std::io::Error::other("this folder belongs to somebody else; remove it or set XDG_CACHE_HOME");
        return Err(at(&cache)(error));
    }
    let hash = Sha256::digest(format!("{}{ARGUMENTS:?}{user:?}", binaries.program("postgres").display()));
    let hash: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let folder = cache.join(format!("postgres-{}-{hash}", binaries.version));
    if !folder.join("password").is_file() {
        make(binaries, user, &cache, &folder)?;
    }
    let password = folder.join("password");
    let password = fs::read_to_string(&password).map_err(at(&password))?;
    Ok(Template { data: folder.join("data"), password })
}

/// Makes a template beside its place and moves it there. Whoever comes second has made one for nothing.
fn make(binaries: &Binaries, user: Option<(Uid, Gid)>, cache: &Path, folder: &Path) -> Result<(), PostgresError> {
    let making = tempfile::Builder::new()
        .prefix("making-")
        .permissions(fs::Permissions::from_mode(0o711))
        .tempdir_in(cache)
        .map_err(at(cache))?;
    let password = random_word()?;
    let path = making.path().join("password");
    write(&path, &password, user)?;
    let data = making.path().join("data");
    fs::create_dir(&data).map_err(at(&data))?;
    give(&data, user)?;
    let mut initdb = Command::new(binaries.program("initdb"));
    initdb.args(ARGUMENTS).arg("--pwfile").arg(&path).arg("-D").arg(&data);
    initdb.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/").stdin(Stdio::null());
    run_as(&mut initdb, user);
    let ended = initdb.output().map_err(at(&binaries.program("initdb")))?;
    if !ended.status.success() {
        return Err(PostgresError::Program { program: "initdb", said: tail(&String::from_utf8_lossy(&ended.stderr)) });
    }
    match fs::rename(making.path(), folder) {
        Ok(()) => drop(making.keep()),
        Err(_) if folder.join("password").is_file() => {}
        Err(error) => return Err(at(folder)(error)),
    }
    Ok(())
}

/// Lets a program run as the unprivileged user.
pub(super) fn run_as(command: &mut Command, user: Option<(Uid, Gid)>) {
    if let Some((uid, gid)) = user {
        command.uid(uid.as_raw()).gid(gid.as_raw());
    }
}

/// Gives a file to the unprivileged user.
pub(super) fn give(path: &Path, user: Option<(Uid, Gid)>) -> Result<(), PostgresError> {
    match user {
        Some((uid, gid)) => chown(path, Some(uid.as_raw()), Some(gid.as_raw())).map_err(at(path)),
        None => Ok(()),
    }
}

/// Writes a file that only its owner can read.
pub(super) fn write(path: &Path, text: &str, user: Option<(Uid, Gid)>) -> Result<(), PostgresError> {
    use std::io::Write as _;
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).map_err(at(path))?;
    file.write_all(text.as_bytes()).map_err(at(path))?;
    give(path, user)
}

/// Copies a folder with all that is in it.
pub(super) fn copy(from: &Path, to: &Path, user: Option<(Uid, Gid)>) -> Result<(), PostgresError> {
    fs::DirBuilder::new().mode(0o700).create(to).map_err(at(to))?;
    give(to, user)?;
    for entry in fs::read_dir(from).map_err(at(from))? {
        let entry = entry.map_err(at(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(at(&source))?.is_dir() {
            copy(&source, &target, user)?;
        } else {
            fs::copy(&source, &target).map_err(at(&source))?;
            give(&target, user)?;
        }
    }
    Ok(())
}

/// The last lines of what a program wrote.
pub(super) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
