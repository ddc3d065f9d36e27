//! Texts from users, servers and applications never become markup, terminal codes or broken XML.

use std::collections::BTreeMap;
use std::sync::Arc;

use fixtures::{App, Row, Value};
use proptest::prelude::*;
use reports::{Failure, diagram, html, junit, story, text};
use sim_core::history::{What, Writer};
use sim_core::run::{AnomalyText, Run};

use crate::elements::elements;
use crate::sample;

/// Replaces every text that comes from outside.
struct Replacement<'a>(&'a dyn Fn(&str) -> String);

impl Replacement<'_> {
    fn text(&self, text: &mut String) {
        *text = (self.0)(text);
    }

    fn value(&self, value: &mut Value) {
        if let Value::Text(text) = value {
            *value = Value::text(&(self.0)(text));
        }
    }

    fn row(&self, row: &mut Row) {
        let mut values = row.to_vec();
        values.iter_mut().for_each(|value| self.value(value));
        *row = Arc::from(values);
    }

    fn app(&self, mut app: App) -> App {
        for table in &mut app.schema.tables {
            self.text(&mut table.name);
            table.columns.iter_mut().for_each(|column| self.text(&mut column.name));
        }
        app
    }

    fn anomaly(&self, anomaly: &mut AnomalyText) {
        for text in [&mut anomaly.checker, &mut anomaly.code, &mut anomaly.what, &mut anomaly.because] {
            self.text(text);
        }
        anomaly.evidence.iter_mut().for_each(|text| self.text(text));
    }

    fn failure<'f>(&self, mut failure: Failure<'f>) -> Failure<'f> {
        self.text(&mut failure.replay);
        failure.anomalies.iter_mut().for_each(|anomaly| self.anomaly(anomaly));
        failure.history.header.devices.iter_mut().for_each(|device| self.text(&mut device.user));
        // The rows come from the history; those of the plan would be shown as they are.
        failure.plan.seed_rows.clear();
        for event in &mut failure.history.events {
            match &mut event.what {
                What::Tx(tx) => {
                    self.text(&mut tx.activity);
                    for op in &mut tx.ops {
                        op.data.iter_mut().chain(&mut op.old).for_each(|(_, value)| self.value(value));
                    }
                }
                What::Commit(commit) => {
                    for change in &mut commit.changes {
                        change.before.iter_mut().chain(&mut change.after).for_each(|row| self.row(row));
                    }
                    for record in &mut commit.conflicts {
                        self.text(&mut record.rule);
                        record.column.iter_mut().for_each(|text| self.text(text));
                        record.loser = Writer::Other((self.0)("loser"));
                    }
                }
                What::Apply(apply) => {
                    apply.rows.iter_mut().for_each(|(_, row)| row.iter_mut().for_each(|row| self.row(row)))
                }
                What::Read { rows, .. } => {
                    rows.iter_mut().for_each(|(_, row)| row.iter_mut().for_each(|row| self.row(row)))
                }
                What::Conflicts { user, .. } => self.text(user),
                What::Upload(upload) => {
                    upload.ops.iter_mut().for_each(|answer| answer.reason = Some((self.0)("reason")));
                }
                _ => {}
            }
        }
        failure
    }

    fn run(&self, mut run: Run) -> Run {
        for text in [&mut run.seed, &mut run.app, &mut run.policy, &mut run.commit] {
            self.text(text);
        }
        for finding in &mut run.findings {
            finding.roles.iter_mut().for_each(|role| self.text(role));
            finding.anomalies.iter_mut().for_each(|anomaly| self.anomaly(anomaly));
            self.text(&mut finding.shrunk.path);
        }
        for scenario in &mut run.scenarios {
            self.text(&mut scenario.claim);
            scenario.not_run.iter_mut().chain(&mut scenario.unknown).for_each(|text| self.text(text));
            let renamed: BTreeMap<String, u64> = scenario
                .overridden
                .iter()
                .map(|(rule, count)| (format!("{rule}{}", (self.0)("rule")), *count))
                .collect();
            scenario.overridden = renamed;
        }
        run
    }
}

/// The tags of a page with the names of their attributes, in order, without any text.
fn tags(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        rest = &rest[start..];
        let mut quoted = false;
        let mut end = 0;
        for (at, c) in rest.char_indices() {
            match c {
                '"' => quoted = !quoted,
                '>' if !quoted => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        let mut inside = false;
        let tag: String = rest[..=end]
            .chars()
            .filter(|c| {
                inside ^= *c == '"';
                !inside
            })
            .collect();
        found.push(tag);
        rest = &rest[end + 1..];
    }
    found
}

fn all_reports(with: &dyn Fn(&str) -> String) -> (String, Vec<String>, String, String) {
    let replacement = Replacement(with);
    let app = replacement.app(sample::app());
    let plain = sample::app();
    let failures: Vec<Failure<'_>> = [sample::lost_update(&plain), sample::divergence(&plain)]
        .into_iter()
        .map(|failure| replacement.failure(Failure { app: &app, ..failure }))
        .collect();
    let run = replacement.run(sample::run());
    let svgs = failures
        .iter()
        .map(|failure| diagram::svg(&failure.plan, &failure.history, &app, &story::highlights(&failure.anomalies)))
        .collect();
    let mut lines = text::summary(&run);
    for failure in &failures {
        lines.push_str(&story::lines(&failure.plan, &failure.history, &app, &failure.anomalies).join("\n"));
    }
    (html::render(&run, &failures), svgs, junit::render(&run), lines)
}

fn check(nasty: &str) {
    let (page, svgs, xml, lines) = all_reports(&|text| format!("{nasty}{text}"));
    let (harmless_page, harmless_svgs, ..) = all_reports(&|text| format!("harmless{text}"));
    assert_eq!(tags(&page), tags(&harmless_page), "the page's markup does not depend on texts");
    for (svg, harmless) in svgs.iter().zip(&harmless_svgs) {
        assert_eq!(elements(svg), elements(harmless), "the diagram's elements do not depend on texts");
    }
    elements(&xml);
    assert!(lines.chars().all(|c| !c.is_control() || c == '\n'), "no control character reaches the terminal");
}

#[test]
fn known_attacks_stay_texts() {
    for nasty in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='x",
        "</style></svg></title>",
        "]]><![CDATA[",
        "<!--",
        "&amp;&lt;",
        "🌀👩‍👩‍👧",
        "\u{1b}[31mred\u{7}",
        "\u{202e}drow\u{0}",
        "a\r\nb\tc",
        "\u{fffe}\u{ffff}",
        "javascript:alert(1)",
        "client/",
    ] {
        check(nasty);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(0x5eed), ..ProptestConfig::default() })]

    #[test]
    fn texts_never_become_markup(nasty in "[<>&\"'/=a-z \\PC\u{0}\u{1b}\u{202e}-]{1,24}") {
        check(&nasty);
    }
}
