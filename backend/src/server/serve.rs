//! Runs the router on a socket: start, key rotation, shutdown.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::auth::{Algorithm, Auth};
use crate::routes::router;
use crate::rules::Rules;
use crate::server::cache::RedisCache;
use crate::server::clock::{file_clock, machine_clock_us};
use crate::server::config::{Config, RotateKeys};
use crate::server::error::ServerError;
use crate::server::keys::Keyring;
use crate::server::layers;
use crate::server::metrics::{CountedStore, Metrics};
use crate::state::{self, Limits, State};
use crate::store::postgres::{PostgresConfig, PostgresStore, PrepareError};
use crate::upload::{CachedStore, Clock, Store};

/// How often the state directory is checked for rotated keys.
const KEY_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A server that listens, but does not answer yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    state: State,
    keyring: Keyring,
    algorithms: Vec<Algorithm>,
    audiences: Vec<String>,
    clock: Clock,
    shutdown_timeout: Duration,
}

impl Server {
    /// Reads the application and the keys, brings the database's schema up to date and binds the socket.
    ///
    /// A database that does not answer is not an error: uploads are answered 503 until it does.
    ///
    /// # Errors
    /// When a setting, the application, the keys or the database's tables are invalid, or the address is in use.
    pub async fn bind(config: Config) -> Result<Self, ServerError> {
        Self::bind_with(config, Arc::new(machine_clock_us)).await
    }

    /// The same with another clock, for stamps, tokens and keys. Timeouts use the machine's clock.
    ///
    /// # Errors
    /// Those of [`Server::bind`].
    pub async fn bind_with(config: Config, clock: Clock) -> Result<Self, ServerError> {
        let app = config.load_app()?;
        let rules = Arc::new(Rules::new(&app.schema, &app.policy));
        let algorithms = config.algorithms()?;
        let keyring = Keyring::open(&config.state_dir)?;
        keyring.ensure(&algorithms, clock())?;
        let auth = load_auth(&keyring, &algorithms, &config.audiences)?;
        let metrics = Arc::new(Metrics::new());
        let cache = match &config.redis_url {
            Some(url) => Some(RedisCache::new(url, config.retention()).map_err(ServerError::Setting)?),
            None => None,
        };
        let database = PostgresConfig {
            connections_max: config.connections_max,
            statement_timeout: Duration::from_millis(config.statement_timeout_ms),
            lock_timeout: Duration::from_millis(config.lock_timeout_ms),
            annotates: config.annotate_commits,
            ..PostgresConfig::new(&config.database_url)
        };
        let store = PostgresStore::new(rules.clone(), database)?;
        match store.prepare().await {
            Ok(()) => {}
            Err(error @ PrepareError::Unavailable(_)) => {
                tracing::warn!(%error, "uploads are refused until the database is available")
            }
            Err(error) => return Err(error.into()),
        }
        let state = State::new(state::Config {
            rules,
            policy: config.policy.policy(),
            store: counted(store.clone(), cache, metrics.clone()),
            clock: clock.clone(),
            auth,
            limits: Limits { body_bytes_max: config.body_bytes_max, ops_max: config.ops_max },
            retention_us: i64::try_from(config.retention().as_micros()).unwrap_or(i64::MAX),
            is_development: config.development,
        });
        let router = layers::wrap(router(state.clone()), &config, store, metrics)?;
        let failed = |error| ServerError::Listen { address: config.listen, error };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        if config.development {
            tracing::warn!(%address, "development mode: anyone who reaches this address gets a token");
        }
        Ok(Self {
            listener,
            address,
            router,
            state,
            keyring,
            algorithms,
            audiences: config.audiences,
            clock,
            shutdown_timeout: Duration::from_secs(config.shutdown_timeout_s),
        })
    }

