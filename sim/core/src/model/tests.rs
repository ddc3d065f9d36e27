//! Decision tables: what docs/semantics.md says, case by case. The language of the scripts is [`script`]'s.

mod orders;
pub(crate) mod script;
mod structure;

use crate::checker::policy;
use crate::checker::{Context, Timeline};
use crate::history::History;
use crate::promise::Promises;
use crate::verdict::{Finding, Verdict};
use script::{app, play};

/// Holds the model against the script, and expects that the checker accepts a server that does what it says.
fn check(script: &str) {
    check_under("field-merge", script);
}

fn check_under(policy: &str, script: &str) {
    let finding = judge(&play(policy, script));
    assert_eq!(finding.verdict, Verdict::Valid, "{finding:#?} in\n{script}");
}

/// What the policy checker says about a history of a script.
pub(crate) fn judge(history: &History) -> Finding {
    let promises = Promises::default();
    let ctx = Context { app: app(), history, promises: &promises };
    policy::check(&ctx, &Timeline::build(&ctx))
}

#[test]
fn a_base_that_is_current_applies() {
    // The stored stamp moves behind the one that the writer had seen: 5 becomes 11, and 10 loses to it.
    check(
        r#"
        0@10 PUT p1 {"label":"a"} => applied
        1@5 PATCH p1 {"label":"b"} old {"label":"a"} => applied
        2@10 PATCH p1 {"label":"c"} old {"label":"a"} => superseded by 1/1; owes p1.label latest 2/1<1/1
        2@12 PATCH p1 {"label":"c"} old {"label":"a"} => applied; owes p1.label latest 1/1<2/2
        row p1 {"label":"c"}"#,
    );
    // Back to the old value counts as unchanged.
    check(
        r#"
        seed p1 {"label":"a"}
        0@10 PATCH p1 {"label":"b"} old {"label":"a"} => applied
        0@20 PATCH p1 {"label":"a"} old {"label":"b"} => applied
        1@5 PATCH p1 {"label":"c"} old {"label":"a"} => applied
        row p1 {"label":"c"}"#,
    );
}

#[test]
fn latest_takes_the_greater_clock_then_the_greater_client() {
    for (clock, said, label) in [
        (9, "superseded by 1/1; owes p1.label latest 0/1<1/1", "b"),
        (10, "superseded by 1/1; owes p1.label latest 0/1<1/1", "b"),
        (11, "applied; owes p1.label latest 1/1<0/1", "c"),
    ] {
        check(&format!(
            r#"
            seed p1 {{"label":"a"}}
            1@10 PATCH p1 {{"label":"b"}} old {{"label":"a"}} => applied
            0@{clock} PATCH p1 {{"label":"c"}} old {{"label":"a"}} => {said}
            row p1 {{"label":"{label}"}}"#
        ));
    }
    check(
        r#"
        seed p1 {"label":"a"}
        1@10 PATCH p1 {"label":"b"} old {"label":"a"} => applied
        2@10 PATCH p1 {"label":"c"} old {"label":"a"} => applied; owes p1.label latest 1/1<2/1
        row p1 {"label":"c"}"#,
    );
}

#[test]
fn a_clock_is_capped_at_receipt() {
    check(
        r#"
        seed p1 {"label":"a"}
        0@900>10 PATCH p1 {"label":"b"} old {"label":"a"} => applied
        1@11 PATCH p1 {"label":"c"} old {"label":"a"} => applied; owes p1.label latest 0/1<1/1
        row p1 {"label":"c","updated_at":900}"#,
    );
}

#[test]
fn an_own_queued_edit_after_one_that_lost_is_judged_again() {
    check(
        r#"
        seed p1 {"label":"a"}
        1@50 PATCH p1 {"label":"x"} old {"label":"a"} => applied
        0@10>60 PATCH p1 {"label":"b"} old {"label":"a"} => superseded by 1/1; owes p1.label latest 0/1<1/1
        0@20>60 PATCH p1 {"label":"c"} old {"label":"b"} => superseded by 1/1; owes p1.label latest 0/2<1/1
        0@55>60 PATCH p1 {"label":"d"} old {"label":"c"} => applied; owes p1.label latest 1/1<0/3
        row p1 {"label":"d"}"#,
    );
    // A device's later write is never overridden by its own earlier one, whatever its clock.
    check(
        r#"
        0@10 PUT p1 {"label":"a"} ; PUT p1 {"label":"b"} => applied; applied
        0@5 PUT p1 {"label":"c"} => applied
        row p1 {"label":"c"}"#,
    );
}

