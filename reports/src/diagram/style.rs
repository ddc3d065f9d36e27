//! The style of diagrams, and where it is put.

/// The style of every diagram; a page that shows several may hold it once for all.
pub(crate) const STYLE: &str = include_str!("style.css");

/// Where the style of a diagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// In the diagram.
    InDiagram,
    /// Once in the page around it.
    InPage,
}
