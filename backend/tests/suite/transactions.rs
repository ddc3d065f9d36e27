//! What transactions come to, on a store in memory.

use backend::PolicyKind::{FieldMerge, RowLatest, ServerWins, VersionCheck};

use crate::script::check;

#[test]
fn columns_resolve_apart() {
    check(
        FieldMerge,
        r#"1 a PUT boxes b1 {"label":"x","touched":"@1"}

           5 a PATCH boxes b1 {"label":"A","touched":"@5"} was {"label":"x","touched":"@1"}

           6 b PATCH boxes b1 {"state":"B","touched":"@6"} was {"label":"x","state":"new","touched":"@1"}"#,
        "a/1 applied
         a/2 applied
         b/1 applied
         boxes b1 label=A weight=0 state=B",
    );
}

#[test]
fn the_later_stamp_stays_whatever_arrives_last() {
    let base = r#"1 a PUT boxes b1 {"label":"x","touched":"@1"}"#;
    let early = r#"9 a PATCH boxes b1 {"label":"A","touched":"@5"} was {"label":"x","touched":"@1"}"#;
    let late = r#"9 b PATCH boxes b1 {"label":"B","touched":"@6"} was {"label":"x","touched":"@1"}"#;
    check(
        FieldMerge,
        &format!("{base}\n\n{early}\n\n{late}"),
        "a/1 applied
         a/2 applied
         b/1 applied
         boxes b1 label=B weight=0 state=new
         ! boxes b1 label latest: a/2 < b/1",
    );
    check(
        FieldMerge,
        &format!("{base}\n\n{late}\n\n{early}"),
        "a/1 applied
         b/1 applied
         a/2 superseded latest: label by b/1
         boxes b1 label=B weight=0 state=new
         ! boxes b1 label latest: a/2 < b/1",
    );
}

#[test]
fn a_write_is_never_overridden_by_one_that_it_had_seen() {
    // b's clock is behind: its stamp follows the one that it had seen, so a's older edit from offline still loses.
    check(
        FieldMerge,
        r#"10 a PUT boxes b1 {"label":"x","touched":"@10"}

           11 b PATCH boxes b1 {"label":"B","touched":"@2"} was {"label":"x","touched":"@10"}

           12 c PATCH boxes b1 {"label":"C","touched":"@9"} was {"label":"y","touched":"@8"}"#,
        "a/1 applied
         b/1 applied
         c/1 superseded latest: label by b/1
         boxes b1 label=B weight=0 state=new
         ! boxes b1 label latest: c/1 < b/1",
    );
}

#[test]
fn clocks_from_the_future_are_capped_at_receive_time() {
    check(
        FieldMerge,
        r#"1 a PUT boxes b1 {"label":"x","touched":"@1"}

           5 a PATCH boxes b1 {"label":"A","touched":"@900"} was {"label":"x","touched":"@1"}

           6 b PATCH boxes b1 {"label":"B","touched":"@6"} was {"label":"x","touched":"@1"}"#,
        "a/1 applied
         a/2 applied
         b/1 applied
         boxes b1 label=B weight=0 state=new
         ! boxes b1 label latest: a/2 < b/1",
    );
}

#[test]
fn own_queued_edits() {
    // a's first edit lost; its second names the lost value as base and is compared again: same clock, same fate;
    // a later clock wins.
    check(
        FieldMerge,
        r#"1 a PUT boxes b1 {"label":"x","touched":"@1"}

           9 b PATCH boxes b1 {"label":"B","touched":"@6"} was {"label":"x","touched":"@1"}

           10 a PATCH boxes b1 {"label":"A1","touched":"@5"} was {"label":"x","touched":"@1"}
           10 a PATCH boxes b1 {"label":"A2","touched":"@5"} was {"label":"A1","touched":"@5"}

           11 a PATCH boxes b1 {"label":"A3","touched":"@7"} was {"label":"A2","touched":"@5"}"#,
        "a/1 applied
         b/1 applied
         a/2 superseded latest: label by b/1
         a/3 superseded latest: label by b/1
         a/4 applied
         boxes b1 label=A3 weight=0 state=new
         ! boxes b1 label latest: a/2 < b/1
         ! boxes b1 label latest: a/3 < b/1
         ! boxes b1 label latest: b/1 < a/4",
    );
    // Differences carry on from merged values, sets too.
    check(
        FieldMerge,
        r#"1 a PUT boxes b1 {"label":"x","weight":10,"tags":"[\"t\"]","touched":"@1"}

           2 b PATCH boxes b1 {"weight":13,"tags":"[\"t\",\"b\"]"} was {"weight":10,"tags":"[\"t\"]"}

           3 a PATCH boxes b1 {"weight":11,"tags":"[\"t\",\"a\"]"} was {"weight":10,"tags":"[\"t\"]"}
           3 a PATCH boxes b1 {"weight":12,"tags":"[\"a\"]"} was {"weight":11,"tags":"[\"t\",\"a\"]"}"#,
        r#"a/1 applied
         b/1 applied
         a/2 merged counter: weight
         a/3 merged counter: weight
         boxes b1 label=x weight=15 tags=["b","a"] state=new"#,
    );
}