#[test]
fn an_equal_value_is_no_conflict_and_leaves_the_greatest_stamp() {
    check(
        r#"
        seed p1 {"label":"a"}
        0@10 PATCH p1 {"label":"x"} old {"label":"a"} => applied
        1@20 PATCH p1 {"label":"x"} old {"label":"a"} => applied
        2@15 PATCH p1 {"label":"y"} old {"label":"a"} => superseded by 1/1; owes p1.label latest 2/1<1/1
        row p1 {"label":"x"}"#,
    );
}

#[test]
fn different_columns_both_stand() {
    check(
        r#"
        seed p1 {"label":"a","bed_id":null}
        0@20 PATCH p1 {"label":"b"} old {"label":"a"} => applied
        1@10 PATCH p1 {"kind":"tree"} old {"kind":null} => applied
        row p1 {"label":"b","kind":"tree","updated_at":20}"#,
    );
    check(
        r#"
        seed p1 {"label":"a"}
        0@20 PATCH p1 {"label":"b"} old {"label":"a"} => applied
        1@10 PATCH p1 {"label":"c","kind":"tree"} old {"label":"a","kind":null} => merged by 0/1; owes p1.label latest 1/1<0/1
        row p1 {"label":"b","kind":"tree"}"#,
    );
}

#[test]
fn a_null_base_equals_a_default_that_the_insert_filled_in() {
    check(
        r#"
        0@10 PUT p1 {"label":"a"} => applied
        row p1 {"kind":"herb","waterings":0,"seen":10}
        0@5 PATCH p1 {"kind":"tree"} old {"kind":null} => applied
        row p1 {"kind":"tree"}
        1@4 PATCH p1 {"kind":"moss"} old {"kind":null} => superseded by 0/2; owes p1.kind latest 1/1<0/2"#,
    );
    // In a group the null stands for the default too.
    check(
        r#"
        0@10 PUT p1 {"label":"a"} => applied
        0@11 PATCH p1 {"done_at":"now"} old {"state":null,"done_at":null} => applied
        row p1 {"state":"seed","done_at":"now"}"#,
    );
    // A seed row's null is a null.
    check(
        r#"
        seed p1 {"label":"a","kind":"herb"}
        0@10 PATCH p1 {"kind":"tree"} old {"kind":"herb"} => applied
        1@5 PATCH p1 {"kind":"moss"} old {"kind":null} => superseded by 0/1; owes p1.kind latest 1/1<0/1"#,
    );
}

#[test]
fn max_and_keep_server() {
    check(
        r#"
        seed p1 {"label":"a","height":1,"sown":"s"}
        0@10 PATCH p1 {"height":5} old {"height":1} => applied
        1@99 PATCH p1 {"height":3} old {"height":1} => superseded by 0/1; owes p1.height max 1/1<0/1
        1@1 PATCH p1 {"height":7} old {"height":1} => applied; owes p1.height max 0/1<1/2
        0@20 PATCH p1 {"sown":"t"} old {"sown":"s"} => applied
        1@30 PATCH p1 {"sown":"u"} old {"sown":"s"} => superseded by 0/2; owes p1.sown keep-server 1/3<0/2
        row p1 {"height":7,"sown":"t"}"#,
    );
}

#[test]
fn counters_add_up() {
    check(
        r#"
        seed p1 {"label":"a","waterings":2}
        0@10 PATCH p1 {"waterings":3} old {"waterings":2} => applied
        1@5 PATCH p1 {"waterings":3} old {"waterings":2} => merged
        1@6 PATCH p1 {"waterings":5} old {"waterings":3} => merged
        row p1 {"waterings":6}
        2@1 PATCH p1 {"waterings":7} old {"waterings":2} => rejected (out-of-range)
        2@1 PATCH p1 {"waterings":10} old {"waterings":6} => rejected (out-of-range)
        2@1 PATCH p1 {"waterings":1} old {"waterings":null} => merged
        row p1 {"waterings":7}"#,
    );
}

