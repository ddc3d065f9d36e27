//! Counters and sets where a stale value replaces the whole: by devices, by the server itself, over seed rows.

use super::*;

fn tags(tags: &str) -> Json {
    json!({"tags": tags})
}

#[test]
fn a_removal_that_stays_undone_is_lost_though_another_element_was_added_meanwhile() {
    let play = |added: &'static str, kept: &'static str| {
        move |p: &mut Play| {
            p.builder.server_write(&[(CARD, Some(tags(r#"["x"]"#)))]);
            p.apply(0);
            p.apply(1);
            p.edit(0, CARD, tags("[]"));
            p.edit(1, CARD, tags(added));
            p.commit(1, vec![(CARD, Some(tags(added)))], vec![]);
            p.commit(0, vec![(CARD, Some(tags(kept)))], vec![]);
        }
    };
    check("x is still there", play(r#"["x","y"]"#, r#"["x","y"]"#), &["lost-element"]);
    check("x went, y stays", play(r#"["x","y"]"#, r#"["y"]"#), &[]);
}

#[test]
fn an_element_that_somebody_added_anew_meanwhile_may_stay() {
    check(
        "removed and added concurrently",
        |p| {
            p.builder.server_write(&[(CARD, Some(tags(r#"["x"]"#)))]);
            p.apply(0);
            p.apply(1);
            p.edit(0, CARD, tags("[]"));
            p.edit(1, CARD, tags("[]"));
            p.edit(1, CARD, tags(r#"["x"]"#));
            p.commit(1, vec![(CARD, Some(tags("[]")))], vec![]);
            p.commit(1, vec![(CARD, Some(tags(r#"["x"]"#)))], vec![]);
            p.commit(0, vec![], vec![]);
        },
        &[],
    );
}

#[test]
fn a_stale_set_that_replaces_what_the_server_wrote_loses_elements() {
    let play = |after: &'static str| {
        move |p: &mut Play| {
            p.edit(0, CARD, tags(r#"["a"]"#));
            p.edit(1, CARD, tags(r#"["b"]"#));
            p.commit(0, vec![(CARD, Some(tags(r#"["a"]"#)))], vec![]);
            p.builder.server_write(&[(CARD, Some(tags(r#"["a","s"]"#)))]);
            p.commit(1, vec![(CARD, Some(tags(after)))], vec![]);
        }
    };
    check("all replaced", play(r#"["b"]"#), &["lost-element"]);
    check("the server's element replaced", play(r#"["a","b"]"#), &["lost-element"]);
    check("united", play(r#"["a","s","b"]"#), &[]);
}

#[test]
fn a_stale_set_that_replaces_elements_which_only_the_server_ever_wrote_loses_them() {
    check(
        "no device wrote it before",
        |p| {
            p.edit(1, CARD, tags(r#"["b"]"#));
            p.builder.server_write(&[(CARD, Some(tags(r#"["s"]"#)))]);
            p.commit(1, vec![(CARD, Some(tags(r#"["b"]"#)))], vec![]);
        },
        &["lost-element"],
    );
    check(
        "a removal of a seed element that comes back with a stale value",
        |p| {
            p.builder.server_write(&[(CARD, Some(tags(r#"["x"]"#)))]);
            p.apply(0);
            p.apply(1);
            p.edit(0, CARD, tags("[]"));
            p.edit(1, CARD, tags(r#"["x","y"]"#));
            p.commit(0, vec![(CARD, Some(tags("[]")))], vec![]);
            p.builder.server_write(&[(CARD, Some(tags(r#"["s"]"#)))]);
            p.commit(1, vec![(CARD, Some(tags(r#"["x","y","s"]"#)))], vec![]);
        },
        &["lost-element"],
    );
}

#[test]
fn a_stale_count_that_replaces_what_the_server_added_loses_increments() {
    let play = |after: i64| {
        move |p: &mut Play| {
            p.edit(0, CARD, json!({"hits": 5}));
            p.edit(1, CARD, json!({"hits": 1}));
            p.commit(0, vec![(CARD, Some(json!({"hits": 5})))], vec![]);
            p.builder.server_write(&[(CARD, Some(json!({"hits": 6})))]);
            p.commit(1, vec![(CARD, Some(json!({"hits": after})))], vec![]);
        }
    };
    check("replaced", play(1), &["lost-increment"]);
    check("added", play(7), &[]);
}

#[test]
fn a_commit_that_only_says_applied_after_a_note_of_a_refusal_is_a_lost_write() {
    check(
        "refused, then said to be applied, and nothing changed",
        |p| {
            p.edit(0, CARD, json!({"title": "a"}));
            let tx = p.builder.queued[0][0].clone();
            p.builder.commit(Some((0, &tx)), &[], vec![answer(1, Outcome::Rejected)], vec![]);
            p.commit(0, vec![], vec![]);
        },
        &["lost-update"],
    );
    check(
        "refused, then applied",
        |p| {
            p.edit(0, CARD, json!({"title": "a"}));
            let tx = p.builder.queued[0][0].clone();
            p.builder.commit(Some((0, &tx)), &[], vec![answer(1, Outcome::Rejected)], vec![]);
            p.land(0, vec![]);
        },
        &[],
    );
}

#[test]
fn a_row_that_only_its_device_shows_is_no_row_of_the_server() {
    let mut scene = Play { builder: with_seed_rows() };
    let row = scene.builder.row("boxes");
    scene.insert(0, row, json!({"name": "b"}));
    scene.commit(0, vec![], vec![]);
    scene.builder.apply(1);
    scene.builder.end();
    assert!(scene.builder.shown[0].contains_key(&row), "the device still shows it");
    expect("the insert never came", &scene.builder, &["lost-insert"]);
}

#[test]
fn a_row_does_not_go_with_a_parent_that_never_was() {
    let play = |parent: Option<&'static str>| {
        move |p: &mut Play| {
            let parent = parent.map_or_else(|| p.builder.id(BOX), Json::from);
            p.builder.server_write(&[(CARD, Some(json!({"box_id": parent, "title": "card", "tags": "[]"})))]);
            p.apply(0);
            p.apply(1);
            p.edit(0, CARD, json!({"title": "a"}));
            p.land(0, vec![]);
            p.apply(1);
            p.delete(1, BOX);
            p.commit(1, vec![(BOX, None), (CARD, None)], vec![]);
        }
    };
    check("the parent went", play(None), &[]);
    check("there was no such parent", play(Some("nobody")), &["lost-insert"]);
}

#[test]
fn a_value_that_a_replace_leaves_out_stays_and_is_counted() {
    let played = |set: Json| {
        move |p: &mut Play| {
            p.insert(0, CARD, set.clone());
            p.commit(0, vec![(CARD, Some(json!({"title": "b"})))], vec![]);
        }
    };
    let (_, stats) = check("hits and tags are left out", played(json!({"title": "b"})), &[]);
    assert!(counted(&stats, "left-out-by-replace") >= 2, "{stats:?}");
}

/// The first queued transaction of device 0 comes in one commit of each operation; each row with these columns changed.
fn land_in_parts(p: &mut Play, parts: &[(usize, Json)], is_named: bool) {
    let tx = p.builder.queued[0][0].clone();
    for (index, set) in parts {
        let op = &tx.ops[*index];
        let one = LocalTx { ops: vec![op.clone()], ..tx.clone() };
        let image = p.builder.changed(op.row, set);
        p.builder.commit(Some((0, &one)), &[(op.row, Some(image))], vec![], vec![]);
        let last = p.builder.history.events.last_mut().expect("the commit");
        let What::Commit(commit) = &mut last.what else { panic!("it is the commit") };
        if !is_named {
            commit.changes[0].op_id = None;
        }
    }
    let answers = p.builder.applied_answers(0);
    let tx_id = tx.tx_id.expect("it queued");
    p.builder.attempt(0, tx_id, 1, Phase::Ok, Some(TxOutcome::Committed), answers);
    p.builder.complete(0);
    p.builder.write_checkpoint(0);
}

#[test]
fn an_operation_is_looked_for_in_the_part_that_holds_it() {
    for is_named in [true, false] {
        let two = |p: &mut Play| {
            p.builder.tx(0, &[(Op::Patch, CARD, json!({"title": "a"})), (Op::Patch, MEMO, json!({"text": "b"}))]);
        };
        let whole = [(0, json!({"title": "a"})), (1, json!({"text": "b"}))];
        check(
            "two rows",
            |p| {
                two(p);
                land_in_parts(p, &whole, is_named);
            },
            &[],
        );
        let mangled = [(0, json!({"title": "a"})), (1, json!({"text": "something else"}))];
        check(
            "the second is stored wrongly",
            |p| {
                two(p);
                land_in_parts(p, &mangled, is_named);
            },
            &["lost-update"],
        );
        let one_row = |p: &mut Play| {
            p.builder.tx(0, &[(Op::Patch, CARD, json!({"title": "a"})), (Op::Patch, CARD, json!({"body": "b"}))]);
        };
        let whole = [(0, json!({"title": "a"})), (1, json!({"body": "b"}))];
        check(
            "one row",
            |p| {
                one_row(p);
                land_in_parts(p, &whole, is_named);
            },
            &[],
        );
        let three = |p: &mut Play| {
            p.builder.tx(
                0,
                &[
                    (Op::Patch, CARD, json!({"title": "a"})),
                    (Op::Patch, BOX, json!({"name": "n"})),
                    (Op::Patch, MEMO, json!({"text": "b"})),
                ],
            );
        };
        let without = [(0, json!({"title": "a"})), (2, json!({"text": "b"}))];
        check(
            "the middle one is left out",
            |p| {
                three(p);
                land_in_parts(p, &without, is_named);
            },
            &["lost-update"],
        );
    }
}

#[test]
fn an_answer_without_a_note_counts_when_the_change_comes() {
    let play = |comes: bool| {
        move |p: &mut Play| {
            p.edit(0, CARD, json!({"title": "a"}));
            let tx = p.builder.queued[0][0].clone();
            p.builder.commit(Some((0, &tx)), &[], vec![], vec![]);
            if comes {
                let image = p.builder.changed(CARD, &json!({"title": "a"}));
                p.builder.commit(Some((0, &tx)), &[(CARD, Some(image))], vec![], vec![]);
            }
            p.builder.complete(0);
        }
    };
    check("it comes later", play(true), &[]);
    check("it never comes", play(false), &["lost-update"]);
}
