//! The deterministic world: store, backend and service in this process, in virtual time.
//!
//! Devices reach the servers by HTTP only. What PostgreSQL's replication connects elsewhere is connected by hand:
//! `replication`, from the store to the service. `servers` starts and ends the two servers, `keyring` holds what signs
//! tokens, `database_outage` is the database as both reach it.

mod database_outage;
mod keyring;
mod replication;
mod servers;

use std::rc::Rc;
use std::sync::Arc;

use backend::store::memory::{MemoryStore, ServerOp};
use sim_core::Plan;
use sim_core::history::{ConflictRecord, Scope, What, Who};
use sim_core::plan::{Action, EPOCH_US, Fault, Intent};
use sim_device::recorder::Recorder;
use sim_network::sim::{Callbacks, Routers, SimNetwork};
use sim_network::{RequestTag, ServerRole};

use self::database_outage::DatabaseOutage;
use self::keyring::Keyring;
use self::replication::Replication;
use self::servers::Servers;
use crate::plan_rows::seed_rows;
use crate::seams::Seams;
use crate::server_write::{WriteStatement, write_statements};
use crate::system::SystemUnderTest;
use crate::translator::{Translator, record_second_delivery};

/// One deterministic world.
pub struct World {
    plan: Rc<Plan>,
    recorder: Recorder,
    network: SimNetwork,
    store: MemoryStore,
    translator: Rc<Translator>,
    replication: Rc<Replication>,
    servers: Rc<Servers>,
}

impl World {
    /// Brings the world up, with the seed rows in its database.
    #[must_use]
    pub fn up(system: Arc<SystemUnderTest>, seams: Arc<dyn Seams>, plan: Rc<Plan>, recorder: Recorder) -> Self {
        let rules = seams.rules(&system.app, &system.rules);
        let store = MemoryStore::new(rules.clone());
        let keyring = Rc::new(Keyring::new(plan.clone(), recorder.clone(), seams.clone()));
        let translator = Rc::new(Translator::new(system.app.clone(), recorder.clone()));
        let replication = Replication::new(translator.clone(), recorder.clone(), store.clone(), seams.clone());
        let network = SimNetwork::new(
            plan.clone(),
            Routers::default(),
            Callbacks {
                mint_token: Box::new({
                    let keyring = keyring.clone();
                    move |device, wrong_audience| keyring.mint(device, wrong_audience)
                }),
                on_handled: Box::new({
                    let replication = replication.clone();
                    move |handled| {
                        if let Some((device, request)) = handled.filter(|(_, one)| one.server == ServerRole::Backend) {
                            replication.run(Some(RequestTag { device, subject: request.subject }));
                        }
                    }
                }),
                on_duplicate: Box::new({
                    let recorder = recorder.clone();
                    move |device, request, status| record_second_delivery(&recorder, device, request, status)
                }),
            },
        );
        let fails = |action: &Action| {
            matches!(action, Action::Fault(Fault::PostgresDown { .. } | Fault::PostgresPaused { .. }))
        };
        let outage = plan.steps.iter().any(|step| fails(&step.action)).then(DatabaseOutage::default);
        let parts = servers::Parts {
            system,
            rules,
            seams,
            recorder: recorder.clone(),
            network: network.clone(),
            store: store.clone(),
            replication: replication.clone(),
            keyring,
            outage,
        };
        let servers = Servers::start(parts);
        let world = Self { plan, recorder, network, store, translator, replication, servers };
        world.seed();
        world
    }

    /// How devices reach the servers.
    #[must_use]
    pub fn network(&self) -> &SimNetwork {
        &self.network
    }

