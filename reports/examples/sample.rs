//! Writes every report of hand-made runs into a folder, to look at: `cargo run -p reports --example sample -- DIR`.

#[path = "../tests/it/sample.rs"]
mod sample;

use std::path::PathBuf;

use reports::mutants;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    std::fs::create_dir_all(&folder)?;
    let app = sample::app();
    let failures = [sample::divergence(&app), sample::lost_update(&app)];
    for path in reports::write(&folder, &sample::run(), &failures)? {
        eprintln!("{}", path.display());
    }
    std::fs::write(folder.join("mutants.txt"), mutants::text(&sample::mutants()))
}
