//! The policies that decide on an operation as a whole.

use backend::PolicyKind::{RowLatest, ServerWins, VersionCheck};

use crate::script::check;

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