    /// Where it listens, with the actual port even if port 0 was configured.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop` resolves, then waits for those in progress, at most for the shutdown timeout. Keys that
    /// are rotated in the state directory are used within about a second.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServerError> {
        let Self { listener, address, router, state, keyring, algorithms, audiences, clock, shutdown_timeout } = self;
        tracing::info!(%address, "listening");
        let keys = tokio::spawn(async move { follow_keys(&keyring, &algorithms, &audiences, &state, &clock).await });
        let (stop_sender, mut stopped) = watch::channel(false);
        let mut serves = stopped.clone();
        let served = axum::serve(listener, router).with_graceful_shutdown(async move {
            let _ = serves.wait_for(|stopped| *stopped).await;
        });
        let deadline = async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
            tokio::time::sleep(shutdown_timeout).await;
        };
        let waiting = tokio::spawn(async move {
            stop.await;
            tracing::info!("shutting down");
            let _ = stop_sender.send(true);
        });
        let ended = tokio::select! {
            biased;
            ended = async { served.await } => ended,
            () = deadline => {
                tracing::warn!("requests that did not end in time are dropped; their devices will send them again");
                Ok(())
            }
        };
        waiting.abort();
        keys.abort();
        Ok(ended?)
    }
}

/// The store that the router holds: counted, and with a cache in front of it if there is one.
fn counted(store: PostgresStore, cache: Option<RedisCache>, metrics: Arc<Metrics>) -> Arc<dyn Store> {
    match cache {
        Some(cache) => Arc::new(CountedStore::new(CachedStore::new(store, Arc::new(cache)), metrics)),
        None => Arc::new(CountedStore::new(store, metrics)),
    }
}

fn load_auth(keyring: &Keyring, algorithms: &[Algorithm], audiences: &[String]) -> Result<Auth, ServerError> {
    let (secrets, pairs) = keyring.load()?;
    Auth::new(&secrets, &pairs, algorithms.to_vec(), audiences.to_vec())
        .map_err(|error| ServerError::Setting(format!("a key in the state directory is unusable: {error}")))
}

/// Loads keys that another process rotated, and removes retired ones.
async fn follow_keys(keyring: &Keyring, algorithms: &[Algorithm], audiences: &[String], state: &State, clock: &Clock) {
    let mut known = keyring.fingerprint();
    loop {
        tokio::time::sleep(KEY_POLL_INTERVAL).await;
        if let Err(error) = keyring.remove_retired(clock()) {
            tracing::warn!(%error, "retired keys cannot be removed");
        }
        let now = keyring.fingerprint();
        if now == known {
            continue;
        }
        match load_auth(keyring, algorithms, audiences) {
            Ok(auth) => {
                state.set_auth(auth);
                known = now;
                tracing::info!("rotated keys are in use");
            }
            Err(error) => tracing::warn!(%error, "rotated keys cannot be used; the present ones stay in use"),
        }
    }
}

/// Runs the server until SIGTERM or SIGINT.
///
/// # Errors
/// Those of [`Server::bind`] and [`Server::run`].
pub async fn serve(config: Config) -> Result<(), ServerError> {
    let clock = match &config.clock_file {
        None => Arc::new(machine_clock_us),
        Some(path) => file_clock(path)
            .map_err(|error| ServerError::Setting(format!("--clock-file {}: {error}", path.display())))?,
    };
    serve_with(config, clock, |_| ()).await
}

/// The same with another clock. `announce` is called with the address of the server.
///
/// # Errors
/// Those of [`Server::bind`] and [`Server::run`].
pub async fn serve_with(config: Config, clock: Clock, announce: impl FnOnce(SocketAddr)) -> Result<(), ServerError> {
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupted = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let server = Server::bind_with(config, clock).await?;
    announce(server.address());
    server
        .run(async move {
            tokio::select! {
                biased;
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
        })
        .await
}

/// Rotates the keys in the state directory. A running server uses the new ones by itself. Returns the ids of the keys that
/// sign from now on.
///
/// # Errors
/// When the state directory cannot be read or written.
pub fn rotate_keys(config: &RotateKeys) -> Result<Vec<String>, ServerError> {
    let keyring = Keyring::open(&config.state_dir)?;
    let keep_us = i64::try_from(config.keep_s).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    Ok(keyring.rotate(&config.algorithms()?, machine_clock_us(), keep_us)?)
}
