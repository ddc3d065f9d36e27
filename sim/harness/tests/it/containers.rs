//! The containers world, for real: plans hold in containers that are killed, stopped, paused and cut off; nothing is
//! left behind, however a run ends; what is missing is told.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// One run at a time: a stack is large, and whoever counts what is left must be alone.
static ALONE: Mutex<bool> = Mutex::new(false);

/// Sees to it that Docker answers and the images are those of this tree.
fn with_docker<T>(test: impl FnOnce() -> T) -> T {
    let mut is_built = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !*is_built {
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/images");
        let binaries = Path::new(env!("CARGO_BIN_EXE_syncstorm")).parent().expect("a folder");
        for name in ["docker-up", "build-local"] {
            let mut command = Command::new(images.join(name));
            // A daemon that it starts would otherwise hold the pipe open.
            let log = tempfile::NamedTempFile::new().expect("a temporary file");
            let file = log.reopen().expect("it is there");
            command.env("SYNCSTORM_BINARIES", binaries).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
            let status = command.status().expect("bash is there");
            assert!(status.success(), "{name}: {}", std::fs::read_to_string(log.path()).unwrap_or_default());
        }
        *is_built = true;
    }
    test()
}

fn syncstorm(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncstorm"));
    command.args(args).stdin(Stdio::null());
    command
}

fn run(folder: &Path, further: &[&str]) -> Output {
    let out = folder.join("report");
    let mut command = syncstorm(&["run", "--world", "containers", "--no-shrink", "--json", "--out"]);
    command.arg(out).args(further).output().expect("the program starts")
}

/// The containers and networks of any run.
fn left() -> String {
    let ask = |args: &[&str]| {
        let filter = ["--filter", "label=syncstorm.owner", "--format"];
        let output = Command::new("docker").args(args).args(filter).arg("{{.ID}}").output().expect("docker is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    ask(&["ps", "--all"]) + &ask(&["network", "ls"])
}

#[test]
fn plans_hold_in_containers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let scenarios = ["same-field", "create-same-setting", "containers-fail", "--plans", "2", "--stand-ins"];
    let output = with_docker(|| {
        let output = run(folder.path(), &scenarios);
        assert_eq!(left(), "", "something is left behind");
        output
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    let told: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"));
    assert_eq!(told["world"], "containers");
    let summary = std::fs::read_to_string(folder.path().join("report/summary.txt")).expect("a summary");
    let stretch = format!("{} times as much silence", sim_world::containers::STREAM_IDLE_FACTOR);
    assert!(summary.contains(&stretch), "{summary}");
    let scenarios = told["scenarios"].as_array().expect("scenarios");
    assert_eq!(scenarios.len(), 3);
    for scenario in scenarios {
        assert_eq!(scenario["verdict"], "valid", "{scenario:#} {errors}");
        assert_eq!(scenario["plans"], 2);
    }
    assert!(output.status.success(), "{errors}");
}

fn begun() -> (tempfile::TempDir, Child) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = syncstorm(&["run", "containers-fail", "--world", "containers", "--stand-ins", "--out"]);
    command.arg(folder.path().join("report"));
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    let deadline = Instant::now() + Duration::from_secs(180);
    while left().lines().count() < 4 {
        assert!(Instant::now() < deadline, "no container comes up");
        std::thread::sleep(Duration::from_millis(100));
    }
    (folder, child)
}

fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    nix::sys::signal::kill(pid, signal).expect("it runs");
}

#[test]
fn nothing_is_left_however_a_run_ends() {
    with_docker(|| {
        // Ctrl-C twice: at once.
        let (_folder, mut child) = begun();
        signal(&child, nix::sys::signal::Signal::SIGINT);
        std::thread::sleep(Duration::from_millis(200));
        signal(&child, nix::sys::signal::Signal::SIGINT);
        child.wait().expect("it ends");
        assert_eq!(left(), "", "after Ctrl-C");
        // Killed: nothing could clean up, and the next run does.
        let (_folder, mut child) = begun();
        signal(&child, nix::sys::signal::Signal::SIGKILL);
        child.wait().expect("it ends");
        assert_ne!(left(), "");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let output = run(folder.path(), &["different-fields", "--plans", "1", "--stand-ins"]);
        assert_eq!(left(), "", "after a kill and another run: {}", String::from_utf8_lossy(&output.stderr));
    });
}

#[test]
fn what_is_missing_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let told = |output: Output| {
        assert_eq!(output.status.code(), Some(70), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let nowhere = syncstorm(&["run", "same-field", "--world", "containers"])
        .env("DOCKER_HOST", "unix:///nowhere.sock")
        .output()
        .expect("the program starts");
    let text = told(nowhere);
    assert!(text.contains("Docker does not answer at unix:///nowhere.sock") && text.contains("install"), "{text}");
    with_docker(|| {
        let output = run(folder.path(), &["same-field", "--stand-ins", "--image", "postgres=syncstorm-local/none:1"]);
        let text = told(output);
        for part in ["syncstorm-local/none:1 (postgres)", "build-local", "SYNCSTORM_IMAGE_POSTGRES"] {
            assert!(text.contains(part), "{text}");
        }
        // A container that ends as it starts is named, with its last lines.
        let broken = "redis=syncstorm-local/sync-backend:0.1.0";
        let text = told(run(folder.path(), &["same-field", "--stand-ins", "--image", broken]));
        assert!(text.contains("the container redis") && text.contains("last lines"), "{text}");
        assert_eq!(left(), "", "a start that failed leaves something behind");
        assert!(!folder.path().join("report").exists());
    });
}
