//! Wrong input: the program ends with 64 and says what would be right, and writes nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

fn check(args: &[&str], expect: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_syncstorm")).args(args).output().expect("the program starts");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{args:?}: {told}");
    for words in expect {
        assert!(told.contains(words), "{args:?} does not say `{words}`:\n{told}");
    }
    assert!(output.stdout.is_empty(), "{args:?} prints to standard output");
}

#[test]
fn arguments() {
    let table: &[(&[&str], &[&str])] = &[
        (&[], &["Usage"]),
        (&["walk"], &["unrecognized subcommand", "walk"]),
        (
            &["run", "--policy", "newest"],
            &["--policy", "field-merge, row-latest, version-check, server-wins or arrival-order"],
        ),
        (&["run", "--seed", "xyz"], &["--seed", "hexadecimal"]),
        (&["run", "--seed", ""], &["--seed"]),
        (&["run", "--seed", "11111111111111111"], &["hexadecimal"]),
        (&["run", "--plans", "0"], &["--plans", "1..=1000000"]),
        (&["run", "--plans", "-3"], &["-3"]),
        (&["run", "--plans", "many"], &["--plans", "invalid digit"]),
        (&["run", "--workers", "0"], &["--workers", "1..=256"]),
        (&["run", "--workers", "1000"], &["--workers", "1..=256"]),
        (&["run", "--world", "moon"], &["--world", "deterministic"]),
        (&["run", "--checkers", "convergence,luck"], &["--checkers luck", "durability"]),
        (&["run", "no-such-scenario"], &["no-such-scenario", "same-field"]),
        (&["run", "--app", "no-such-app"], &["--app no-such-app", "flowstate"]),
        // What is for another world would do nothing.
        (
            &["run", "same-field", "--powersync-url", "http://127.0.0.1:1", "--allow-writes"],
            &["--powersync-url", "--world external"],
        ),
        (&["run", "same-field", "--mapping", "baseline"], &["--mapping", "--world external"]),
        (&["run", "--world", "embedded", "--allow-writes"], &["--allow-writes", "--world external"]),
        (&["run", "--image", "postgres=postgres:17"], &["--image", "--world containers"]),
        (&["run", "--stand-ins"], &["--stand-ins", "--world containers"]),
        (&["mutants", "--storage", "postgresql"], &["--storage", "--world containers"]),
        (
            &["replay", "../../scenarios/regressions/all-of-an-edit-gave-way.json", "--allow-writes"],
            &["--allow-writes", "--world external"],
        ),
        // A checker that judges nothing there.
        (&["run", "--world", "embedded", "--checkers", "latency"], &["--checkers latency", "deterministic"]),
        (&["run", "--checkers", ""], &["--checkers"]),
        (&["run", "--app"], &["--app"]),
        (&["run", "--colour"], &["--colour"]),
        (&["list", "--app", "/nowhere"], &["/nowhere"]),
        (&["replay"], &["PATH"]),
        (&["replay", "/nowhere/at/all"], &["/nowhere/at/all", "not found"]),
        (&["shrink", "/nowhere/at/all"], &["/nowhere/at/all", "not found"]),
        (&["verify"], &["--deployment DIR", "--powersync-url"]),
        (&["audit"], &["--deployment DIR", "--powersync-url"]),
    ];
    for (args, expect) in table {
        check(args, expect);
    }
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file can be written");
    }
    folder
}

fn path(folder: &Path) -> String {
    folder.display().to_string()
}

#[test]
fn run_folders() {
    let table: &[(&str, &[&str])] = &[
        ("", &["case.json", "no regression file"]),
        ("{", &["case.json"]),
        ("[]", &["case.json"]),
        ("{\"version\": 1}", &["case.json", "what"]),
        ("not json at all", &["case.json", "line 1"]),
    ];
    for (text, expect) in table {
        let folder = folder(&[("case.json", text)]);
        check(&["replay", &path(folder.path())], expect);
        check(&["shrink", &path(folder.path())], expect);
    }
}

#[test]
fn application_folders() {
    let schema = "CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT NOT NULL);
        CREATE PUBLICATION powersync FOR TABLE notes;";
    let sync = "bucket_definitions:\n  all:\n    data:\n      - SELECT * FROM notes\n";
    /// The files of a folder, and what must be named.
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
    let table: &[Case<'_>] = &[
        (&[], &["schema.sql"]),
        (&[("schema.sql", "CREATE TABLE (")], &["schema.sql"]),
        (&[("schema.sql", schema), ("policy.toml", "")], &["sync-config.yaml"]),
        (
            &[("schema.sql", schema), ("sync-config.yaml", sync), ("policy.toml", "[tables.books]\n")],
            &["policy.toml", "books"],
        ),
        (
            &[("schema.sql", schema), ("sync-config.yaml", "bucket_definitions: 3"), ("policy.toml", "")],
            &["sync-config.yaml"],
        ),
        (
            &[("schema.sql", schema), ("sync-config.yaml", sync), ("policy.toml", "colour = 1\n")],
            &["policy.toml", "colour"],
        ),
    ];
    for (files, expect) in table {
        let folder = folder(files);
        check(&["run", "--app", &path(folder.path())], expect);
    }
}

#[test]
fn out_is_a_file() {
    let folder = folder(&[("taken", "")]);
    check(&["run", "same-field", "--out", &path(&folder.path().join("taken"))], &["--out", "is a file"]);
}

/// A todo app of one user's rows, in which `owner` selects them.
fn own_rows(values: &str, invariant: &str) -> tempfile::TempDir {
    let schema = "CREATE TABLE notes (id TEXT PRIMARY KEY, owner TEXT, stars INTEGER);
        ALTER TABLE notes REPLICA IDENTITY FULL;
        CREATE PUBLICATION powersync FOR TABLE notes;";
    let sync_config = "
bucket_definitions:
  mine:
    parameters: SELECT request.user_id() AS uid
    data:
      - SELECT * FROM notes WHERE owner = bucket.uid
";
    let policy = format!(
        "users = [\"ann\"]\n[values.notes]\nstars = {{ int = [1, 5], null = 0.0 }}\n{values}\n[[invariants]]\nname = \"few-stars\"\nsql = \"{invariant}\"\n"
    );
    folder(&[("schema.sql", schema), ("sync-config.yaml", sync_config), ("policy.toml", &policy)])
}

#[test]
fn an_invariant_that_the_first_rows_break_is_wrong_input() {
    let owned = "owner = { form = \"user\" }";
    let broken = own_rows(owned, "SELECT id FROM notes WHERE stars IS NULL OR stars < 9");
    check(
        &["run", "any-edit", "--plans", "1", "--app", &path(broken.path())],
        &["policy.toml: invariants.few-stars", "break it already", "notes#"],
    );
}

#[test]
fn rows_that_nobody_is_given_are_told_before_a_run() {
    let warned = |values: &str| {
        let app = own_rows(values, "SELECT id FROM notes WHERE stars > 9999");
        let out = tempfile::tempdir().expect("a temporary folder can be made");
        let output = Command::new(env!("CARGO_BIN_EXE_syncstorm"))
            .args(["run", "any-edit", "--plans", "6", "--no-shrink", "--app", &path(app.path()), "--out"])
            .arg(out.path())
            .output()
            .expect("the program starts");
        String::from_utf8_lossy(&output.stderr).contains("rows of notes that plans begin with is given to any user")
    };
    assert!(warned(""));
    assert!(!warned("owner = { form = \"user\" }"));
}
