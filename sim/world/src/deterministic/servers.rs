//! The two servers: how they start and end, are killed in the middle of an upload, and get a changed sync
//! configuration.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use backend::store::memory::MemoryStore;
use sim_core::history::{Phase, What, Who};
use sim_core::plan::{Fault, KILL_WAITS_US};
use sim_device::recorder::Recorder;
use sim_network::ServerRole;
use sim_network::sim::SimNetwork;
use sim_service::service::{Config, Service};
use sim_service::sync_config::SyncConfig;
use tokio::time::sleep;

use super::database_outage::DatabaseOutage;
use super::keyring::Keyring;
use super::replication::Replication;
use crate::clock::plan_clock;
use crate::seams::Seams;
use crate::system::SystemUnderTest;
use crate::token::AUDIENCE;

/// What the servers of one world are made of.
pub(super) struct Parts {
    pub(super) system: Arc<SystemUnderTest>,
    pub(super) rules: Arc<backend::Rules>,
    pub(super) seams: Arc<dyn Seams>,
    pub(super) recorder: Recorder,
    pub(super) network: SimNetwork,
    pub(super) store: MemoryStore,
    pub(super) replication: Rc<Replication>,
    pub(super) keyring: Rc<Keyring>,
    /// The database as both reach it; `None` when nothing can happen to it in this plan.
    pub(super) outage: Option<DatabaseOutage>,
}

/// Backend and service of one world.
pub(super) struct Servers {
    pub(super) parts: Parts,
    /// How many faults keep each server down.
    backend_downs: Cell<u32>,
    service_downs: Cell<u32>,
    /// The backend that runs.
    backend: RefCell<Option<backend::State>>,
    /// How often the sync configuration was changed.
    config_changes: Cell<u32>,
    /// Kills that wait for an upload, and those after which the backend is still down.
    armed_kills: RefCell<BTreeMap<u32, Fault>>,
    active_kills: RefCell<BTreeMap<u32, Fault>>,
}

impl Servers {
    /// Starts both.
    pub(super) fn start(parts: Parts) -> Rc<Self> {
        let servers = Rc::new(Self {
            parts,
            backend_downs: Cell::new(0),
            service_downs: Cell::new(0),
            backend: RefCell::default(),
            config_changes: Cell::new(0),
            armed_kills: RefCell::default(),
            active_kills: RefCell::default(),
        });
        servers.start_backend();
        servers.start_service();
        servers
    }

    // ---- The backend ----

    pub(super) fn backend_down(&self) {
        self.backend_downs.set(self.backend_downs.get() + 1);
        *self.backend.borrow_mut() = None;
        self.parts.network.set_router(ServerRole::Backend, None);
    }

    pub(super) fn backend_up(&self) {
        self.backend_downs.set(self.backend_downs.get().saturating_sub(1));
        if self.backend_downs.get() == 0 {
            self.start_backend();
        }
    }

    fn start_backend(&self) {
        let mut store = self.parts.seams.store(Arc::new(self.parts.store.clone()));
        if let Some(outage) = &self.parts.outage {
            store = outage.in_front_of(store);
        }
        let state = backend::State::new(backend::Config {
            rules: self.parts.rules.clone(),
            policy: self.parts.seams.policy(self.parts.system.policy().policy()),
            store,
            clock: plan_clock(&self.parts.recorder),
            auth: self.parts.keyring.backend(),
            limits: backend::Limits::default(),
            retention_us: backend::RETENTION_US,
            is_development: false,
        });
        self.parts.network.set_router(ServerRole::Backend, Some(backend::router(state.clone())));
        *self.backend.borrow_mut() = Some(state);
    }

    /// The backend is to be killed in the middle of an upload of the fault's device.
    pub(super) fn arm_kill(self: &Rc<Self>, key: u32, fault: &Fault) {
        let Fault::BackendKilled { device, instant, .. } = fault else { return };
        self.armed_kills.borrow_mut().insert(key, fault.clone());
        let servers = self.clone();
        let kill = move || servers.kill(key);
        self.parts.network.kill_in_upload(key, *device, *instant, false, Box::new(kill.clone()));
        tokio::task::spawn_local(async move {
            sleep(Duration::from_micros(KILL_WAITS_US)).await;
            kill();
        });
    }

