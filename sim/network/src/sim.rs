//! The simulated network: routers behind links with drawn delays.
//!
//! Delay, loss and duplication of each message are drawn by device, purpose, subject and attempt, so that removing a step
//! of the plan leaves those of every other message as they were. A request, once sent, travels on even if its sender
//! dies.

mod callbacks;
mod changes;
mod delay;
mod epochs;
mod exchange;
mod faults;
mod kills;
mod routers;
mod state;
mod stream;

use std::cell::Cell;
use std::rc::Rc;

use axum::Router;
use sim_core::Plan;
use sim_core::plan::{self, Fault};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::network::{LocalFuture, Network, StreamResponse};
use crate::request::{NetError, Request, Response, ServerRole};
use changes::Changes;
use epochs::Epochs;
use faults::ActiveFaults;
use kills::{Kill, PendingKills};
use routers::CurrentRouters;
use state::State;
use stream::SimStream;

pub use callbacks::{Callbacks, MintToken, OnDuplicate, OnHandled};
pub use routers::Routers;

/// A simulated network. Clones share it.
#[derive(Clone)]
pub struct SimNetwork {
    state: Rc<State>,
}

impl SimNetwork {
    /// A network for the devices of a plan.
    #[must_use]
    pub fn new(plan: Rc<Plan>, routers: Routers, callbacks: Callbacks) -> Self {
        let devices = plan.devices.len();
        Self {
            state: Rc::new(State {
                plan,
                routers: CurrentRouters::new(routers),
                faults: ActiveFaults::default(),
                epochs: Epochs::new(devices),
                changes: Changes::default(),
                kills: PendingKills::default(),
                in_flight: Cell::new(0),
                callbacks,
            }),
        }
    }

    /// Calls `strike` at this instant of the next upload of the device that the backend would handle. `by_router`: the
    /// router kills the backend itself before the commit, and `strike` is called after that.
    pub fn kill_in_upload(
        &self,
        key: u32,
        device: u32,
        instant: plan::KillInstant,
        by_router: bool,
        strike: Box<dyn Fn()>,
    ) {
        self.state.kills.add(Kill { key, device, instant, by_router, strike: strike.into() });
    }

    /// Takes such a kill back.
    pub fn cancel_kill(&self, key: u32) {
        self.state.kills.cancel(key);
    }

    /// A fault begins.
    pub fn begin_fault(&self, key: u32, fault: &Fault) {
        self.state.begin_fault(key, fault);
    }

    /// A fault ends. Connections that it silenced are reset.
    pub fn end_fault(&self, key: u32) {
        self.state.end_fault(key);
    }

    /// Ends every connection of a device, as a kill or a dead socket does.
    pub fn reset_device(&self, device: u32) {
        self.state.epochs.reset_device(device);
        self.state.changes.add();
    }

    /// Takes a server down, or brings one up; its connections are reset.
    pub fn set_router(&self, server: ServerRole, router: Option<Router>) {
        self.state.routers.set(server, router);
        self.state.epochs.reset_server(server);
        self.state.changes.add();
    }

    /// How many requests are under way, late duplicates included.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.state.in_flight.get()
    }
}

impl Network for SimNetwork {
    fn send(&self, device: u32, request: Request) -> LocalFuture<'static, Result<Response, NetError>> {
        let (sender, receiver) = oneshot::channel();
        let state = self.state.clone();
        let limit = request.timeout;
        tokio::task::spawn_local(async move {
            state.in_flight.set(state.in_flight.get() + 1);
            let result = match exchange::send(state.clone(), device, &request).await {
                Ok(response) => exchange::deliver(state.clone(), device, &request, response).await,
                Err(error) => Err(error),
            };
            state.in_flight.set(state.in_flight.get() - 1);
            // Nobody waits if the device died meanwhile.
            let _ = sender.send(result);
        });
        Box::pin(async move {
            match timeout(limit, receiver).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(NetError::Reset),
                Err(_) => Err(NetError::Timeout),
            }
        })
    }

    fn open_stream(&self, device: u32, request: Request) -> LocalFuture<'static, Result<StreamResponse, NetError>> {
        let state = self.state.clone();
        Box::pin(async move {
            let limit = request.timeout;
            let exchange = async {
                let response = exchange::send(state.clone(), device, &request).await?;
                if response.http.status().as_u16() != 200 {
                    let refusal = exchange::deliver(state.clone(), device, &request, response).await;
                    return refusal.map(StreamResponse::Refused);
                }
                let stream = SimStream::new(state.clone(), device, request.subject, response);
                Ok(StreamResponse::Open(Box::new(stream)))
            };
            match timeout(limit, exchange).await {
                Ok(result) => result,
                Err(_) => Err(NetError::Timeout),
            }
        })
    }

    fn token(&self, device: u32) -> String {
        let wrong_audience = self.state.faults.has_wrong_audience(device);
        (self.state.callbacks.mint_token)(device, wrong_audience)
    }
}
