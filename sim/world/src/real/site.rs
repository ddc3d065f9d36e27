//! What a worker keeps from plan to plan.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::{Builder, Handle, Runtime};

/// What its servers stand on, and a real runtime beside the plan's.
pub struct Site<G> {
    pub(crate) ground: Arc<G>,
    /// Taken when the site goes.
    runtime: Option<Runtime>,
}

/// Sites that nobody uses at the moment.
pub(crate) struct Idle<G>(Mutex<Vec<Site<G>>>);

impl<G> Site<G> {
    fn start<F: Future<Output = Result<G, String>>>(make: impl FnOnce() -> F) -> Result<Self, String> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let ground = runtime.block_on(make())?;
        Ok(Self { ground: Arc::new(ground), runtime: Some(runtime) })
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it goes with the site")
    }

    pub(crate) fn real(&self) -> Handle {
        self.runtime().handle().clone()
    }
}

impl<G> Drop for Site<G> {
    fn drop(&mut self) {
        // This may happen on the plan's runtime, which must not wait; the ground ends what it has started itself.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl<G> Default for Idle<G> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<G: Send + Sync> Idle<G> {
    /// One that nobody uses, or another that is made.
    pub(crate) fn take<F>(&self, make: impl FnOnce() -> F + Send) -> Result<Site<G>, String>
    where
        F: Future<Output = Result<G, String>>,
    {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(site) = idle {
            return Ok(site);
        }
        // A thread of its own: who asks may be within the plan's runtime, which cannot wait for another.
        std::thread::scope(|scope| scope.spawn(|| Site::start(make)).join())
            .unwrap_or_else(|_| Err("bringing up what plans run on panicked".to_owned()))
    }

    pub(crate) fn give_back(&self, site: Site<G>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(site);
    }
}
