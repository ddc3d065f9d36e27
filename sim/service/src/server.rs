//! The service as a program: PostgreSQL on one side, HTTP on the other, a store between them.
//!
//! [`config`] is what it can be told, [`official`] how the official service is told it, [`front`] the HTTP surface around the service, [`keyring`] the keys of tokens.

pub mod config;
mod front;
mod keyring;
pub mod official;

use std::future::{Future, IntoFuture as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use config::Config;

use crate::auth::Keys;
use crate::durable::engine::{self, Handle, Settings};
use crate::durable::store::StoreError;
use crate::error::WireError;
use crate::replication::postgres::connection::{BadConnection, Connection};
use crate::replication::postgres::head::Heads;
use crate::replication::postgres::{Follower, follow, layout_of};
use crate::replication::pump::Progress;
use crate::service::{Backing, Clock};
use crate::sync_config::{ConfigError, Reading};
use front::Front;
use keyring::Keyring;

/// Why a service did not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A setting.
    #[error("{0}")]
    Setting(String),
    /// The database URL, or a name.
    #[error(transparent)]
    Connection(#[from] BadConnection),
    /// The sync configuration. Whether it fits the tables is seen once they are known.
    #[error(transparent)]
    SyncConfig(#[from] ConfigError),
    /// A file that cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The runtime, or accepting connections.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// The clock of a service.
#[derive(Clone)]
pub struct Time {
    /// Microseconds since 1970-01-01 UTC.
    pub clock: Clock,
    /// For a clock that jumps: how often those who wait for it look again.
    pub look_every: Option<Duration>,
}

/// The machine's clock.
impl Default for Time {
    fn default() -> Self {
        Self { clock: Arc::new(now_us), look_every: None }
    }
}

/// A service that listens. It follows its source from now on, and answers once it [`runs`](Self::run).
pub struct Server {
    listener: TcpListener,
    front: Arc<Front>,
    handle: Handle,
    backing: Arc<Around>,
    thread: std::thread::JoinHandle<()>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    grace: Duration,
}

/// Runs a service until SIGTERM or SIGINT, on a runtime of its own. SIGUSR1 compacts, SIGHUP reads the file of keys
/// again.
///
/// # Errors
/// When it cannot start.
pub fn run(config: Config) -> Result<(), ServeError> {
    run_with(config, Time::default(), |_| ())
}

/// The same by another clock; `announce` is told where the service listens.
///
/// # Errors
/// When it cannot start.
pub fn run_with(config: Config, time: Time, announce: impl FnOnce(SocketAddr)) -> Result<(), ServeError> {
    let workers = std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 8));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (mut compact, mut reload) = (signal(SignalKind::user_defined1())?, signal(SignalKind::hangup())?);
        let server = Server::bind_with(config, time).await?;
        announce(server.local_addr()?);
        let (handle, keyring) = (server.handle.clone(), server.backing.keyring.clone());
        let reloading = tokio::spawn(async move {
            while reload.recv().await.is_some() {
                keyring.reload();
            }
        });
        let compacting = tokio::spawn(async move {
            while compact.recv().await.is_some() {
                say_compacted(&handle).await;
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

impl Server {
    /// Reads what the configuration names, opens the store, listens, and begins to follow the source.
    ///
    /// Must be called within a tokio runtime that has time and sockets enabled.
    ///
    /// # Errors
    /// When any of this is not possible. A source that cannot be reached is not an error: it is waited for.
    pub async fn bind(config: Config) -> Result<Self, ServeError> {
        Self::bind_with(config, Time::default()).await
    }

    /// The same by another clock: tokens and keepalives go by it, all other waiting by the machine's.
    ///
    /// # Errors
    /// Those of [`Server::bind`].
    pub async fn bind_with(config: Config, time: Time) -> Result<Self, ServeError> {
        let Time { clock, look_every } = time;
        let connection = Connection::new(&config.database_url, &config.slot, &config.publication)?;
        let file = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|source| ServeError::File { path: path.clone(), source })
        };
        let sync_config: Arc<str> = Arc::from(file(&config.sync_config)?);
        let reading = Reading::of(&sync_config)?;
        let keyring = Arc::new(Keyring::new(&config)?);
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| ServeError::Listen { address: config.listen, source })?;
        let backing =
            Arc::new(Around { heads: Heads::start(connection.clone()), keyring, engine: watch::Sender::new(None) });
        let settings = Settings {
            sync_config: sync_config.to_string(),
            configure: {
                let (config, backing, clock) = (config.clone(), backing.clone(), clock.clone());
                Box::new(move |schema, sync_config, identities| {
                    let backing: Arc<dyn Backing> = backing.clone();
                    config.service(schema, sync_config, identities, clock.clone(), look_every, backing)
                })
            },
            layout_of: Box::new(move |text| layout_of(text, reading)),
        };
        let (handle, thread) = engine::start(&config.store, config.store_sync, settings)?;
        backing.engine.send_replace(Some(handle.clone()));
        let progress = Arc::new(Progress::default());
        let follower = Follower {
            connection,
            heads: backing.heads.clone(),
            sync_config,
            reading,
            engine: handle.clone(),
            progress: progress.clone(),
            clock: clock.clone(),
        };
        let mut tasks = vec![tokio::spawn(follow(follower)), tokio::spawn(backing.keyring.clone().keep_fresh())];
        if config.compact_every_s > 0 {
            let (handle, every) = (handle.clone(), Duration::from_secs(config.compact_every_s));
            tasks.push(tokio::spawn(async move {
                loop {
                    tokio::time::sleep(every).await;
                    say_compacted(&handle).await;
                }
            }));
        }
        let front =
            Arc::new(Front::new(handle.current().clone(), handle.durable(), progress, clock, backing.keyring.clone()));
        tracing::info!(address = %listener.local_addr()?, "listening");
        Ok(Self {
            listener,
            front,
            handle,
            backing,
            thread,
            tasks,
            grace: Duration::from_secs(config.shutdown_grace_s),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> Result<SocketAddr, ServeError> {
        Ok(self.listener.local_addr()?)
    }

    /// Answers until `stop`; then ends the streams, waits for what is being answered, and closes the store.
    ///
    /// # Errors
    /// When connections can no longer be accepted.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
        let Self { listener, front, handle, backing, thread, tasks, grace } = self;
        let listener = listener.tap_io(|stream| {
            // Lines are small and must not wait for each other.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection keeps its delay");
            }
        });
        let (stopping, mut stopped) = watch::channel(false);
        let routes = front.clone().router();
        let stop = {
            let front = front.clone();
            async move {
                stop.await;
                front.stop();
                stopping.send_replace(true);
            }
        };
        let serving = axum::serve(listener, routes).with_graceful_shutdown(stop).into_future();
        let too_long = async move {
            // An error means that serving has ended, and with it the wait.
            if stopped.wait_for(|stopped| *stopped).await.is_ok() {
                tokio::time::sleep(grace).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let result = tokio::select! {
            biased;
            result = serving => result,
            () = too_long => {
                tracing::warn!("some connections did not end in time");
                Ok(())
            }
        };
        for task in &tasks {
            task.abort();
        }
        // The service, the store and this name each other.
        backing.engine.send_replace(None);
        if handle.close().await.is_ok() && thread.join().is_err() {
            tracing::error!("the store's writer panicked");
        }
        tracing::info!("stopped");
        Ok(result?)
    }
}

async fn say_compacted(handle: &Handle) {
    match handle.compact().await {
        Ok(operations) => tracing::info!(operations, "compacted"),
        Err(error) => tracing::warn!(%error, "compaction was not written down"),
    }
}

#[expect(clippy::disallowed_methods, reason = "a server on a real clock: this is where the machine is asked")]
fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// What is around the service: the source's position, the keys, the store.
#[derive(Debug)]
struct Around {
    heads: Heads,
    keyring: Arc<Keyring>,
    /// Set once the store is open, which is before anybody is answered.
    engine: watch::Sender<Option<Handle>>,
}

impl Backing for Around {
    fn keys<'a>(&'a self, key_id: Option<&'a str>) -> BoxFuture<'a, Arc<Keys>> {
        Box::pin(self.keyring.keys(key_id))
    }

    fn head(&self) -> BoxFuture<'_, Result<u64, WireError>> {
        Box::pin(async {
            self.heads.get().await.map_err(|error| {
                tracing::warn!(%error, "cannot ask PostgreSQL for its position");
                WireError::internal("the source database cannot be asked for its position")
            })
        })
    }

    fn write_checkpoint<'a>(
        &'a self,
        client: &'a str,
        requested: Option<u64>,
        head: u64,
    ) -> BoxFuture<'a, Result<u64, WireError>> {
        Box::pin(async move {
            let engine = self.engine.borrow().clone();
            let failed = |error: &dyn std::fmt::Display| {
                tracing::warn!(%error, "a write checkpoint could not be stored");
                WireError::internal("the write checkpoint could not be stored")
            };
            let engine = engine.ok_or_else(|| failed(&"the store is not open"))?;
            engine.write_checkpoint(client, requested, head).await.map_err(|error| failed(&error))
        })
    }
}
