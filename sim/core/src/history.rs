//! What was seen, in order: the only thing that a checker looks at besides the application and the promises.
//!
//! A history is append-only. It names devices and rows by our names; ids of the libraries occur only where they
//! are what the wire carries (op ids, transaction ids). Everything in it can be seen from outside the product:
//! at the device's database, on its network, and in the server's change feed.
//!
//! In memory, rows and columns are indices ([`RowId`] into [`History::rows`], columns into the schema); the JSONL
//! form writes names.

mod commit;
mod device;
mod event;
mod header;
mod jsonl;
pub mod label;
mod outcome;
mod record;
#[cfg(test)]
mod tests;

pub use self::commit::{Change, Commit, ConflictRecord, Origin};
pub use self::device::{Apply, Lifecycle, LocalOp, LocalTx, Moment, Op, SAID_MAX, Upload};
pub use self::event::{Barrier, Event, InvariantAnswer, Scope, What, Who};
pub use self::header::{CopyOf, DeviceName, Header, RowId, RowName, Time, VERSION};
pub use self::outcome::{OpAnswer, Outcome, Phase, TxOutcome, Writer};
pub use self::record::History;
