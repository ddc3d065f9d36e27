//! The files of a run: what replays a failure, where reports go, which rows of somebody else's database are the run's;
//! and the folder of a deployment. Nothing else of the harness writes files.
//!
//! A failure's folder holds `case.json` (the shrunk plan, application, policy, versions, expected failure: all that
//! `replay` needs), `original.json` (the plan as it was drawn), `history.jsonl`, `verdict.json`, `story.txt` and
//! `diagram.svg`. A folder is written beside its final place and moved there whole, so that a run that is cut off
//! leaves nothing half written.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sim_core::regression::Regression;

/// A file that could not be read as what it should be.
#[derive(Debug, thiserror::Error)]
#[error("{}: {field}: {problem}", file.display())]
pub struct BadFile {
    /// The file.
    pub file: PathBuf,
    /// The field.
    pub field: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// What a case is found with, by name.
#[must_use]
pub fn versions() -> BTreeMap<String, String> {
    [
        ("syncstorm", env!("CARGO_PKG_VERSION")),
        ("commit", env!("SYNCSTORM_COMMIT")),
        ("powersync_core", "0.4.12"),
        ("sqlite", rusqlite::version()),
    ]
    .into_iter()
    .map(|(name, version)| (name.to_owned(), version.to_owned()))
    .collect()
}

/// Reads a case: a failure's folder, its `case.json`, or a regression file.
///
/// # Errors
/// What is missing or malformed, with file, field and remedy.
pub fn read_case(path: &Path) -> Result<Regression, BadFile> {
    let file = if path.is_dir() { path.join("case.json") } else { path.to_owned() };
    let bad = |field: &str, problem: String| BadFile { file: file.clone(), field: field.to_owned(), problem };
    let text = fs::read_to_string(&file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            bad("file", "not found; give the folder of a failure, such as reports/runs/…/failures/same-field".into())
        }
        _ => bad("file", error.to_string()),
    })?;
    Regression::parse(&text).map_err(|problem| bad("content", problem))
}

/// Writes a folder of files whole: beside its place first, then moved there.
///
/// # Errors
/// The file system's.
pub fn write_folder(folder: &Path, files: &[(&str, String)]) -> io::Result<()> {
    let parent = folder.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(parent)?;
    let staging = tempfile::Builder::new().prefix(".writing-").tempdir_in(parent)?;
    for (name, text) in files {
        fs::write(staging.path().join(name), text)?;
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let staging = staging.keep();
    fs::rename(&staging, folder).inspect_err(|_| {
        // The folder stays in its place or nowhere.
        let _ = fs::remove_dir_all(&staging);
    })
}

/// A file of a folder that is made once and holds secrets.
pub struct NewFile<'a> {
    path: &'a str,
    text: &'a str,
    mode: u32,
}

impl<'a> NewFile<'a> {
    /// One that everybody may read.
    #[must_use]
    pub fn open(path: &'a str, text: &'a str) -> Self {
        Self { path, text, mode: 0o644 }
    }

    /// One that its owner alone may read.
    #[must_use]
    pub fn secret(path: &'a str, text: &'a str) -> Self {
        Self { path, text, mode: 0o600 }
    }
}

/// Makes a folder whole, with files below it and with what `further` adds, or not at all. One that exists is refused.
///
/// # Errors
/// The file system's.
pub fn write_new_folder(
    folder: &Path,
    files: &[NewFile<'_>],
    further: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    if folder.symlink_metadata().is_ok() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it exists, and nothing in it is overwritten; name a new folder"));
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(parent)?;
    let staging = tempfile::Builder::new().prefix(".writing-").tempdir_in(parent)?;
    for file in files {
        let path = staging.path().join(file.path);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above)?;
        }
        let mut opened = fs::OpenOptions::new().write(true).create_new(true).mode(file.mode).open(&path)?;
        io::Write::write_all(&mut opened, file.text.as_bytes())?;
        // Whatever the umask is.
        opened.set_permissions(fs::Permissions::from_mode(file.mode))?;
    }
    further(staging.path())?;
    fs::rename(staging.path(), folder)?;
    drop(staging.keep());
    Ok(())
}

/// Writes one file whole, and returns when it would outlast the machine.
///
/// # Errors
/// The file system's.
pub fn write_durably(path: &Path, text: &str) -> io::Result<()> {
    write_file(path, text)?;
    fs::File::open(path)?.sync_all()?;
    fs::File::open(path.parent().unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// The files of a folder, by name; none where there is no folder.
#[must_use]
pub fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// Deletes a file, and its folder when that is then empty.
///
/// # Errors
/// The file system's.
pub fn remove_file(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    // One that still holds others stays.
    let _ = path.parent().map(fs::remove_dir);
    Ok(())
}

/// Writes one file whole.
///
/// # Errors
/// The file system's.
pub fn write_file(path: &Path, text: &str) -> io::Result<()> {
    let parent = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(parent)?;
    let mut staging = tempfile::NamedTempFile::new_in(parent)?;
    io::Write::write_all(&mut staging, text.as_bytes())?;
    staging.persist(path).map_err(|error| error.error)?;
    Ok(())
}
