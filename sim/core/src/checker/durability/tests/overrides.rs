//! One register: what stands, what may be overridden, and what is lost.

use super::*;

#[test]
fn alone() {
    check(
        "an edit stands",
        |p| {
            p.edit(0, CARD, json!({"title": "a"}));
            p.land(0, vec![]);
        },
        &[],
    );
    check(
        "an edit without effect",
        |p| {
            p.edit(0, CARD, json!({"title": "a"}));
            p.commit(0, vec![], vec![]);
        },
        &["lost-update"],
    );
    check(
        "an edit with another effect",
        |p| {
            p.edit(0, CARD, json!({"title": "a"}));
            p.commit(0, vec![(CARD, Some(json!({"title": "z"})))], vec![]);
        },
        &["lost-update"],
    );
    check(
        "an insert stands",
        |p| {
            let row = p.builder.row("boxes");
            p.insert(0, row, json!({"name": "b"}));
            p.land(0, vec![]);
        },
        &[],
    );
    check(
        "an insert without effect",
        |p| {
            let row = p.builder.row("boxes");
            p.insert(0, row, json!({"name": "b"}));
            p.commit(0, vec![], vec![]);
        },
        &["lost-insert"],
    );
    check(
        "an insert that lost a column",
        |p| {
            let row = p.builder.row("boxes");
            p.insert(0, row, json!({"name": "b"}));
            p.commit(0, vec![(row, Some(json!({})))], vec![]);
        },
        &["lost-insert"],
    );
    check(
        "a delete stands",
        |p| {
            p.delete(0, LABEL);
            p.land(0, vec![]);
        },
        &[],
    );
    check(
        "a delete without effect",
        |p| {
            p.delete(0, LABEL);
            p.commit(0, vec![], vec![]);
        },
        &["lost-delete"],
    );
    check(
        "a group stands",
        |p| {
            p.edit(0, CARD, json!({"x": 1.0}));
            p.land(0, vec![]);
        },
        &[],
    );
    check(
        "an update of a row that never was",
        |p| {
            let row = p.builder.row("boxes");
            p.insert(0, row, json!({"name": "b"}));
            let tx = p.builder.queued[0][0].clone();
            p.builder.commit(Some((0, &tx)), &[], vec![answer(1, Outcome::Rejected)], vec![]);
            p.answer(0, TxOutcome::Refused, Outcome::Rejected);
            p.builder.complete(0);
            p.edit(0, row, json!({"name": "c"}));
            p.commit(0, vec![], vec![]);
        },
        &["lost-update"],
    );
}

#[test]
fn own_edits_in_a_row() {
    check(
        "a later own edit overrides an earlier one",
        |p| {
            p.edit(0, CARD, json!({"title": "a", "updated_at": at(50)}));
            p.edit(0, CARD, json!({"title": "b", "updated_at": at(40)}));
            p.land(0, vec![]);
            p.land(0, vec![]);
        },
        &[],
    );
    check(
        "several in one transaction",
        |p| {
            p.builder.tx(
                0,
                &[
                    (Op::Patch, CARD, json!({"title": "a", "hits": 1})),
                    (Op::Patch, CARD, json!({"title": "b"})),
                    (Op::Patch, CARD, json!({"hits": 3})),
                ],
            );
            p.commit(0, vec![(CARD, Some(json!({"title": "b", "hits": 3})))], vec![]);
        },
        &[],
    );
    check(
        "inserted and deleted in one transaction",
        |p| {
            let row = p.builder.row("boxes");
            p.builder.tx(0, &[(Op::Put, row, json!({"name": "b"})), (Op::Delete, row, Json::Null)]);
            p.commit(0, vec![(row, Some(json!({"name": "b"}))), (row, None)], vec![]);
        },
        &[],
    );
    check(
        "deleted and inserted anew in one transaction",
        |p| {
            p.builder.tx(0, &[(Op::Delete, LABEL, Json::Null), (Op::Put, LABEL, json!({"key": "colour"}))]);
            p.commit(0, vec![(LABEL, None), (LABEL, Some(json!({"key": "colour"})))], vec![]);
        },
        &[],
    );
    check(
        "a seen edit is overridden without a record, whatever the clocks",
        |p| {
            p.edit(0, CARD, json!({"title": "a", "updated_at": at(90)}));
            p.land(0, vec![]);
            p.apply(1);
            p.edit(1, CARD, json!({"title": "b", "updated_at": at(10)}));
            p.land(1, vec![]);
        },
        &[],
    );
}

