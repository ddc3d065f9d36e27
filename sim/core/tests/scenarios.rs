//! A wrong scenario is refused by field, with what would be right.

use fixtures::App;
use sim_core::scenario::Scenario;

/// A scenario that is right; tests put one thing wrong.
const RIGHT: &str = r#"
claim = "A claim."
plans = 3

[[devices]]
kind = "any"
count = [2, 3]

[[seed]]
table = "*"
rows = [2, 4]

[[mix]]
activities = { crud-mix = 1 }
transactions = 5
for_s = 10

[[faults]]
fault = "lossy"
with = { reply_lost = 100 }

[promises]
must_occur = ["retry"]
"#;

fn app() -> App {
    App::builtin_names().next().and_then(App::builtin).expect("an app is built in")
}

fn check(from: &str, to: &str, field: &str, problem: &str) {
    assert!(RIGHT.contains(from), "the test replaces something that is there: {from}");
    let text = RIGHT.replacen(from, to, 1);
    let error = Scenario::parse("folder/wrong.toml", &text, &app()).expect_err(to);
    assert_eq!(error.file, "folder/wrong.toml");
    assert!(error.field.contains(field), "{to}: {error}");
    assert!(error.problem.contains(problem), "{to}: {error}");
}

#[test]
fn what_is_right_is_read() {
    let scenario = Scenario::parse("folder/right.toml", RIGHT, &app()).expect("it is right");
    assert_eq!((scenario.name.as_str(), scenario.claim.as_str(), scenario.plans), ("right", "A claim.", 3));
    assert_eq!(scenario.fault_names().into_iter().collect::<Vec<_>>(), ["lossy"]);
}

#[test]
fn what_is_wrong_is_named() {
    check("A claim.", " ", "claim", "one sentence");
    check("plans = 3", "plans = 0", "plans", "at least 1");
    check("plans = 3", "plants = 3", "line 3, plants", "unknown field `plants`, expected one of");
    check("plans = 3", "plans = \"three\"", "line 3, plans", "invalid type");
    check("plans = 3", "app = \"nobody's\"", "app", "is nobody's");
    check("plans = 3", "worlds = [\"moon\"]", "worlds", "deterministic, embedded");
    check("plans = 3", "latency_ms = -1", "latency_ms", "not below 0");
    check("plans = 3", "swarm = [\"flood\"]", "line 3, swarm", "unknown variant `flood`, expected one of");
    check(
        "kind = \"any\"",
        "kind = \"toaster\"",
        "[[devices]] kind",
        "expected one of `web`, `tauri`, `mobile`, `any`",
    );
    check("count = [2, 3]", "count = [3, 2]", "[[devices]] count", "begins above its end");
    check("count = [2, 3]", "count = [1, 2, 3]", "[[devices]] count", "two numbers");
    check("count = [2, 3]", "count = 0", "devices", "at least one device");
    check("table = \"*\"", "table = \"nothing\"", "seed[0].table", "there are");
    check("rows = [2, 4]", "rows = [2, 4]\nset = { x = \"draw\" }", "seed[0].set", "for all");
    check("crud-mix", "juggle", "mix[0].activities.juggle", "no such activity; there are crud-mix");
    check("crud-mix = 1", "crud-mix = 0", "mix[0].activities", "needs one with a weight");
    check("transactions = 5\n", "", "mix[0].transactions", "either");
    check("for_s = 10", "for_s = 10\nhot = 2", "mix[0].hot", "share from 0 to 1");
    check("for_s = 10", "for_s = 10\n[rounds]\ncount = 1", "round", "at least one [[round]]");
    check("for_s = 10", "for_s = 10\n[[round]]\nact = []", "rounds", "needs [rounds]");
    check("reply_lost = 100", "reply_lost = 101", "faults[0].with.reply_lost", "percentage");
    check("reply_lost = 100", "after_steps = 1", "faults[0].with.after_steps", "the fault lossy has for_s");
    check("must_occur = [\"retry\"]", "must_occur = [\"rain\"]", "promises.must_occur", "nothing counts rain");
    check("must_occur = [\"retry\"]", "deadline_s = 0", "promises.deadline_s", "above 0");
    for claim in ["counters-exact", "sets-exact", "greatest-stamp-stays", "nothing-overridden", "groups-whole"] {
        let text = format!("claims = [\"{claim}\"]\nmust_occur");
        let both = RIGHT.replace("plans = 3", "plans = 3\nswarm = [\"server-write\"]").replace("must_occur", &text);
        let error =
            Scenario::parse("test.toml", &both, &app()).expect_err("the claim does not count the server's writes");
        assert_eq!(error.field, "promises.claims");
        assert!(error.problem.contains(claim) && error.problem.contains("server-write"), "{error}");
    }
    check("must_occur", "claims = [\"all-is-well\"]\nmust_occur", "[promises] claims", "expected one of");
}

/// A round about rows that the seeds do not give.
#[test]
fn rounds_need_their_rows() {
    let app = app();
    let table = &app.schema.tables[0].name;
    let text = format!(
        "claim = \"c\"\n[[seed]]\ntable = \"{table}\"\nrows = [2, 9]\n[rounds]\ncount = [1, 3]\n[[round]]\n\
         targets = {{ row = {{ pick = \"{table}\" }} }}\n[[round.act]]\nby = \"all\"\nactivities = {{ crud-mix = 1 }}\n"
    );
    let error = Scenario::parse("r.toml", &text, &app).expect_err("two rows for three rounds");
    assert_eq!(error.field, "round[0].targets.row");
    assert!(error.problem.contains("up to 3 rows") && error.problem.contains("gives 2 at least"), "{error}");
    let enough = text.replace("[2, 9]", "[3, 9]");
    Scenario::parse("r.toml", &enough, &app).expect("three rows suffice");
}
