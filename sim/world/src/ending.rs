//! How a world ended.

/// What is to be said when a world was taken down.
#[derive(Debug, Default)]
pub struct Ending {
    /// What stays in somebody else's database, or an upload that was kept from it. It takes nothing from what was seen.
    pub left_behind: Option<String>,
    /// Why what was seen is no evidence: a server that ended by itself, or commits that could not be read.
    pub failure: Option<String>,
}
