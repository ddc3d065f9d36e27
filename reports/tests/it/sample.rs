//! Hand-made applications, histories and runs: what small failing plans look like, without running one.

mod app;
mod failures;
mod history;
mod runs;

pub(crate) use app::{STARS, TITLE, app};
pub(crate) use failures::{divergence, lost_update};
pub(crate) use history::HistoryBuilder;
pub(crate) use runs::{mutants, run};
