//! Which applications and scenarios there are, and what a wrong name is told.

use std::path::Path;
use std::sync::Arc;

use fixtures::App;
use sim_core::scenario::{BUILTIN, Scenario};

/// Finds an application: a built-in one by name, or a folder.
///
/// # Errors
/// One sentence: what is wrong, and what would be right.
pub fn app(name: &str) -> Result<App, String> {
    if let Some(app) = App::builtin(name) {
        return Ok(app);
    }
    let folder = Path::new(name);
    if !folder.is_dir() {
        let known: Vec<&str> = App::builtin_names().collect();
        return Err(format!(
            "--app {name}: no such folder, and no built-in application of that name ({}); give a folder with schema.sql, sync-config.yaml and policy.toml",
            known.join(", ")
        ));
    }
    App::load(folder).map_err(|error| error.to_string())
}

/// The scenarios of an application, in order of name: its own, and those at the root that are about it or about any.
///
/// # Errors
/// The first one that is malformed.
pub fn scenarios(app: &Arc<App>) -> Result<Vec<Scenario>, String> {
    let mut found = Vec::new();
    for (file, text) in &app.scenarios {
        found.push(Scenario::parse(file, text, app).map_err(|error| error.to_string())?);
    }
    for (file, text) in BUILTIN {
        if Scenario::app_named_in(text).is_none_or(|name| name == app.name) {
            found.push(Scenario::parse(file, text, app).map_err(|error| error.to_string())?);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Chooses scenarios by name; all when none is named.
///
/// # Errors
/// A name that is none, with those that are.
pub fn choose(all: Vec<Scenario>, names: &[String]) -> Result<Vec<Scenario>, String> {
    if names.is_empty() {
        return Ok(all);
    }
    let mut chosen = Vec::new();
    for name in names {
        let Some(scenario) = all.iter().find(|scenario| scenario.name == *name) else {
            let known: Vec<&str> = all.iter().map(|scenario| scenario.name.as_str()).collect();
            return Err(format!("scenario {name}: unknown; there are {}", known.join(", ")));
        };
        if !chosen.iter().any(|one: &Scenario| one.name == *name) {
            chosen.push(scenario.clone());
        }
    }
    Ok(chosen)
}
