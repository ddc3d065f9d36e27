//! BackendKills of the backend in the middle of an upload: after its commit, when the network has the answer, or before
//! it, in the middle of the transaction (`kill_before_commit`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use sim_core::history::{Phase, What, Who};
use sim_core::plan::{Fault, KILL_WAITS_US};
use sim_device::recorder::Recorder;
use sim_network::ServerRole;
use tokio::time::sleep;

use super::server::ServerStop;
use super::servers::Servers;

/// Kills that wait for an upload, and those after which the backend is still down.
pub(super) struct BackendKills {
    servers: Servers,
    recorder: Recorder,
    armed: RefCell<BTreeMap<u32, Fault>>,
    active: RefCell<BTreeMap<u32, Fault>>,
    /// No kill begins any more, unless its request is under way.
    is_over: Cell<bool>,
}

impl BackendKills {
    pub(super) fn new(servers: Servers, recorder: Recorder) -> Rc<Self> {
        let (armed, active) = (RefCell::default(), RefCell::default());
        Rc::new(Self { servers, recorder, armed, active, is_over: Cell::new(false) })
    }

    /// The backend is to be killed in the middle of an upload of the fault's device.
    pub(super) fn arm(self: &Rc<Self>, key: u32, fault: &Fault) {
        let Fault::BackendKilled { device, instant, .. } = fault else { return };
        self.armed.borrow_mut().insert(key, fault.clone());
        let kills = self.clone();
        let kill = move || kills.kill(key);
        self.servers.network.kill_in_upload(key, *device, *instant, true, Box::new(kill.clone()));
        let late = self.clone();
        tokio::task::spawn_local(async move {
            sleep(Duration::from_micros(KILL_WAITS_US)).await;
            if !late.is_over.get() {
                kill();
            }
        });
    }

    fn kill(self: &Rc<Self>, key: u32) {
        let Some(fault) = self.armed.borrow_mut().remove(&key) else { return };
        self.servers.network.cancel_kill(key);
        let Fault::BackendKilled { down_us, .. } = fault else { return };
        self.record(Phase::Invoke, key, &fault);
        self.active.borrow_mut().insert(key, fault);
        // Nobody reaches it from this instant on, however long the kill takes.
        self.servers.network.set_router(ServerRole::Backend, None);
        let kills = self.clone();
        tokio::task::spawn_local(async move {
            if let Err(problem) = kills.servers.take_down(ServerRole::Backend, ServerStop::Kill).await {
                kills.recorder.record_harness_failure(format!("the backend could not be killed: {problem}"));
            }
            sleep(Duration::from_micros(down_us)).await;
            kills.start_again(key).await;
        });
    }

    async fn start_again(&self, key: u32) {
        let Some(fault) = self.active.borrow_mut().remove(&key) else { return };
        if let Err(problem) = self.servers.bring_up(ServerRole::Backend).await {
            self.recorder.record_harness_failure(format!("the killed backend did not come up: {problem}"));
        }
        self.record(Phase::Ok, key, &fault);
    }

    /// Armed kills are called off, unless their request is under way; what kills have ended comes up.
    pub(super) async fn heal_all(&self) {
        self.is_over.set(true);
        self.armed.borrow().keys().for_each(|key| self.servers.network.cancel_kill(*key));
        let active: Vec<u32> = self.active.borrow().keys().copied().collect();
        for key in active {
            self.start_again(key).await;
        }
    }

    fn record(&self, phase: Phase, key: u32, fault: &Fault) {
        self.recorder.add(Who::Run, What::Fault { phase, key, fault: fault.clone() });
    }
}
