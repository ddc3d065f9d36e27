//! What each fault does to real servers, and what undoes it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use sim_core::Plan;
use sim_core::plan::{ContainerFault, EPOCH_US, Fault, Intent, StackPart};
use sim_device::recorder::Recorder;
use sim_network::ServerRole;

use super::backend_kills::BackendKills;
use super::commit_recorder::CommitRecorder;
use super::environment::DatabaseAction;
use super::server::ServerStop;
use super::server_transaction::ServerTransaction;
use super::servers::Servers;
use super::supervisor::StateGuard;
use crate::server_write::write_statements;
use crate::system::SystemUnderTest;
use crate::token::{TokenMinter, token_minter};

/// Injects the faults of one plan.
pub(super) struct FaultInjector {
    pub(super) plan: Rc<Plan>,
    pub(super) system: Arc<SystemUnderTest>,
    pub(super) recorder: Recorder,
    pub(super) servers: Servers,
    pub(super) kills: Rc<BackendKills>,
    pub(super) commits: Rc<CommitRecorder>,
    /// Makes the devices' tokens; another after the keys were rotated.
    pub(super) minter: Rc<RefCell<TokenMinter>>,
}

impl FaultInjector {
    /// A fault begins.
    ///
    /// # Errors
    /// Why it could not be injected. It then has no effect.
    pub(super) async fn inject(&self, key: u32, fault: &Fault) -> Result<(), String> {
        self.servers.network.begin_fault(key, fault);
        let injected = self.inject_in_servers(key, fault).await;
        if injected.is_err() {
            self.servers.network.end_fault(key);
        }
        injected
    }

    async fn inject_in_servers(&self, key: u32, fault: &Fault) -> Result<(), String> {
        let supervisor = &self.servers.supervisor;
        match fault {
            Fault::BackendDown { .. } => self.servers.take_down(ServerRole::Backend, ServerStop::Kill).await,
            Fault::BackendKilled { .. } => {
                self.kills.arm(key, fault);
                Ok(())
            }
            Fault::ServiceDown { .. } => self.servers.take_down(ServerRole::Service, ServerStop::Kill).await,
            Fault::SyncConfigChanged { .. } => {
                supervisor.act(StateGuard::change_sync_config).await?;
                self.servers.take_down(ServerRole::Service, ServerStop::Kill).await
            }
            Fault::Compaction => supervisor.act(StateGuard::compact).await,
            Fault::KeyRotated { .. } => self.rotate_keys().await,
            Fault::ServicePaused { .. } => supervisor.act(StateGuard::pause_service).await,
            Fault::ReplicationStalled { .. } => supervisor.act(StateGuard::stall).await,
            Fault::ReplicationCut { .. } => supervisor.act(StateGuard::cut).await,
            Fault::SlotDropped { .. } => supervisor.act(StateGuard::drop_slot).await,
            Fault::PostgresDown { .. } => self.stop_postgres(DatabaseAction::Kill).await,
            Fault::PostgresPaused { .. } => supervisor.act(StateGuard::pause_postgres).await,
            Fault::ServerWrite { intents } => self.write(intents).await,
            Fault::Container { part, how, .. } => self.inject_in_container(*part, *how).await,
            Fault::CacheFlushed => supervisor.act(StateGuard::flush_cache).await,
            fault if fault.spec().carrier.is_of_a_device() => Ok(()),
            fault => Err(format!("this world cannot inject {}", fault.name())),
        }
    }

    /// A fault ends.
    ///
    /// # Errors
    /// Why it could not be undone.
    pub(super) async fn heal(&self, key: u32, fault: &Fault) -> Result<(), String> {
        let supervisor = &self.servers.supervisor;
        let healed = match fault {
            Fault::BackendDown { .. } => self.servers.bring_up(ServerRole::Backend).await,
            Fault::ServiceDown { .. } | Fault::SyncConfigChanged { .. } => {
                self.servers.bring_up(ServerRole::Service).await
            }
            Fault::KeyRotated { .. } => supervisor.act(StateGuard::reload_keys).await,
            Fault::ServicePaused { .. } => supervisor.act(StateGuard::resume_service).await,
            Fault::ReplicationStalled { .. } | Fault::ReplicationCut { .. } => {
                supervisor.act(StateGuard::unstall).await
            }
            Fault::SlotDropped { .. } => supervisor.act(StateGuard::restore_slot).await,
            Fault::PostgresDown { .. } => supervisor.act(StateGuard::start_postgres).await,
            Fault::PostgresPaused { .. } => supervisor.act(StateGuard::resume_postgres).await,
            Fault::Container { part, how, .. } => self.heal_container(*part, *how).await,
            fault if fault.spec().carrier.is_of_a_device() || fault.duration().is_none() => Ok(()),
            fault => Err(format!("this world cannot undo {}", fault.name())),
        };
        self.servers.network.end_fault(key);
        healed
    }

