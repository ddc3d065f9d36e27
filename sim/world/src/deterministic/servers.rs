//! The two servers as processes: how they come up, go down, are killed in the middle of an upload and deployed anew.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sim_core::history::{Phase, What, Who};
use sim_core::plan::{Fault, KILL_WAITS_US};
use sim_service::service::{Config, Service};
use sim_service::sync_config::SyncConfig;
use tokio::time::sleep;

use super::keyring::Keyring;
use super::outage::Outage;
use super::Feed;
use sim_network::ServerRole;
use sim_network::sim::SimNetwork;
use sim_device::recorder::Recorder;
use crate::system::SystemUnderTest;
use crate::clock::plan_clock;
use crate::told::AUDIENCE;

/// Backend and service of one world.
pub(super) struct Servers {
    pub(super) system: Arc<SystemUnderTest>,
    pub(super) recorder: Recorder,
    pub(super) network: SimNetwork,
    pub(super) feed: Rc<Feed>,
    pub(super) keyring: Rc<Keyring>,
    /// The database as both reach it; `None` when nothing can happen to it in this plan.
    pub(super) outage: Option<Outage>,
    /// How many faults keep each server down.
    backend_downs: Cell<u32>,
    service_downs: Cell<u32>,
    /// The backend that runs.
    backend: RefCell<Option<backend::State>>,
    /// How often a changed sync configuration was deployed.
    deployed: Cell<u32>,
    /// Kills that wait for an upload, and those after which the backend is still down.
    waiting: RefCell<BTreeMap<u32, Fault>>,
    killed: RefCell<BTreeMap<u32, Fault>>,
}

impl Servers {
    pub(super) fn new(
        system: Arc<SystemUnderTest>,
        recorder: Recorder,
        network: SimNetwork,
        feed: Rc<Feed>,
        keyring: Rc<Keyring>,
        outage: Option<Outage>,
    ) -> Rc<Self> {
        let servers = Rc::new(Self {
            system,
            recorder,
            network,
            feed,
            keyring,
            outage,
            backend_downs: Cell::new(0),
            service_downs: Cell::new(0),
            backend: RefCell::default(),
            deployed: Cell::new(0),
            waiting: RefCell::default(),
            killed: RefCell::default(),
        });
        servers.start_backend();
        servers.start_service();
        servers
    }

    // ---- The backend ----

    pub(super) fn backend_down(&self) {
        self.backend_downs.set(self.backend_downs.get() + 1);
        *self.backend.borrow_mut() = None;
        self.network.set_router(ServerRole::Backend, None);
    }

    pub(super) fn backend_up(&self) {
        self.backend_downs.set(self.backend_downs.get().saturating_sub(1));
        if self.backend_downs.get() == 0 {
            self.start_backend();
        }
    }

    fn start_backend(&self) {
        let mut store = self.feed.seams.store(Arc::new(self.feed.store.clone()));
        if let Some(outage) = &self.outage {
            store = outage.before(store);
        }
        let state = backend::State::new(backend::Config {
            rules: self.feed.rules.clone(),
            policy: self.feed.seams.policy(self.system.policy().policy()),
            store,
            clock: plan_clock(&self.recorder),
            auth: self.keyring.backend(),
            limits: backend::Limits::default(),
            retention_us: backend::RETENTION_US,
            is_development: false,
        });
        self.network.set_router(ServerRole::Backend, Some(backend::router(state.clone())));
        *self.backend.borrow_mut() = Some(state);
    }

    /// The backend is to be killed in the middle of an upload of the fault's device.
    pub(super) fn arm(self: &Rc<Self>, key: u32, fault: &Fault) {
        let Fault::BackendKilled { device, instant, .. } = fault else { return };
        self.waiting.borrow_mut().insert(key, fault.clone());
        let servers = self.clone();
        let strike = move || servers.kill(key);
        self.network.kill_in_upload(key, *device, *instant, false, Box::new(strike.clone()));
        tokio::task::spawn_local(async move {
            sleep(Duration::from_micros(KILL_WAITS_US)).await;
            strike();
        });
    }

    fn kill(self: &Rc<Self>, key: u32) {
        let Some(fault) = self.waiting.borrow_mut().remove(&key) else { return };
        self.network.cancel_kill(key);
        let Fault::BackendKilled { down_us, .. } = fault else { return };
        self.recorder.add(Who::Run, What::Fault { phase: Phase::Invoke, key, fault: fault.clone() });
        self.killed.borrow_mut().insert(key, fault);
        self.backend_down();
        let servers = self.clone();
        tokio::task::spawn_local(async move {
            sleep(Duration::from_micros(down_us)).await;
            servers.revive(key);
        });
    }

    fn revive(&self, key: u32) {
        let Some(fault) = self.killed.borrow_mut().remove(&key) else { return };
        self.backend_up();
        self.recorder.add(Who::Run, What::Fault { phase: Phase::Ok, key, fault });
    }

    /// Kills that have not struck never will, and what they struck comes up.
    pub(super) fn mend(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.keys().for_each(|key| self.network.cancel_kill(*key));
        let killed: Vec<u32> = self.killed.borrow().keys().copied().collect();
        killed.into_iter().for_each(|key| self.revive(key));
    }

    // ---- The service ----

    pub(super) fn service_down(&self) {
        self.service_downs.set(self.service_downs.get() + 1);
        self.network.set_router(ServerRole::Service, None);
        *self.feed.service.borrow_mut() = None;
    }

    pub(super) fn service_up(&self) {
        self.service_downs.set(self.service_downs.get().saturating_sub(1));
        if self.service_downs.get() == 0 {
            self.start_service();
        }
    }

    /// From its next start on the service has a sync configuration of another text: the same rules as a new version.
    pub(super) fn deploy(&self) {
        self.deployed.set(self.deployed.get() + 1);
    }

    fn sync_config(&self) -> Arc<SyncConfig> {
        let sound = &self.system.sync_config;
        if self.deployed.get() == 0 {
            return sound.clone();
        }
        let text = format!("{}\n# Deployed again: {}.\n", sound.text, self.deployed.get());
        match SyncConfig::parse(&text, &self.system.schema) {
            Ok(changed) => Arc::new(changed),
            Err(error) => {
                self.recorder.record_harness_failure(format!("the changed sync configuration: {error}"));
                sound.clone()
            }
        }
    }

    fn start_service(&self) {
        let (store, seams) = (self.feed.store.clone(), self.feed.seams.clone());
        let mut config = Config::new(
            self.system.schema.clone(),
            self.sync_config(),
            self.keyring.service(),
            vec![AUDIENCE.to_owned()],
            plan_clock(&self.recorder),
            Arc::new(move || seams.head(store.last_seq())),
        );
        config.max_streams = 1000;
        let service = Service::new(config, self.feed.storage.clone());
        let mut router = sim_service::routes::router(service.clone());
        if let Some(outage) = &self.outage {
            router = outage.before_routes(router);
        }
        self.network.set_router(ServerRole::Service, Some(router));
        *self.feed.service.borrow_mut() = Some(service);
        self.feed.pump();
    }

    // ---- Keys ----

    /// A new key signs; the backend, which made it, knows it at once.
    pub(super) fn rotate_keys(&self) {
        self.keyring.rotate();
        if let Some(backend) = &*self.backend.borrow() {
            backend.set_auth(self.keyring.backend());
        }
    }

    /// The service fetches the key set.
    pub(super) fn fetch_keys(&self) {
        if let Some(service) = &*self.feed.service.borrow() {
            service.replace_keys(self.keyring.service());
        }
    }
}
