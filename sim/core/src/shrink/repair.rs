//! Keeps candidates possible: nobody can name a row that never was.
//!
//! Taking a row away takes along what named it, or shrinking would find the same code in a story that could not
//! happen: a row that refers to nothing from the beginning.

use std::collections::BTreeSet;

use crate::plan::{Expr, Intent, Plan, Step};

/// The plan without whatever names a row that is neither there from the beginning nor inserted before.
pub(super) fn repaired(mut plan: Plan) -> Plan {
    let mut known: BTreeSet<u32> = plan.seed_rows.iter().map(|row| row.row).collect();
    loop {
        let before = known.len();
        plan.seed_rows.retain(|row| {
            let whole = row.set.iter().all(|(_, value)| is_known(&known, value));
            if !whole {
                known.remove(&row.row);
            }
            whole
        });
        if known.len() == before {
            break;
        }
    }
    repair_steps(&mut plan.steps, &mut known);
    repair_steps(&mut plan.resume, &mut known);
    plan
}

fn repair_steps(steps: &mut Vec<Step>, known: &mut BTreeSet<u32>) {
    steps.retain_mut(|step| {
        let Some(intents) = step.action.intents_mut() else { return true };
        intents.retain_mut(|intent| repair(intent, known));
        !intents.is_empty()
    });
}

/// Whether something of the intent is left.
fn repair(intent: &mut Intent, known: &mut BTreeSet<u32>) -> bool {
    match intent {
        Intent::Insert { row, set, .. } | Intent::Ensure { row, set, .. } => {
            let whole = set.iter().all(|(_, value)| is_known(known, value) || *value == Expr::Id(*row));
            if whole {
                known.insert(*row);
            }
            whole
        }
        Intent::Set { set, .. } => {
            set.retain(|(_, value)| is_known(known, value));
            !set.is_empty()
        }
        Intent::Add { element, .. } | Intent::Remove { element, .. } => is_known(known, element),
        Intent::Increment { .. } | Intent::MoveAfter { .. } | Intent::Delete { .. } | Intent::Read { .. } => true,
    }
}

fn is_known(known: &BTreeSet<u32>, value: &Expr) -> bool {
    match value {
        Expr::Id(row) => known.contains(row),
        Expr::Value(_) | Expr::Now | Expr::Device => true,
    }
}
