//! Every planted defect is caught, and the canary by the first plan: else no verdict can be trusted.

use std::sync::atomic::AtomicBool;

use sim_core::Seed;
use syncstorm::cli::MutantsArgs;
use syncstorm::commands;
use syncstorm::world_args::{ContainerArgs, WorldFlags};

#[test]
fn every_planted_defect_is_caught() {
    let args = MutantsArgs {
        containers: ContainerArgs::default(),
        world_flags: WorldFlags::default(),
        mutants: Vec::new(),
        seed: Seed(0x7e57),
        plans: 200,
        workers: None,
        json: false,
        shrink: false,
        world: "deterministic".to_owned(),
    };
    let results = commands::mutants(&args, &AtomicBool::new(false), &|_| {}).expect("every mutant has its scenario");
    assert!(results.len() >= 70, "only {} defects are planted", results.len());
    let missed: Vec<&str> = results.iter().filter(|mutant| !mutant.caught).map(|mutant| mutant.name.as_str()).collect();
    assert!(missed.is_empty(), "not caught within {} plans: {}", args.plans, missed.join(", "));
    let canary = results.iter().find(|mutant| mutant.name == "canary").expect("there is a canary");
    assert_eq!(canary.plans, 1, "the canary was not caught by its first plan");
}
