//! The results of a run and of planted defects.

use std::collections::BTreeMap;

use sim_core::run::{
    CheckerCount, Division, FailureKind, FindingRun, MetIn, MutantResult, Percentiles, Place, Run, ScenarioRun, Shrunk,
    Totals,
};
use sim_core::{Class, Verdict};

use super::app::app;
use super::failures::{divergence, lost_update};

/// A run with every kind of result in it.
pub(crate) fn run() -> Run {
    let counts = |entries: &[(&str, u64)]| entries.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    let checkers = |invalid: &[(&str, u32)], plans: u32| -> BTreeMap<String, CheckerCount> {
        [
            "atomicity",
            "causal",
            "convergence",
            "durability",
            "exactly-once",
            "integrity",
            "policy",
            "progress",
            "protocol",
        ]
        .iter()
        .map(|name| {
            let invalid = invalid.iter().find(|(other, _)| other == name).map_or(0, |(_, count)| *count);
            ((*name).to_owned(), CheckerCount { valid: plans - invalid, unknown: 0, invalid })
        })
        .collect()
    };
    let failure = |code: &str, role: &str, plans: &[u32]| FailureKind {
        checker: "durability".to_owned(),
        code: code.to_owned(),
        role: role.to_owned(),
        class: Class::Safety,
        plans: plans.to_vec(),
    };
    let percentiles = |p50, p95, p99, max| Percentiles { p50, p95, p99, max };
    let hops = || -> BTreeMap<String, Percentiles> {
        [
            ("commit-to-send", percentiles(820, 18_400, 24_000, 31_000)),
            ("send-to-server", percentiles(44, 96, 5_040, 5_120)),
            ("server-to-device", percentiles(52, 110, 180, 210)),
            ("arrival-to-apply", percentiles(1, 6, 14, 30)),
        ]
        .into_iter()
        .map(|(name, hop)| (name.to_owned(), hop))
        .collect()
    };
    let app = app();
    let lost = lost_update(&app);
    let differs = divergence(&app);
    let scenarios = vec![
        ScenarioRun {
            name: "different-fields".to_owned(),
            claim: "Edits of different columns of one row all stand, on every device.".to_owned(),
            claims: vec!["nothing-overridden"],
            plans: 200,
            conflicts: 1312,
            occurred: counts(&[("offline-edit", 812), ("concurrent:column", 1312), ("reply-lost-after-commit", 77)]),
            checkers: checkers(&[], 200),
            latency_ms: Some(percentiles(310, 19_200, 25_800, 32_000)),
            hops_ms: hops(),
            ..ScenarioRun::default()
        },
        ScenarioRun {
            name: "everything".to_owned(),
            claim: "Whatever happens, devices agree with the server in the end.".to_owned(),
            plans: 200,
            verdict: Verdict::Invalid,
            class: Some(Class::Safety),
            conflicts: 9210,
            overridden: counts(&[("latest", 3411), ("delete", 240), ("keep-server", 12)]),
            occurred: counts(&[("crash:after-commit-before-complete", 61), ("offline-edit", 5120)]),
            checkers: checkers(&[("convergence", 2)], 200),
            latency_ms: Some(percentiles(940, 28_000, 41_000, 66_000)),
            hops_ms: hops(),
            failed_plans: 2,
            ..ScenarioRun::default()
        },
        ScenarioRun {
            name: "key-rotation".to_owned(),
            claim: "Rotating the token key loses no write.".to_owned(),
            not_run: Some("this world cannot inject the fault key-rotated".to_owned()),
            ..ScenarioRun::default()
        },
        ScenarioRun {
            name: "same-field".to_owned(),
            claim: "Of two edits of one field the later stays, and the other is on record.".to_owned(),
            plans: 200,
            verdict: Verdict::Invalid,
            class: Some(Class::Safety),
            conflicts: 2044,
            overridden: counts(&[("latest", 1022)]),
            occurred: counts(&[("unseen-override:column", 1022)]),
            checkers: checkers(&[("durability", 131)], 200),
            latency_ms: Some(percentiles(290, 18_000, 24_000, 30_500)),
            hops_ms: hops(),
            failed_plans: 131,
            failures: vec![failure("lost-update", "notes.title", &[0, 1, 4]), failure("wrong-record", "notes", &[17])],
            ..ScenarioRun::default()
        },
        ScenarioRun {
            name: "timer-leader".to_owned(),
            claim: "At most one timer runs at a time.".to_owned(),
            plans: 200,
            verdict: Verdict::Unknown,
            unknown: vec!["vacuous: no plan had two devices start a timer within one lease".to_owned()],
            checkers: checkers(&[], 200),
            latency_ms: Some(percentiles(280, 900, 1_400, 2_000)),
            ..ScenarioRun::default()
        },
    ];
    let shrunk = |operations, devices, name: &str| Shrunk {
        searched: true,
        operations,
        faults: 2,
        devices,
        path: format!("runs/5eed/{name}"),
    };
    let met = |scenario: &str, plans| MetIn { scenario: scenario.to_owned(), plans };
    let findings = vec![
        FindingRun {
            checker: "durability".to_owned(),
            code: "lost-update".to_owned(),
            class: Class::Safety,
            roles: vec!["notes".to_owned(), "notes.title".to_owned()],
            also: vec!["durability/wrong-record".to_owned()],
            shown_from: "same-field".to_owned(),
            breaks: vec![met("same-field", 64)],
            met_in: vec![met("different-fields", 3)],
            anomalies: lost.anomalies,
            shrunk: shrunk(2, 2, "same-field"),
        },
        FindingRun {
            checker: "convergence".to_owned(),
            code: "different-value".to_owned(),
            class: Class::Safety,
            roles: vec!["notes.title".to_owned()],
            also: Vec::new(),
            shown_from: "everything".to_owned(),
            breaks: vec![met("everything", 2)],
            met_in: Vec::new(),
            anomalies: differs.anomalies,
            shrunk: shrunk(3, 5, "everything"),
        },
    ];
    Run {
        version: sim_core::run::VERSION,
        seed: "0000000000005eed".to_owned(),
        world: "deterministic".to_owned(),
        app: "notebook".to_owned(),
        policy: "field-merge".to_owned(),
        commit: "2c9efb3".to_owned(),
        findings,
        scenarios,
        totals: Totals {
            plans: 800,
            transactions: 16_410,
            operations: 41_230,
            simulated_seconds: 33_120.0,
            wall_seconds: 9.4,
            plans_per_second: 85.1,
            time: Division { sqlite_seconds: 14.9, checkers_seconds: 1.4, other_seconds: 2.2 },
        },
    }
}

/// A planted defect that was caught, and one that was not.
pub(crate) fn mutants() -> Vec<MutantResult> {
    vec![
        MutantResult {
            name: "record-names-wrong-winner".to_owned(),
            place: Place::Policy,
            caught: true,
            checker: Some("durability".to_owned()),
            plans: 3,
            scenario: "same-field".to_owned(),
            checkers: vec!["durability".to_owned(), "policy".to_owned()],
            smallest: Some(2),
        },
        MutantResult {
            name: "queue-dropped-before-upload".to_owned(),
            place: Place::Engine,
            caught: false,
            checker: None,
            plans: 1500,
            scenario: "same-field".to_owned(),
            checkers: Vec::new(),
            smallest: None,
        },
    ]
}
