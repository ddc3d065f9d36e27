//! Parents that are missing or deleted.

use backend::PolicyKind::{FieldMerge, VersionCheck};

use crate::script::check;

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
    // A parent stays deleted, although the transaction tries to create it again.
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
    // The unseen move of a box onto the shelf has a record: the box loses the shelf before it is deleted.
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
    // A box that was moved to another shelf before stays there.
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
    // The transaction's own delete of the child is superseded, so the child is deleted with its parent.
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
