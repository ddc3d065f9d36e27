//! What is wrong in a file that people write: a scenario, or the activities of an application.

/// A field, and what would be right in it.
pub(crate) type FieldError = (String, String);

/// Why a scenario or the activities could not be used: the file, the field and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {field}: {problem}")]
pub struct ScenarioError {
    /// The file, as it was named to the parser.
    pub file: String,
    /// The field or the place in it.
    pub field: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// The error of the TOML parser as a line, a table and a key.
pub(crate) fn locate(file: &str, text: &str, error: &toml::de::Error) -> ScenarioError {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = &text[..start];
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let section = before.lines().rev().find(|line| line.starts_with('[')).unwrap_or_default();
    let key = line.split('=').next().unwrap_or_default().trim();
    let field = match (section.is_empty(), key.is_empty() || key.starts_with('[')) {
        (_, true) if line.starts_with('[') => line.trim().to_owned(),
        (true, true) => String::new(),
        (true, false) => key.to_owned(),
        (false, true) => section.to_owned(),
        (false, false) => format!("{section} {key}"),
    };
    let field = if field.is_empty() { format!("line {number}") } else { format!("line {number}, {field}") };
    ScenarioError { file: file.to_owned(), field, problem: error.message().replace('\n', " ") }
}
