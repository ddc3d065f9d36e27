//! `verify` and `audit` on a whole stack, where one thing after the other is broken on purpose: each yields its own
//! diagnosis, and what does not depend on it stays ok.

mod audit;
mod containers;
mod input;
mod mongod;
pub(crate) mod rig;
mod verify;

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value as Json;

/// What a checklist told: each line's outcome and its text.
struct Told {
    code: Option<i32>,
    raw: String,
    lines: BTreeMap<String, (String, String)>,
}

/// Runs the program with `--json` and reads its lines.
fn told(command: &str, args: &[String], path: Option<&str>) -> Told {
    let mut program = Command::new(env!("CARGO_BIN_EXE_syncstorm"));
    program.arg(command).args(args).arg("--json");
    if let Some(path) = path {
        program.env("PATH", path);
    }
    let output = program.output().expect("the program starts");
    let raw = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let json: Json = serde_json::from_str(&raw).unwrap_or_else(|error| panic!("{error}: {raw}{errors}"));
    let text = |check: &Json, name: &str| check[name].as_str().unwrap_or_default().to_owned();
    let lines = json["checks"].as_array().expect("checks").iter().map(|check| {
        let outcome = text(check, "outcome");
        let said = match outcome.as_str() {
            "ok" => text(check, "note"),
            "skipped" => text(check, "reason"),
            _ => {
                assert!(!text(check, "fix").is_empty(), "{check} has no fix");
                text(check, "diagnosis")
            }
        };
        (format!("{}: {}", text(check, "group"), text(check, "name")), (outcome, said))
    });
    Told { code: output.status.code(), lines: lines.collect(), raw }
}

impl Told {
    fn with(&self, outcome: &str) -> Vec<&str> {
        self.lines.iter().filter(|(_, (found, _))| found == outcome).map(|(name, _)| name.as_str()).collect()
    }

    /// These lines failed, with these words, and no other; these were skipped besides those that `before` skipped; and
    /// everything else is as it was there.
    fn check(&self, what: &str, before: &Self, failed: &[(&str, &str)], skipped: &[&str]) {
        for (name, words) in failed {
            let (outcome, said) =
                self.lines.get(*name).unwrap_or_else(|| panic!("{what}: no line {name}\n{}", self.raw));
            assert_eq!(outcome, "failed", "{what}: {name}: {said}");
            assert!(said.contains(words), "{what}: {name} does not say `{words}`: {said}");
        }
        for name in skipped {
            assert_eq!(self.lines[*name].0, "skipped", "{what}: {name}: {}", self.lines[*name].1);
        }
        for (name, (outcome, said)) in &self.lines {
            let is_expected = failed.iter().any(|(one, _)| one == name) || skipped.contains(&name.as_str());
            if !is_expected {
                assert_eq!(*outcome, before.lines[name].0, "{what}: {name}: {said}");
            }
        }
        assert_eq!(self.code, Some(i32::from(!self.with("failed").is_empty())), "{what}");
    }
}
