//! Writes every report of hand-made runs into a folder, to look at: `cargo run -p reports --example sample -- DIR`.

#[path = "../tests/it/sample.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod sample;

use std::path::PathBuf;

use reports::{diagram, story};

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    std::fs::create_dir_all(&folder)?;
    let app = sample::app();
    for (name, failure) in [("lost-update", sample::lost_update(&app)), ("divergence", sample::divergence(&app))] {
        let events: Vec<usize> = failure.anomalies.iter().flat_map(|anomaly| anomaly.events.clone()).collect();
        diagram::write(&folder.join(format!("{name}.svg")), &failure.plan, &failure.history, &app, &events)?;
        let lines = story::tell(&failure.plan, &failure.history, &app, &failure.anomalies);
        std::fs::write(folder.join(format!("{name}.txt")), lines.join("\n"))?;
    }
    Ok(())
}
