//! Backend and service as the plan's thread sees them: the simulated network in front, their processes behind.

use std::sync::Arc;

use sim_network::ServerRole;
use sim_network::sim::SimNetwork;

use super::context::RunContext;
use super::forward::router;
use super::server::ServerStop;
use super::supervisor::Supervisor;

/// Both servers of one plan. Clones share them.
#[derive(Clone)]
pub(super) struct Servers {
    pub(super) network: SimNetwork,
    pub(super) supervisor: Supervisor,
    pub(super) context: Arc<RunContext>,
}

impl Servers {
    /// One fault more keeps a server down. Its connections are reset.
    pub(super) async fn take_down(&self, role: ServerRole, stop: ServerStop) -> Result<(), String> {
        self.network.set_router(role, None);
        self.supervisor.act(move |guard| guard.take_down(role, stop)).await
    }

    /// One fault fewer keeps a server down.
    pub(super) async fn bring_up(&self, role: ServerRole) -> Result<(), String> {
        if let Some(address) = self.supervisor.act(move |guard| guard.bring_up(role)).await? {
            self.network.set_router(role, Some(router(&self.context, role, address)));
        }
        Ok(())
    }
}
