//! Unique keys: inserts that merge, and collisions that are rejected.

use backend::PolicyKind::FieldMerge;

use crate::script::check;

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
    // A child that arrived before its parent refers to the survivor too.
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
    // An insert of the losing id inserts the survivor.
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
