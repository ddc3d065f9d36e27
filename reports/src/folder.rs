//! All reports of a run, as files in one folder.

use std::io;
use std::path::{Path, PathBuf};

use sim_core::run::Run;

use crate::words::file_name;
use crate::{Failure, diagram, html, json, junit, story, text};

/// Writes `report.html`, `junit.xml`, `run.json`, `summary.txt`, and for each failure its diagram and story as
/// `<scenario>.svg` and `<scenario>.txt`. The folder is made if it is missing. Answers the files, the report first.
///
/// # Errors
/// What the file system says.
pub fn write(folder: &Path, run: &Run, failures: &[Failure<'_>]) -> io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder)?;
    let mut written = Vec::new();
    let mut file = |name: String, content: String| {
        let path = folder.join(name);
        std::fs::write(&path, content)?;
        written.push(path);
        io::Result::Ok(())
    };
    file("report.html".to_owned(), html::render(run, failures))?;
    file("junit.xml".to_owned(), junit::render(run))?;
    file("run.json".to_owned(), json::render(run))?;
    file("summary.txt".to_owned(), text::summary(run))?;
    for Failure { scenario, plan, history, anomalies, app, .. } in failures {
        let name = file_name(scenario);
        file(format!("{name}.svg"), diagram::svg(plan, history, app, &story::highlights(anomalies)))?;
        let lines = story::tell(plan, history, app, anomalies);
        file(format!("{name}.txt"), format!("{}\n", lines.join("\n")))?;
    }
    Ok(written)
}