#[test]
fn a_default_of_the_rows_own_insert_counts_as_seen() {
    check(
        FieldMerge,
        r#"1 a PUT boxes b1 {"label":"x","touched":"@1"}
           1 a PATCH boxes b1 {"state":"A"} was {"state":null}

           2 b PATCH boxes b1 {"state":"B","touched":"@0"} was {"state":null}"#,
        "a/1 applied
         a/2 applied
         b/1 superseded latest: state by a/2
         boxes b1 label=x weight=0 state=A
         ! boxes b1 state latest: b/1 < a/2",
    );
}

#[test]
fn groups_are_one_register() {
    check(
        FieldMerge,
        r#"1 a PUT boxes b1 {"label":"x","x":1.0,"y":1.0,"touched":"@1"}

           5 a PATCH boxes b1 {"x":2.0,"touched":"@5"} was {"x":1.0,"y":1.0,"touched":"@1"}

           6 b PATCH boxes b1 {"y":3.0,"touched":"@6"} was {"x":1.0,"y":1.0,"touched":"@1"}

           7 c PATCH boxes b1 {"x":9.0,"touched":"@2"} was {"x":1.0,"y":1.0,"touched":"@1"}"#,
        "a/1 applied
         a/2 applied
         b/1 applied
         c/1 superseded latest: spot by b/1
         boxes b1 label=x weight=0 x=1.0 y=3.0 state=new
         ! boxes b1 spot latest: a/2 < b/1
         ! boxes b1 spot latest: c/1 < b/1",
    );
}

#[test]
fn counters_keep_their_range() {
    check(
        FieldMerge,
        r#"1 a PUT boxes b1 {"label":"x","weight":90,"touched":"@1"}

           2 b PATCH boxes b1 {"weight":98} was {"weight":90}

           3 a PATCH boxes b1 {"label":"y"} was {"label":"x"}
           3 a PATCH boxes b1 {"weight":95} was {"weight":90}"#,
        "a/1 applied
         b/1 applied
         a/2 rolled_back
         a/3 rejected out-of-range: weight: 103 is not in 0..=100
         boxes b1 label=x weight=98 state=new",
    );
}

#[test]
fn max_and_keep_server() {
    check(
        FieldMerge,
        r#"1 a PUT boxes b1 {"label":"x","opened":"@10","made":"@1","touched":"@1"}

           2 b PATCH boxes b1 {"opened":"@30","made":"@2"} was {"opened":"@10","made":"@1"}

           3 a PATCH boxes b1 {"opened":"@20"} was {"opened":"@10"}

           4 a PATCH boxes b1 {"made":"@3"} was {"made":"@1"}

           5 c PATCH boxes b1 {"opened":"@40"} was {"opened":"@20"}"#,
        "a/1 applied
         b/1 applied
         a/2 superseded max: opened by b/1
         a/3 superseded keep-server: made by b/1
         c/1 applied
         boxes b1 label=x weight=0 state=new opened=@40
         ! boxes b1 opened max: a/2 < b/1
         ! boxes b1 made keep-server: a/3 < b/1
         ! boxes b1 opened max: b/1 < c/1",
    );
}

#[test]
fn puts_on_live_rows_merge() {
    check(
        FieldMerge,
        r#"5 a PUT boxes b1 {"label":"x","weight":5,"tags":"[\"a\"]","state":"s","touched":"@5"}

           6 b PUT boxes b1 {"label":"y","weight":3,"tags":"[\"b\"]","touched":"@4"}

           7 b PUT boxes b1 {"label":"z","weight":9,"touched":"@7"}"#,
        r#"a/1 applied
         b/1 merged latest: label by a/1
         b/2 applied
         boxes b1 label=z weight=9 tags=["a","b"] state=s
         ! boxes b1 label latest: b/1 < a/1
         ! boxes b1 weight counter: b/1 < a/1
         ! boxes b1 label latest: a/1 < b/2
         ! boxes b1 weight counter: a/1 < b/2"#,
    );
}