#[test]
fn sets_unite() {
    check(
        r#"
        seed p1 {"label":"a","tags":"[\"m\", \"n\"]"}
        0@10 PATCH p1 {"tags":"[\"m\",\"n\",\"x\"]"} old {"tags":"[\"m\", \"n\"]"} => applied
        1@5 PATCH p1 {"tags":"[\"n\",\"y\"]"} old {"tags":"[\"n\",\"m\"]"} => merged
        row p1 {"tags":"[\"n\",\"x\",\"y\"]"}
        2@1 PATCH p1 {"tags":"[\"y\"]"} old {"tags":null} => merged
        row p1 {"tags":"[\"n\",\"x\",\"y\"]"}
        2@2 PATCH p1 {"tags":"[\"y\", \"x\", \"n\"]"} old {"tags":"[]"} => applied
        row p1 {"tags":"[\"n\",\"x\",\"y\"]"}"#,
    );
    // Base and current with the same members are equal; the same members keep their text.
    check(
        r#"
        seed p1 {"label":"a","tags":"[\"m\", \"n\"]"}
        0@10 PATCH p1 {"tags":"[\"n\",\"m\"]"} old {"tags":"[\"m\", \"n\"]"} => applied
        row p1 {"tags":"[\"m\", \"n\"]"}"#,
    );
    // What is no set falls back to latest.
    check(
        r#"
        seed p1 {"label":"a","tags":"[\"m\"]"}
        0@10 PATCH p1 {"tags":"none"} old {"tags":"[\"m\"]"} => applied
        1@5 PATCH p1 {"tags":"[\"y\"]"} old {"tags":"[\"m\"]"} => superseded by 0/1; owes p1.tags latest 1/1<0/1
        row p1 {"tags":"none"}"#,
    );
}

#[test]
fn a_group_is_one_register() {
    check(
        r#"
        seed p1 {"label":"a","x":1,"y":1}
        0@10 PATCH p1 {"x":2} old {"x":1,"y":1} => applied
        1@5 PATCH p1 {"y":7} old {"x":1,"y":1} => superseded by 0/1; owes p1.spot latest 1/1<0/1
        row p1 {"x":2,"y":1}
        1@15 PATCH p1 {"y":8} old {"x":1,"y":1} => applied; owes p1.spot latest 0/1<1/2
        row p1 {"x":1,"y":8}"#,
    );
}

#[test]
fn a_put_on_a_live_id_merges_with_no_base() {
    check(
        r#"
        0@10 PUT p1 {"label":"a","kind":"tree","waterings":3,"tags":"[\"m\"]","height":4,"x":1} => applied
        1@5 PUT p1 {"label":"b","waterings":2,"tags":"[\"n\"]","height":6,"y":2} => merged; owes p1.label latest 1/1<0/1; owes p1.height max 0/1<1/1; owes p1.spot latest 1/1<0/1
        row p1 {"label":"a","kind":"tree","waterings":3,"tags":"[\"m\",\"n\"]","height":6,"x":1,"y":null}
        1@15 PUT p1 {"label":"b"} => applied; owes p1.label latest 0/1<1/2
        row p1 {"label":"b","kind":"tree"}
        0@1 PUT p1 {"bed_id":null} => applied"#,
    );
}

#[test]
fn deletes_and_tombstones() {
    // Both arrival orders: absent, and the edit on record.
    check(
        r#"
        seed p1 {"label":"a"}
        0@10 DELETE p1 old {"label":"a"} => applied
        1@20 PATCH p1 {"label":"b"} old {"label":"a"} => superseded (deleted) by 0/1; owes p1 * 1/1<0/1
        row p1 absent"#,
    );
    check(
        r#"
        seed p1 {"label":"a","kind":"tree"}
        1@20 PATCH p1 {"label":"b"} old {"label":"a"} => applied
        0@10 DELETE p1 old {"label":"a","kind":"tree"} => applied; owes p1.label * 1/1<0/1
        row p1 absent"#,
    );
    // A delete that had seen everything overrides nobody.
    check(
        r#"
        0@10 PUT p1 {"label":"a"} => applied
        1@20 DELETE p1 old {"label":"a","kind":"herb"} => applied
        1@21 DELETE p1 => applied
        0@21 PUT p1 {"label":"b"} => superseded (deleted) by 1/2; owes p1 * 0/2<1/2
        0@22 PUT p1 {"label":"b"} => applied
        row p1 {"label":"b","kind":"herb"}
        0@23 PATCH p9 {"label":"b"} => rejected (no-such-row)
        0@24 DELETE p9 => applied"#,
    );
    // The device that deleted knows what it creates, though a delete's clock is its receipt.
    check(
        r#"
        seed p1 {"label":"a","kind":"tree"}
        0@10>100 DELETE p1 old {"label":"a"} ; PUT p1 {"label":"b"} => applied; applied
        row p1 {"label":"b","kind":"herb"}"#,
    );
}

