//! Exclusive invariants and their leases.

use backend::PolicyKind::FieldMerge;

use crate::script::check;

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
    // A row that stops makes room for another, in the same transaction too.
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
