//! However a run ends: no process, no cluster and no folder stays.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(60);

fn start(args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncstorm"));
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts")
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("process ids are small"))
}

/// The clusters' folders that a process owns.
fn folders(owner: u32) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(std::env::temp_dir()).expect("the temporary folder can be read");
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let said = std::fs::read_to_string(path.join("owner")).unwrap_or_default();
        name.starts_with("syncstorm-pg-") && said.split(' ').next() == Some(&owner.to_string())
    });
    found
}

/// Processes whose command line names one of the folders.
fn processes(folders: &[PathBuf]) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("there is /proc");
    let lines = entries.flatten().filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| folders.iter().any(|folder| line.contains(&*folder.to_string_lossy()))).collect()
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn up_says_where_everything_is_and_leaves_nothing() {
    let mut up = start(&["up"]);
    let mut lines = BufReader::new(up.stdout.take().expect("it is piped")).lines();
    let mut line = |word: &str| {
        let line = lines.next().expect("it says five things").expect("they are text");
        line.strip_prefix(word).map(str::trim).unwrap_or_else(|| panic!("{line:?} is not about {word}")).to_owned()
    };
    for server in ["backend", "service"] {
        let url = line(server);
        let address = url.strip_prefix("http://").expect("a URL");
        TcpStream::connect(address).expect("it listens");
    }
    assert_eq!(line("token").split('.').count(), 3, "a token has three parts");
    line("");
    assert!(line("psql").contains("postgres://"), "a line for psql");
    let folders = folders(up.id());
    assert_eq!(folders.len(), 1);
    assert!(processes(&folders).len() >= 3, "PostgreSQL and two servers");
    kill(pid(&up), Signal::SIGINT).expect("it runs");
    assert_eq!(up.wait().expect("it ends").code(), Some(0));
    assert!(!folders[0].exists(), "the folder is gone");
    assert_eq!(processes(&folders), Vec::<String>::new());
}

/// Ctrl-C once ends after the plan, twice at once; killed, the next start sweeps.
#[test]
fn an_interrupted_run_leaves_nothing() {
    for (signals, sweeps) in
        [(vec![Signal::SIGINT], false), (vec![Signal::SIGTERM; 2], false), (vec![Signal::SIGKILL], true)]
    {
        let out = tempfile::tempdir().expect("a temporary folder");
        let out = out.path().display().to_string();
        let args = [
            "run",
            "same-field",
            "--world",
            "embedded",
            "--plans",
            "1000",
            "--workers",
            "1",
            "--no-shrink",
            "--out",
            &out,
        ];
        let mut run = start(&args);
        let folders = wait_for("no cluster comes up", || Some(folders(run.id())).filter(|folders| !folders.is_empty()));
        wait_for("the servers of a plan do not come up", || (processes(&folders).len() >= 3).then_some(()));
        for signal in &signals {
            kill(pid(&run), *signal).expect("it runs");
            std::thread::sleep(Duration::from_millis(50));
        }
        run.wait().expect("it ends");
        if sweeps {
            // The two servers end with their parent; the database is found by whoever comes next.
            wait_for("the servers outlive their parent", || {
                processes(&folders).iter().all(|line| !line.contains("--listen")).then_some(())
            });
            let mut next = start(&["up"]);
            wait_for("what was left behind stays", || folders.iter().all(|folder| !folder.exists()).then_some(()));
            kill(pid(&next), Signal::SIGTERM).expect("it runs");
            next.wait().expect("it ends");
        }
        wait_for("a process stays", || processes(&folders).is_empty().then_some(()));
        assert!(folders.iter().all(|folder| !folder.exists()), "{signals:?}: a folder stays");
    }
}

/// A parent that is killed before its child has asked to end with it would never be noticed.
#[test]
fn a_server_whose_parent_is_gone_does_not_start() {
    let state = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncstorm"));
    command.arg("backend").arg("--state-dir").arg(state.path());
    command.args(["--listen", "127.0.0.1:0", "--app", "flowstate", "--audience", "syncstorm"]);
    command.env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
    command.env("SYNCSTORM_CLOCK_FILE", "machine").env("SYNCSTORM_PARENT", "0");
    let ended = command.stdin(Stdio::null()).output().expect("the program starts");
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && told.contains("is gone"), "{}: {told}", ended.status);
    assert!(ended.stdout.is_empty(), "it listens");
}
