//! However a run ends, what it wrote is gone, or told of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fixtures::App;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::baseline::Manner;
use super::rig::{Endpoint, Rig};
use super::with;

/// After this something is wrong, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(180);

fn lists(out: &Path) -> Vec<PathBuf> {
    fs::read_dir(out.join("owned-rows")).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Begins a run of many plans, and waits until it has written something.
async fn begun(rig: &Rig, out: &Path) -> Child {
    let mut command = rig.command(out, &["same-field", "long-offline", "--plans", "50"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let deadline = Instant::now() + PATIENCE;
    while rig.rows().await == 0 {
        assert!(Instant::now() < deadline, "nothing is written");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(lists(out).len(), 1, "what is written stands in a list");
    child
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a process id")), signal).expect("it runs");
}

#[test]
fn nothing_is_left_however_a_run_ends() {
    with(Endpoint::Own { annotates: true }, async |rig| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let out = folder.path().join("report");
        // Ctrl-C: the plan is given up, and what was judged is reported.
        let child = begun(rig, &out).await;
        let asked = Instant::now();
        signal(&child, Signal::SIGINT);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!((rig.rows().await, lists(&out).len()), (0, 0));
        assert!(asked.elapsed() < Duration::from_secs(30), "it took {:?}", asked.elapsed());
        assert!(out.join("report.html").exists());
        fs::remove_file(out.join("report.html")).expect("it is there");
        // Twice: at once.
        let child = begun(rig, &out).await;
        signal(&child, Signal::SIGINT);
        tokio::time::sleep(Duration::from_millis(100)).await;
        signal(&child, Signal::SIGINT);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!((rig.rows().await, lists(&out).len()), (0, 0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(out.join("report.html").exists(), "the report is written all the same");
        // Killed: nothing could be taken away, and the next run does, by the list.
        let mut child = begun(rig, &out).await;
        signal(&child, Signal::SIGKILL);
        child.wait().expect("it ends");
        assert!(rig.rows().await > 0 && lists(&out).len() == 1);
        // A run against another stack leaves the list as it is.
        let list = lists(&out).remove(0);
        let text = fs::read_to_string(&list).expect("a list");
        fs::write(&list, text.replace("127.0.0.1", "elsewhere.test")).expect("a file can be written");
        assert_eq!(rig.run(&out, &["different-fields", "--plans", "1"]).status.code(), Some(0));
        assert!(rig.rows().await > 0 && lists(&out).len() == 1);
        fs::write(&list, text).expect("a file can be written");
        let output = rig.run(&out, &["different-fields", "--plans", "1"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!((rig.rows().await, lists(&out).len()), (0, 0));
    });
}

#[test]
fn what_cannot_be_taken_away_is_named() {
    with(Endpoint::Own { annotates: true }, async |rig| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let out = folder.path().join("report");
        // Nobody may delete, and the backend is told so.
        rig.sql(
            "CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'nothing goes'; END $$;
             CREATE TRIGGER never BEFORE DELETE ON projects FOR EACH ROW EXECUTE FUNCTION never()",
        )
        .await;
        let output = rig.run(&out, &["different-fields", "--plans", "1"]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let left = rig.rows().await;
        if left == 0 {
            panic!("the plan has no project: {errors}");
        }
        assert_eq!(output.status.code(), Some(70), "{errors}");
        let list = lists(&out).pop().expect("the list stays");
        assert!(errors.contains("left behind: projects ") && errors.contains(&list.display().to_string()), "{errors}");
        // The next run does not begin on top of it, until it can be taken away.
        let output = rig.run(&out, &["different-fields", "--plans", "1"]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(70), "{errors}");
        assert!(errors.contains("an earlier run has left rows behind: projects "), "{errors}");
        rig.sql("DROP TRIGGER never ON projects").await;
        let output = rig.run(&out, &["different-fields", "--plans", "1"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!((rig.rows().await, lists(&out).len()), (0, 0));
    });
}

/// `timeout` sends two signals, and people press twice: rows that are just being deleted are not forgotten.
#[test]
fn a_second_signal_while_rows_are_deleted_loses_none() {
    with(Endpoint::Own { annotates: true }, async |rig| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let out = folder.path().join("report");
        let tables = App::builtin("flowstate").expect("it is built in").schema.tables;
        let triggers: Vec<String> = tables
            .iter()
            .map(|table| {
                let name = &table.name;
                format!("CREATE TRIGGER slow BEFORE DELETE ON \"{name}\" FOR EACH ROW EXECUTE FUNCTION slow();")
            })
            .collect();
        rig.sql(&format!(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_sleep(0.4); RETURN OLD; END $$; {}",
            triggers.concat()
        ))
        .await;
        let child = begun(rig, &out).await;
        signal(&child, Signal::SIGTERM);
        // The first rows go.
        let before = rig.rows().await;
        let deadline = Instant::now() + PATIENCE;
        while rig.rows().await >= before {
            assert!(Instant::now() < deadline, "nothing is deleted");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        signal(&child, Signal::SIGTERM);
        let output = child.wait_with_output().expect("it ends");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let left = rig.rows().await;
        assert!(left == 0 && lists(&out).is_empty() || errors.contains("left behind: "), "{left} rows: {errors}");
        assert!(out.join("report.html").exists());
    });
}

/// What was found stays found when the endpoint deletes nothing.
#[test]
fn a_finding_comes_before_what_is_left_behind() {
    with(Endpoint::Handler(Manner::Plain), async |rig| {
        rig.sql(
            "CREATE FUNCTION ignore() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
             CREATE TRIGGER ignore BEFORE DELETE ON tasks FOR EACH ROW EXECUTE FUNCTION ignore()",
        )
        .await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let output = rig.run(&folder.path().join("report"), &["same-field", "--plans", "1"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("left behind: tasks "), "{errors}");
    });
}

#[test]
fn nothing_is_written_unless_that_is_allowed() {
    let told = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncstorm"));
        let output = command.args(["run", "same-field", "--world", "external"]).args(args).output().expect("it starts");
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let urls = ["--backend-url", "http://127.0.0.1:1", "--powersync-url", "http://127.0.0.1:1"];
    let postgres = ["--postgres-url", "postgres://user@127.0.0.1:1/app"];
    let all = [&urls[..], &postgres, &["--token-secret", "a-secret-of-some-length"]].concat();
    assert!(told(&all).contains("allow it with --allow-writes"));
    let with = |further: &[&str]| told(&[&["--allow-writes"], further].concat());
    assert!(with(&[]).contains("--deployment DIR"));
    assert!(with(&urls).contains("--postgres-url: is needed"));
    assert!(with(&[&urls[..], &postgres].concat()).contains("--token-secret, --token-key or --token-command"));
    let mapping = with(&[&all[..], &["--mapping", "/nowhere.toml"]].concat());
    assert!(
        mapping.contains("--mapping /nowhere.toml") && mapping.contains("syncstorm, baseline, supabase"),
        "{mapping}"
    );
}
