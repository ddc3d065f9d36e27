//! Pages and diagrams hold what they must, at every size.

use fixtures::Value;
use reports::{diagram, html, junit, story, text};
use sim_core::history::Phase;
use sim_core::plan::{DeviceKind, Fault};
use sim_core::run::{Run, ScenarioRun, Totals};

use crate::elements::elements;
use crate::sample::{self, HistoryBuilder, STARS, TITLE};

fn empty_run() -> Run {
    Run {
        version: sim_core::run::VERSION,
        seed: String::new(),
        world: String::new(),
        app: String::new(),
        policy: String::new(),
        commit: String::new(),
        findings: Vec::new(),
        scenarios: Vec::new(),
        totals: Totals::default(),
    }
}

#[test]
fn the_page_holds_what_a_newcomer_needs() {
    let app = sample::app();
    let page = html::render(&sample::run(), &[sample::lost_update(&app), sample::divergence(&app)]);
    let check = |expect: &str| assert!(page.contains(expect), "the page holds {expect:?}");
    check("<title>Syncstorm report</title>");
    check("2 findings, 2 of 4 scenarios invalid, 1 could not be judged");
    check("800 plans, 41,230 operations, 9 h 12 min of simulated time");
    check("Simulated latency");
    check("no measurement of PowerSync");
    check("3,411 <span>latest</span>");
    check("A plain convergence check would have passed this.");
    check("syncstorm replay runs/5eed/same-field");
    check("this world cannot inject the fault key-rotated");
    check("? not judged");
    check("prefers-color-scheme: dark");
    assert_eq!(page.matches("<svg class=\"st\"").count(), 2, "one diagram a failure");
    assert!(!page.contains("<script"), "the page needs no script");
    assert!(
        !page.contains("http://")
            || page.matches("http://").count() == page.matches("http://www.w3.org/2000/svg").count()
    );
}

#[test]
fn a_claim_that_was_not_judged_is_never_shown_as_held() {
    let app = sample::app();
    let page = html::render(&sample::run(), &[sample::lost_update(&app)]);
    assert_eq!(page.matches("✓ held").count(), 2, "one claim held: once in the table, once in the details");
}

#[test]
fn other_worlds_do_not_call_their_latency_simulated() {
    let run = Run { world: "embedded".to_owned(), ..sample::run() };
    assert!(!html::render(&run, &[]).contains("Simulated latency"));
    assert!(!text::summary(&run).contains("simulated latency"));
}

#[test]
fn an_empty_run_is_reported() {
    let run = empty_run();
    assert!(html::render(&run, &[]).contains("Nothing was judged."));
    assert!(text::summary(&run).starts_with("\nnothing was judged"));
    elements(&junit::render(&run));
}

#[test]
fn a_failure_without_history_still_has_its_findings() {
    let page = html::render(&sample::run(), &[]);
    assert!(page.contains("syncstorm replay runs/5eed/everything"));
    assert!(page.contains("After settling, every device shows the server"));
}

#[test]
fn a_failure_of_an_unlisted_scenario_is_shown() {
    let app = sample::app();
    let run = Run { scenarios: vec![ScenarioRun::default()], ..empty_run() };
    let page = html::render(&run, &[sample::lost_update(&app)]);
    assert!(page.contains("id=\"failure-same-field\""));
}

#[test]
fn diagrams_are_well_formed() {
    let app = sample::app();
    let check = |devices: usize| {
        let kinds = [
            DeviceKind::Web,
            DeviceKind::Tauri,
            DeviceKind::Mobile,
            DeviceKind::Web,
            DeviceKind::Tauri,
            DeviceKind::Mobile,
            DeviceKind::Web,
            DeviceKind::Web,
        ];
        let builder = HistoryBuilder::new(&kinds[..devices], &["Plan"]);
        let svg = diagram::svg(&builder.plan, &builder.history, &app, &[]);
        assert!(elements(&svg).contains(&"title".to_owned()));
    };
    for devices in 0..=8 {
        check(devices);
    }
}

/// Many edits of many rows; the anomaly is about two events in the middle.
fn large_history() -> (HistoryBuilder, Vec<usize>) {
    let titles: Vec<String> = (0..40).map(|row| format!("Note {row}")).collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let mut builder = HistoryBuilder::new(&[DeviceKind::Web, DeviceKind::Tauri, DeviceKind::Mobile], &titles);
    let mut marked = Vec::new();
    for round in 0..300_u32 {
        let (device, row) = (round % 3, round % 40);
        let at = f64::from(round) * 1.5;
        let value = Value::text(&format!("Round {round}"));
        let (edit, tx) = builder.edit(at, device, "rename", row, &[(TITLE, Value::text("Note"), value)]);
        builder.upload(at + 0.1, device, tx, 1, Phase::Invoke, vec![]);
        let commit = builder.commit(at + 0.2, device, tx, vec![]);
        builder.upload(at + 0.3, device, tx, 1, Phase::Ok, vec![]);
        for other in 0..3 {
            builder.apply(at + 0.4, other, &[row]);
        }
        if round == 150 {
            marked = vec![edit, commit];
        }
    }
    builder.finish(500.0, &[]);
    (builder, marked)
}

