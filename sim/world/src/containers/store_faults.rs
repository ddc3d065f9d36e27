//! Faults of the stores that only a server uses: the cache, the bucket storage.
//!
//! Faults may overlap: each kind is counted, and the last that ends undoes it. What cannot be done to a container that
//! does not run is done when it does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use sim_core::plan::{ContainerFault, StackPart};

use super::group::ContainerGroup;
use super::server::{self, GRACE_S};

const REDIS: &str = "redis";
const MONGODB: &str = "mongodb";

/// The stores of a group, with the faults that hold.
pub(super) struct StoreFaults {
    group: Arc<ContainerGroup>,
    states: Mutex<BTreeMap<StackPart, StoreState>>,
}

/// How many faults keep a store down, paused, disconnected; and whether it has yet to be flushed.
#[derive(Clone, Copy, Default)]
struct StoreState {
    downs: u32,
    pauses: u32,
    disconnects: u32,
    wants_flush: bool,
}

impl StoreFaults {
    pub(super) fn new(group: Arc<ContainerGroup>) -> Self {
        Self { group, states: Mutex::default() }
    }

    /// Changes the state of a store; gives the new one.
    fn change(&self, part: StackPart, change: impl FnOnce(&mut StoreState)) -> StoreState {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let state = states.entry(part).or_default();
        change(state);
        *state
    }

    /// A store's name, and its container.
    fn store(&self, part: StackPart) -> Result<(&'static str, String), String> {
        let name = match part {
            StackPart::Redis => REDIS,
            StackPart::Mongodb => MONGODB,
            StackPart::Backend | StackPart::Service | StackPart::Postgres => {
                return Err("that one is no store of a server's own".to_owned());
            }
        };
        match self.group.compose.services.contains_key(name) {
            true => Ok((name, self.group.container(name))),
            false => Err(format!("this stack has no {name}")),
        }
    }

    /// A fault begins.
    pub(super) async fn inject(&self, part: StackPart, fault: ContainerFault) -> Result<(), String> {
        let (name, container) = self.store(part)?;
        let engine = &self.group.engine;
        match fault {
            ContainerFault::Kill | ContainerFault::Stop => {
                let state = self.change(part, |one| one.downs += 1);
                if state.downs > 1 {
                    return Ok(());
                }
                self.unpause(&container, state).await?;
                if fault == ContainerFault::Stop {
                    return engine.stop(&container, GRACE_S).await;
                }
                engine.signal(&container, "SIGKILL").await?;
                server::wait_until_ended(engine, name, &container).await
            }
            ContainerFault::Restart => {
                let state = self.change(part, |_| {});
                // One that is down is started when the last fault that keeps it down ends.
                if state.downs > 0 {
                    return Ok(());
                }
                self.unpause(&container, state).await?;
                engine.stop(&container, GRACE_S).await?;
                self.start_store(part).await
            }
            ContainerFault::Pause => {
                let state = self.change(part, |one| one.pauses += 1);
                if state.pauses == 1 && state.downs == 0 { engine.pause(&container).await } else { Ok(()) }
            }
            ContainerFault::Disconnect => {
                let state = self.change(part, |one| one.disconnects += 1);
                if state.disconnects == 1 { engine.disconnect(&self.group.network, &container).await } else { Ok(()) }
            }
        }
    }

    /// A fault ends.
    pub(super) async fn heal(&self, part: StackPart, fault: ContainerFault) -> Result<(), String> {
        let (_, container) = self.store(part)?;
        match fault {
            ContainerFault::Kill | ContainerFault::Stop => {
                let state = self.change(part, |one| one.downs = one.downs.saturating_sub(1));
                if state.downs == 0 { self.start_store(part).await } else { Ok(()) }
            }
            ContainerFault::Restart => Ok(()),
            ContainerFault::Pause => {
                let state = self.change(part, |one| one.pauses = one.pauses.saturating_sub(1));
                if state.pauses > 0 || state.downs > 0 {
                    return Ok(());
                }
                self.group.engine.unpause(&container).await?;
                self.flush_if_due(part).await
            }
            ContainerFault::Disconnect => {
                let state = self.change(part, |one| one.disconnects = one.disconnects.saturating_sub(1));
                if state.disconnects > 0 {
                    return Ok(());
                }
                self.group.engine.reconnect(&self.group.network, &container).await
            }
        }
    }

    /// Empties the cache, as soon as it runs.
    pub(super) async fn flush_cache(&self) -> Result<(), String> {
        self.change(StackPart::Redis, |one| one.wants_flush = true);
        self.flush_if_due(StackPart::Redis).await
    }

    async fn flush_if_due(&self, part: StackPart) -> Result<(), String> {
        let state = self.change(part, |_| {});
        if !state.wants_flush || state.downs > 0 || state.pauses > 0 {
            return Ok(());
        }
        self.change(part, |one| one.wants_flush = false);
        let command = "REDISCLI_AUTH=$REDIS_PASSWORD exec redis-cli FLUSHALL";
        self.group.engine.exec(&self.group.container(REDIS), &["bash", "-c", command]).await
    }

    async fn start_store(&self, part: StackPart) -> Result<(), String> {
        let (name, container) = self.store(part)?;
        self.group.engine.start(&container).await?;
        self.group.wait_until_healthy(name).await?;
        self.flush_if_due(part).await?;
        let state = self.change(part, |_| {});
        if state.pauses > 0 { self.group.engine.pause(&container).await } else { Ok(()) }
    }

    /// A paused container can be neither stopped nor killed.
    async fn unpause(&self, container: &str, state: StoreState) -> Result<(), String> {
        if state.pauses > 0 { self.group.engine.unpause(container).await } else { Ok(()) }
    }
}