/// Two devices edit one title, at seconds 50 and `second`; device 0 arrives first.
fn meet(second: i64, stays: &str, records: Vec<ConflictRecord>) -> impl FnOnce(&mut Play) {
    let title = json!({"title": stays});
    move |p| {
        p.edit(0, CARD, json!({"title": "a", "updated_at": at(50)}));
        p.edit(1, CARD, json!({"title": "b", "updated_at": at(second)}));
        p.land(0, vec![]);
        p.commit(1, vec![(CARD, Some(title))], records);
    }
}

#[test]
fn latest() {
    let (second_wins, first_wins) = ((0, 1), (1, 1));
    let won = |rule: &str, column: &str| vec![record(CARD, Some(column), rule, second_wins, first_wins)];
    let lost = |rule: &str| vec![record(CARD, Some("title"), rule, first_wins, second_wins)];
    let (_, stats) = check("the later clock wins", meet(60, "b", won("latest", "title")), &[]);
    assert_eq!((counted(&stats, "latest"), stats.conflicts), (1, 1));
    assert_eq!(stats.concurrent.get("column"), Some(&1));
    let (_, stats) = check("the earlier clock loses", meet(40, "a", lost("latest")), &[]);
    assert_eq!(counted(&stats, "latest"), 1);
    check("the greater client wins a tie", meet(50, "b", won("latest", "title")), &[]);
    check("no record of the loser there", meet(60, "b", vec![]), &["override-without-record"]);
    check("no record of the loser here", meet(40, "a", vec![]), &["override-without-record"]);
    check("the older one wins", meet(40, "b", vec![]), &["wrong-winner"]);
    check("the older one wins, on record", meet(40, "b", won("latest", "title")), &["wrong-winner"]);
    check("the later one loses", meet(60, "a", lost("latest")), &["lost-update"]);
    check("the smaller client wins a tie", meet(50, "a", lost("latest")), &["lost-update"]);
    check("a third value", meet(60, "c", won("latest", "title")), &["lost-update"]);
    check("a record of another column", meet(60, "b", won("latest", "body")), &["override-without-record"]);
    check("a record of another rule", meet(60, "b", won("deleted", "title")), &["wrong-record"]);
    check("a record the wrong way round", meet(60, "b", lost("latest")), &["override-without-record"]);
    check(
        "a record that names another winner",
        meet(40, "a", vec![record(CARD, Some("title"), "latest", (1, 1), (1, 1))]),
        &["wrong-record"],
    );
    check(
        "both write the same",
        |p| {
            p.edit(0, CARD, json!({"title": "a", "updated_at": at(50)}));
            p.edit(1, CARD, json!({"title": "a", "updated_at": at(40)}));
            p.land(0, vec![]);
            p.land(1, vec![]);
        },
        &[],
    );
    check(
        "back to the base counts as unchanged",
        |p| {
            p.edit(0, CARD, json!({"title": "a", "updated_at": at(50)}));
            p.edit(0, CARD, json!({"title": "card", "updated_at": at(60)}));
            p.edit(1, CARD, json!({"title": "b", "updated_at": at(10)}));
            p.land(0, vec![]);
            p.land(0, vec![]);
            p.land(1, vec![]);
        },
        &[],
    );
    check(
        "a chain of seen edits outranks clocks",
        |p| {
            p.edit(0, CARD, json!({"title": "a", "updated_at": at(90)}));
            p.edit(1, CARD, json!({"title": "b", "updated_at": at(80)}));
            p.land(0, vec![]);
            p.apply(0);
            p.edit(0, CARD, json!({"title": "c", "updated_at": at(10)}));
            p.land(0, vec![]);
            p.commit(1, vec![], vec![record(CARD, Some("title"), "latest", (1, 1), (0, 2))]);
        },
        &[],
    );
    check(
        "one of several edits comes to what is there",
        |p| {
            p.edit(0, CARD, json!({"title": "a", "updated_at": at(50)}));
            p.builder.tx(
                1,
                &[
                    (Op::Patch, CARD, json!({"title": "a", "updated_at": at(40)})),
                    (Op::Patch, CARD, json!({"title": "b", "updated_at": at(40)})),
                ],
            );
            p.land(0, vec![]);
            p.commit(1, vec![(CARD, Some(json!({"title": "b"})))], vec![]);
        },
        &[],
    );
    check(
        "clocks ahead are capped at receipt",
        |p| {
            p.edit(0, CARD, json!({"title": "a", "updated_at": at(9000)}));
            p.edit(1, CARD, json!({"title": "b", "updated_at": at(9000)}));
            p.land(0, vec![]);
            p.land(1, vec![record(CARD, Some("title"), "latest", (0, 1), (1, 1))]);
        },
        &[],
    );
}

