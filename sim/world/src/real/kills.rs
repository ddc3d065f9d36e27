//! Kills of the backend in the middle of an upload: after the commit, when the network has the answer; before it, in the
//! middle of the transaction (`doom`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use sim_core::history::{Phase, What, Who};
use sim_core::plan::{Fault, KILL_WAITS_US};
use tokio::time::sleep;

use super::servers::Servers;
use sim_network::ServerRole;
use sim_device::recorder::Recorder;

/// Kills that wait for an upload, and those after which the backend is still down.
pub(super) struct Kills {
    servers: Servers,
    recorder: Recorder,
    waiting: RefCell<BTreeMap<u32, Fault>>,
    killed: RefCell<BTreeMap<u32, Fault>>,
    /// No kill begins any more; one that is under way still strikes.
    is_over: Cell<bool>,
}

impl Kills {
    pub(super) fn new(servers: Servers, recorder: Recorder) -> Rc<Self> {
        Rc::new(Self { servers, recorder, waiting: RefCell::default(), killed: RefCell::default(), is_over: Cell::new(false) })
    }

    /// The backend is to be killed in the middle of an upload of the fault's device.
    pub(super) fn arm(self: &Rc<Self>, key: u32, fault: &Fault) {
        let Fault::BackendKilled { device, instant, .. } = fault else { return };
        self.waiting.borrow_mut().insert(key, fault.clone());
        let kills = self.clone();
        let strike = move || kills.kill(key);
        self.servers.network.kill_in_upload(key, *device, *instant, true, Box::new(strike.clone()));
        let late = self.clone();
        tokio::task::spawn_local(async move {
            sleep(Duration::from_micros(KILL_WAITS_US)).await;
            if !late.is_over.get() {
                strike();
            }
        });
    }

    fn kill(self: &Rc<Self>, key: u32) {
        let Some(fault) = self.waiting.borrow_mut().remove(&key) else { return };
        self.servers.network.cancel_kill(key);
        let Fault::BackendKilled { down_us, .. } = fault else { return };
        self.record(Phase::Invoke, key, &fault);
        self.killed.borrow_mut().insert(key, fault);
        // Nobody reaches it from this instant on.
        self.servers.network.set_router(ServerRole::Backend, None);
        let kills = self.clone();
        tokio::task::spawn_local(async move {
            if let Err(problem) = kills.servers.take_down(ServerRole::Backend).await {
                kills.recorder.record_harness_failure(format!("the backend could not be killed: {problem}"));
            }
            sleep(Duration::from_micros(down_us)).await;
            kills.revive(key).await;
        });
    }

    async fn revive(&self, key: u32) {
        let Some(fault) = self.killed.borrow_mut().remove(&key) else { return };
        if let Err(problem) = self.servers.bring_up(ServerRole::Backend).await {
            self.recorder.record_harness_failure(format!("the killed backend did not come up: {problem}"));
        }
        self.record(Phase::Ok, key, &fault);
    }

    /// Kills that have not struck never will, and what they struck comes up.
    pub(super) async fn mend(&self) {
        self.is_over.set(true);
        self.waiting.borrow().keys().for_each(|key| self.servers.network.cancel_kill(*key));
        let killed: Vec<u32> = self.killed.borrow().keys().copied().collect();
        for key in killed {
            self.revive(key).await;
        }
    }

    fn record(&self, phase: Phase, key: u32, fault: &Fault) {
        self.recorder.add(Who::Run, What::Fault { phase, key, fault: fault.clone() });
    }
}
