//! Writes that bypass the backend.

use backend::PolicyKind::FieldMerge;

use crate::script::check;

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
