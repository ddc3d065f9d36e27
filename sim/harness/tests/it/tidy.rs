//! The rules of the house that a compiler does not know.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every Rust file below a folder, with its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a source folder can be read") {
            let path = entry.expect("its entries can be read").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is text");
                found.push((path.display().to_string(), text));
            }
        }
    }
    found
}

/// The packages that run plans, and look at stacks.
const HARNESS: [&str; 6] =
    ["sim/network/src", "sim/device/src", "sim/stack/src", "sim/world/src", "sim/verify/src", "sim/harness/src"];

fn harness() -> impl Iterator<Item = (String, String)> {
    HARNESS.into_iter().flat_map(sources)
}

/// Says every line of code in `folder` that has one of the words.
fn refuse(folder: &str, words: &[&str], why: &str) {
    refuse_in(sources(folder), words, why);
}

/// Says every line of code in these files that has one of the words.
fn refuse_in(files: impl IntoIterator<Item = (String, String)>, words: &[&str], why: &str) {
    let mut wrong = Vec::new();
    for (path, text) in files {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(word) = words.iter().find(|word| code.contains(**word)) {
                wrong.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{why}:\n{}", wrong.join("\n"));
}

#[test]
fn only_applications_and_scenarios_name_tables() {
    let names: Vec<String> = fixtures::App::builtin_names()
        .filter_map(fixtures::App::builtin)
        .flat_map(|app| app.schema.tables.into_iter().map(|table| format!("\"{}\"", table.name)))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let folders = ["backend/src", "sim/core/src/checker", "sim/core/src/model", "sim/service/src", "reports/src"];
    for folder in folders.iter().chain(&HARNESS) {
        let mut wrong = Vec::new();
        for (path, text) in sources(folder) {
            // Unit tests may use names of their own that happen to be the same.
            if path.contains("test") {
                continue;
            }
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for (number, line) in code.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if names.iter().any(|name| code.contains(name)) {
                    wrong.push(format!("{path}:{}: {}", number + 1, line.trim()));
                }
            }
        }
        assert!(wrong.is_empty(), "a table name outside fixtures and scenarios:\n{}", wrong.join("\n"));
    }
}

#[test]
fn the_backend_is_a_product() {
    refuse("backend/src", &["sim_core", "sim_service", "syncstorm::"], "backend imports the harness");
    refuse("sim/service/src", &["sim_core", "backend::", "syncstorm::"], "the service imports its siblings");
    refuse("sim/core/src", &["backend::", "sim_service", "syncstorm::"], "sim-core imports its siblings");
}

#[test]
fn a_run_as_data_touches_nothing() {
    let words =
        ["tokio::", "rusqlite", "std::net", "std::fs", "Instant::now", "SystemTime", "rand::rng(", "thread_rng"];
    // Two tests of growth measure time.
    let measuring = ["checker/tests/scale.rs", "history/tests.rs"];
    let files =
        sources("sim/core/src").into_iter().filter(|(path, _)| !measuring.iter().any(|one| path.ends_with(one)));
    refuse_in(files, &words, "sim-core touches the world");
}

#[test]
fn checkers_see_histories_alone() {
    refuse("sim/core/src/checker", &["crate::workload", "crate::shrink", "Plan"], "a checker sees a plan");
    refuse("sim/core/src/model", &["crate::workload", "crate::shrink", "Plan"], "the model sees a plan");
}

#[test]
fn reports_decide_nothing() {
    refuse("reports/src", &["checker::check", "checker::examine", "Timeline"], "reports judge");
}

#[test]
fn only_main_prints() {
    for folder in ["sim/core/src", "sim/service/src", "reports/src", "fixtures/src"] {
        refuse(folder, &["println!", "eprintln!", "print!(", "dbg!"], "printing outside main");
    }
    for (path, text) in harness().chain(sources("backend/src")) {
        if !path.ends_with("main.rs") {
            assert!(!text.contains("println!"), "{path} prints");
        }
    }
}

#[test]
fn no_choice_is_left_to_chance() {
    for (path, text) in harness().chain(sources("sim/service/src")).chain(sources("backend/src")) {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            if line.contains("select! {") && !line.trim_start().starts_with("//") {
                let next = lines.get(number + 1).copied().unwrap_or_default();
                assert!(next.contains("biased"), "{path}:{}: select! without biased", number + 1);
            }
        }
    }
}

#[test]
fn devices_do_not_know_their_world() {
    for package in ["sim/network", "sim/device"] {
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).expect("a package has a manifest");
        for word in ["sim-world", "backend", "sim-service", "sim-stack"] {
            assert!(!manifest.contains(word), "{package} knows its world, or shares memory with a server: {word}");
        }
    }
}

#[test]
fn an_oracle_shares_no_code_with_what_it_judges() {
    let words = ["crate::model", "crate::checker::policy"];
    refuse("sim/core/src/checker/durability", &words, "durability leans on the model that it is to control");
    for (path, text) in sources("sim/core/src/model").into_iter().filter(|(path, _)| !path.contains("test")) {
        assert!(!text.contains("crate::checker"), "the model leans on a checker: {path}");
    }
    refuse("sim/core/src/checker/visibility", &["crate::model"], "the sync rules' second reading leans on the model");
}

/// Says every line of the harness and of sim-core outside `places` that has one of the words.
fn refuse_outside(places: &[&str], words: &[&str], why: &str) {
    let files = harness().chain(sources("sim/core/src"));
    refuse_in(files.filter(|(path, _)| !places.iter().any(|place| path.contains(place))), words, why);
}

#[test]
fn files_and_processes_have_their_places() {
    let files = ["fs::write", "File::create", "create_dir", "OpenOptions", "fs::rename", "tempfile::"];
    refuse_outside(
        // The last one's test makes a folder.
        &["stack/src/files.rs", "/postgres/", "/world/", "verify/src/weak_secrets.rs"],
        &files,
        "files are written by files.rs, reports and worlds",
    );
    let places = ["/postgres/", "/world/", "/existing_stack/program.rs"];
    refuse_outside(
        &places,
        &["Command::new"],
        "processes are started by postgres, worlds and existing_stack/program.rs",
    );
}
