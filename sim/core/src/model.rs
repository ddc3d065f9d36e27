//! The upload policies, restated: what the server should make of each transaction, given the order of commits.
//!
//! This is the oracle that judges the backend, so it shares no line with it. It is written from
//! `docs/semantics.md` alone, and is slow where being plain costs nothing. A [`Model`] holds the rows and what a policy remembers beside them;
//! [`Model::predict`] carries one transaction out and says what its commit should show. Values that the server
//! generates (its clock) are read from the commit.
//!
//! In reading order: [`facts`] what is looked up once, [`state`] what the server holds, [`transaction`] all or
//! nothing, [`execution`] one operation being carried out, [`operation`] PUT, PATCH and DELETE, [`register`] columns
//! and groups, [`set`] sets of strings, [`structure`] references, trees, exclusive invariants and unique keys,
//! [`simple_policies`] the policies with one line each, [`arrival`] the baseline, [`prediction`] what comes out,
//! [`explain`] why.
//!
//! # Where docs/semantics.md is silent
//!
//! | Question | Reading |
//! |---|---|
//! | A stored stamp of the operation's own device, base not current | The later operation wins: a write is never overridden by one that it had seen. Its stamp moves behind the stored one. |
//! | No stored stamp (seed rows, columns that the insert did not send), base not current | The operation wins over rule latest; a record is allowed, not owed. |
//! | New value equal to the current one, base not current | Applied; the greater stamp is stored, so that a third write meets the greatest. |
//! | Base equals current, and the rule is max or keep-server | Applied as sent, even if smaller: rules are asked only when base and current differ. |
//! | The clock column | Its stamp is capped at receive time, its value is not. It is bookkeeping: no record, and it counts for the outcome only if the operation names nothing else. |
//! | Clock of a DELETE, and of a PATCH without the clock column | Receive time. |
//! | Group columns that are in neither `old` nor `data` | They stay. `old` null where the row still holds the default that its insert filled in stands for that default. |
//! | PUT on a live id that names part of a group | Columns not sent stay, those of the group too. |
//! | PUT on a live id, rules max and keep-server | The column's own rule. |
//! | Counter or set result that is the value sent | Applied; any other joined result is merged. No record is owed. |
//! | Stamp of a register after a join | The greater one. |
//! | Records | One a register that went or gave way, naming the stored writer, unless both are the same device. Rule names: `latest`, `max`, `keep-server`; elsewhere any name. |
//! | DELETE after an edit that its `old` does not show | Deletes, with a record for each register that another device wrote. On edit-revives tables the delete is superseded: in both arrival orders image plus edit. |
//! | DELETE on a tombstone or on nothing | Applied; the later stamp stays. |
//! | PUT on the own device's tombstone | Creates anew, whatever its clock: it had seen the delete, whose clock is receive time and so always later than an offline re-insert. |
//! | PATCH that revives | Applied; the delete's record is owed; the restored row is held to structure like a new one; other registers keep their stamps. |
//! | A reference that gives way to NULL on a write | Merged, with a record. |
//! | A write that loses and also names a missing parent, or closes a cycle | Structure looks only at what takes effect. |
//! | Parent made later in the same transaction | Missing: operations act in order. |
//! | Cycle in a new row | The parent column is NULL. |
//! | Children set to NULL, stale sessions stopped | Written by the deleting or starting operation when it is received, its stamp behind the stored one; a record if another device had written the register. |
//! | Another row runs, its lease is over | It is set to not running by the transaction that starts the next. |
//! | A running row whose heartbeat was never received (a seed row) | Its lease is over. |
//! | A second collision: PUT on a live id that would take another row's key | Rejected (unique), mergeable or not. |
//! | Outcome of a merged insert | Merged, with `merged_into`, whatever its columns did. Its records may name either row. |
//! | Refused transactions | At least one operation is rejected; each that is must be the first that fails in order, or wrong in itself. The others are rolled back. |
//! | NOT NULL | A null sent for a required column is rejected, even where it would have lost. A PUT that lacks one is rejected only where it creates. |
//! | Counter range under other policies than field-merge | Not looked at. |
//! | `server-wins` and DELETE | Deletes. |

pub mod explain;
pub mod facts;
pub mod prediction;
pub mod state;
pub mod transaction;

mod arrival;
mod execution;
mod operation;
mod register;
pub(crate) mod set;
mod simple_policies;
mod structure;
mod upload;

#[cfg(test)]
pub(crate) mod tests;

use fixtures::{App, Row};

use crate::history::{Header, RowId, RowName};
use facts::{Discipline, TableFacts};
use state::{Slot, State};

pub use prediction::{Expected, Party, Predicted, Prediction};
pub use upload::Upload;

/// What the server should hold.
#[derive(Debug)]
pub struct Model<'a> {
    app: &'a App,
    discipline: Discipline,
    names: &'a [RowName],
    /// The client id of each device.
    clients: Vec<&'a str>,
    tables: Vec<TableFacts<'a>>,
    state: State<'a>,
}

impl<'a> Model<'a> {
    /// An empty server under the policy.
    #[must_use]
    pub fn new(app: &'a App, discipline: Discipline, header: &'a Header, names: &'a [RowName]) -> Self {
        Self {
            app,
            discipline,
            names,
            clients: header.devices.iter().map(|device| device.client_id.as_str()).collect(),
            tables: facts::tables(app),
            state: State::new(app, names),
        }
    }

    /// The row as it is.
    #[must_use]
    pub fn live(&self, row: RowId) -> Option<&Row> {
        self.state.live(row)
    }

    /// The rows that the last transaction touched, as they were before it.
    #[must_use]
    pub fn touched(&self) -> &[(RowId, Slot)] {
        self.state.touched()
    }

    /// The row that operations on this one act on.
    #[must_use]
    pub fn resolve(&self, row: RowId) -> RowId {
        self.state.resolve(row)
    }
}
