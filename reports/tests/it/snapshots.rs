//! Snapshots of rendered texts.

use reports::{json, junit, mutants, story, text};

use crate::sample;

#[test]
fn summary() {
    insta::assert_snapshot!(text::summary(&sample::run()));
}

#[test]
fn summary_in_colour() {
    let text = text::summary_in(&sample::run(), text::Colour::Ansi);
    let first: Vec<&str> = text.lines().take(6).collect();
    insta::assert_snapshot!(first.join("\n").replace('\u{1b}', "ESC"));
}

#[test]
fn story_of_a_lost_update() {
    let app = sample::app();
    let failure = sample::lost_update(&app);
    insta::assert_snapshot!(story::lines(&failure.plan, &failure.history, &app, &failure.anomalies).join("\n"));
}

#[test]
fn story_of_a_divergence() {
    let app = sample::app();
    let failure = sample::divergence(&app);
    insta::assert_snapshot!(story::lines(&failure.plan, &failure.history, &app, &failure.anomalies).join("\n"));
}

#[test]
fn junit_xml() {
    insta::assert_snapshot!(junit::render(&sample::run()));
}

#[test]
fn json_object() {
    insta::assert_snapshot!(json::render(&sample::run()));
}

#[test]
fn mutants_as_text() {
    insta::assert_snapshot!(mutants::text(&sample::mutants()));
}

#[test]
fn mutants_as_json() {
    insta::assert_snapshot!(mutants::json(&sample::mutants()));
}
