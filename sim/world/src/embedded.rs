//! The embedded world: a private PostgreSQL, the upload backend and the sync service as processes of their own, on
//! loopback. `environment` is what a worker keeps from plan to plan, `process` one server, `running_stack` the same two
//! servers without a plan. The rest is that of any world of real servers.

mod environment;
mod process;
mod running_stack;

pub use environment::EmbeddedPool;
pub use running_stack::RunningStack;
