//! What a database does by itself: a trigger that sets a column, a foreign key that takes children along.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::baseline::Manner;
use super::rig::Endpoint;
use super::verdicts::findings;
use super::{told, with};

const TRIGGER: &str = "
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION touch();
";
const FOREIGN_KEY: &str = "
ALTER TABLE subtasks ADD CONSTRAINT of_task FOREIGN KEY (parent_task_id) REFERENCES tasks (id) ON DELETE CASCADE;
ALTER TABLE notifications ADD FOREIGN KEY (task_id) REFERENCES tasks (id) ON DELETE CASCADE;
ALTER TABLE tasks ADD FOREIGN KEY (parent_task_id) REFERENCES tasks (id) ON DELETE SET NULL;
ALTER TABLE timer_sessions ADD FOREIGN KEY (task_id) REFERENCES tasks (id) ON DELETE SET NULL;
";
/// One device edits, so that no conflict is in the way.
const EDITS: &str = r#"
claim = "What one device writes stays."
app = "flowstate"
devices = [{ kind = "tauri", count = 2 }]
seed = [{ table = "tasks", rows = 3 }]
[[mix]]
by = "first"
activities = { edit-title = 1, edit-description = 1 }
transactions = 6
for_s = 20
"#;
/// One device deletes tasks that have subtasks.
const DELETES: &str = r#"
claim = "Children go with their parent."
app = "flowstate"
devices = [{ kind = "tauri", count = 2 }]
seed = [{ table = "tasks", rows = 3 }, { table = "subtasks", rows = 8 }]
resume = 0
[rounds]
count = 2
[[round]]
actors = 2
targets = { task = { pick = "tasks" } }
[[round.act]]
by = "first"
activities = { delete-task-only = 1 }
"#;

/// The application with this behind its schema, this changed in its policy, and this scenario.
pub(super) fn app(folder: &Path, schema: &str, policy: (&str, &str), scenario: &str) -> PathBuf {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/flowstate");
    let app = folder.join("flowstate");
    fs::create_dir_all(app.join("scenarios")).expect("a folder can be made");
    for entry in fs::read_dir(built_in).expect("it is there").flatten().filter(|entry| entry.path().is_file()) {
        let name = entry.file_name();
        let mut text = fs::read_to_string(entry.path()).expect("text");
        match name.to_string_lossy().as_ref() {
            "schema.sql" => text = text.replace("CREATE PUBLICATION", &format!("{schema}CREATE PUBLICATION")),
            "policy.toml" => {
                assert!(text.contains(policy.0));
                text = text.replacen(policy.0, policy.1, 1);
            }
            _ => {}
        }
        fs::write(app.join(name), text).expect("a file can be written");
    }
    fs::write(app.join("scenarios/own.toml"), scenario.trim_start()).expect("a file can be written");
    app
}

/// How the scenario fails on a database with this schema, as an application that says this of it.
fn found(database: &str, schema: &str, policy: (&str, &str), scenario: &str) -> (BTreeSet<String>, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let app = app(folder.path(), schema, policy, scenario).display().to_string();
    let output = with(Endpoint::Handler(Manner::Plain), async |rig| {
        rig.sql(database).await;
        let output = rig.run(&folder.path().join("report"), &["own", "--plans", "1", "--app", &app]);
        assert_eq!(rig.rows().await, 0, "rows are left behind: {output:?}");
        output
    });
    let told = told(&output);
    let verdict = told["scenarios"][0]["verdict"].as_str().unwrap_or_default().to_owned();
    (findings(&told).remove("own").expect("it ran"), format!("{verdict} {}", told["scenarios"][0]["unknown"]))
}

pub(super) const UNCHANGED: (&str, &str) = ("[tables.tasks]", "[tables.tasks]");

#[test]
fn a_trigger_that_sets_updated_at_is_nobodys_loss() {
    let none = (BTreeSet::new(), "valid []".to_owned());
    assert_eq!(found(TRIGGER, TRIGGER, UNCHANGED, EDITS), none, "the schema has the trigger");
    let said = ("[tables.tasks]", "[tables.tasks]\nserver_sets = [\"updated_at\"]");
    assert_eq!(found(TRIGGER, "", said, EDITS), none, "policy.toml says so");
    let unsaid = found(TRIGGER, "", UNCHANGED, EDITS).0;
    assert!(unsaid.iter().any(|finding| finding.starts_with("policy wrong-row")), "{unsaid:#?}");
}

#[test]
fn children_that_the_database_takes_along_are_nobodys_loss() {
    let none = (BTreeSet::new(), "valid []".to_owned());
    assert_eq!(found(FOREIGN_KEY, FOREIGN_KEY, UNCHANGED, DELETES), none);
    let unsaid = found(FOREIGN_KEY, "", UNCHANGED, DELETES).0;
    assert!(unsaid.iter().any(|finding| finding.starts_with("policy wrong-row")), "{unsaid:#?}");
}
