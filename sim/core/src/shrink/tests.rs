use std::collections::BTreeSet;

use super::{Limits, Shrunk, shrink};
use crate::plan::{Action, Device, DeviceKind, Expr, Fault, Intent, Link, Plan, SeedRow, Server, Step};
use crate::seed::Seed;

/// A plan of so many devices and transactions, with noise of every kind.
fn noisy(devices: u32, transactions: u32) -> Plan {
    let rows = vec!["boxes".to_owned(); 40];
    let text = |key: u32, n: u32| Expr::Value(format!("some words that nobody needs ~{key}.{n}").into());
    let mut steps = Vec::new();
    for n in 0..transactions {
        let key = 2 * n + 1;
        let row = n * 7 % 40;
        let intents = vec![
            Intent::Set { row, set: vec![("label".to_owned(), text(key, 1)), ("color".to_owned(), text(key, 2))] },
            Intent::Increment { row: (row + 1) % 40, column: "count".to_owned(), by: 1 },
            Intent::Read { rows: vec![row, (row + 1) % 40] },
        ];
        let tx = Action::Tx { device: n % devices, activity: "pack".to_owned(), intents };
        steps.push(Step { at_us: i64::from(n) * 2_345_678, key, action: tx });
        let fault = match n % 3 {
            0 => Fault::Offline { device: (n + 1) % devices, for_us: 12_345_678 },
            1 => Fault::Lossy {
                device: (n + 1) % devices,
                server: Server::Both,
                request_lost: 10,
                reply_lost: 30,
                duplicated: 5,
                for_us: 33_333_333,
            },
            _ => Fault::BackendDown { for_us: 3_000_000 },
        };
        steps.push(Step { at_us: i64::from(n) * 2_345_678 + 77, key: key + 1, action: Action::Fault(fault) });
    }
    let device = Device { kind: DeviceKind::Tauri, user: "ann".to_owned(), clock_skew_us: 1_234 };
    Plan {
        version: crate::plan::VERSION,
        app: "attic".to_owned(),
        scenario: "noise".to_owned(),
        seed: Seed(1),
        identity: None,
        devices: vec![device; devices as usize],
        link: Link { latency_min_us: 5_000, latency_max_us: 80_000 },
        token_lifetime_s: 60,
        rows,
        seed_rows: (0..40).map(|row| SeedRow { row, set: vec![("label".to_owned(), text(0, row))] }).collect(),
        resume: vec![Step {
            at_us: 10,
            key: 9_999,
            action: Action::Tx { device: 0, activity: "resume".to_owned(), intents: vec![Intent::Delete { row: 3 }] },
        }],
        steps,
    }
}

/// Shrinks as a harness with one worker does.
fn shrunk(plan: &Plan, limits: Limits, fails: &dyn Fn(&Plan) -> bool) -> Shrunk {
    assert!(fails(plan), "the plan fails to begin with");
    let result = shrink(plan, limits, &mut |plans| plans.iter().position(fails), &mut || false);
    assert!(fails(&result.plan), "what is left still fails");
    result
}

/// What is written to each row and by whom.
fn writes(plan: &Plan) -> BTreeSet<(u32, u32)> {
    let mut writes = BTreeSet::new();
    for step in &plan.steps {
        if let Action::Tx { device, intents, .. } = &step.action {
            for intent in intents {
                if let Intent::Set { row, .. } = intent {
                    writes.insert((*row, *device));
                }
            }
        }
    }
    writes
}

/// Two transactions of different devices, one of them while a reply is lost: what many defects need.
fn needs_two_and_a_fault(plan: &Plan) -> bool {
    let key = |wanted: u32| {
        plan.steps.iter().position(|step| step.key == wanted && matches!(&step.action, Action::Tx { intents, .. } if intents.iter().any(|intent| matches!(intent, Intent::Set { .. }))))
    };
    let device = |place: usize| match &plan.steps[place].action {
        Action::Tx { device, .. } => *device,
        Action::Fault(_) => u32::MAX,
    };
    let (Some(first), Some(second)) = (key(11), key(33)) else { return false };
    let lossy =
        plan.steps.iter().any(|step| matches!(step.action, Action::Fault(Fault::Lossy { reply_lost: 1.., .. })));
    device(first) != device(second) && lossy
}

#[test]
fn ends_small() {
    for (devices, transactions) in [(3, 20), (5, 40), (30, 90)] {
        let result = shrunk(&noisy(devices, transactions), Limits::default(), &needs_two_and_a_fault);
        let plan = &result.plan;
        assert_eq!((plan.operations(), plan.faults(), plan.devices.len()), (2, 1, 2), "from {transactions}");
        assert!(result.finished, "from {transactions}: {} evaluations did not suffice", result.evaluations);
        assert!(result.evaluations <= 300, "from {transactions}: {} evaluations", result.evaluations);
        assert!(plan.resume.is_empty() && plan.seed_rows.is_empty());
        assert!(plan.devices.iter().all(|device| device.clock_skew_us == 0));
        assert_eq!(plan.link.latency_min_us, plan.link.latency_max_us);
        let keys: Vec<u32> = plan.steps.iter().map(|step| step.key).collect();
        assert!(keys.contains(&11) && keys.contains(&33), "keys stay: {keys:?}");
    }
}

