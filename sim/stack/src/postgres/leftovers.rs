//! What a run left behind that could not clean up after itself: folders of owners that are dead, and their servers.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use nix::unistd::Uid;

use crate::postgres::process;

/// How the names of clusters' folders begin.
pub(super) const PREFIX: &str = "syncstorm-pg-";
/// The file that names a folder's owner: process id, and when it started.
pub(super) const OWNER: &str = "owner";

/// The folders of this process's clusters.
static OWN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A cluster of this process has this folder.
pub(super) fn note(folder: &Path) {
    OWN.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
}

/// Kills every cluster of this process and removes its folder: for a process that ends without dropping them.
pub fn end_all() {
    let own = std::mem::take(&mut *OWN.lock().unwrap_or_else(PoisonError::into_inner));
    own.iter().for_each(|folder| remove(folder));
}

/// This process, as [`OWNER`] names it.
pub fn this_process() -> String {
    let pid = std::process::id();
    format!("{pid} {}", started(&pid.to_string()).unwrap_or_default())
}

/// When a process started, in the kernel's clock ticks; process ids are used again.
fn started(pid: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
}

/// Removes the folders of dead owners. What cannot be removed is left for the next time.
pub(super) fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            && fs::symlink_metadata(&path)
                .is_ok_and(|found| found.is_dir() && found.uid() == Uid::effective().as_raw());
        if is_ours && fs::read_to_string(path.join(OWNER)).is_ok_and(|owner| !is_there(&owner)) {
            tracing::info!(folder = %path.display(), "removing what a run that died left behind");
            remove(&path);
        }
    }
}

/// Whether the process of an owner still runs.
pub fn is_there(owner: &str) -> bool {
    let (pid, since) = owner.split_once(' ').unwrap_or((owner, ""));
    let Ok(number) = pid.parse::<i32>() else { return true };
    process::is_alive(number) && (since.is_empty() || started(pid).is_none_or(|now| now == since))
}

/// Kills the server of a folder, if it still runs, and removes the folder.
pub(super) fn remove(folder: &Path) {
    OWN.lock().unwrap_or_else(PoisonError::into_inner).remove(folder);
    let data = folder.join("data");
    if let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) {
        let lines: Vec<&str> = text.lines().collect();
        let is_its_own = lines.get(1).is_some_and(|line| Path::new(line.trim()) == data);
        if let (Some(Ok(pid)), true) = (lines.first().map(|line| line.trim().parse::<i32>()), is_its_own)
            && works_in(pid, &data)
            && let Err(error) = process::kill_all(pid)
        {
            tracing::warn!(%error, "a server that was left behind");
        }
        forget_memory(&lines);
    }
    if let Err(error) = fs::remove_dir_all(folder) {
        tracing::debug!(folder = %folder.display(), %error, "not removed");
    }
}

/// Killed, a server leaves the few bytes of System V memory by which it would have known another postmaster. They are
/// removed if they are still its own: numbers are used again, and the next owner may be somebody else's server.
fn forget_memory(postmaster_file: &[&str]) {
    let Some(pid) = postmaster_file.first().map(|line| line.trim()) else { return };
    let mut words = postmaster_file.get(6).map_or("", |line| line).split_whitespace();
    let (Some(Ok(key)), Some(id)) = (words.next().map(str::parse::<u32>), words.next()) else { return };
    let Ok(segments) = fs::read_to_string("/proc/sysvipc/shm") else { return };
    // Key, id, permissions, size, creator, last user, attached; the key is signed here.
    let is_its_own = segments.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.len() > 6
            && words[0].parse::<i32>().is_ok_and(|found| found.cast_unsigned() == key)
            && (words[1], words[4], words[6]) == (id, pid, "0")
    });
    if is_its_own {
        let mut ipcrm = Command::new("ipcrm");
        ipcrm.args(["-m", id]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = ipcrm.status();
    }
}

/// Whether the process is the server of the folder, for process ids are used again.
fn works_in(pid: i32, data: &Path) -> bool {
    match fs::read_link(format!("/proc/{pid}/cwd")) {
        Ok(folder) => folder == data,
        Err(_) => !Path::new("/proc").is_dir(),
    }
}
