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

/// What a program said.
#[derive(Debug)]
pub struct Said {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Why it said nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Silence {
    /// There is no such program.
    Absent,
    /// It did not end in time, and was killed.
    Late,
    /// It could not be started.
    Failed(String),
}

/// Runs a program to its end, or kills it with its children when that does not come in time.
pub fn run(program: &str, args: &[&str], patience: Duration) -> Result<Said, Silence> {
    let mut command = Command::new(program);
    // A group of its own, so that its children can be ended with it.
    command.args(args).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Silence::Absent,
        _ => Silence::Failed(error.to_string()),
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
                return Err(ended.err().map_or(Silence::Late, |error| Silence::Failed(error.to_string())));
            }
        }
    };
    // A child of its own may keep the pipe open after its end.
    let read = |pipe: Receiver<String>| pipe.recv_timeout(patience).map_err(|_| Silence::Late);
    Ok(Said { success: status.success(), stdout: read(stdout)?, stderr: read(stderr)? })
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
        let said = run("sh", &["-c", "echo out; echo err >&2; exit 3"], Duration::from_secs(10)).expect("there is a shell");
        assert_eq!((said.success, said.stdout.as_str(), said.stderr.as_str()), (false, "out\n", "err\n"));
        assert_eq!(run("no-such-program", &[], Duration::from_secs(1)).err(), Some(Silence::Absent));
        let began = Instant::now();
        let late = run("sh", &["-c", "sleep 60 & sleep 60"], Duration::from_millis(50));
        assert_eq!(late.err(), Some(Silence::Late));
        assert!(began.elapsed() < Duration::from_secs(10), "its children hold nobody up");
    }
}
