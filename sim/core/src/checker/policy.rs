//! **policy**: the server's state after each commit is what the model predicts from the order of commits.
//!
//! Replays the commits through [`Model`], each with the operations that its device queued, and compares what the
//! commit shows: row images by type, the ledger's outcomes, conflict records, aliases. After a mismatch the model
//! takes over what the server did, so that one defect is one anomaly; of several in one commit with the same code
//! and role the first is reported.
//!
//! | Code | The commit |
//! |---|---|
//! | `should-have-refused` | has effects, though an operation of it is to be rejected |
//! | `should-not-have-refused` | is refused, though nothing in it is to be rejected |
//! | `refused-but-changed` | is rightly refused, and has effects all the same |
//! | `wrong-row` | leaves a row otherwise than predicted |
//! | `missing-alias`, `wrong-alias` | lacks an alias, or has one that no merge made |
//! | `wrong-outcome` | answers an operation with another outcome, reason, winner or survivor |
//! | `missing-record`, `wrong-record`, `unexpected-record` | lacks a conflict record, has one that names another winner, loser or rule, or has one of no conflict |
//!
//! The server's own commits set rows and nothing else. A repeated upload makes no commit; that one that does has no
//! effect is exactly-once's to say. Where the history holds no ledger at all, outcomes and records are not judged.

mod commit;
mod compare;
mod judgement;
mod replay;
#[cfg(test)]
mod tests;

pub use self::replay::check;
