//! One server as a process: started, killed, paused, and gone when its handle is.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::real::ground::{Killer, Later, Server};
use crate::real::keys;
use crate::real::link::Http;

/// How long a server may take to say where it listens: machines stand still at times.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long it may take to end when it is asked to.
const STOP_MAX: Duration = Duration::from_secs(15);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How much of a log is told.
const LOG_LINES: usize = 8;

/// A server that listens.
#[derive(Debug)]
pub(super) struct Process {
    name: &'static str,
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Process {
    /// Starts a server and waits until it has said, as the first line of its standard output, where it listens.
    pub(super) async fn start(name: &'static str, mut command: Command, folder: &Path) -> Result<Self, String> {
        let (log, said) = (folder.join(format!("{name}.log")), folder.join(format!("{name}.address")));
        let file = |path: &Path, is_new: bool| {
            let opened = fs::File::options().create(true).write(true).truncate(is_new).append(!is_new).open(path);
            opened.map_err(|error| format!("{}: {error}", path.display()))
        };
        // A group of its own: Ctrl-C is for the harness, which then ends its children.
        command.process_group(0).stdin(Stdio::null()).stdout(file(&said, true)?).stderr(file(&log, false)?);
        let child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        let mut server = Self { name, child, address: SocketAddr::from(([127, 0, 0, 1], 0)), log };
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let line = fs::read_to_string(&said).unwrap_or_default();
            if let Some(address) = line.strip_suffix('\n').and_then(|line| line.parse().ok()) {
                server.address = address;
                return Ok(server);
            }
            if let Some(ended) = server.look() {
                return Err(ended);
            }
            if Instant::now() > deadline {
                return Err(format!("{name} did not come up: {}", server.log_tail()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("process ids are positive and small")
    }

    /// How it ended, if it did.
    fn look(&mut self) -> Option<String> {
        let status: ExitStatus = self.child.try_wait().ok().flatten()?;
        Some(format!("{} ended by itself ({status}): {}", self.name, self.log_tail()))
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        kill(Pid::from_raw(self.pid()), signal).map_err(|error| format!("{}: {error}", self.name))
    }

    fn end(&mut self) -> std::io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Server for Process {
    fn name(&self) -> &'static str {
        self.name
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn killer(&self) -> Killer {
        let (name, pid) = (self.name, Pid::from_raw(self.pid()));
        Arc::new(move || {
            let killed = kill(pid, Signal::SIGKILL).map_err(|error| format!("{name}: {error}"));
            ready(killed).boxed()
        })
    }

    fn kill(mut self: Box<Self>) -> Later<'static, ()> {
        let ended = self.end().map_err(|error| format!("{}: {error}", self.name));
        ready(ended).boxed()
    }

    fn stop(mut self: Box<Self>) -> Later<'static, ()> {
        async move {
            self.signal(Signal::SIGTERM)?;
            let deadline = Instant::now() + STOP_MAX;
            while self.look().is_none() && Instant::now() < deadline {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            // Gone, or killed as it goes.
            Ok(())
        }
        .boxed()
    }

    fn pause(&self) -> Later<'_, ()> {
        ready(self.signal(Signal::SIGSTOP)).boxed()
    }

    fn resume(&self) -> Later<'_, ()> {
        ready(self.signal(Signal::SIGCONT)).boxed()
    }

    fn compact(&self) -> Later<'_, ()> {
        ready(self.signal(Signal::SIGUSR1)).boxed()
    }

    fn learn_keys<'a>(&'a self, http: &'a Http, count: u64, waits: bool) -> Later<'a, ()> {
        async move {
            self.signal(Signal::SIGHUP)?;
            if waits { keys::known(http, self.address, count).await } else { Ok(()) }
        }
        .boxed()
    }

    fn ended(&mut self) -> BoxFuture<'_, Option<String>> {
        ready(self.look()).boxed()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(%error, name = self.name, "a server that could not be ended");
        }
    }
}
