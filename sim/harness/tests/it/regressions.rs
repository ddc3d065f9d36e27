//! Failures that were found once: mended ones must hold, others must fail as they did.

use std::path::Path;

use syncstorm::cli::ReplayArgs;
use syncstorm::commands;
use syncstorm::world_args::{ContainerArgs, ExternalArgs, WorldFlags};

#[test]
fn every_regression_gives_its_verdict() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/regressions");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of regressions is there")
        .map(|entry| entry.expect("its entries can be read").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no regression", folder.display());
    for path in files {
        let args = ReplayArgs {
            external: ExternalArgs::default(),
            containers: ContainerArgs::default(),
            world_flags: WorldFlags::default(),
            path: path.clone(),
            world: None,
            json: false,
            history: None,
        };
        let replayed = commands::replay(&args).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let story = replayed.story.join("\n");
        assert!(
            replayed.same_verdict,
            "{}: expected {}\n{story}\n{:#?}",
            path.display(),
            replayed.expected,
            replayed.anomalies
        );
    }
}