#[test]
fn edits_revive_where_the_table_says_so() {
    check(
        r#"
        seed n1 {"body":"a","colour":"red"}
        0@10 DELETE n1 old {"body":"a","colour":"red"} => applied
        1@5 PATCH n1 {"body":"b"} old {"body":"a"} => applied; owes n1 * 0/1<1/1
        row n1 {"body":"b","colour":"red"}"#,
    );
    check(
        r#"
        seed n1 {"body":"a","colour":"red"}
        1@5 PATCH n1 {"body":"b"} old {"body":"a"} => applied
        0@10 DELETE n1 old {"body":"a","colour":"red"} => superseded by 1/1; owes n1 * 0/1<1/1
        0@20 DELETE n1 old {"body":"b","colour":"red"} => applied
        row n1 absent"#,
    );
    // What came back is held to structure: its bed is gone.
    check(
        r#"
        seed b1 {"name":"bed"}
        seed n1 {"body":"a","bed_id":"b1"}
        0@10 DELETE n1 old {"body":"a","bed_id":"b1"} ; DELETE b1 => applied; applied
        1@5 PATCH n1 {"body":"b"} old {"body":"a"} => applied; owes n1 * 0/1<1/1
        row n1 {"body":"b","bed_id":null}"#,
    );
}

#[test]
fn what_is_refused_refuses_its_transaction() {
    for (op, reason) in [
        (r#"PATCH p1 {"label":"b","?":1}"#, "unknown-column-or-bad-value"),
        (r#"PATCH p1 {"label":null} old {"label":"a"}"#, "not-null"),
        (r#"PUT p7 {"kind":"tree"}"#, "not-null"),
        (r#"PUT p7 {"label":"x","waterings":10}"#, "out-of-range"),
        (r#"PATCH p7 {"label":"x"}"#, "no-such-row"),
        (r#"PUT l7 {"plant_id":"p9"}"#, "no-such-parent"),
    ] {
        check(&format!(
            r#"
            seed p1 {{"label":"a"}}
            0@10 PATCH p1 {{"kind":"tree"}} old {{}} ; {op} ; DELETE p1 => rolled back; rejected ({reason}); rolled back
            row p1 {{"label":"a","kind":null}}
            1@5 PATCH p1 {{"kind":"moss"}} old {{}} => applied"#
        ));
    }
}

#[test]
fn the_policies_of_one_line() {
    for (policy, script) in [
        (
            "row-latest",
            r#"
            seed p1 {"label":"a","kind":"tree","updated_at":7}
            0@6>8 PATCH p1 {"label":"b"} old {"label":"a"} => superseded by server; owes p1 * 0/1<*
            0@10 PATCH p1 {"label":"b"} old {"label":"a"} => applied
            1@9>10 PATCH p1 {"kind":"moss"} old {"kind":"tree"} => superseded by 0/2|server; owes p1 * 1/1<*
            1@10 PATCH p1 {"label":"c","waterings":4} old {"label":"a"} => applied
            row p1 {"label":"c","kind":"tree","waterings":4}
            0@13 DELETE p1 old {"label":"c"} => applied"#,
        ),
        (
            "version-check",
            r#"
            seed p1 {"label":"a","kind":"tree"}
            0@10 PATCH p1 {"label":"b"} old {"label":"a","kind":"tree"} => applied
            1@20 PATCH p1 {"kind":"moss"} old {"label":"a","kind":"tree"} => superseded by 0/1|server; owes p1 * 1/1<*
            1@5 PATCH p1 {"kind":"moss"} old {"label":"b","kind":"tree","updated_at":10} => applied
            0@30 DELETE p1 old {"label":"b","kind":"tree"} => superseded by 0/1|1/2|server; owes p1 * 0/2<*
            0@40 PUT p2 {"label":"n"} => applied
            0@41 PATCH p2 {"kind":"vine"} old {"label":"n","kind":null} => applied
            row p2 {"kind":"vine"}"#,
        ),
        (
            "server-wins",
            r#"
            seed p1 {"label":"a","kind":"tree","waterings":1}
            0@10 PATCH p1 {"label":"b"} old {"label":"a"} => applied
            1@20 PATCH p1 {"label":"c","kind":"moss"} old {"label":"a","kind":"tree"} => merged by 0/1; owes p1.label server-wins 1/1<0/1
            1@30 PUT p1 {"label":"c"} => superseded by 0/1; owes p1.label server-wins 1/2<0/1
            row p1 {"label":"b","kind":"moss"}
            0@40 DELETE p1 old {"label":"b","kind":"tree"} => superseded by 0/1|1/1|server; owes p1 * 0/2<*
            0@41 PATCH p1 {"label":"q"} old {"label":"c"} => applied
            1@42 DELETE p1 old {"label":"q","kind":"tree"} => applied"#,
        ),
        (
            "arrival-order",
            r#"
            seed p1 {"label":"a","kind":"tree"}
            0@10 PATCH p1 {"label":"b"} old {"label":"a"} => applied
            1@5 PATCH p1 {"label":"c"} old {"label":"a"} => applied
            1@6 PUT p1 {"label":"d","waterings":3} => applied
            row p1 {"label":"d","kind":"tree","waterings":3}
            0@7 DELETE p1 => applied
            0@8 PATCH p1 {"label":"e"} => applied
            row p1 absent
            0@9 PUT o1 {"key":"k"} => applied
            1@9 PUT o2 {"key":"k"} => rejected (unique)
            1@9 PUT p2 {} => rejected (no-columns)
            1@9 PUT p2 {"kind":"x"} => rejected (not-null)
            1@9 PUT l1 {"plant_id":"p9"} => applied
            row l1 {"plant_id":"p9"}"#,
        ),
    ] {
        check_under(policy, script);
    }
}

#[test]
fn what_the_server_writes_past_the_backend_goes_by_the_stamp_under_it() {
    for script in [
        // The edit would have lost to the write under the server's, so it loses to the server's.
        r#"
        seed p1 {"label":"a"}
        0@10 PATCH p1 {"label":"b"} old {"label":"a"} => applied
        seed p1 {"label":"s"}
        1@5>20 PATCH p1 {"label":"c"} old {"label":"a"} => superseded by server; owes p1.label latest 1/1<server
        row p1 {"label":"s"}"#,
        // It would have won: it wins, and owes nobody a record.
        r#"
        seed p1 {"label":"a"}
        0@10 PATCH p1 {"label":"b"} old {"label":"a"} => applied
        seed p1 {"label":"s"}
        1@15>20 PATCH p1 {"label":"c"} old {"label":"a"} => applied
        row p1 {"label":"c"}"#,
        // Its own device's stamp is as any other: what the server wrote it had not seen.
        r#"
        seed p1 {"label":"a"}
        0@10 PATCH p1 {"label":"b"} old {"label":"a"} => applied
        seed p1 {"label":"s"}
        0@9>20 PATCH p1 {"label":"c"} old {"label":"b"} => superseded by server; owes p1.label latest 0/2<server
        row p1 {"label":"s"}"#,
        // What it had seen it may change.
        r#"
        seed p1 {"label":"a"}
        0@10 PATCH p1 {"label":"b"} old {"label":"a"} => applied
        seed p1 {"label":"s"}
        1@5>20 PATCH p1 {"label":"c"} old {"label":"s"} => applied
        row p1 {"label":"c"}"#,
        // Back to what the operation left is the operation's again.
        r#"
        seed p1 {"label":"a"}
        0@10 PATCH p1 {"label":"b"} old {"label":"a"} => applied
        seed p1 {"label":"s"}
        seed p1 {"label":"b"}
        1@5>20 PATCH p1 {"label":"c"} old {"label":"a"} => superseded by 0/1; owes p1.label latest 1/1<0/1
        row p1 {"label":"b"}"#,
        // It leaves no tombstone.
        r#"
        seed p1 {"label":"a"}
        seed p1 absent
        1@5>20 PATCH p1 {"label":"c"} old {"label":"a"} => rejected (no-such-row)
        row p1 absent"#,
    ] {
        check_under("field-merge", script);
    }
}
