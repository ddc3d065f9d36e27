//! The baseline, with its defects.

use std::sync::Arc;

use backend::PolicyKind::ArrivalOrder;
use backend::wire::BaselineRequest;
use backend::{Store, Upload, UploadBody};

use crate::script::{START_US, ScriptRunner, check, run_ready};

#[test]
fn the_last_write_to_arrive_stays() {
    check(
        ArrivalOrder,
        r#"1 a PUT boxes b1 {"label":"x","weight":3,"touched":"@1"}

           9 b PATCH boxes b1 {"label":"B","weight":4,"touched":"@8"} was {"label":"x","weight":3}

           10 a PATCH boxes b1 {"label":"A","weight":4,"touched":"@2"} was {"label":"x","weight":3}

           11 c PUT boxes b1 {"label":"C","touched":"@0"}

           12 b DELETE boxes b1

           13 a PATCH boxes b1 {"label":"late"} was {"label":"A"}

           14 a DELETE boxes b1

           15 b PUT boxes b1 {"label":"back"}

           16 b PUT stickers t1 {"box":"nowhere","words":"w"}"#,
        "a/1 applied
         b/1 applied
         a/2 applied
         c/1 applied
         b/2 applied
         a/3 applied
         a/4 applied
         b/3 applied
         b/4 applied
         boxes b1 label=back weight=0 state=new
         stickers t1 box=nowhere words=w",
    );
}

#[test]
fn database_errors_roll_everything_back() {
    let check = |line: &str, expect: &str| {
        check(
            ArrivalOrder,
            &format!(
                r#"1 a PUT knobs k1 {{"key":"theme"}}
                   1 a PUT boxes b1 {{"label":"x"}}

                   2 b PATCH boxes b1 {{"label":"B"}}
                   2 b {line}"#
            ),
            &format!("a/1 applied\na/2 applied\n{expect}"),
        );
    };
    let unharmed = "boxes b1 label=x weight=0 state=new\nknobs k1 key=theme";
    let fails = |line: &str, why: &str| check(line, &format!("b failed: {why}\n{unharmed}"));
    fails(r#"PUT knobs k2 {"key":"theme"}"#, "unique: key");
    fails(r#"PATCH boxes b1 {"colour":"red"}"#, "statement: unknown-column: colour");
    fails(r#"PUT crates c1 {"label":"x"}"#, "statement: unknown-table: crates");
    fails(r#"PATCH boxes b1 {"label":null}"#, "not-null: label");
    fails(
        r#"PATCH boxes b1 {"weight":"heavy"}"#,
        r#"statement: bad-value: weight: "heavy" is not a value of type integer"#,
    );
    // The proposed row is checked before the conflict on its id is found.
    fails(r#"PUT boxes b1 {"weight":1}"#, "not-null: label");
    fails(r#"PATCH boxes b1 {}"#, "statement: a statement without columns");
    fails(r#"PUT boxes b2 {}"#, "statement: a statement without columns");
    let patched = "boxes b1 label=B weight=0 state=new\nknobs k1 key=theme";
    let passes = |line: &str| check(line, &format!("b/1 applied\nb/2 applied\n{patched}"));
    passes(r#"MERGE boxes b1 {"label":"C"}"#);
    passes(r#"PATCH boxes b9 {"label":"C"}"#);
    passes(r#"PATCH boxes b1"#);
    passes(r#"DELETE boxes b9"#);
}

#[test]
fn nothing_is_remembered() {
    let mut runner = ScriptRunner::new(ArrivalOrder);
    let step = runner.step(r#"1 a PUT boxes b1 {"label":"x"}"#);
    let edit = runner.step(r#"2 b PATCH boxes b1 {"label":"B"}"#);
    for step in [&step, &edit, &step] {
        runner.upload(step).expect("nothing stands in its way");
    }
    assert_eq!(runner.rows(), "boxes b1 label=x weight=0 state=new\n", "the repeat undid the edit");
    // For observers, commits name the operation of each change all the same.
    let commits = runner.store.commits_from(1);
    let seen: Vec<(u64, Vec<Option<i64>>, usize)> = commits
        .iter()
        .map(|commit| (commit.seq, commit.changes.iter().map(|change| change.by).collect(), commit.ledger.len()))
        .collect();
    assert_eq!(seen, [(1, vec![Some(1)], 1), (2, vec![Some(1)], 1), (3, vec![Some(1)], 1)]);
    let origin = commits[1].origin.as_ref().expect("it came from a client");
    assert_eq!(&*origin.client_id, "b");
}

#[test]
fn the_old_request_format() {
    let runner = ScriptRunner::new(ArrivalOrder);
    let check = |batch: &str, expect: Result<(), &str>| {
        let request: BaselineRequest = serde_json::from_str(&format!("{{\"batch\":{batch}}}")).expect("a batch");
        let upload = Upload { subject: Arc::from("someone"), received_us: START_US, body: UploadBody::Batch(request) };
        let found =
            run_ready(runner.store.apply(&runner.engine, &upload)).map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(found, expect.map_err(str::to_owned), "{batch}");
    };
    check(r#"[{"op":"PUT","table":"boxes","id":"b1","data":{"label":"x"}}]"#, Ok(()));
    check(r#"[{"op":"PATCH","type":"boxes","id":"b1","opData":{"weight":2}}]"#, Ok(()));
    check(r#"[{"op":"PATCH","id":"b1","data":{"weight":3}},{"op":"PATCH","table":"boxes","id":"b1"},{}]"#, Ok(()));
    check(r#"[{"op":"PATCH","table":"boxes","data":{"weight":3}}]"#, Ok(()));
    check(r#"[{"op":"PUT","table":"boxes","data":{"label":"x"}}]"#, Err("not-null: id"));
    assert_eq!(runner.rows(), "boxes b1 label=x weight=2 state=new\n");
    check(r#"[{"op":"DELETE","table":"boxes","id":"b1"}]"#, Ok(()));
    assert_eq!(runner.rows(), "");
}
