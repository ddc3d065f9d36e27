//! Which scenarios an application has, and how they are chosen by name.

use std::sync::Arc;

use fixtures::App;

use super::{BUILTIN, Scenario};

/// The scenarios of an application, in order of name: its own, and those at the root that are about it or about any.
///
/// # Errors
/// The first one that is malformed.
pub fn of_app(app: &Arc<App>) -> Result<Vec<Scenario>, String> {
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
