//! Plans for `cargo test`: a proptest strategy over our own seeds.
//!
//! It does not shrink: [`crate::shrink`] does, and keeps a failure the same failure.

use std::sync::Arc;

use fixtures::App;
use proptest::prelude::Rng as _;
use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::seed::Seed;
use crate::workload::generate;

/// Plans of the scenario. The only thing drawn from proptest is the plan's seed.
pub fn plans(scenario: Arc<Scenario>, app: Arc<App>) -> Plans {
    Plans { scenario, app }
}

/// See [`plans`].
#[derive(Clone, Debug)]
pub struct Plans {
    scenario: Arc<Scenario>,
    app: Arc<App>,
}

impl Strategy for Plans {
    type Tree = FixedPlan;
    type Value = Plan;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let seed = Seed(runner.rng().next_u64());
        Ok(FixedPlan(generate(&self.scenario, &self.app, seed)))
    }
}

/// A plan that proptest takes as it is.
#[derive(Clone, Debug)]
pub struct FixedPlan(Plan);

impl ValueTree for FixedPlan {
    type Value = Plan;

    fn current(&self) -> Plan {
        self.0.clone()
    }

    fn simplify(&mut self) -> bool {
        false
    }

    fn complicate(&mut self) -> bool {
        false
    }
}
