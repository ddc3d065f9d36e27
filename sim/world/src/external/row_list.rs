//! What plans may have written: listed on disk before anything is, until it is deleted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fixtures::App;
use serde::{Deserialize, Serialize};
use sim_stack::files;
use sim_stack::postgres::random_word;

use crate::plan_rows::RowKey;
use crate::real::environment::PlanData;

/// The folder of the lists, in that of the report.
const FOLDER: &str = "owned-rows";

/// A list of rows on disk, while they may be there.
pub(super) struct RowList {
    pub(super) path: PathBuf,
    pub(super) rows: Vec<RowKey>,
    pub(super) users: Vec<String>,
}

/// The same, as the file has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowListFile {
    version: u32,
    app: String,
    /// Where they are: backend and database, without passwords.
    stack: BTreeMap<String, String>,
    users: Vec<String>,
    /// Table and id.
    rows: Vec<(String, String)>,
}

/// The lists of one stack.
pub(super) struct RowLists {
    app: Arc<App>,
    folder: PathBuf,
    /// The stack, as the files have it.
    stack: BTreeMap<String, String>,
}

impl RowLists {
    /// Lists below `folder`, of the stack at these places.
    pub(super) fn new(app: Arc<App>, folder: &Path, places: BTreeMap<&str, String>) -> Self {
        let stack = places.into_iter().filter(|(part, _)| ["backend", "database"].contains(part));
        let stack = stack.map(|(part, url)| (part.to_owned(), url)).collect();
        Self { app, folder: folder.join(FOLDER), stack }
    }

    /// Writes the list of what a plan may write, before anything is.
    pub(super) fn create(&self, plan: &PlanData) -> Result<RowList, String> {
        let word = random_word().map_err(|error| error.to_string())?;
        let path = self.folder.join(format!("{word}.json"));
        let tables = &self.app.schema.tables;
        let named = plan.rows.iter().map(|(table, id)| (tables[*table].name.clone(), id.to_string()));
        let file = RowListFile {
            version: 1,
            app: self.app.name.clone(),
            stack: self.stack.clone(),
            users: plan.users.clone(),
            rows: named.collect(),
        };
        let text = serde_json::to_string_pretty(&file).map_err(|error| error.to_string())?;
        files::write_durably(&path, &text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(RowList { path, rows: plan.rows.clone(), users: plan.users.clone() })
    }

    /// The lists of this stack that earlier runs have left. Those of other stacks stay as they are.
    pub(super) fn left_behind(&self) -> Result<Vec<RowList>, String> {
        let lists = files::files_in(&self.folder).into_iter().map(|path| self.read(path));
        Ok(lists.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// `None` where it is of another stack.
    fn read(&self, path: PathBuf) -> Result<Option<RowList>, String> {
        let wrong = |said: String| {
            format!("{}: {said}; it lists rows that a run has left; delete it when they are gone", path.display())
        };
        let text = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
        let file: RowListFile = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if file.stack != self.stack {
            return Ok(None);
        }
        if file.app != self.app.name {
            return Err(wrong(format!("app: is {}, and this run is of {}", file.app, self.app.name)));
        }
        let row = |(table, id): &(String, String)| {
            let index = self.app.schema.table_index(table);
            let index = index.ok_or_else(|| wrong(format!("rows: there is no table {table}")))?;
            Ok::<_, String>((index, Arc::from(id.as_str())))
        };
        let rows = file.rows.iter().map(row).collect::<Result<_, _>>()?;
        Ok(Some(RowList { rows, users: file.users, path }))
    }
}
