//! The upload API that an offline-first application deploys.
//!
//! A device posts its queued transactions. Each becomes one database transaction, takes effect once however often it is
//! sent, and is answered operation by operation. A permanent refusal is an answer too, so it never blocks a queue.
//!
//! In reading order, each using only earlier ones: [`wire`] what is posted and answered, `sets` values that are sets,
//! [`rules`] the application compiled, [`operation`] one typed operation, [`record`] what is remembered, [`policy`] pure
//! decisions, [`store`] the databases, [`upload`] what an upload does to them, [`auth`] tokens, [`state`] and [`routes`]
//! HTTP, [`server`] the program: configuration, keys, limits, metrics, shutdown.
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
//! # Where several rules apply
//!
//! - A client's own earlier operation counts as seen, whatever its clock said, because the device's queue is ordered. So a
//!   PUT after the same client's DELETE creates the row again, and a later edit applies to a value that the server put in
//!   place of the client's own (a refused start, a missing parent).
//! - An operation that loses every column but moves the clock column is *merged*, because it did change the row.
//! - A deletion has one record for each operation that it overrides unseen, about the whole row. A counter or a set
//!   belongs to everyone who added to it. Cascaded rows have a record for each author in them.
//! - Operations act in order, as under PostgreSQL's immediate constraints: a parent that comes later in the same
//!   transaction is missing. Only a child that the same transaction deletes later is left to that operation, and checked
//!   again at the end.
//! - An alias rewrites ids and references of later operations, sent and old, and rows that already name the losing id. The
//!   answer to an operation whose id was rewritten has `merged_into`.
//! - DELETE of a missing row is *merged* (`already-deleted`), never a reason to refuse a transaction.
//! - A write that bypasses the backend leaves stamps unchanged. It is detected because the row differs from what the
//!   backend last wrote, and records name the server.

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
