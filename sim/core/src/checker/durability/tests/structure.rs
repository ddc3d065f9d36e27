//! Rows that go, return, merge or belong to others.

use super::*;

#[test]
fn edit_meets_delete() {
    let edit_first = |records: Vec<ConflictRecord>| {
        move |p: &mut Play| {
            p.edit(0, LABEL, json!({"value": "a", "updated_at": at(50)}));
            p.delete(1, LABEL);
            p.land(0, vec![]);
            p.land(1, records);
        }
    };
    let (_, stats) = check(
        "a delete wins over an unseen edit",
        edit_first(vec![record(LABEL, None, "deleted", (0, 1), (1, 1))]),
        &[],
    );
    assert_eq!((counted(&stats, "deleted"), stats.conflicts), (1, 1));
    check(
        "the record may name the column",
        edit_first(vec![record(LABEL, Some("value"), "deleted", (0, 1), (1, 1))]),
        &[],
    );
    check("a delete without a record", edit_first(vec![]), &["override-without-record"]);
    check(
        "a delete of a seen edit needs none",
        |p| {
            p.edit(0, LABEL, json!({"value": "a"}));
            p.land(0, vec![]);
            p.apply(1);
            p.delete(1, LABEL);
            p.land(1, vec![]);
        },
        &[],
    );
    let delete_first = |after: Option<Json>, records: Vec<ConflictRecord>| {
        move |p: &mut Play| {
            p.delete(0, LABEL);
            p.edit(1, LABEL, json!({"value": "a", "updated_at": at(50)}));
            p.land(0, vec![]);
            p.commit(1, after.map(|after| (LABEL, Some(after))).into_iter().collect(), records);
        }
    };
    let lost = || vec![record(LABEL, None, "deleted", (1, 1), (0, 1))];
    check("an edit of a deleted row is superseded", delete_first(None, lost()), &[]);
    check("an edit of a deleted row vanishes", delete_first(None, vec![]), &["override-without-record"]);
    check(
        "the record blames the wrong delete",
        delete_first(None, vec![record(LABEL, None, "deleted", (1, 1), (1, 1))]),
        &["wrong-record"],
    );
    check(
        "an edit brings a deleted row back",
        delete_first(Some(json!({"key": "colour", "value": "a"})), lost()),
        &["resurrected"],
    );
    check(
        "a row comes back by itself",
        |p| {
            p.delete(0, LABEL);
            p.land(0, vec![]);
            p.edit(1, CARD, json!({"title": "a"}));
            p.commit(1, vec![(CARD, Some(json!({"title": "a"}))), (LABEL, Some(json!({"key": "colour"})))], vec![]);
        },
        &["resurrected"],
    );
    check(
        "two deletes",
        |p| {
            p.delete(0, LABEL);
            p.delete(1, LABEL);
            p.land(0, vec![]);
            p.commit(1, vec![], vec![]);
        },
        &[],
    );
    check(
        "an increment under a delete",
        |p| {
            p.edit(0, CARD, json!({"hits": 1}));
            p.delete(1, CARD);
            p.land(0, vec![]);
            p.land(1, vec![]);
        },
        &["override-without-record"],
    );
}

#[test]
fn created_anew() {
    let builder = |second: i64, after: Option<Json>, records: Vec<ConflictRecord>| {
        move |p: &mut Play| {
            p.delete(0, LABEL);
            p.insert(1, LABEL, json!({"key": "colour", "value": "n", "updated_at": at(second)}));
            p.builder.wait(50_000_000);
            p.land(0, vec![]);
            p.builder.wait(100_000_000);
            p.commit(1, after.map(|after| (LABEL, Some(after))).into_iter().collect(), records);
        }
    };
    let row = || Some(json!({"key": "colour", "value": "n"}));
    let back = || vec![record(LABEL, None, "revived", (0, 1), (1, 1))];
    let gone = || vec![record(LABEL, None, "deleted", (1, 1), (0, 1))];
    check("a later insert creates anew", builder(200, row(), back()), &[]);
    check("a later insert without a record", builder(200, row(), vec![]), &["override-without-record"]);
    check("an earlier insert creates anew", builder(120, row(), back()), &["resurrected"]);
    check("an earlier insert is superseded", builder(120, None, gone()), &[]);
    check("an earlier insert vanishes", builder(120, None, vec![]), &["override-without-record"]);
    check("a later insert is superseded", builder(200, None, gone()), &["lost-insert"]);
    check(
        "its own delete is no obstacle",
        |p| {
            p.delete(0, LABEL);
            p.land(0, vec![]);
            p.insert(0, LABEL, json!({"key": "colour", "updated_at": at(1)}));
            p.land(0, vec![]);
        },
        &[],
    );
}