    async fn inject_in_container(&self, part: StackPart, fault: ContainerFault) -> Result<(), String> {
        let (servers, supervisor) = (&self.servers, &self.servers.supervisor);
        let role = match part {
            StackPart::Backend => ServerRole::Backend,
            StackPart::Service => ServerRole::Service,
            StackPart::Postgres => {
                return match fault {
                    ContainerFault::Kill => self.stop_postgres(DatabaseAction::Kill).await,
                    ContainerFault::Stop => self.stop_postgres(DatabaseAction::Stop).await,
                    ContainerFault::Restart => {
                        self.stop_postgres(DatabaseAction::Stop).await?;
                        supervisor.act(StateGuard::start_postgres).await
                    }
                    ContainerFault::Pause => supervisor.act(StateGuard::pause_postgres).await,
                    ContainerFault::Disconnect => supervisor.act(StateGuard::disconnect_postgres).await,
                };
            }
            StackPart::Redis | StackPart::Mongodb => {
                return supervisor.act(move |guard| guard.inject_container_fault(part, fault)).await;
            }
        };
        match fault {
            ContainerFault::Kill => servers.take_down(role, ServerStop::Kill).await,
            ContainerFault::Stop => servers.take_down(role, ServerStop::Stop).await,
            ContainerFault::Restart => {
                servers.take_down(role, ServerStop::Stop).await?;
                servers.bring_up(role).await
            }
            ContainerFault::Pause if role == ServerRole::Backend => supervisor.act(StateGuard::pause_backend).await,
            ContainerFault::Pause => supervisor.act(StateGuard::pause_service).await,
            ContainerFault::Disconnect => servers.take_down(role, ServerStop::Disconnect).await,
        }
    }

    async fn heal_container(&self, part: StackPart, fault: ContainerFault) -> Result<(), String> {
        let (servers, supervisor) = (&self.servers, &self.servers.supervisor);
        let role = match part {
            StackPart::Backend => ServerRole::Backend,
            StackPart::Service => ServerRole::Service,
            StackPart::Postgres => {
                return match fault {
                    ContainerFault::Kill | ContainerFault::Stop => supervisor.act(StateGuard::start_postgres).await,
                    ContainerFault::Restart => Ok(()),
                    ContainerFault::Pause => supervisor.act(StateGuard::resume_postgres).await,
                    ContainerFault::Disconnect => supervisor.act(StateGuard::reconnect_postgres).await,
                };
            }
            StackPart::Redis | StackPart::Mongodb => {
                return supervisor.act(move |guard| guard.heal_container_fault(part, fault)).await;
            }
        };
        match fault {
            ContainerFault::Kill | ContainerFault::Stop | ContainerFault::Disconnect => servers.bring_up(role).await,
            ContainerFault::Restart => Ok(()),
            ContainerFault::Pause if role == ServerRole::Backend => supervisor.act(StateGuard::resume_backend).await,
            ContainerFault::Pause => supervisor.act(StateGuard::resume_service).await,
        }
    }

    async fn stop_postgres(&self, action: DatabaseAction) -> Result<(), String> {
        self.servers.supervisor.act(move |guard| guard.stop_postgres(action)).await
    }

    /// A new key signs from now on; the backend, which made it, knows it at once.
    async fn rotate_keys(&self) -> Result<(), String> {
        let lifetime_us = i64::from(self.plan.token_lifetime_s) * 1_000_000;
        let issuer = self.servers.supervisor.act(move |guard| guard.rotate_keys(lifetime_us)).await?;
        let audience = self.servers.context.environment()?.base().keys.audience.clone();
        *self.minter.borrow_mut() = token_minter(self.plan.clone(), self.recorder.clone(), issuer, &audience);
        Ok(())
    }

    /// A transaction that bypasses the backend.
    async fn write(&self, intents: &[Intent]) -> Result<(), String> {
        let now_us = EPOCH_US + self.recorder.now_us();
        let statements = write_statements(&self.system.app, &self.plan, intents, now_us)?;
        let transaction = ServerTransaction { statements, now_us };
        let result = self.servers.supervisor.act(move |guard| guard.write(transaction)).await;
        self.commits.record_new();
        result
    }
}
