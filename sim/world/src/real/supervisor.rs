//! Changes what runs and what ails it, on the real runtime, one change at a time.
//!
//! `state` is what runs and which faults hold; the others are its changes: `servers`, `database`, `replication`,
//! `other_containers`, and `shutdown` at the end.

mod database;
mod other_containers;
mod replication;
mod servers;
mod shutdown;
mod state;

use std::future::Future;
use std::sync::Arc;

use tokio::sync::Mutex;

use self::state::ServerState;
pub(super) use self::state::StateGuard;
use super::activity::Work;
use super::context::RunContext;
use super::server::Server;

/// The supervisor of a plan's servers, for the plan's thread. Clones share it.
#[derive(Clone)]
pub(super) struct Supervisor {
    context: Arc<RunContext>,
    state: Arc<Mutex<ServerState>>,
}

impl Supervisor {
    pub(super) fn new(context: Arc<RunContext>, backend: Box<dyn Server>, service: Box<dyn Server>) -> Self {
        context.set_backend_killer(Some(backend.killer()));
        context.set_progressing_service(Some(service.address()));
        let state = ServerState { backend: Some(backend), service: Some(service), ..ServerState::default() };
        Self { context, state: Arc::new(Mutex::new(state)) }
    }

    /// Changes the state on the real runtime, while plan time follows real time.
    pub(super) async fn act<T, F>(&self, act: impl FnOnce(StateGuard) -> F + Send + 'static) -> Result<T, String>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, String>> + Send + 'static,
    {
        let (state, context) = (self.state.clone(), self.context.clone());
        let work = context.activity.begin(Work::Harness);
        let job = self.context.runtime.spawn(async move {
            let _work = work;
            let environment = context.environment()?;
            act(StateGuard { environment, context, state: state.lock_owned().await }).await
        });
        job.await.map_err(|error| error.to_string())?
    }
}
