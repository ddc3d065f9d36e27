//! Which applications there are, and what a wrong name is told.

use std::path::Path;

use fixtures::App;

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
