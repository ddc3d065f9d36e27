//! The server as a process: its runtime and its signals.

use std::net::SocketAddr;

use super::config::Config;
use super::error::ServeError;
use super::serve::{Server, compact};
use super::time::Time;

/// Runs a service until SIGTERM or SIGINT, on a runtime of its own. SIGUSR1 compacts, SIGHUP reads the file of keys
/// again.
///
/// # Errors
/// When it cannot start.
pub fn run(config: Config) -> Result<(), ServeError> {
    run_with(config, Time::default(), |_| ())
}

/// The same by another clock. `announce` gets the address on which the service listens.
///
/// # Errors
/// When it cannot start.
pub fn run_with(config: Config, time: Time, announce: impl FnOnce(SocketAddr)) -> Result<(), ServeError> {
    let workers = std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 8));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (mut compact_signal, mut reload) = (signal(SignalKind::user_defined1())?, signal(SignalKind::hangup())?);
        let server = Server::bind_with(config, time).await?;
        announce(server.local_addr()?);
        let (store, keyring) = (server.store().clone(), server.keyring().clone());
        let reloading = tokio::spawn(async move {
            while reload.recv().await.is_some() {
                keyring.reload();
            }
        });
        let compacting = tokio::spawn(async move {
            while compact_signal.recv().await.is_some() {
                compact(&store).await;
            }
        });
        let stop = async move {
            tokio::select! {
                biased;
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping");
        };
        let result = server.run(stop).await;
        compacting.abort();
        reloading.abort();
        result
    })
}