#[test]
fn columns_that_nobody_wrote() {
    let builder = |extra: Json| {
        move |p: &mut Play| {
            p.edit(0, CARD, json!({"title": "a"}));
            p.land(0, vec![]);
            p.edit(1, CARD, json!({"body": "b"}));
            p.commit(1, vec![(CARD, Some(extra))], vec![]);
        }
    };
    check("different columns stand together", builder(json!({"body": "b"})), &[]);
    check("an edit that brings an old column back", builder(json!({"body": "b", "title": "card"})), &["lost-update"]);
    check("the clock column is nobody's edit", builder(json!({"body": "b", "updated_at": at(77)})), &[]);
    check(
        "a row that goes with an edit",
        |p| {
            p.edit(0, CARD, json!({"title": "a"}));
            p.commit(0, vec![(CARD, None)], vec![]);
        },
        &["lost-update"],
    );
    check(
        "a row of a device that goes with another's edit",
        |p| {
            p.edit(0, CARD, json!({"title": "a"}));
            p.land(0, vec![]);
            p.edit(1, LABEL, json!({"value": "b"}));
            p.commit(1, vec![(LABEL, Some(json!({"value": "b"}))), (CARD, None)], vec![]);
        },
        &["lost-insert"],
    );
}

#[test]
fn groups() {
    let builder = |spot: Json, records: Vec<ConflictRecord>| {
        move |p: &mut Play| {
            p.edit(0, CARD, json!({"x": 1.0, "y": 1.0, "updated_at": at(50)}));
            p.edit(1, CARD, json!({"x": 2.0, "y": 2.0, "updated_at": at(60)}));
            p.land(0, vec![]);
            p.commit(1, vec![(CARD, Some(spot))], records);
        }
    };
    let lost = || vec![record(CARD, Some("spot"), "latest", (0, 1), (1, 1))];
    let (_, stats) = check("a group is one register", builder(json!({"x": 2.0, "y": 2.0}), lost()), &[]);
    assert_eq!(stats.concurrent.get("group"), Some(&1));
    check("half a group", builder(json!({"x": 2.0}), lost()), &["lost-update"]);
}

#[test]
fn counters() {
    let builder = |hits: i64| {
        move |p: &mut Play| {
            p.edit(0, CARD, json!({"hits": 1}));
            p.edit(1, CARD, json!({"hits": 1}));
            p.land(0, vec![]);
            p.commit(1, vec![(CARD, Some(json!({"hits": hits})))], vec![]);
        }
    };
    let (_, stats) = check("differences add up", builder(2), &[]);
    assert_eq!(stats.merged.get("counter"), Some(&1));
    assert_eq!(stats.overridden.len(), 0);
    check("one of two increments", builder(1), &["lost-increment"]);
    check(
        "two increments in one transaction, one lost",
        |p| {
            p.edit(0, CARD, json!({"hits": 1}));
            p.builder.tx(1, &[(Op::Patch, CARD, json!({"hits": 1})), (Op::Patch, CARD, json!({"hits": 2}))]);
            p.land(0, vec![]);
            p.commit(1, vec![(CARD, Some(json!({"hits": 2})))], vec![]);
        },
        &["lost-increment"],
    );
    check("three of two increments", builder(3), &["lost-increment"]);
    check("none of two increments", builder(0), &["lost-increment"]);
}

