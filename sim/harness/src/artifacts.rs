//! The files of a run: what replays a failure, and where reports go.
//!
//! A failure's folder holds `case.json` (the shrunk plan, application, policy, versions, expected failure: all that
//! `replay` needs), `original.json` (the plan as it was drawn), `history.jsonl`, `verdict.json`, `story.txt` and
//! `diagram.svg`. A folder appears whole or not at all
//! ([`sim_stack::files`]).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sim_core::regression::Regression;

/// A file that could not be read as what it should be.
#[derive(Debug, thiserror::Error)]
#[error("{}: {field}: {problem}", file.display())]
pub struct BadFile {
    /// The file.
    pub file: PathBuf,
    /// The field.
    pub field: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// What a case is found with, by name.
#[must_use]
pub fn versions() -> BTreeMap<String, String> {
    [
        ("syncstorm", env!("CARGO_PKG_VERSION")),
        ("commit", env!("SYNCSTORM_COMMIT")),
        ("powersync_core", "0.4.12"),
        ("sqlite", rusqlite::version()),
    ]
    .into_iter()
    .map(|(name, version)| (name.to_owned(), version.to_owned()))
    .collect()
}

/// Reads a case: a failure's folder, its `case.json`, or a regression file.
///
/// # Errors
/// What is missing or malformed, with file, field and remedy.
pub fn read_case(path: &Path) -> Result<Regression, BadFile> {
    let file = if path.is_dir() { path.join("case.json") } else { path.to_owned() };
    let bad = |field: &str, problem: String| BadFile { file: file.clone(), field: field.to_owned(), problem };
    let text = fs::read_to_string(&file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            bad("file", "not found; give the folder of a failure, such as reports/runs/…/failures/same-field".into())
        }
        _ => bad("file", error.to_string()),
    })?;
    Regression::parse(&text).map_err(|problem| bad("content", problem))
}
