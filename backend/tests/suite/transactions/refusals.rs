//! Operations that can never be applied.

use backend::PolicyKind::FieldMerge;

use crate::script::check;

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