#[test]
fn edits_that_revive() {
    let delete_first = |after: Option<Json>, records: Vec<ConflictRecord>| {
        move |p: &mut Play| {
            p.delete(0, MEMO);
            p.edit(1, MEMO, json!({"text": "a"}));
            p.land(0, vec![]);
            p.commit(1, after.map(|after| (MEMO, Some(after))).into_iter().collect(), records);
        }
    };
    let back = || vec![record(MEMO, None, "revived", (0, 1), (1, 1))];
    let (_, stats) = check("an edit brings the row back", delete_first(Some(json!({"text": "a"})), back()), &[]);
    assert_eq!(counted(&stats, "revived"), 1);
    check("without a record", delete_first(Some(json!({"text": "a"})), vec![]), &["override-without-record"]);
    check("without the edit", delete_first(Some(json!({"text": "z"})), back()), &["lost-update"]);
    check(
        "an edit that should bring the row back",
        delete_first(None, vec![record(MEMO, None, "deleted", (1, 1), (0, 1))]),
        &["lost-update"],
    );
    let edit_first = |gone: bool, records: Vec<ConflictRecord>| {
        move |p: &mut Play| {
            p.edit(0, MEMO, json!({"text": "a"}));
            p.delete(1, MEMO);
            p.land(0, vec![]);
            p.commit(1, if gone { vec![(MEMO, None)] } else { vec![] }, records);
        }
    };
    check("a delete gives way to an edit", edit_first(false, vec![record(MEMO, None, "revived", (1, 1), (0, 1))]), &[]);
    check("a delete gives way silently", edit_first(false, vec![]), &["override-without-record"]);
    let edited_and_deleted = |records: Vec<ConflictRecord>| {
        move |p: &mut Play| {
            p.edit(0, MEMO, json!({"text": "a", "updated_at": at(50)}));
            p.builder.tx(
                1,
                &[(Op::Patch, MEMO, json!({"text": "b", "updated_at": at(60)})), (Op::Delete, MEMO, Json::Null)],
            );
            p.land(0, vec![]);
            p.commit(1, vec![(MEMO, Some(json!({"text": "b"}))), (MEMO, None)], records);
        }
    };
    check(
        "a delete after an edit that won",
        edited_and_deleted(vec![record(MEMO, Some("text"), "latest", (0, 1), (1, 1))]),
        &[],
    );
    check("a delete after an edit that won silently", edited_and_deleted(vec![]), &["override-without-record"]);
    check(
        "a delete takes the edit",
        edit_first(true, vec![record(MEMO, None, "deleted", (0, 1), (1, 1))]),
        &["wrong-winner"],
    );
}

