//! A store that is no business of the plan's two servers (the cache, the bucket storage), and what ails it.
//!
//! Faults may overlap: each kind is counted, and the last that goes undoes it. What cannot be done to a container that
//! does not run is done when it does.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use sim_core::plan::{ContainerFault, StackPart};

use super::server::{self, GRACE_S};
use super::stack::Stack;

const REDIS: &str = "redis";
const MONGODB: &str = "mongodb";

/// What ails each.
#[derive(Default)]
pub(super) struct Ailments(Mutex<BTreeMap<StackPart, Ailment>>);

/// By how many faults it is down, frozen, cut off; and whether it has yet to forget everything.
#[derive(Clone, Copy, Default)]
struct Ailment {
    downs: u32,
    pauses: u32,
    cuts: u32,
    is_to_forget: bool,
}

impl Ailments {
    /// Changes what ails a store; gives that as it is then.
    fn change(&self, part: StackPart, change: impl FnOnce(&mut Ailment)) -> Ailment {
        let mut ailments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ailment = ailments.entry(part).or_default();
        change(ailment);
        *ailment
    }
}

impl Stack {
    fn store(&self, part: StackPart) -> Result<(&'static str, String), String> {
        let name = match part {
            StackPart::Redis => REDIS,
            StackPart::Mongodb => MONGODB,
            StackPart::Backend | StackPart::Service | StackPart::Postgres => return Err("that one is the stage's".to_owned()),
        };
        match self.compose.services.contains_key(name) {
            true => Ok((name, self.container(name))),
            false => Err(format!("this stack has no {name}")),
        }
    }

    /// Something befalls a store.
    pub(super) async fn befall_store(&self, part: StackPart, how: ContainerFault) -> Result<(), String> {
        let (name, container) = self.store(part)?;
        let engine = &self.engine;
        match how {
            ContainerFault::Kill | ContainerFault::Stop => {
                let ailment = self.ailments.change(part, |one| one.downs += 1);
                if ailment.downs > 1 {
                    return Ok(());
                }
                self.thaw(&container, ailment).await?;
                if how == ContainerFault::Stop {
                    return engine.stop(&container, GRACE_S).await;
                }
                engine.signal(&container, "SIGKILL").await?;
                server::ended(engine, name, &container).await
            }
            ContainerFault::Restart => {
                let ailment = self.ailments.change(part, |_| {});
                // One that is down is started when it is not to be any more.
                if ailment.downs > 0 {
                    return Ok(());
                }
                self.thaw(&container, ailment).await?;
                engine.stop(&container, GRACE_S).await?;
                self.start_store(part).await
            }
            ContainerFault::Pause => {
                let ailment = self.ailments.change(part, |one| one.pauses += 1);
                if ailment.pauses == 1 && ailment.downs == 0 { engine.pause(&container).await } else { Ok(()) }
            }
            ContainerFault::Disconnect => {
                let ailment = self.ailments.change(part, |one| one.cuts += 1);
                if ailment.cuts == 1 { engine.disconnect(&self.network, &container).await } else { Ok(()) }
            }
        }
    }

    /// And is over.
    pub(super) async fn undo_store(&self, part: StackPart, how: ContainerFault) -> Result<(), String> {
        let (name, container) = self.store(part)?;
        match how {
            ContainerFault::Kill | ContainerFault::Stop => {
                let ailment = self.ailments.change(part, |one| one.downs = one.downs.saturating_sub(1));
                if ailment.downs == 0 { self.start_store(part).await } else { Ok(()) }
            }
            ContainerFault::Restart => Ok(()),
            ContainerFault::Pause => {
                let ailment = self.ailments.change(part, |one| one.pauses = one.pauses.saturating_sub(1));
                if ailment.pauses > 0 || ailment.downs > 0 {
                    return Ok(());
                }
                self.engine.unpause(&container).await?;
                self.forget_if_due(part).await
            }
            ContainerFault::Disconnect => {
                let ailment = self.ailments.change(part, |one| one.cuts = one.cuts.saturating_sub(1));
                if ailment.cuts > 0 {
                    return Ok(());
                }
                self.engine.reconnect(&self.network, &container, self.aliases(name)).await
            }
        }
    }

    /// The cache forgets everything, as soon as it runs.
    pub(super) async fn forget_cache(&self) -> Result<(), String> {
        self.ailments.change(StackPart::Redis, |one| one.is_to_forget = true);
        self.forget_if_due(StackPart::Redis).await
    }

    async fn forget_if_due(&self, part: StackPart) -> Result<(), String> {
        let ailment = self.ailments.change(part, |_| {});
        if !ailment.is_to_forget || ailment.downs > 0 || ailment.pauses > 0 {
            return Ok(());
        }
        self.ailments.change(part, |one| one.is_to_forget = false);
        let command = "REDISCLI_AUTH=$REDIS_PASSWORD exec redis-cli FLUSHALL";
        self.engine.exec(&self.container(REDIS), &["bash", "-c", command]).await
    }

    async fn start_store(&self, part: StackPart) -> Result<(), String> {
        let (name, container) = self.store(part)?;
        self.engine.start(&container).await?;
        self.wait_until_well(name).await?;
        self.forget_if_due(part).await?;
        let ailment = self.ailments.change(part, |_| {});
        if ailment.pauses > 0 { self.engine.pause(&container).await } else { Ok(()) }
    }

    /// A frozen container neither ends nor dies.
    async fn thaw(&self, container: &str, ailment: Ailment) -> Result<(), String> {
        if ailment.pauses > 0 { self.engine.unpause(container).await } else { Ok(()) }
    }
}
