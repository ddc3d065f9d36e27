//! The environments that workers keep from plan to plan.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::{Builder, Handle, Runtime};

/// The environment of one worker, and a real runtime beside the plan's.
pub(crate) struct WorkerEnvironment<E> {
    pub(crate) environment: Arc<E>,
    /// Taken when this is dropped.
    runtime: Option<Runtime>,
}

impl<E> WorkerEnvironment<E> {
    fn start<F: Future<Output = Result<E, String>>>(start: impl FnOnce() -> F) -> Result<Self, String> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let environment = runtime.block_on(start())?;
        Ok(Self { environment: Arc::new(environment), runtime: Some(runtime) })
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is taken when this is dropped")
    }

    pub(crate) fn runtime_handle(&self) -> Handle {
        self.runtime().handle().clone()
    }
}

impl<E> Drop for WorkerEnvironment<E> {
    fn drop(&mut self) {
        // This may happen on the plan's runtime, which must not wait. The environment ends what it has started itself.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Environments that nobody uses at the moment.
pub(crate) struct IdleEnvironments<E>(Mutex<Vec<WorkerEnvironment<E>>>);

impl<E> Default for IdleEnvironments<E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<E: Send + Sync> IdleEnvironments<E> {
    /// An idle one, or a new one.
    pub(crate) fn take<F>(&self, start: impl FnOnce() -> F + Send) -> Result<WorkerEnvironment<E>, String>
    where
        F: Future<Output = Result<E, String>>,
    {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(idle) = idle {
            return Ok(idle);
        }
        // On a thread of its own: the caller may be within the plan's runtime, which cannot wait for another.
        std::thread::scope(|scope| scope.spawn(|| WorkerEnvironment::start(start)).join())
            .unwrap_or_else(|_| Err("bringing up what plans run on panicked".to_owned()))
    }

    pub(crate) fn give_back(&self, environment: WorkerEnvironment<E>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(environment);
    }
}
