//! A checklist as text and as JSON: what was checked, what is wrong, what it means, what to do.
//!
//! Nothing is judged here: `verify` and `audit` decide.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::terminal::{Align, Colour, Column, paint, table};
use crate::words::{counted, visible};

/// The format that `version` names.
pub const VERSION: u32 = 1;

/// Everything that was checked, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checklist {
    /// `verify` or `audit`.
    pub command: &'static str,
    /// Where the parts of the stack are, without passwords.
    pub stack: BTreeMap<&'static str, String>,
    /// One entry for each line.
    pub checks: Vec<Check>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The part of the stack.
    pub group: &'static str,
    /// What was checked; unique within its group.
    pub name: String,
    /// What was found.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What was found. What could not be checked is `Skipped`, never `Ok`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It is as it should be.
    Ok {
        /// What was seen.
        note: String,
    },
    /// It is not.
    Failed {
        /// What is wrong.
        diagnosis: String,
        /// What to do about it, in words.
        fix: String,
    },
    /// It was not checked.
    Skipped {
        /// Why not.
        reason: String,
    },
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Self::Ok { .. } => "ok",
            Self::Failed { .. } => "failed",
            Self::Skipped { .. } => "skipped",
        }
    }

    fn colour(&self) -> u8 {
        match self {
            Self::Ok { .. } => 32,
            Self::Failed { .. } => 31,
            Self::Skipped { .. } => 33,
        }
    }

    fn texts(&mut self) -> Vec<&mut String> {
        match self {
            Self::Ok { note } => vec![note],
            Self::Failed { diagnosis, fix } => vec![diagnosis, fix],
            Self::Skipped { reason } => vec![reason],
        }
    }
}

impl Checklist {
    /// Whether a line failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.checks.iter().any(|check| matches!(check.outcome, Outcome::Failed { .. }))
    }

    /// Changes every text that comes from outside: logs and error messages may hold a secret.
    pub fn rewrite(&mut self, change: impl Fn(&str) -> String) {
        for text in self.checks.iter_mut().flat_map(|check| check.outcome.texts()) {
            *text = change(text);
        }
        for place in self.stack.values_mut() {
            *place = change(place);
        }
    }

    fn totals(&self) -> [u64; 3] {
        let count = |word: &str| self.checks.iter().filter(|check| check.outcome.word() == word).count() as u64;
        [count("ok"), count("failed"), count("skipped")]
    }
}

/// One line for each check; below one that failed, what to do. Then how many there are of each outcome.
#[must_use]
pub fn text(list: &Checklist, colour: Colour) -> String {
    let columns = ["", "", ""].map(|title| Column::new(title, Align::Left));
    let rows: Vec<Vec<String>> = list
        .checks
        .iter()
        .map(|check| {
            let found = match &check.outcome {
                Outcome::Ok { note } => note,
                Outcome::Failed { diagnosis, .. } => diagnosis,
                Outcome::Skipped { reason } => reason,
            };
            let word = paint(check.outcome.word(), check.outcome.colour(), colour);
            vec![word, format!("{}: {}", check.group, visible(&check.name)), first_line(found)]
        })
        .collect();
    let mut text = String::new();
    for (check, line) in list.checks.iter().zip(table(&columns, &rows).lines().skip(1)) {
        text.push_str(line);
        text.push('\n');
        let Outcome::Failed { diagnosis, fix } = &check.outcome else { continue };
        for further in diagnosis.lines().skip(1) {
            text.push_str(&format!("           | {}\n", visible(further)));
        }
        for (index, further) in fix.lines().enumerate() {
            text.push_str(&format!("         {} {}\n", if index == 0 { "->" } else { "  " }, visible(further)));
        }
    }
    let [ok, failed, skipped] = list.totals();
    text.push_str(&format!(
        "\n{}: {ok} ok, {failed} failed, {skipped} skipped\n",
        counted(ok + failed + skipped, "line", "lines")
    ));
    text
}

fn first_line(text: &str) -> String {
    visible(text.lines().next().unwrap_or_default())
}

/// `{"version":1,"command":…,"stack":{…},"checks":[{"group":…,"name":…,"outcome":"ok|failed|skipped",…}],"totals":{…}}`.
#[must_use]
pub fn json(list: &Checklist) -> String {
    let [ok, failed, skipped] = list.totals();
    let object = serde_json::json!({
        "version": VERSION,
        "command": list.command,
        "stack": list.stack,
        "checks": list.checks,
        "totals": { "ok": ok, "failed": failed, "skipped": skipped },
    });
    format!("{object:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checklist {
        let check = |name: &str, outcome: Outcome| Check { group: "database", name: name.to_owned(), outcome };
        Checklist {
            command: "verify",
            stack: BTreeMap::from([("database", "postgres://user:***@db/app".to_owned())]),
            checks: vec![
                check("reachable", Outcome::Ok { note: "PostgreSQL 16".to_owned() }),
                check(
                    "slot",
                    Outcome::Failed { diagnosis: "none\nlog: \u{1b}[2J".to_owned(), fix: "start it".to_owned() },
                ),
                check("TLS", Outcome::Skipped { reason: "nobody asked".to_owned() }),
            ],
        }
    }

    #[test]
    fn a_line_for_each_check() {
        let found = text(&sample(), Colour::Plain);
        let expect = "ok       database: reachable  PostgreSQL 16\n\
                      failed   database: slot       none\n           | log: \u{241b}[2J\n         -> start it\n\
                      skipped  database: TLS        nobody asked\n\n3 lines: 1 ok, 1 failed, 1 skipped\n";
        assert_eq!(found, expect);
        assert!(text(&sample(), Colour::Ansi).contains("\u{1b}[31mfailed\u{1b}[0m"));
    }

    #[test]
    fn json_holds_the_same() {
        let found: serde_json::Value = serde_json::from_str(&json(&sample())).expect("JSON");
        assert_eq!(found["checks"][1]["outcome"], "failed");
        assert_eq!(found["checks"][2]["reason"], "nobody asked");
        assert_eq!(found["totals"]["ok"], 1);
        assert!(sample().has_failed());
    }

    #[test]
    fn secrets_are_rewritten() {
        let mut list = sample();
        list.rewrite(|text| text.replace("16", "***"));
        assert_eq!(list.checks[0].outcome, Outcome::Ok { note: "PostgreSQL ***".to_owned() });
    }
}
