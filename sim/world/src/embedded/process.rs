//! One server as a process: started, killed, paused, and ended when its handle is dropped.

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

use crate::real::http_client::HttpClient;
use crate::real::server::{BoxResult, Server, ServerKiller};
use crate::real::token_keys::wait_until_keys_are_loaded;

/// How long a server may take to say where it listens: machines stand still at times.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long it may take to end when it is asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// How often it is checked.
const POLL: Duration = Duration::from_millis(1);
/// How many lines of a log are shown.
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
        let (log, announced) = (folder.join(format!("{name}.log")), folder.join(format!("{name}.address")));
        let file = |path: &Path, is_new: bool| {
            let opened = fs::File::options().create(true).write(true).truncate(is_new).append(!is_new).open(path);
            opened.map_err(|error| format!("{}: {error}", path.display()))
        };
        // A group of its own: Ctrl-C is for the harness, which then ends its children.
        command.process_group(0).stdin(Stdio::null()).stdout(file(&announced, true)?).stderr(file(&log, false)?);
        let child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        let mut server = Self { name, child, address: SocketAddr::from(([127, 0, 0, 1], 0)), log };
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let line = fs::read_to_string(&announced).unwrap_or_default();
            if let Some(address) = line.strip_suffix('\n').and_then(|line| line.parse().ok()) {
                server.address = address;
                return Ok(server);
            }
            if let Some(ended) = server.exit_status() {
                return Err(ended);
            }
            if Instant::now() > deadline {
                return Err(format!("{name} did not come up: {}", server.log_tail()));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("process ids are positive and small")
    }

    /// How it ended, if it did.
    fn exit_status(&mut self) -> Option<String> {
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

    fn killer(&self) -> ServerKiller {
        let (name, pid) = (self.name, Pid::from_raw(self.pid()));
        Arc::new(move || {
            let killed = kill(pid, Signal::SIGKILL).map_err(|error| format!("{name}: {error}"));
            ready(killed).boxed()
        })
    }

    fn kill(mut self: Box<Self>) -> BoxResult<'static, ()> {
        let ended = self.end().map_err(|error| format!("{}: {error}", self.name));
        ready(ended).boxed()
    }

    fn stop(mut self: Box<Self>) -> BoxResult<'static, ()> {
        async move {
            self.signal(Signal::SIGTERM)?;
            let deadline = Instant::now() + STOP_TIMEOUT;
            while self.exit_status().is_none() && Instant::now() < deadline {
                tokio::time::sleep(POLL).await;
            }
            // It has ended, or is killed when it is dropped.
            Ok(())
        }
        .boxed()
    }

    fn pause(&self) -> BoxResult<'_, ()> {
        ready(self.signal(Signal::SIGSTOP)).boxed()
    }

    fn resume(&self) -> BoxResult<'_, ()> {
        ready(self.signal(Signal::SIGCONT)).boxed()
    }

    fn compact(&self) -> BoxResult<'_, ()> {
        ready(self.signal(Signal::SIGUSR1)).boxed()
    }

    fn reload_keys<'a>(&'a self, http: &'a HttpClient, count: u64, waits: bool) -> BoxResult<'a, ()> {
        async move {
            self.signal(Signal::SIGHUP)?;
            if waits { wait_until_keys_are_loaded(http, self.address, count).await } else { Ok(()) }
        }
        .boxed()
    }

    fn exit_reason(&mut self) -> BoxFuture<'_, Option<String>> {
        ready(self.exit_status()).boxed()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(%error, name = self.name, "a server that could not be ended");
        }
    }
}
