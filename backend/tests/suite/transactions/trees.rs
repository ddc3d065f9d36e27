//! Cycles of parents.

use backend::PolicyKind::FieldMerge;

use crate::script::check;

#[test]
fn a_cycle_leaves_only_the_parent_unchanged() {
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
    // A write that would win by its stamp overrides nothing if it closes a cycle.
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
    // Operations act one by one: an earlier one may open the cycle.
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
