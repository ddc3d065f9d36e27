//! Concurrent writes of columns, groups, counters and sets.

use backend::PolicyKind::FieldMerge;

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
    // b's clock is behind. Its stamp is later than the one that it had seen, so an older offline edit still loses.
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
    // a's first edit is superseded. Its second has that value as base, and is compared again: with the same clock it is
    // superseded too, with a later clock it wins.
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
    // Later differences start from merged values, in sets too.
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
