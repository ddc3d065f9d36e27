//! The upload API that an offline-first application deploys.
//!
//! A device posts its queued transactions; each becomes one database transaction, takes effect once however often
//! it is sent, and is answered operation by operation. A permanent refusal is an answer too, so it never blocks a
//! queue.
//!
//! In reading order: [`wire`] what is posted and answered, [`rules`] the application compiled, [`operation`] one
//! typed operation, [`policy`] pure decisions, [`record`] what is remembered, [`upload`] the transaction, [`store`]
//! the databases, [`auth`], [`state`] and [`routes`] the service around it, [`server`] the program: configuration, keys,
//! limits, metrics, shutdown.
//!
//! # Reasons
//!
//! The first word of an operation's `reason` is stable. Rejected: `unknown-operation`, `unknown-table`,
//! `unknown-column`, `bad-value`, `not-null`, `out-of-range`, `no-such-row`, `unique`, `parent-missing`,
//! `has-children`, `cycle` (where the parent column cannot be NULL), `older-than-retention`, `statement` (the
//! database refuses it for a reason that schema.sql does not state). Superseded or merged:
//! the rule that decided (`latest`, `max`, `keep-server`, `counter`, `set`, `row-latest`, `version-check`,
//! `server-wins`), `deleted`, `already-deleted`, `revived`, `unique`, `parent-missing`, `cycle`,
//! `exclusive:<name>`. Any outcome: `restored-copy`.

//!
//! # What the rules come to where they meet
//!
//! - A client's own earlier operation counts as seen, whatever its clock said: the device's queue has an order. So
//!   a PUT after the same client's DELETE creates anew, and a later edit stands on a value that the server put in
//!   place of the client's own (a refused start, a parent that is missing).
//! - An operation that loses every column but moves the clock column is *merged*, for it did change the row.
//! - A deletion has one record for each operation that it overrides unseen, about the whole row; a counter or a set
//!   is everybody's who added to it. Cascaded rows have a record for everyone whose write was in them.
//! - Operations act in order, as PostgreSQL's immediate constraints would have it: a parent that comes later in the
//!   same transaction is missing. Only a child that the same transaction deletes later is left to that operation, and
//!   judged again at the end.
//! - An alias rewrites ids and references of later operations, sent and old, and rows that already name the losing
//!   id. Every operation so rewritten says `merged_into`.
//! - DELETE of what is not there is *merged* (`already-deleted`), never a reason to refuse a transaction.
//! - A bypassing server write leaves the stamps as they are; it is told from the stamps' writer by the image of
//!   what the backend last wrote, and records name the server.

pub mod auth;
pub mod operation;
pub mod policy;
pub mod record;
pub mod routes;
pub mod rules;
pub mod server;
mod sets;
pub mod state;
pub mod store;
pub mod upload;
pub mod wire;

pub use auth::{Auth, AuthError, Key, KeyPair};
pub use policy::{Policy, PolicyKind};
pub use record::{Author, Cause, Change, Commit, ConflictRecord, LedgerRow, Origin, Writer};
pub use routes::router;
pub use rules::Rules;
pub use state::{Config, Limits, RETENTION_US, State};
pub use store::StoreError;
pub use store::memory::{MemoryStore, ServerOp};
pub use store::postgres::{PostgresConfig, PostgresStore};
pub use upload::{Clock, Engine, Store, Upload, UploadBody};
