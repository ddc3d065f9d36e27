//! Signals to a server and all of its processes.
//!
//! Each child of the postmaster leads a process group of its own, so a signal to the postmaster's group would miss
//! them: they are looked up by their parent, with the postmaster stopped so that it makes no more.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::postgres::PostgresError;

/// How long killed processes may take to be gone.
const GONE_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends a signal; whether there was a process to take it.
pub(super) fn signal(pid: i32, signal: Signal) -> Result<bool, PostgresError> {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) => Ok(true),
        Err(Errno::ESRCH) => Ok(false),
        Err(error) => Err(PostgresError::Signal(error.to_string())),
    }
}

/// Whether a process is there and is no zombie.
pub(super) fn is_alive(pid: i32) -> bool {
    if matches!(kill(Pid::from_raw(pid), None), Err(Errno::ESRCH)) {
        return false;
    }
    status(pid).is_none_or(|(state, _)| state != 'Z' && state != 'X')
}

/// State and parent from `/proc`, where there is one.
fn status(pid: i32) -> Option<(char, i32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything.
    let mut words = text.rsplit_once(')')?.1.split_whitespace();
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

/// The children of a process.
fn children(parent: i32) -> Vec<i32> {
    if let Ok(entries) = std::fs::read_dir("/proc") {
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        return pids.filter(|pid| status(*pid).is_some_and(|(_, above)| above == parent)).collect();
    }
    let told = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output();
    let told = told.map(|told| String::from_utf8_lossy(&told.stdout).into_owned()).unwrap_or_default();
    told.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (pid, above): (i32, i32) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            (above == parent).then_some(pid)
        })
        .collect()
}

/// Stops the postmaster and everything below it.
pub(super) fn pause(postmaster: i32) -> Result<(), PostgresError> {
    signal(postmaster, Signal::SIGSTOP)?;
    for child in children(postmaster) {
        signal(child, Signal::SIGSTOP)?;
    }
    Ok(())
}

/// Lets everything go on.
pub(super) fn resume(postmaster: i32) -> Result<(), PostgresError> {
    for child in children(postmaster) {
        signal(child, Signal::SIGCONT)?;
    }
    signal(postmaster, Signal::SIGCONT)?;
    Ok(())
}

/// Kills the postmaster and everything below it, as a power cut would, and waits for the children to be gone: a
/// postmaster refuses a folder that somebody still works on. The postmaster itself is its parent's to wait for.
pub(super) fn kill_all(postmaster: i32) -> Result<(), PostgresError> {
    if !signal(postmaster, Signal::SIGSTOP)? {
        return Ok(());
    }
    let children = children(postmaster);
    signal(postmaster, Signal::SIGKILL)?;
    for child in &children {
        signal(*child, Signal::SIGKILL)?;
    }
    let deadline = Instant::now() + GONE_TIMEOUT;
    while children.iter().any(|child| is_alive(*child)) {
        if Instant::now() > deadline {
            return Err(PostgresError::Signal("killed processes are still there".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