#[test]
fn sets() {
    let builder = |first: &'static str, second: &'static str, after: &'static str| {
        move |p: &mut Play| {
            p.edit(0, CARD, json!({"tags": r#"["a","b"]"#}));
            p.land(0, vec![]);
            p.apply(0);
            p.apply(1);
            p.edit(0, CARD, json!({"tags": first}));
            p.edit(1, CARD, json!({"tags": second}));
            p.land(0, vec![]);
            p.commit(1, vec![(CARD, Some(json!({"tags": after})))], vec![]);
        }
    };
    check("additions join", builder(r#"["a","b","c"]"#, r#"["a","b","d"]"#, r#"["a","b","c","d"]"#), &[]);
    check(
        "the other's addition is lost",
        builder(r#"["a","b","c"]"#, r#"["a","b","d"]"#, r#"["a","b","d"]"#),
        &["lost-element"],
    );
    check(
        "its own addition is lost",
        builder(r#"["a","b","c"]"#, r#"["a","b","d"]"#, r#"["a","b","c"]"#),
        &["lost-element"],
    );
    check("removals join", builder(r#"["b"]"#, r#"["a"]"#, "[]"), &[]);
    check("another's removal is undone", builder(r#"["b"]"#, r#"["a"]"#, r#"["a"]"#), &["lost-element"]);
    check("an element from nowhere", builder(r#"["b"]"#, r#"["a"]"#, r#"["z"]"#), &["lost-element"]);
}

#[test]
fn greatest() {
    let builder = |first: i64, second: i64, after: i64, records: Vec<ConflictRecord>| {
        move |p: &mut Play| {
            p.edit(0, BOX, json!({"beat": at(first), "updated_at": at(first)}));
            p.edit(1, BOX, json!({"beat": at(second), "updated_at": at(second)}));
            p.land(0, vec![]);
            p.commit(1, vec![(BOX, Some(json!({"beat": at(after)})))], records);
        }
    };
    let first_lost = || vec![record(BOX, Some("beat"), "max", (0, 1), (1, 1))];
    let second_lost = || vec![record(BOX, Some("beat"), "max", (1, 1), (0, 1))];
    check("the greater value wins", builder(50, 60, 60, first_lost()), &[]);
    check("the smaller value loses", builder(60, 50, 60, second_lost()), &[]);
    check("the smaller value wins", builder(60, 50, 50, first_lost()), &["wrong-winner"]);
    check("the greater value loses", builder(50, 60, 50, second_lost()), &["lost-update"]);
}

#[test]
fn other_policies() {
    let builder = |policy: &'static str, second: i64, stays: &'static str, records: Vec<ConflictRecord>| {
        move |p: &mut Play| {
            policy.clone_into(&mut p.builder.history.header.policy);
            meet(second, stays, records)(p);
            let title = p.builder.server[&CARD][2].clone();
            p.builder.server.insert(CARD, p.builder.changed(CARD, &json!({"title": title.to_json()})));
        }
    };
    let whole = |rule: &str, column: Option<&str>| vec![record(CARD, column, rule, (1, 1), (0, 1))];
    check("version-check keeps the row", builder("version-check", 60, "a", whole("version-check", None)), &[]);
    check("version-check without a record", builder("version-check", 60, "a", vec![]), &["override-without-record"]);
    check("version-check lets it through", builder("version-check", 60, "b", vec![]), &["wrong-winner"]);
    check("server-wins keeps the column", builder("server-wins", 60, "a", whole("server-wins", Some("title"))), &[]);
    check("server-wins lets it through", builder("server-wins", 60, "b", vec![]), &["wrong-winner"]);
    check("arrival-order is held to the rules", builder("arrival-order", 40, "b", vec![]), &["wrong-winner"]);
    check("arrival-order keeps no record", builder("arrival-order", 60, "b", vec![]), &["override-without-record"]);
}

#[test]
fn of_equal_stamps_the_client_decides_for_the_third_as_well() {
    // Three write with one clock; whoever's client id is greater wins over those before, and keeps the stamp it had.
    let codes = |order: [u32; 3], ends_with: u32, records: Vec<ConflictRecord>| {
        let mut p = Play { builder: crate::checker::testing::with_seed_rows_of(3) };
        for (index, device) in p.builder.history.header.devices.iter_mut().enumerate() {
            device.client_id = format!("client-{index}");
        }
        p.builder.wait(100_000_000);
        let text = |device: u32| format!("by {device}");
        for device in 0..3 {
            p.edit(device, CARD, json!({"title": text(device), "updated_at": at(100)}));
        }
        let mut stays = None;
        for device in order {
            let wins = stays.is_none_or(|other| device > other);
            let rows =
                if wins { vec![(CARD, Some(json!({"title": text(device), "updated_at": at(100)})))] } else { vec![] };
            let of_this = records.iter().filter(|record| {
                let loses = record.loser == Writer::Client { device, op_id: 1 };
                let takes = record.winner == Writer::Client { device, op_id: 1 };
                if wins { takes } else { loses }
            });
            p.commit(device, rows, of_this.cloned().collect());
            if wins {
                stays = Some(device);
            }
        }
        assert_eq!(stays, Some(ends_with));
        p.builder.finish();
        judged(&p.builder).0.anomalies.iter().map(|anomaly| anomaly.code).collect::<Vec<_>>()
    };
    let lost = |loser: u32, winner: u32| record(CARD, Some("title"), "latest", (loser, 1), (winner, 1));
    assert_eq!(codes([0, 1, 2], 2, vec![lost(0, 1), lost(1, 2)]), [""; 0]);
    assert_eq!(codes([1, 0, 2], 2, vec![lost(0, 1), lost(1, 2)]), [""; 0]);
}
