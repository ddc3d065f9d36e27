//! Uploads: what they do to a database, written once over any [`Session`](crate::store::Session).
//!
//! In reading order: `engine` what an upload is, `apply` all of it, `transaction` one client transaction under a policy
//! that remembers, `admission` which operations are new, `footprint` what is locked, `execution` the state while
//! operations run, `operations` one after the other; `integrity` with `references`, `trees`, `unique` and `exclusive`
//! what a write owes to other rows, and `cascade` what a deletion does to them; `baseline` the first upload handler,
//! which does none of this; `store` the databases that take whole uploads, `cache` hints about uploads applied before.

mod admission;
mod apply;
mod baseline;
mod cache;
mod cascade;
mod engine;
mod exclusive;
mod execution;
mod footprint;
mod integrity;
mod operations;
mod references;
mod store;
mod transaction;
mod trees;
mod unique;

pub use apply::{apply, recall};
pub use cache::{CachedStore, UploadCache};
pub use engine::{Clock, Engine, Upload, UploadBody};
pub use store::{BoxFuture, Store};