#[test]
fn children() {
    let builder = |records: Vec<ConflictRecord>| {
        move |p: &mut Play| {
            p.edit(0, CARD, json!({"title": "a"}));
            p.delete(1, BOX);
            p.land(0, vec![]);
            p.commit(1, vec![(BOX, None), (CARD, None)], records);
        }
    };
    let (_, stats) =
        check("a child goes with its parent", builder(vec![record(CARD, None, "cascade", (0, 1), (1, 1))]), &[]);
    assert_eq!(counted(&stats, "cascade"), 1);
    check("a child goes silently", builder(vec![]), &["override-without-record"]);
    check(
        "an edit comes after its row went with the parent",
        |p| {
            p.edit(0, CARD, json!({"title": "a"}));
            p.delete(1, BOX);
            p.commit(1, vec![(BOX, None), (CARD, None)], vec![]);
            p.commit(0, vec![], vec![record(CARD, None, "deleted", (0, 1), (1, 1))]);
        },
        &[],
    );
    check(
        "a child that its own transaction inserts and orphans",
        |p| {
            let (child, id) = (p.builder.row("cards"), p.builder.id(BOX));
            p.builder.tx(
                0,
                &[
                    (Op::Put, child, json!({"box_id": id, "title": "a"})),
                    (Op::Delete, BOX, Json::Null),
                    (Op::Patch, child, json!({"box_id": null})),
                ],
            );
            p.commit(
                0,
                vec![(child, Some(json!({"box_id": id, "title": "a"}))), (BOX, None), (child, None), (CARD, None)],
                vec![],
            );
        },
        &[],
    );
    check(
        "a child that its own transaction inserts, and its parent stays",
        |p| {
            let (child, id) = (p.builder.row("cards"), p.builder.id(BOX));
            p.insert(0, child, json!({"box_id": id, "title": "a"}));
            p.commit(0, vec![], vec![]);
        },
        &["lost-insert"],
    );
    let parent = |after: Json, records: Vec<ConflictRecord>| {
        move |p: &mut Play| {
            let other = p.builder.row("boxes");
            let id = p.builder.id(other);
            p.builder.server_write(&[(other, Some(json!({"name": "other"})))]);
            p.apply(0);
            p.apply(1);
            p.delete(1, other);
            p.edit(0, BOX, json!({"parent_id": id}));
            p.land(1, vec![]);
            p.commit(0, vec![(BOX, Some(json!({"parent_id": after})))], records);
        }
    };
    let nulled = |loser, winner| vec![record(BOX, Some("parent_id"), "parent-missing", loser, winner)];
    check("a missing parent becomes NULL", parent(Json::Null, nulled((0, 1), (1, 1))), &[]);
    check("a missing parent becomes NULL silently", parent(Json::Null, vec![]), &["override-without-record"]);
    check("a missing parent becomes something else", parent(json!("else"), vec![]), &["lost-update"]);
    check(
        "a parent of its own that it deletes as well",
        |p| {
            let other = p.builder.row("boxes");
            let id = p.builder.id(other);
            p.builder.tx(
                0,
                &[
                    (Op::Put, other, json!({"name": "other"})),
                    (Op::Patch, BOX, json!({"parent_id": id})),
                    (Op::Delete, other, Json::Null),
                ],
            );
            p.commit(
                0,
                vec![
                    (other, Some(json!({"name": "other"}))),
                    (BOX, Some(json!({"parent_id": id}))),
                    (other, None),
                    (BOX, Some(json!({"parent_id": null}))),
                ],
                vec![],
            );
        },
        &[],
    );
    check(
        "a parent that is there becomes NULL",
        |p| {
            let other = p.builder.row("boxes");
            let id = p.builder.id(other);
            p.builder.server_write(&[(other, Some(json!({"name": "other"})))]);
            p.apply(0);
            p.edit(0, BOX, json!({"parent_id": id}));
            p.commit(0, vec![], vec![]);
        },
        &["lost-update"],
    );
    let orphaned = |records: Vec<ConflictRecord>| {
        move |p: &mut Play| {
            let other = p.builder.row("boxes");
            let id = p.builder.id(other);
            p.builder.server_write(&[(other, Some(json!({"name": "other"})))]);
            p.apply(0);
            p.apply(1);
            p.edit(0, BOX, json!({"parent_id": id}));
            p.land(0, vec![]);
            p.delete(1, other);
            p.commit(1, vec![(other, None), (BOX, Some(json!({"parent_id": null})))], records);
        }
    };
    check("a reference to a deleted parent becomes NULL", orphaned(nulled((0, 1), (1, 1))), &[]);
    check("a reference becomes NULL silently", orphaned(vec![]), &["override-without-record"]);
}

#[test]
fn trees() {
    let builder = |close: bool, records: Vec<ConflictRecord>| {
        move |p: &mut Play| {
            let other = p.builder.row("boxes");
            let (this_id, other_id) = (p.builder.id(BOX), p.builder.id(other));
            p.builder.server_write(&[(other, Some(json!({"name": "other"})))]);
            p.apply(0);
            p.apply(1);
            if close {
                p.edit(0, BOX, json!({"parent_id": other_id}));
                p.land(0, vec![]);
            }
            p.edit(1, other, json!({"parent_id": this_id}));
            p.commit(1, vec![], records);
        }
    };
    let lost = || vec![record(4, Some("parent_id"), "cycle", (1, 1), (0, 1))];
    let (_, stats) = check("a parent that would close a cycle", builder(true, lost()), &[]);
    assert_eq!(counted(&stats, "cycle"), 1);
    check("without a record", builder(true, vec![]), &["override-without-record"]);
    check(
        "the record blames somebody else",
        builder(true, vec![record(4, Some("parent_id"), "cycle", (1, 1), (1, 1))]),
        &["wrong-record"],
    );
    check("where there is no cycle", builder(false, lost()), &["lost-update"]);
    check(
        "a box in itself",
        |p| {
            let id = p.builder.id(BOX);
            p.edit(0, BOX, json!({"parent_id": id}));
            let mut lost = record(BOX, Some("parent_id"), "cycle", (0, 1), (0, 1));
            lost.winner = Writer::Server;
            p.commit(0, vec![], vec![lost]);
        },
        &[],
    );
}

