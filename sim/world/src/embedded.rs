//! The embedded world: a private PostgreSQL, the upload backend and the sync service as processes of their own, on
//! loopback. `site` is what a worker keeps from plan to plan, `process` one server; the rest is that of any world of
//! real servers.

mod process;
mod site;

pub use site::{Pool, Site, Standing};
