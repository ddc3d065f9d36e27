//! The JSON form of a run: what `--json` prints.

use sim_core::run::Run;

/// One object, indented, with a newline at its end.
#[must_use]
pub fn render(run: &Run) -> String {
    let mut text = serde_json::to_string_pretty(run).expect("a run holds nothing but names, numbers and lists");
    text.push('\n');
    text
}