#[test]
fn exclusive() {
    let builder = |running: bool, records: Vec<ConflictRecord>| {
        move |p: &mut Play| {
            let other = p.builder.row("boxes");
            p.builder.server_write(&[(other, Some(json!({"name": "other", "running": 0})))]);
            p.apply(0);
            p.apply(1);
            if running {
                p.edit(0, BOX, json!({"running": 1, "beat": at(100)}));
                p.land(0, vec![]);
            }
            p.edit(1, other, json!({"running": 1, "beat": at(101)}));
            p.commit(1, vec![(other, Some(json!({"running": 0, "beat": at(101)})))], records);
        }
    };
    let lost = || vec![record(4, Some("running"), "exclusive: one-runs", (1, 1), (0, 1))];
    let (_, stats) = check("a later start is merged to not running", builder(true, lost()), &[]);
    assert_eq!(counted(&stats, "exclusive"), 1);
    check("without a record", builder(true, vec![]), &["override-without-record"]);
    check("where nothing runs", builder(false, lost()), &["lost-update"]);
    let lease = |wait_us: i64, records: Vec<ConflictRecord>| {
        move |p: &mut Play| {
            let other = p.builder.row("boxes");
            p.builder.server_write(&[(other, Some(json!({"name": "other", "running": 0})))]);
            p.apply(0);
            p.apply(1);
            p.edit(0, BOX, json!({"running": 1, "beat": at(100)}));
            p.land(0, vec![]);
            p.builder.wait(wait_us);
            p.edit(1, other, json!({"running": 1}));
            p.commit(1, vec![(other, Some(json!({"running": 1}))), (BOX, Some(json!({"running": 0})))], records);
        }
    };
    let ended = || vec![record(BOX, Some("running"), "exclusive:one-runs", (0, 1), (1, 1))];
    check("a lease that ended", lease(100_000_000, ended()), &[]);
    check("a lease that ended, silently", lease(100_000_000, vec![]), &["override-without-record"]);
    check("a lease that holds", lease(10_000_000, ended()), &["lost-update"]);
}

#[test]
fn aliases() {
    let builder = |key: &'static str, value: &'static str, records: Vec<ConflictRecord>| {
        move |p: &mut Play| {
            let row = p.builder.row("labels");
            p.insert(1, row, json!({"key": key, "value": "b", "updated_at": at(60)}));
            p.edit(0, LABEL, json!({"value": "a", "updated_at": at(50)}));
            p.land(0, vec![]);
            p.commit(1, vec![(LABEL, Some(json!({"value": value})))], records);
            let last = p.builder.history.events.iter_mut().rev().find_map(|event| match &mut event.what {
                What::Commit(commit) => Some(commit),
                _ => None,
            });
            last.expect("there is a commit").aliases.push((row, LABEL));
        }
    };
    let lost = |row| vec![record(row, Some("value"), "latest", (0, 1), (1, 1))];
    check("an insert merges into the row with its key", builder("colour", "b", lost(LABEL)), &[]);
    check("the record may name the losing id", builder("colour", "b", lost(4)), &[]);
    check("a merge without a record", builder("colour", "b", vec![]), &["override-without-record"]);
    check("a merge that loses the insert", builder("colour", "a", vec![]), &["lost-update"]);
    check("a merge into a row with another key", builder("shape", "b", lost(LABEL)), &["lost-insert", "lost-update"]);
}

#[test]
fn what_structure_set_stays_the_deed_of_the_deleter_though_another_asks_for_the_same() {
    // Device 0 deletes a box, whose child loses its parent. Device 1 takes the child out of it, too, which changes
    // nothing any more, and device 2, which saw neither, deletes the child.
    let codes = |record_of: Option<(u32, i64)>| {
        let mut p = Play { builder: crate::checker::testing::with_seed_rows_of(3) };
        let child = p.builder.row("boxes");
        let parent = p.builder.id(BOX);
        p.builder.server_write(&[(child, Some(json!({"name": "child", "parent_id": parent})))]);
        (0..3).for_each(|device| p.apply(device));
        p.builder.wait(100_000_000);
        p.delete(0, BOX);
        p.edit(1, child, json!({"parent_id": null, "updated_at": at(103)}));
        p.delete(2, child);
        p.commit(0, vec![(child, Some(json!({"parent_id": null}))), (BOX, None)], vec![]);
        p.commit(1, vec![], vec![]);
        let records = record_of.map(|loser| record(child, None, "deleted", loser, (2, 1)));
        p.commit(2, vec![(child, None)], records.into_iter().collect());
        p.builder.finish();
        judged(&p.builder).0.anomalies.iter().map(|anomaly| anomaly.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(Some((0, 1))), [""; 0], "the one who made it so");
    assert_eq!(codes(Some((1, 1))), [""; 0], "or the one who asked for the same");
    assert_eq!(codes(None), ["override-without-record"]);
}
