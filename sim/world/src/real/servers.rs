//! Backend and service as the plan's thread has them: the way to their processes, and the network before them.

use std::sync::Arc;

use super::link::{self, Way};
use super::stage::{Backstage, Fall};
use sim_network::ServerRole;
use sim_network::sim::SimNetwork;

/// Both servers of one plan. Clones share them.
#[derive(Clone)]
pub(super) struct Servers {
    pub(super) network: SimNetwork,
    pub(super) backstage: Backstage,
    pub(super) way: Arc<Way>,
}

impl Servers {
    /// Kills a server. Its connections are reset.
    pub(super) async fn take_down(&self, target: ServerRole) -> Result<(), String> {
        self.take(target, Fall::Killed).await
    }

    /// A server goes, in one way or another. Its connections are reset.
    pub(super) async fn take(&self, target: ServerRole, fall: Fall) -> Result<(), String> {
        self.network.set_router(target, None);
        self.backstage.act(move |hands| hands.take_down(target, fall)).await
    }

    /// One fault fewer holds a server down.
    pub(super) async fn bring_up(&self, target: ServerRole) -> Result<(), String> {
        if let Some(address) = self.backstage.act(move |hands| hands.bring_up(target)).await? {
            self.network.set_router(target, Some(link::router(&self.way, target, address)));
        }
        Ok(())
    }
}
