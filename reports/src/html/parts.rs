//! What several sections of the page share.

use crate::words::file_name;

/// The text with its first letter as a capital.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The `id` of a section, for links to it.
pub(super) fn anchor(prefix: &str, name: &str) -> String {
    format!("{prefix}-{}", file_name(name))
}
