//! Other programs, bounded: `docker`, and the command that mints tokens.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How often it is looked whether a program has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Greatest output that is read, in bytes.
const OUTPUT_MAX_BYTES: u64 = 1 << 20;

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Whether its exit code is 0.
    pub success: bool,
    /// What it printed.
    pub stdout: String,
    /// What it printed to standard error.
    pub stderr: String,
}

/// Why it did not run to its end.
#[derive(Debug, PartialEq, Eq)]
pub enum NotRun {
    /// There is no such program.
    Absent,
    /// It did not end in time, and was killed.
    Late,
    /// It could not be started.
    Failed(String),
}

/// Runs a program to its end, or kills it with its children when that does not come in time.
pub fn run(program: &str, args: &[&str], patience: Duration) -> Result<Ended, NotRun> {
    let mut command = Command::new(program);
    // A group of its own, so that its children can be ended with it.
    command.args(args).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => NotRun::Absent,
        _ => NotRun::Failed(error.to_string()),
    })?;
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let deadline = Instant::now() + patience;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK_EVERY),
            ended => {
                let group = i32::try_from(child.id()).map(Pid::from_raw);
                let _ = group.map(|group| killpg(group, Signal::SIGKILL));
                let _ = child.wait();
                return Err(ended.err().map_or(NotRun::Late, |error| NotRun::Failed(error.to_string())));
            }
        }
    };
    // A child of its own may keep the pipe open after its end.
    let read = |pipe: Receiver<String>| pipe.recv_timeout(patience).map_err(|_| NotRun::Late);
    Ok(Ended { success: status.success(), stdout: read(stdout)?, stderr: read(stderr)? })
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (done, said) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            let _ = pipe.take(OUTPUT_MAX_BYTES).read_to_end(&mut bytes);
        }
        let _ = done.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_end() {
        let said =
            run("sh", &["-c", "echo out; echo err >&2; exit 3"], Duration::from_secs(10)).expect("there is a shell");
        assert_eq!((said.success, said.stdout.as_str(), said.stderr.as_str()), (false, "out\n", "err\n"));
        assert_eq!(run("no-such-program", &[], Duration::from_secs(1)).err(), Some(NotRun::Absent));
        let began = Instant::now();
        let late = run("sh", &["-c", "sleep 60 & sleep 60"], Duration::from_millis(50));
        assert_eq!(late.err(), Some(NotRun::Late));
        assert!(began.elapsed() < Duration::from_secs(10), "its children hold nobody up");
    }
}
