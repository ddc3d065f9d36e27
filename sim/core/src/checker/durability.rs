//! Durability: every accepted write is effective, lawfully overridden and on record, refused with the outcome
//! delivered, or lost with its device.
//!
//! The checker replays the change feed and follows each register (a column, or a column group) from writer to
//! writer. At each commit it asks of every operation of the uploading transaction: does its effect stand in the
//! feed? If not, or if it replaced a value that its device had not seen: does the declared rule, applied here to the
//! two writes, pick the same winner, and does a conflict record name loser, winner, column and rule? What changed
//! without any operation, and what was accepted but never reached a commit or a refusal, is lost.
//!
//! It restates the rules and shares no code with the backend or with the model. Where docs/semantics.md leaves a choice
//! (which stamp a value gets that two devices wrote alike, what a tombstone's stamp is to the microsecond), every
//! choice is lawful here; the policy checker holds the backend to one. Values, not outcomes, are the evidence: an
//! answer is only ever tested against the feed.
//!
//! In reading order: [`judge`] the state of the replay, [`transaction`] what is being judged, [`registers`] what
//! resolves as one, [`edit`] what a transaction means to do to a row, [`state`] what the server holds and who wrote
//! it, [`records`] who says that a write lost; [`commits`] the replay, [`rows`] inserts and rows that return,
//! [`deletes`] deletes and tombstones, [`merge`] one register, [`joins`] counters and sets, [`structure`] parents,
//! trees and leaders, [`lawful`] which loss the rule allows; [`undelivered`] rows that nobody is given; [`ends`] what never reached a commit; [`report`] the
//! words.
//!
//! What it does not judge: the clock column (a stamp, no edit), whether a refusal was justified and whether values
//! that the server generates are right (policy), a second commit of one transaction (exactly-once).

mod commits;
mod deletes;
mod edit;
mod ends;
mod fate_counts;
mod joins;
mod judge;
mod lawful;
mod left_out;
mod merge;
mod parts;
mod readable;
mod records;
mod registers;
mod report;
mod rows;
mod set_history;
mod state;
mod stats;
mod structure;
#[cfg(test)]
mod tests;
mod transaction;
mod undelivered;
mod unintended;
mod write;
mod write_log;

pub use self::commits::{check, examine};
pub(super) use self::edit::members;
pub use self::stats::Stats;
pub(super) use self::stats::count;
