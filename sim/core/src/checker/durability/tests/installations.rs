//! What is lost with a device, and what is not.

use serde_json::json;

use super::{CARD, Play, at, expect};
use crate::checker::testing::with_seed_rows;
use crate::checker::{convergence, installations::Installations};
use crate::history::{CopyOf, Lifecycle, Outcome, Phase, TxOutcome, What, Who};

/// Device 1 takes the place of device 0 at some time, as `copy` or empty.
fn check(what: &str, copy: Option<u32>, play: impl FnOnce(&mut Play), codes: &[&str]) -> u64 {
    let mut scene = Play { builder: with_seed_rows() };
    let heir = &mut scene.builder.history.header.devices[1];
    heir.after = Some(0);
    heir.copy = copy.map(|key| CopyOf { device: 0, key });
    scene.builder.wait(100_000_000);
    play(&mut scene);
    let lost = expect_end(&mut scene, what, codes);
    assert!(Installations::of(&scene.builder.history).is_gone(0), "{what}");
    lost
}

fn expect_end(scene: &mut Play, what: &str, codes: &[&str]) -> u64 {
    // What is gone reads nothing in the end and uploads nothing.
    scene.builder.queued[0].clear();
    scene.builder.apply(1);
    scene.builder.end();
    scene
        .builder
        .history
        .events
        .retain(|event| !(event.who == Who::Client(0) && matches!(event.what, What::Read { .. })));
    let (_, stats) = expect(what, &scene.builder, codes);
    if codes.is_empty() {
        scene.builder.expect(convergence::check, &[]);
    }
    stats.lost_with_device
}

fn ends(scene: &mut Play, how: Lifecycle) {
    scene.builder.event(Who::Client(0), What::Lifecycle(how));
}

#[test]
fn what_nobody_answered_goes_with_its_device() {
    let edit = |scene: &mut Play| scene.edit(0, CARD, json!({"title": "new", "updated_at": at(101)}));
    let lost = check(
        "never sent",
        None,
        |scene| {
            edit(scene);
            ends(scene, Lifecycle::StorageLost);
        },
        &[],
    );
    assert_eq!(lost, 1);
    let lost = check(
        "sent and not answered, without effect",
        None,
        |scene| {
            edit(scene);
            scene.builder.attempt(0, 1, 1, Phase::Invoke, None, Vec::new());
            scene.builder.attempt(0, 1, 1, Phase::Info, None, Vec::new());
            ends(scene, Lifecycle::StorageLost);
        },
        &[],
    );
    assert_eq!(lost, 1);
    let lost = check(
        "sent and not answered, with effect",
        None,
        |scene| {
            edit(scene);
            scene.builder.attempt(0, 1, 1, Phase::Invoke, None, Vec::new());
            scene.builder.commit_as_sent(0);
            ends(scene, Lifecycle::StorageLost);
        },
        &[],
    );
    assert_eq!(lost, 0);
}

#[test]
fn what_was_answered_is_owed_all_the_same() {
    check(
        "answered committed, and nowhere",
        None,
        |scene| {
            scene.edit(0, CARD, json!({"title": "new", "updated_at": at(101)}));
            scene.answer(0, TxOutcome::Committed, Outcome::Applied);
            ends(scene, Lifecycle::StorageLost);
        },
        &["lost-update"],
    );
}

#[test]
fn what_a_copy_holds_lives_on_in_it() {
    let edit = |scene: &mut Play| scene.edit(0, CARD, json!({"title": "new", "updated_at": at(101)}));
    let lost = check(
        "queued after the copy was made",
        Some(7),
        |scene| {
            ends(scene, Lifecycle::CopyTaken(7));
            edit(scene);
            ends(scene, Lifecycle::CopyRestored(7));
        },
        &[],
    );
    assert_eq!(lost, 1);
    check(
        "queued in the copy, and never uploaded",
        Some(7),
        |scene| {
            edit(scene);
            ends(scene, Lifecycle::CopyTaken(7));
            ends(scene, Lifecycle::CopyRestored(7));
        },
        &["lost-update"],
    );
    let lost = check(
        "queued in the copy, which uploads it",
        Some(7),
        |scene| {
            edit(scene);
            ends(scene, Lifecycle::CopyTaken(7));
            ends(scene, Lifecycle::CopyRestored(7));
            scene.builder.upload(0);
        },
        &[],
    );
    assert_eq!(lost, 0);
    let lost = check(
        "another copy, made before",
        Some(8),
        |scene| {
            ends(scene, Lifecycle::CopyTaken(8));
            edit(scene);
            ends(scene, Lifecycle::CopyTaken(7));
            ends(scene, Lifecycle::CopyRestored(8));
        },
        &[],
    );
    assert_eq!(lost, 1);
}