#[test]
fn an_edit_meets_a_delete() {
    let base = r#"1 a PUT boxes b1 {"label":"x","touched":"@1"}"#;
    let edit = r#"9 a PATCH boxes b1 {"label":"A","touched":"@5"} was {"label":"x","touched":"@1"}"#;
    let delete = r#"9 b DELETE boxes b1 was {"label":"x","state":"new","weight":0,"touched":"@1"}"#;
    let record = "! boxes b1 * deleted: a/2 < b/1";
    check(
        FieldMerge,
        &format!("{base}\n\n{edit}\n\n{delete}"),
        &format!("a/1 applied\na/2 applied\nb/1 applied\n{record}"),
    );
    check(
        FieldMerge,
        &format!("{base}\n\n{delete}\n\n{edit}"),
        &format!("a/1 applied\nb/1 applied\na/2 superseded deleted by b/1\n{record}"),
    );
    // A second delete finds nothing to do; a row that never was is no reason to refuse it.
    check(
        FieldMerge,
        &format!("{base}\n\n{delete}\n\n10 c DELETE boxes b1 was {{\"label\":\"x\"}}\n10 c DELETE boxes b2"),
        "a/1 applied\nb/1 applied\nc/1 merged already-deleted by b/1\nc/2 merged already-deleted",
    );
    check(FieldMerge, r#"1 a PATCH boxes b1 {"label":"x"} was {"label":"y"}"#, "a/1 rejected no-such-row");
}

#[test]
fn a_delete_overrides_what_a_merge_holds_of_others() {
    check(
        FieldMerge,
        r#"1 a PUT boxes b1 {"label":"x","weight":10,"touched":"@1"}

           2 b PATCH boxes b1 {"weight":11} was {"weight":10}

           3 a PATCH boxes b1 {"weight":12} was {"weight":10}
           3 a DELETE boxes b1 was {"label":"x","weight":12}"#,
        "a/1 applied
         b/1 applied
         a/2 merged counter: weight
         a/3 applied
         ! boxes b1 * deleted: b/1 < a/3",
    );
    // Everybody whose difference is in the sum loses it, but for those that the deleting device had seen.
    check(
        FieldMerge,
        r#"1 a PUT boxes b1 {"label":"x","weight":10,"touched":"@1"}

           2 b PATCH boxes b1 {"weight":11} was {"weight":10}

           3 b PATCH boxes b1 {"weight":13} was {"weight":11}

           4 c PATCH boxes b1 {"weight":14} was {"weight":10}

           5 d DELETE boxes b1 was {"label":"x","weight":11}"#,
        "a/1 applied
         b/1 applied
         b/2 applied
         c/1 merged counter: weight
         d/1 applied
         ! boxes b1 * deleted: b/2 < d/1
         ! boxes b1 * deleted: c/1 < d/1",
    );
}

#[test]
fn puts_on_tombstones() {
    let deleted = r#"1 a PUT boxes b1 {"label":"x","touched":"@1"}

           5 b DELETE boxes b1 was {"label":"x"}"#;
    // Later than the deletion: created anew. Earlier: it stays deleted.
    check(
        FieldMerge,
        &format!(
            r#"{deleted}

           9 c PUT boxes b1 {{"label":"y","touched":"@8"}}"#
        ),
        "a/1 applied
         b/1 applied
         c/1 applied
         boxes b1 label=y weight=0 state=new
         ! boxes b1 * revived: b/1 < c/1",
    );
    check(
        FieldMerge,
        &format!(
            r#"{deleted}

           9 c PUT boxes b1 {{"label":"y","touched":"@4"}}"#
        ),
        "a/1 applied
         b/1 applied
         c/1 superseded deleted by b/1
         ! boxes b1 * deleted: c/1 < b/1",
    );
    // A deletion's stamp is its receive time, later than any clock that its own device sends: it was seen.
    check(
        FieldMerge,
        r#"1 a PUT boxes b1 {"label":"x","touched":"@1"}

           9 a DELETE boxes b1 was {"label":"x"}
           9 a PUT boxes b1 {"label":"y","touched":"@3"}
           9 a PATCH boxes b1 {"label":"z","touched":"@3"} was {"label":"y","touched":"@3"}"#,
        "a/1 applied
         a/2 applied
         a/3 applied
         a/4 applied
         boxes b1 label=z weight=0 state=new",
    );
}

#[test]
fn edits_revive_where_the_table_says_so() {
    let script = r#"1 a PUT memos m1 {"words":"x","code":"k","touched":"@1"}

           2 b DELETE memos m1 was {"words":"x"}

           3 a PATCH memos m1 {"words":"y","touched":"@2"} was {"words":"x"}"#;
    check(
        FieldMerge,
        script,
        "a/1 applied
         b/1 applied
         a/2 merged revived
         memos m1 words=y code=k
         ! memos m1 * revived: b/1 < a/2",
    );
    check(
        ServerWins,
        script,
        "a/1 applied\nb/1 applied\na/2 superseded deleted by b/1\n! memos m1 * deleted: a/2 < b/1",
    );
    // Its parent is gone too, and refuses to be missing: the edit comes too late for both.
    check(
        FieldMerge,
        r#"1 a PUT shelves s1 {"name":"s","touched":"@1"}
           1 a PUT memos m1 {"words":"x","shelf":"s1","touched":"@1"}

           2 b DELETE memos m1 was {"words":"x"}
           2 b DELETE shelves s1 was {"name":"s"}

           3 a PATCH memos m1 {"words":"y","touched":"@2"} was {"words":"x"}"#,
        "a/1 applied
         a/2 applied
         b/1 applied
         b/2 applied
         a/3 superseded deleted by b/1
         ! memos m1 * deleted: a/3 < b/1",
    );
}

#[test]
fn inserts_of_one_key_merge() {
    check(
        FieldMerge,
        r#"1 a PUT knobs k1 {"key":"theme","value":"dark","touched":"@1"}

           3 b PUT knobs k2 {"key":"theme","value":"light","touched":"@2"}
           3 b PUT memos m1 {"words":"w","knob":"k2","touched":"@2"}

           4 b PATCH knobs k2 {"value":"blue","touched":"@4"} was {"key":"theme","value":"light","touched":"@2"}

           5 c PATCH memos m1 {"knob":"k2","touched":"@5"} was {"knob":null}

           6 b DELETE knobs k2 was {"key":"theme","value":"blue","touched":"@4"}

           7 b PATCH knobs k2 {"value":"red"} was {"value":"blue"}"#,
        "a/1 applied
         b/1 merged unique: key into k1
         b/2 applied
         b/3 applied into k1
         c/1 applied
         b/4 applied into k1
         b/5 superseded deleted by b/4 into k1
         memos m1 words=w knob=k1
         ! knobs k2 * unique: b/1 < a/1
         ! knobs k1 value latest: a/1 < b/1
         ! knobs k1 * deleted: b/5 < b/4",
    );
    // A child that came before its parent follows it to the survivor.
    check(
        FieldMerge,
        r#"1 a PUT knobs k1 {"key":"theme","touched":"@1"}

           3 b PUT memos m1 {"words":"w","knob":"k2","touched":"@2"}
           3 b PUT knobs k2 {"key":"theme","touched":"@2"}"#,
        "a/1 applied
         b/1 applied
         b/2 merged unique: key into k1
         knobs k1 key=theme
         memos m1 words=w knob=k1
         ! knobs k2 * unique: b/2 < a/1",
    );
    // An insert of the losing id is one of the survivor.
    check(
        FieldMerge,
        r#"1 a PUT knobs k1 {"key":"theme","value":"1","touched":"@1"}

           3 b PUT knobs k2 {"key":"theme","value":"1","touched":"@2"}

           4 b DELETE knobs k2

           5 b PUT knobs k2 {"key":"theme","value":"2","touched":"@5"}"#,
        "a/1 applied
         b/1 merged unique: key into k1
         b/2 applied into k1
         b/3 applied into k1
         knobs k1 key=theme value=2
         ! knobs k2 * unique: b/1 < a/1",
    );
}

#[test]
fn other_unique_collisions_are_rejected() {
    check(
        FieldMerge,
        r#"1 a PUT knobs k1 {"key":"theme","touched":"@1"}
           1 a PUT knobs k2 {"key":"sound","touched":"@1"}
           1 a PUT memos m1 {"code":"c","touched":"@1"}

           2 b PATCH knobs k2 {"key":"theme","touched":"@2"} was {"key":"sound"}

           3 b PUT memos m2 {"code":"c","touched":"@2"}

           4 b PUT memos m3 {"words":"no code","touched":"@2"}
           4 b PUT memos m4 {"words":"none either","touched":"@2"}"#,
        "a/1 applied
         a/2 applied
         a/3 applied
         b/1 rejected unique: key by a/1
         b/2 rejected unique: code by a/3
         b/3 applied
         b/4 applied
         knobs k1 key=theme
         knobs k2 key=sound
         memos m1 code=c
         memos m3 words=no code
         memos m4 words=none either",
    );
}

#[test]
fn parents_that_are_missing() {
    check(
        FieldMerge,
        r#"1 a PUT boxes b1 {"label":"x","shelf":"s9","touched":"@1"}

           2 a PUT stickers t1 {"box":"b9","words":"w","touched":"@2"}

           3 a PUT memos m1 {"knob":"k9","touched":"@3"}

           4 a PUT boxes b3 {"label":"z","touched":"@4"}
           4 a PUT stickers t2 {"box":"b3","words":"w","touched":"@4"}
           4 a PUT boxes b2 {"label":"y","shelf":"s1","touched":"@4"}
           4 a PUT shelves s1 {"name":"s","touched":"@4"}

           5 a PUT stickers t3 {"box":"b4","words":"w","touched":"@5"}
           5 a PUT boxes b4 {"label":"z","touched":"@5"}"#,
        "a/1 merged parent-missing: shelf by server
         a/2 rejected parent-missing: box by server
         a/3 applied
         a/4 applied
         a/5 applied
         a/6 merged parent-missing: shelf by server
         a/7 applied
         a/8 rejected parent-missing: box by server
         a/9 rolled_back
         boxes b1 label=x weight=0 state=new
         boxes b2 label=y weight=0 state=new
         boxes b3 label=z weight=0 state=new
         shelves s1 name=s
         stickers t2 box=b3 words=w
         memos m1 knob=k9
         ! boxes b1 shelf parent-missing: a/1 < server
         ! boxes b2 shelf parent-missing: a/6 < server",
    );
    // A parent that stays deleted, though the transaction would make it again.
    check(
        FieldMerge,
        r#"1 a PUT boxes b1 {"label":"x","touched":"@1"}
           1 a PUT shelves s1 {"name":"s","touched":"@1"}

           9 b DELETE boxes b1
           9 b DELETE shelves s1

           10 c PUT boxes b2 {"label":"y","shelf":"s1","touched":"@5"}
           10 c PUT shelves s1 {"name":"t","touched":"@5"}

           11 c PUT stickers t1 {"box":"b1","words":"w","touched":"@5"}
           11 c PUT boxes b1 {"label":"y","touched":"@5"}"#,
        "a/1 applied
         a/2 applied
         b/1 applied
         b/2 applied
         c/1 merged parent-missing: shelf by b/2
         c/2 superseded deleted by b/2
         c/3 rejected parent-missing: box by b/1
         c/4 rolled_back
         boxes b2 label=y weight=0 state=new
         ! boxes b1 * deleted: a/1 < b/1
         ! shelves s1 * deleted: a/2 < b/2
         ! boxes b2 shelf parent-missing: c/1 < b/2
         ! shelves s1 * deleted: c/2 < b/2",
    );
}

#[test]
fn parents_that_are_deleted() {
    check(
        FieldMerge,
        r#"1 a PUT shelves s1 {"name":"s","touched":"@1"}
           1 a PUT boxes b1 {"label":"x","shelf":"s1","touched":"@1"}
           1 a PUT stickers t1 {"box":"b1","words":"w","touched":"@1"}
           1 a PUT stickers t2 {"box":"b1","words":"v","touched":"@1"}

           3 b PATCH stickers t1 {"words":"W","touched":"@3"} was {"words":"w"}

           4 a DELETE shelves s1 was {"name":"s"}

           5 a DELETE boxes b1 was {"label":"x"}
           5 a DELETE stickers t2 was {"box":"b1","words":"v"}

           6 b PATCH stickers t1 {"words":"late","touched":"@5"} was {"words":"W"}"#,
        "a/1 applied
         a/2 applied
         a/3 applied
         a/4 applied
         b/1 applied
         a/5 applied
         a/6 applied
         a/7 applied
         b/2 superseded deleted by a/6
         ! stickers t1 * cascade: a/3 < a/6
         ! stickers t1 * cascade: b/1 < a/6
         ! stickers t1 * deleted: b/2 < a/6",
    );
    check(
        FieldMerge,
        r#"1 a PUT shelves s1 {"name":"s","touched":"@1"}
           1 a PUT memos m1 {"words":"w","shelf":"s1","touched":"@1"}

           2 a DELETE shelves s1 was {"name":"s"}

           3 a DELETE shelves s1 was {"name":"s"}
           3 a DELETE memos m1 was {"words":"w"}"#,
        "a/1 applied
         a/2 applied
         a/3 rejected has-children: memos.shelf by a/2
         a/4 applied
         a/5 applied",
    );
    // Whoever moved a box onto the shelf unseen has a record: it loses the shelf before it goes itself.
    check(
        FieldMerge,
        r#"1 a PUT shelves s1 {"name":"s","touched":"@1"}
           1 a PUT boxes b1 {"label":"x","touched":"@1"}
           1 a PUT boxes b2 {"label":"y","shelf":"s1","inside":"b1","touched":"@1"}

           2 b PATCH boxes b1 {"shelf":"s1","touched":"@2"} was {"shelf":null}

           3 a DELETE shelves s1 was {"name":"s"}
           3 a DELETE boxes b1 was {"label":"x","shelf":null}

           4 a PUT shelves s2 {"name":"s","touched":"@4"}

           5 b PATCH boxes b2 {"shelf":"s2","touched":"@5"} was {"shelf":"s1"}

           6 a DELETE shelves s2 was {"name":"s"}"#,
        "a/1 applied
         a/2 applied
         a/3 applied
         b/1 applied
         a/4 applied
         a/5 applied
         a/6 applied
         b/2 applied
         a/7 applied
         boxes b2 label=y weight=0 state=new
         ! boxes b1 shelf parent-missing: b/1 < a/4
         ! boxes b2 shelf latest: a/4 < b/2
         ! boxes b2 shelf parent-missing: b/2 < a/7",
    );
    // A box that moved away in time stays where it is.
    check(
        FieldMerge,
        r#"1 a PUT shelves s1 {"name":"s","touched":"@1"}
           1 a PUT shelves s2 {"name":"s","touched":"@1"}
           1 a PUT boxes b1 {"label":"x","shelf":"s1","touched":"@1"}

           2 b PATCH boxes b1 {"shelf":"s2","touched":"@2"} was {"shelf":"s1"}

           3 a DELETE shelves s1 was {"name":"s"}"#,
        "a/1 applied
         a/2 applied
         a/3 applied
         b/1 applied
         a/4 applied
         boxes b1 label=x weight=0 shelf=s2 state=new
         shelves s2 name=s",
    );
    // A child that the transaction means to delete itself, and cannot, goes with its parent after all.
    check(
        VersionCheck,
        r#"1 a PUT boxes b1 {"label":"x","touched":"@1"}
           1 a PUT stickers t1 {"box":"b1","words":"w","touched":"@1"}

           2 b PATCH stickers t1 {"words":"W","touched":"@2"} was {"words":"w","touched":"@1"}

           3 a DELETE boxes b1 was {"label":"x"}
           3 a DELETE stickers t1 was {"words":"w"}"#,
        "a/1 applied
         a/2 applied
         b/1 applied
         a/3 applied
         a/4 superseded version-check by b/1
         ! stickers t1 * version-check: a/4 < b/1
         ! stickers t1 * cascade: a/2 < a/3
         ! stickers t1 * cascade: b/1 < a/3",
    );
}

#[test]
fn a_cycle_leaves_the_parent_and_nothing_else() {
    let boxes = r#"1 a PUT boxes b1 {"label":"1","touched":"@1"}
           1 a PUT boxes b2 {"label":"2","touched":"@1"}
           1 a PUT boxes b3 {"label":"3","inside":"b2","touched":"@1"}

           3 b PATCH boxes b1 {"inside":"b3","touched":"@3"} was {"inside":null}"#;
    let applied = "a/1 applied\na/2 applied\na/3 applied\nb/1 applied";
    check(
        FieldMerge,
        &format!(
            r#"{boxes}

           4 c PATCH boxes b2 {{"inside":"b1","touched":"@4"}} was {{"inside":null}}
           4 c PATCH boxes b2 {{"state":"s","touched":"@4"}} was {{"state":"new"}}"#
        ),
        &format!(
            "{applied}
         c/1 superseded cycle: b2 > b1 > b3 > b2 by b/1
         c/2 applied
         boxes b1 label=1 weight=0 inside=b3 state=new
         boxes b2 label=2 weight=0 state=s
         boxes b3 label=3 weight=0 inside=b2 state=new
         ! boxes b2 inside cycle: c/1 < b/1"
        ),
    );
    check(
        FieldMerge,
        &format!(
            r#"{boxes}

           4 c PATCH boxes b2 {{"inside":"b1","label":"II","touched":"@4"}} was {{"inside":null,"label":"2"}}

           5 c PATCH boxes b1 {{"inside":"b1","touched":"@5"}} was {{"inside":"b3"}}"#
        ),
        &format!(
            "{applied}
         c/1 merged cycle: b2 > b1 > b3 > b2 by b/1
         c/2 superseded cycle: b1 > b1 by server
         boxes b1 label=1 weight=0 inside=b3 state=new
         boxes b2 label=II weight=0 state=new
         boxes b3 label=3 weight=0 inside=b2 state=new
         ! boxes b2 inside cycle: c/1 < b/1
         ! boxes b1 inside cycle: c/2 < server"
        ),
    );
    // A parent that would have won by its stamp overrides nothing when it closes a cycle.
    check(
        FieldMerge,
        r#"1 a PUT boxes b1 {"label":"1","touched":"@1"}
           1 a PUT boxes b2 {"label":"2","touched":"@1"}
           1 a PUT boxes b3 {"label":"3","inside":"b1","touched":"@1"}

           3 b PATCH boxes b1 {"inside":"b2","touched":"@3"} was {"inside":null}

           9 c PATCH boxes b1 {"inside":"b3","touched":"@9"} was {"inside":null}

           10 d PATCH boxes b1 {"inside":null,"touched":"@4"} was {"inside":"b3"}"#,
        "a/1 applied
         a/2 applied
         a/3 applied
         b/1 applied
         c/1 superseded cycle: b1 > b3 > b1 by a/3
         d/1 applied
         boxes b1 label=1 weight=0 state=new
         boxes b2 label=2 weight=0 state=new
         boxes b3 label=3 weight=0 inside=b1 state=new
         ! boxes b1 inside cycle: c/1 < a/3
         ! boxes b1 inside latest: b/1 < d/1",
    );
    // Operations count one by one: what an earlier one freed is free.
    check(
        FieldMerge,
        &format!(
            r#"{boxes}

           4 c PATCH boxes b1 {{"inside":null,"touched":"@4"}} was {{"inside":"b3"}}
           4 c PATCH boxes b2 {{"inside":"b1","touched":"@4"}} was {{"inside":null}}"#
        ),
        &format!(
            "{applied}
         c/1 applied
         c/2 applied
         boxes b1 label=1 weight=0 state=new
         boxes b2 label=2 weight=0 inside=b1 state=new
         boxes b3 label=3 weight=0 inside=b2 state=new"
        ),
    );
}

#[test]
fn one_runs_at_a_time() {
    check(
        FieldMerge,
        r#"1 a PUT belts r1 {"running":1,"beat":"@1","touched":"@1"}

           5 b PUT belts r2 {"running":1,"speed":2,"beat":"@5","touched":"@5"}

           6 b PATCH belts r2 {"beat":"@6","speed":3,"touched":"@6"} was {"running":1,"speed":2,"beat":"@5","touched":"@5"}

           80 a PATCH belts r1 {"beat":"@80","touched":"@80"} was {"running":1,"speed":null,"beat":"@1","touched":"@1"}

           170 b PATCH belts r2 {"running":1,"touched":"@170"} was {"running":0,"speed":3}

           171 b PATCH belts r2 {"running":1,"touched":"@171"} was {"running":0,"speed":3}

           172 a PATCH belts r1 {"beat":"@172","touched":"@172"} was {"running":1,"speed":null,"beat":"@80","touched":"@80"}"#,
        "a/1 applied
         b/1 merged exclusive:one-belt by a/1
         b/2 merged exclusive:one-belt by a/1
         a/2 applied
         b/3 merged exclusive:one-belt by a/1
         b/4 applied
         a/3 applied
         belts r1 running=0 beat=@172
         belts r2 running=1 speed=3 beat=@6
         ! belts r2 motion exclusive:one-belt: b/1 < a/1
         ! belts r2 motion exclusive:one-belt: b/3 < a/1
         ! belts r1 motion exclusive:one-belt: a/1 < b/4",
    );
    // Whoever stops makes room, in one transaction too.
    check(
        FieldMerge,
        r#"1 a PUT belts r1 {"running":1,"beat":"@1","touched":"@1"}

           5 b PATCH belts r1 {"running":0,"touched":"@5"} was {"running":1,"speed":null}
           5 b PUT belts r2 {"running":1,"beat":"@5","touched":"@5"}"#,
        "a/1 applied
         b/1 applied
         b/2 applied
         belts r1 running=0 beat=@1
         belts r2 running=1 beat=@5",
    );
}

#[test]
fn writes_that_bypass_the_backend() {
    check(
        FieldMerge,
        r#"1 server SET boxes b1 {"label":"s"}

           2 a PATCH boxes b1 {"label":"A","touched":"@2"} was {"label":"s"}

           3 server SET boxes b1 {"label":"S"}

           4 b PATCH boxes b1 {"label":"B","touched":"@4"} was {"label":"A"}

           5 server DELETE boxes b1

           6 a PATCH boxes b1 {"label":"C"} was {"label":"B"}

           7 a DELETE boxes b1 was {"label":"C"}"#,
        "a/1 applied
         b/1 applied
         a/2 rejected no-such-row
         a/3 merged already-deleted
         ! boxes b1 label latest: server < b/1",
    );
}

#[test]
fn refusals_name_what_is_wrong_and_leave_nothing_behind() {
    check(
        FieldMerge,
        r#"1 a PUT boxes b1 {"label":"x","touched":"@1"}

           2 a PATCH boxes b1 {"label":"y","touched":"@2"} was {"label":"x"}
           2 a PUT crates c1 {"label":"x"}
           2 a PATCH boxes b1 {"colour":"red"}
           2 a PATCH boxes b1 {"weight":"heavy"} was {"weight":0}
           2 a PATCH boxes b1 {"label":null} was {"label":"x"}
           2 a PUT boxes b2 {"weight":1}
           2 a MERGE boxes b1 {"label":"x"}

           3 a PATCH boxes b1 {"label":"z","touched":"@3"} was {"label":"y"}
           3 a DELETE boxes b1 was {"label":"z"}
           3 a PATCH boxes b9 {"label":"z"} was {"label":"y"}

           4 b PATCH boxes b1 {"state":"s"} was {"state":"new"}"#,
        r#"a/1 applied
         a/2 rolled_back
         a/3 rejected unknown-table: crates
         a/4 rejected unknown-column: colour
         a/5 rejected bad-value: weight: "heavy" is not a value of type integer
         a/6 rejected not-null: label
         a/7 rejected not-null: label
         a/8 rejected unknown-operation: MERGE
         a/9 rolled_back
         a/10 rolled_back
         a/11 rejected no-such-row
         b/1 applied
         boxes b1 label=x weight=0 state=s"#,
    );
}

#[test]
fn whole_row_policies() {
    let script = r#"1 a PUT boxes b1 {"label":"x","touched":"@1"}

           5 b PATCH boxes b1 {"state":"B","touched":"@5"} was {"label":"x","state":"new","touched":"@1"}

           6 a PATCH boxes b1 {"label":"A","touched":"@4"} was {"label":"x","state":null,"touched":"@1"}

           7 a PATCH boxes b1 {"label":"AA","touched":"@7"} was {"label":"A","state":null,"touched":"@4"}"#;
    check(
        RowLatest,
        script,
        "a/1 applied
         b/1 applied
         a/2 superseded row-latest by b/1
         a/3 applied
         boxes b1 label=AA weight=0 state=B
         ! boxes b1 * row-latest: a/2 < b/1",
    );
    check(
        VersionCheck,
        script,
        "a/1 applied
         b/1 applied
         a/2 superseded version-check by b/1
         a/3 superseded version-check by b/1
         boxes b1 label=x weight=0 state=B
         ! boxes b1 * version-check: a/2 < b/1
         ! boxes b1 * version-check: a/3 < b/1",
    );
    check(
        ServerWins,
        script,
        "a/1 applied
         b/1 applied
         a/2 applied
         a/3 applied
         boxes b1 label=AA weight=0 state=B",
    );
    let keys = r#"1 a PUT knobs k1 {"key":"theme","value":"dark","touched":"@1"}

           3 b PUT knobs k2 {"key":"theme","value":"light","touched":"@2"}
           3 b PATCH knobs k2 {"value":"blue","touched":"@3"} was {"value":"light","touched":"@2"}"#;
    check(
        VersionCheck,
        keys,
        "a/1 applied
         b/1 superseded version-check; unique: key by a/1 into k1
         b/2 superseded version-check by a/1 into k1
         knobs k1 key=theme value=dark
         ! knobs k2 * unique: b/1 < a/1
         ! knobs k1 * version-check: b/1 < a/1
         ! knobs k1 * version-check: b/2 < a/1",
    );
    check(
        ServerWins,
        keys,
        "a/1 applied
         b/1 merged server-wins: value; unique: key by a/1 into k1
         b/2 superseded server-wins: value by a/1 into k1
         knobs k1 key=theme value=dark
         ! knobs k2 * unique: b/1 < a/1
         ! knobs k1 value server-wins: b/1 < a/1
         ! knobs k1 value server-wins: b/2 < a/1",
    );
}

#[test]
fn a_delete_names_what_it_had_not_seen_of_a_counter() {
    // w had seen 5 and counted to 6; that b's count came to 6 as well is chance.
    check(
        FieldMerge,
        r#"1 a PUT boxes b1 {"label":"x","weight":5,"touched":"@1"}

           2 b PATCH boxes b1 {"weight":6} was {"weight":5}

           3 w PATCH boxes b1 {"weight":6} was {"weight":5}

           4 c PATCH boxes b1 {"weight":8} was {"weight":7}

           5 w DELETE boxes b1 was {"label":"x","weight":6}"#,
        "a/1 applied
         b/1 applied
         w/1 merged counter: weight
         c/1 applied
         w/2 applied
         ! boxes b1 * deleted: b/1 < w/2
         ! boxes b1 * deleted: c/1 < w/2",
    );
}

#[test]
fn where_edits_revive_a_delete_gives_way_to_an_edit_it_had_not_seen() {
    let base = r#"1 a PUT memos m1 {"words":"w","touched":"@1"}"#;
    let edit = r#"9 b PATCH memos m1 {"words":"edited","touched":"@2"} was {"words":"w","touched":"@1"}"#;
    let delete = r#"9 c DELETE memos m1 was {"words":"w","touched":"@1"}"#;
    check(
        FieldMerge,
        &format!("{base}\n\n{edit}\n\n{delete}"),
        "a/1 applied
         b/1 applied
         c/1 superseded revived by b/1
         memos m1 words=edited
         ! memos m1 * revived: c/1 < b/1",
    );
    // In the other order of arrival the edit brings it back: the same row.
    check(
        FieldMerge,
        &format!("{base}\n\n{delete}\n\n{edit}"),
        "a/1 applied
         c/1 applied
         b/1 merged revived
         memos m1 words=edited
         ! memos m1 * revived: c/1 < b/1",
    );
    // Who had seen the edit means the delete.
    check(
        FieldMerge,
        r#"1 a PUT memos m1 {"words":"w","touched":"@1"}

           2 b PATCH memos m1 {"words":"edited","touched":"@2"} was {"words":"w","touched":"@1"}

           3 c DELETE memos m1 was {"words":"edited","touched":"@2"}"#,
        "a/1 applied
         b/1 applied
         c/1 applied",
    );
}