    /// A fault begins.
    pub fn inject(&self, key: u32, fault: &Fault) {
        self.network.begin_fault(key, fault);
        let servers = &self.servers;
        match fault {
            Fault::BackendDown { .. } => servers.backend_down(),
            Fault::BackendKilled { .. } => servers.arm_kill(key, fault),
            Fault::ServiceDown { .. } => servers.service_down(),
            Fault::SyncConfigChanged { .. } => {
                servers.change_sync_config();
                servers.service_down();
            }
            Fault::ReplicationStalled { .. } | Fault::ReplicationCut { .. } => self.replication.stall(),
            Fault::SlotDropped { .. } => self.replication.drop_slot(),
            Fault::PostgresDown { .. } => {
                self.outage().take_down();
                self.replication.stall();
            }
            Fault::PostgresPaused { .. } => {
                self.outage().pause();
                self.replication.stall();
            }
            Fault::Compaction => self.replication.compact(),
            Fault::KeyRotated { .. } => servers.rotate_keys(),
            Fault::ServerWrite { intents } => self.write(intents),
            // The network holds what is sent to a paused service.
            Fault::ServicePaused { .. } => {}
            fault if fault.spec().carrier.is_of_a_device() => {}
            fault => self.recorder.record_harness_failure(format!("this world cannot inject {}", fault.name())),
        }
    }

    /// A fault ends.
    pub fn heal(&self, key: u32, fault: &Fault) {
        self.network.end_fault(key);
        let servers = &self.servers;
        match fault {
            Fault::BackendDown { .. } => servers.backend_up(),
            Fault::ServiceDown { .. } | Fault::SyncConfigChanged { .. } => servers.service_up(),
            Fault::ReplicationStalled { .. } | Fault::ReplicationCut { .. } => self.replication.unstall(),
            Fault::SlotDropped { .. } => self.replication.make_slot(),
            Fault::PostgresDown { .. } => {
                self.outage().bring_up();
                self.replication.unstall();
            }
            Fault::PostgresPaused { .. } => {
                self.outage().resume();
                self.replication.unstall();
            }
            Fault::KeyRotated { .. } => servers.fetch_keys(),
            _ => {}
        }
    }

    /// Ends what faults without an end of their own have left.
    pub fn heal_remaining(&self) {
        self.servers.heal_kills();
    }

    fn outage(&self) -> &DatabaseOutage {
        self.servers.parts.outage.as_ref().expect("the plan holds such a fault")
    }

    /// A transaction that bypasses the backend.
    fn write(&self, intents: &[Intent]) {
        let now_us = EPOCH_US + self.recorder.now_us();
        let store = &self.store;
        let has_parents =
            |statement: &WriteStatement| statement.parents.iter().all(|(table, id)| store.row(*table, id).is_some());
        let written =
            write_statements(&self.servers.parts.system.app, &self.plan, intents, now_us).and_then(|mut statements| {
                statements.retain(has_parents);
                let ops: Vec<ServerOp> = statements.into_iter().map(|statement| statement.op).collect();
                store.server_transaction(now_us, &ops).map_err(|error| error.to_string())
            });
        if let Err(error) = written {
            self.recorder.record_harness_failure(format!("a server-side write: {error}"));
        }
        self.replication.run(None);
    }

    /// What `GET /conflicts` gives the device's user; `None` where the backend has no such route.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn conflicts(&self, device: u32) -> Result<Option<Vec<ConflictRecord>>, String> {
        self.translator.conflicts(&self.network, device).await
    }

    /// Reads every row of the server into the history.
    pub fn final_read(&self) {
        self.replication.run(None);
        let mut rows = Vec::new();
        for table in 0..self.servers.parts.system.app.schema.tables.len() {
            for (id, row) in self.store.rows(table) {
                rows.push((self.recorder.row(table, &id), Some(row)));
            }
        }
        rows.sort_by_key(|(row, _)| *row);
        self.recorder.add(Who::Server, What::Read { scope: Scope::Final, rows });
    }

    /// Writes the seed rows as one transaction of the server's own.
    fn seed(&self) {
        let rows = seed_rows(&self.servers.parts.system.app, &self.plan, &self.recorder).into_iter();
        let ops: Vec<ServerOp> = rows.map(|(table, id, values)| ServerOp::Upsert { table, id, values }).collect();
        if !ops.is_empty()
            && let Err(error) = self.store.server_transaction(EPOCH_US, &ops)
        {
            self.recorder.record_harness_failure(format!("the seed rows: {error}"));
        }
        self.replication.run(None);
    }
}
