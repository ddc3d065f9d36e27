//! Deletions against edits, inserts and merged values.

use backend::PolicyKind::{FieldMerge, ServerWins};

use crate::script::check;

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
    // A second delete has no effect, and a row that never existed is no reason to refuse it.
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
    // Everyone whose difference is in the sum loses it, except those that the deleting device had seen.
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
    // Later than the deletion: created again. Earlier: it stays deleted.
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
    // A deletion's stamp is its receive time, which is later than its device's clock. The device has seen it all the same.
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
    // Its parent, which it needs, is deleted too: the edit cannot revive it.
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
fn a_delete_names_what_it_had_not_seen_of_a_counter() {
    // w had seen 5 and counted to 6. That b counted to 6 too is a coincidence.
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
    // In the other order the edit revives the row: the same result.
    check(
        FieldMerge,
        &format!("{base}\n\n{delete}\n\n{edit}"),
        "a/1 applied
         c/1 applied
         b/1 merged revived
         memos m1 words=edited
         ! memos m1 * revived: c/1 < b/1",
    );
    // A delete that had seen the edit is applied.
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
