//! The upload API that an offline-first application deploys.
//!
//! A device posts its queued transactions; each becomes one database transaction, takes effect once however often
//! it is sent, and is answered operation by operation. A permanent refusal is an answer too, so it never blocks a
//! queue.
//!
//! In reading order: [`wire`] what is posted and answered, [`rules`] the application compiled, [`operation`] one
//! typed operation, [`policy`] pure decisions, [`record`] what is remembered, [`upload`] the transaction, [`store`]
//! the databases, [`auth`], [`state`] and [`routes`] the service around it.
//!
//! # Reasons
//!
//! The first word of an operation's `reason` is stable. Rejected: `unknown-operation`, `unknown-table`,
//! `unknown-column`, `bad-value`, `not-null`, `out-of-range`, `no-such-row`, `unique`, `parent-missing`,
//! `has-children`, `cycle` (where the parent column cannot be NULL), `older-than-retention`. Superseded or merged:
//! the rule that decided (`latest`, `max`, `keep-server`, `counter`, `set`, `row-latest`, `version-check`,
//! `server-wins`), `deleted`, `already-deleted`, `revived`, `unique`, `parent-missing`, `cycle`,
//! `exclusive:<name>`. Any outcome: `restored-copy`.

pub mod auth;
pub mod operation;
pub mod policy;
pub mod record;
pub mod routes;
pub mod rules;
pub mod state;
pub mod store;
pub mod upload;
pub mod wire;

pub use auth::{Auth, AuthError, Key};
pub use policy::{Policy, PolicyKind};
pub use record::{Author, Cause, Change, Commit, ConflictRecord, LedgerRow, Origin, Writer};
pub use routes::router;
pub use rules::Rules;
pub use state::{Config, Limits, RETENTION_US, State};
pub use store::memory::{MemoryStore, ServerOp};
pub use store::{Store, StoreError};
pub use upload::{Clock, Engine, Upload, UploadBody};
