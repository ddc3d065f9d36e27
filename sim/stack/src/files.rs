//! Files and folders that are written whole or not at all: beside their place first, then moved there. A run that is
//! interrupted leaves nothing half written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "it exists, and nothing in it is overwritten; name a new folder",
        ));
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
