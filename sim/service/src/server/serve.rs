//! A server: it follows PostgreSQL into a store, and answers over HTTP.

use std::future::{Future, IntoFuture as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::config::Config;
use super::error::ServeError;
use super::http::ServerRoutes;
use super::keyring::Keyring;
use super::provider::PostgresProvider;
use super::time::Time;
use crate::durable::{self, StoreHandle, WriterSettings};
use crate::replication::postgres::{Connection, Follower, HeadReader, follow, read_layout};
use crate::replication::progress::Progress;
use crate::service::Provider;
use crate::sync_config::ValueFormat;

/// A service that listens. It follows its source already, and answers once it [`runs`](Self::run).
pub struct Server {
    listener: TcpListener,
    routes: Arc<ServerRoutes>,
    store: StoreHandle,
    provider: Arc<PostgresProvider>,
    thread: std::thread::JoinHandle<()>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    grace: Duration,
}

impl Server {
    /// Reads what the configuration names, opens the store, listens, and begins to follow the source.
    ///
    /// Must be called within a tokio runtime that has time and sockets enabled.
    ///
    /// # Errors
    /// When any of this is not possible. It waits for a source that cannot be reached.
    pub async fn bind(config: Config) -> Result<Self, ServeError> {
        Self::bind_with(config, Time::default()).await
    }

    /// The same by another clock. Tokens and keepalives go by it, all other timers by the machine's clock.
    ///
    /// # Errors
    /// As for [`Server::bind`].
    pub async fn bind_with(config: Config, time: Time) -> Result<Self, ServeError> {
        let Time { clock, clock_poll_interval } = time;
        let connection = Connection::new(&config.database_url, &config.slot, &config.publication)?;
        let file = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|source| ServeError::File { path: path.clone(), source })
        };
        let sync_config: Arc<str> = Arc::from(file(&config.sync_config)?);
        let value_format = ValueFormat::of(&sync_config)?;
        let keyring = Arc::new(Keyring::new(&config)?);
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| ServeError::Listen { address: config.listen, source })?;
        let heads = HeadReader::start(connection.clone());
        let provider = Arc::new(PostgresProvider { heads, keyring, store: watch::Sender::new(None) });
        let settings = WriterSettings {
            sync_config: sync_config.to_string(),
            configure: {
                let (config, provider, clock) = (config.clone(), provider.clone(), clock.clone());
                Box::new(move |schema, sync_config, identities| {
                    let provider: Arc<dyn Provider> = provider.clone();
                    config.service(schema, sync_config, identities, clock.clone(), clock_poll_interval, provider)
                })
            },
            read_layout: Box::new(move |text| read_layout(text, value_format)),
        };
        let (store, thread) = durable::start(&config.store, config.store_sync, settings)?;
        provider.store.send_replace(Some(store.clone()));
        let progress = Arc::new(Progress::default());
        let follower = Follower {
            connection,
            heads: provider.heads.clone(),
            sync_config,
            value_format,
            store: store.clone(),
            progress: progress.clone(),
            clock: clock.clone(),
        };
        let mut tasks = vec![tokio::spawn(follow(follower)), tokio::spawn(provider.keyring.clone().keep_fresh())];
        if config.compact_every_s > 0 {
            let (store, every) = (store.clone(), Duration::from_secs(config.compact_every_s));
            tasks.push(tokio::spawn(async move {
                loop {
                    tokio::time::sleep(every).await;
                    compact(&store).await;
                }
            }));
        }
        let keyring = provider.keyring.clone();
        let routes = Arc::new(ServerRoutes::new(store.current().clone(), store.durable(), progress, clock, keyring));
        tracing::info!(address = %listener.local_addr()?, "listening");
        Ok(Self {
            listener,
            routes,
            store,
            provider,
            thread,
            tasks,
            grace: Duration::from_secs(config.shutdown_grace_s),
        })
    }

    pub(super) fn store(&self) -> &StoreHandle {
        &self.store
    }

    pub(super) fn keyring(&self) -> &Arc<Keyring> {
        &self.provider.keyring
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> Result<SocketAddr, ServeError> {
        Ok(self.listener.local_addr()?)
    }

    /// Answers until `stop`; then ends the streams, waits for open requests, and closes the store.
    ///
    /// # Errors
    /// When connections can no longer be accepted.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
        let Self { listener, routes, store, provider, thread, tasks, grace } = self;
        let listener = listener.tap_io(|stream| {
            // Lines are small and must not wait for each other.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection keeps its delay");
            }
        });
        let (stopping, mut stopped) = watch::channel(false);
        let router = routes.clone().router();
        let stop = {
            async move {
                stop.await;
                routes.stop();
                stopping.send_replace(true);
            }
        };
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop).into_future();
        let too_long = async move {
            // An error means that serving has ended: there is nothing to wait for.
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
        // The service, the store and the provider hold each other.
        provider.store.send_replace(None);
        if store.close().await.is_ok() && thread.join().is_err() {
            tracing::error!("the store's writer panicked");
        }
        tracing::info!("stopped");
        Ok(result?)
    }
}

/// Compacts the buckets, and reports it.
pub(super) async fn compact(store: &StoreHandle) {
    match store.compact().await {
        Ok(operations) => tracing::info!(operations, "compacted"),
        Err(error) => tracing::warn!(%error, "compaction was not stored"),
    }
}