#[test]
fn keeps_what_the_failure_needs() {
    // One device's work alone fails: another may do it, and everything else goes.
    let plan = noisy(4, 24);
    let target = *writes(&plan).iter().nth(5).expect("there are many");
    let result = shrunk(&plan, Limits::default(), &|plan| writes(plan).iter().any(|(row, _)| *row == target.0));
    assert_eq!((result.plan.operations(), result.plan.faults(), result.plan.devices.len()), (1, 0, 1));
    let Action::Tx { intents, .. } = &result.plan.steps[0].action else { panic!("a fault is left") };
    let [Intent::Set { set, .. }] = intents.as_slice() else { panic!("{intents:?}") };
    assert_eq!(set.len(), 1, "the other column went");
    let Expr::Value(serde_json::Value::String(text)) = &set[0].1 else { panic!("{set:?}") };
    assert!(text.starts_with('~'), "{text}");
}

#[test]
fn resumed_traffic_stays_where_it_is_needed() {
    let result = shrunk(&noisy(3, 12), Limits::default(), &|plan| !plan.resume.is_empty());
    assert_eq!((result.plan.steps.len(), result.plan.resume.len(), result.plan.devices.len()), (0, 1, 1));
}

#[test]
fn the_batch_does_not_decide_what_is_found() {
    // A harness with many workers judges whole batches; the first that fails is the same.
    let plan = noisy(5, 40);
    let limits = Limits::default();
    let alone = shrunk(&plan, limits, &needs_two_and_a_fault);
    let together = shrink(
        &plan,
        limits,
        &mut |plans| {
            let verdicts: Vec<bool> = plans.iter().rev().map(needs_two_and_a_fault).collect();
            verdicts.iter().rev().position(|fails| *fails)
        },
        &mut || false,
    );
    assert_eq!(alone, together);
}

#[test]
fn stops_when_told() {
    let plan = noisy(5, 40);
    let few = shrunk(&plan, Limits { evaluations_max: 20, batch: 8 }, &needs_two_and_a_fault);
    assert!(few.evaluations <= 20 && !few.finished);
    assert!(few.plan.steps.len() < plan.steps.len(), "twenty evaluations are worth something");
    let mut asked = 0;
    let stopped =
        shrink(&plan, Limits::default(), &mut |plans| plans.iter().position(needs_two_and_a_fault), &mut || {
            asked += 1;
            asked > 3
        });
    assert!(!stopped.finished && needs_two_and_a_fault(&stopped.plan));
}

/// Whether everything that names a row comes after the row.
fn is_possible(plan: &Plan) -> bool {
    super::repair::repaired(plan.clone()) == *plan
}

#[test]
fn what_is_left_could_happen() {
    // Row 1 names row 0, and a transaction names row 2, which another one inserts.
    let mut plan = noisy(3, 9);
    plan.seed_rows[1].set.push(("inside".to_owned(), Expr::Id(0)));
    let rows = plan.rows.len() as u32;
    plan.rows.push("boxes".to_owned());
    let tx = |intents: Vec<Intent>| Action::Tx { device: 0, activity: "nest".to_owned(), intents };
    let label = vec![("label".to_owned(), Expr::Now)];
    plan.steps.push(Step {
        at_us: 90_000_000,
        key: 700,
        action: tx(vec![Intent::Insert { row: rows, set: label.clone(), replace: false }]),
    });
    let inside = vec![("inside".to_owned(), Expr::Id(rows))];
    plan.steps.push(Step { at_us: 91_000_000, key: 701, action: tx(vec![Intent::Set { row: 5, set: inside }]) });
    assert!(is_possible(&plan));

    let names_row_0 = |plan: &Plan| {
        assert!(is_possible(plan), "no candidate names what is not there");
        plan.seed_rows.iter().any(|row| row.set.iter().any(|(_, value)| *value == Expr::Id(0)))
    };
    let left = shrunk(&plan, Limits::default(), &names_row_0).plan;
    assert_eq!(left.seed_rows.iter().map(|row| row.row).collect::<Vec<_>>(), [0, 1]);

    let keeps_701 = |plan: &Plan| plan.steps.iter().any(|step| step.key == 701);
    let left = shrunk(&plan, Limits::default(), &keeps_701).plan;
    assert_eq!(left.steps.iter().map(|step| step.key).collect::<Vec<_>>(), [700, 701], "the row is still made first");
}