    fn kill(self: &Rc<Self>, key: u32) {
        let Some(fault) = self.armed_kills.borrow_mut().remove(&key) else { return };
        self.parts.network.cancel_kill(key);
        let Fault::BackendKilled { down_us, .. } = fault else { return };
        self.parts.recorder.add(Who::Run, What::Fault { phase: Phase::Invoke, key, fault: fault.clone() });
        self.active_kills.borrow_mut().insert(key, fault);
        self.backend_down();
        let servers = self.clone();
        tokio::task::spawn_local(async move {
            sleep(Duration::from_micros(down_us)).await;
            servers.start_again(key);
        });
    }

    fn start_again(&self, key: u32) {
        let Some(fault) = self.active_kills.borrow_mut().remove(&key) else { return };
        self.backend_up();
        self.parts.recorder.add(Who::Run, What::Fault { phase: Phase::Ok, key, fault });
    }

    /// Armed kills are called off, and what kills have ended comes up.
    pub(super) fn heal_kills(&self) {
        let armed = std::mem::take(&mut *self.armed_kills.borrow_mut());
        armed.keys().for_each(|key| self.parts.network.cancel_kill(*key));
        let active: Vec<u32> = self.active_kills.borrow().keys().copied().collect();
        active.into_iter().for_each(|key| self.start_again(key));
    }

    // ---- The service ----

    pub(super) fn service_down(&self) {
        self.service_downs.set(self.service_downs.get() + 1);
        self.parts.network.set_router(ServerRole::Service, None);
        self.parts.replication.set_service(None);
    }

    pub(super) fn service_up(&self) {
        self.service_downs.set(self.service_downs.get().saturating_sub(1));
        if self.service_downs.get() == 0 {
            self.start_service();
        }
    }

    /// From its next start on the service has another text of the same rules, which is a new version.
    pub(super) fn change_sync_config(&self) {
        self.config_changes.set(self.config_changes.get() + 1);
    }

    fn sync_config(&self) -> Arc<SyncConfig> {
        let original = &self.parts.system.sync_config;
        if self.config_changes.get() == 0 {
            return original.clone();
        }
        let text = format!("{}\n# Deployed again: {}.\n", original.text, self.config_changes.get());
        match SyncConfig::parse(&text, &self.parts.system.schema) {
            Ok(changed) => Arc::new(changed),
            Err(error) => {
                self.parts.recorder.record_harness_failure(format!("the changed sync configuration: {error}"));
                original.clone()
            }
        }
    }

    fn start_service(&self) {
        let (store, seams) = (self.parts.store.clone(), self.parts.seams.clone());
        let mut config = Config::new(
            self.parts.system.schema.clone(),
            self.sync_config(),
            self.parts.keyring.service(),
            vec![AUDIENCE.to_owned()],
            plan_clock(&self.parts.recorder),
            Arc::new(move || seams.head(store.last_seq())),
        );
        config.max_streams = 1000;
        let service = Service::new(config, self.parts.replication.storage());
        let mut router = sim_service::routes::router(service.clone());
        if let Some(outage) = &self.parts.outage {
            router = outage.in_front_of_routes(router);
        }
        self.parts.network.set_router(ServerRole::Service, Some(router));
        self.parts.replication.set_service(Some(service));
    }

    // ---- Keys ----

    /// A new key signs; the backend, which made it, knows it at once.
    pub(super) fn rotate_keys(&self) {
        self.parts.keyring.rotate();
        if let Some(backend) = &*self.backend.borrow() {
            backend.set_auth(self.parts.keyring.backend());
        }
    }

    /// The service fetches the key set.
    pub(super) fn fetch_keys(&self) {
        self.parts.replication.with_service(|service| service.replace_keys(self.parts.keyring.service()));
    }
}