#[test]
fn large_histories_are_shown_around_their_anomaly() {
    let app = sample::app();
    let (builder, marked) = large_history();
    let svg = diagram::svg(&builder.plan, &builder.history, &app, &marked);
    assert!(svg.contains("Round 150"), "the anomaly's own edit is shown");
    assert!(svg.contains("further events are not shown"));
    assert!(elements(&svg).iter().filter(|name| *name == "circle").count() < 150);
    let mut anomaly = sample::lost_update(&app).anomalies.remove(0);
    anomaly.events = marked;
    let lines = story::lines(&builder.plan, &builder.history, &app, &[anomaly]);
    assert!(lines.len() < 80, "{} lines", lines.len());
    assert_eq!(lines.iter().filter(|line| line.starts_with('>')).count(), 2, "the anomaly's events are marked");
}

#[test]
fn indices_beyond_the_history_are_ignored() {
    let app = sample::app();
    let mut failure = sample::lost_update(&app);
    failure.anomalies[0].events.push(usize::MAX);
    assert!(html::render(&sample::run(), &[failure]).ends_with("</html>"));
}

#[test]
fn an_app_that_does_not_fit_the_history_is_shown() {
    let mut app = sample::app();
    app.schema.tables[0].columns.truncate(STARS);
    let failure = sample::divergence(&app);
    assert!(html::render(&sample::run(), std::slice::from_ref(&failure)).ends_with("</html>"));
    app.schema.tables.clear();
    app.policy.tables.clear();
    let failure = sample::divergence(&app);
    assert!(html::render(&sample::run(), &[failure]).ends_with("</html>"));
}

#[test]
fn replay_commands_survive_a_shell() {
    let check = |path: &str, expect: &str| assert_eq!(text::replay_command(path), expect);
    check("runs/5eed/same-field", "syncstorm replay runs/5eed/same-field");
    check("my runs/x", "syncstorm replay 'my runs/x'");
    check("it's; rm -rf ~", r"syncstorm replay 'it'\''s; rm -rf ~'");
    check("", "syncstorm replay ''");
}

#[test]
fn what_two_faults_do_is_undone_with_the_last_of_them() {
    let app = sample::app();
    let mut builder = HistoryBuilder::new(&[DeviceKind::Web], &["Plan"]);
    let fault = Fault::WrongAudience { device: 0, for_us: 5_000_000 };
    let first = builder.begin_fault(1.0, &fault);
    let second = builder.begin_fault(3.0, &fault);
    builder.end_fault(6.0, first, &fault);
    builder.end_fault(8.0, second, &fault);
    builder.finish(10.0, &[]);
    let lines = story::lines(&builder.plan, &builder.history, &app, &[]);
    let begins = lines.iter().filter(|line| line.contains("name another audience")).count();
    let ends: Vec<&String> = lines.iter().filter(|line| line.contains("tokens") && line.contains("again")).collect();
    assert_eq!((begins, ends.len()), (2, 1), "{lines:#?}");
    assert!(ends[0].contains("8.000 s"), "{lines:#?}");
}

#[test]
fn a_device_that_was_replaced_holds_nothing_in_the_end() {
    let app = sample::app();
    let mut builder = HistoryBuilder::new(&[DeviceKind::Web, DeviceKind::Web], &["Plan"]);
    let (edit, _) = builder.edit(1.0, 0, "rename", 0, &[(TITLE, Value::text("Plan"), Value::text("Other"))]);
    let mut kept = builder.rows[&0].to_vec();
    kept[TITLE] = Value::text("Other");
    builder.finish(10.0, &[(0, 0, kept.into())]);
    let end = |builder: &HistoryBuilder| {
        let mut anomaly = sample::lost_update(&app).anomalies.remove(0);
        anomaly.events = vec![edit];
        story::lines(&builder.plan, &builder.history, &app, &[anomaly]).join("\n")
    };
    let before = end(&builder);
    let last = |text: &str| text.lines().filter(|line| line.starts_with("In the end")).collect::<Vec<_>>().join("\n");
    assert!(last(&before).contains("device 0"), "{before}");
    builder.history.header.devices[1].after = Some(0);
    let after = end(&builder);
    assert!(!last(&after).contains("device 0"), "{after}");
}
