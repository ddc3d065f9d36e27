//! The database's container: how it is reached, ended, paused and disconnected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sim_stack::postgres::trusting;
use tokio_postgres::Client;
use tokio_postgres::config::SslMode;

use super::docker::State;
use super::group::{ContainerGroup, HEALTHY_POLL, HEALTHY_TIMEOUT};
use super::server::wait_until_ended;
use crate::real::environment::DatabaseAction;
use crate::real::sql::error_text;

/// The service of the compose file.
pub(super) const POSTGRES: &str = "postgres";

pub(super) struct DatabaseContainer {
    group: Arc<ContainerGroup>,
    password: String,
    /// The certificate of the authority that signed its own.
    authority: String,
    is_disconnected: AtomicBool,
}

impl DatabaseContainer {
    pub(super) fn new(group: Arc<ContainerGroup>, password: String, authority: String) -> Self {
        Self { group, password, authority, is_disconnected: AtomicBool::new(false) }
    }

    /// A session in the application's database.
    pub(super) async fn connect(&self) -> Result<Client, String> {
        let mut config = tokio_postgres::Config::new();
        let address = self.group.address(POSTGRES)?;
        config.host("127.0.0.1").port(address.port()).user("user").dbname("flowstate").password(&self.password);
        config.ssl_mode(SslMode::Require).connect_timeout(Duration::from_secs(20));
        let tls = trusting(&self.authority).map_err(|error| error.to_string())?;
        let (client, connection) = config.connect(tls).await.map_err(|error| error_text(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the stack's database ended");
            }
        });
        Ok(client)
    }

    /// Waits until the database answers.
    async fn wait_until_it_answers(&self) -> Result<(), String> {
        let deadline = Instant::now() + HEALTHY_TIMEOUT;
        loop {
            let tried = match tokio::time::timeout(Duration::from_secs(20), self.connect()).await {
                Ok(Ok(client)) => client.batch_execute("SELECT 1").await.map_err(|error| error_text(&error)),
                Ok(Err(problem)) => Err(problem),
                Err(_) => Err("it does not answer".to_owned()),
            };
            match tried {
                Ok(()) => return Ok(()),
                Err(problem) if Instant::now() > deadline => return Err(format!("the database: {problem}")),
                Err(_) => tokio::time::sleep(HEALTHY_POLL).await,
            }
        }
    }

    pub(super) async fn control(&self, action: DatabaseAction) -> Result<(), String> {
        let name = self.group.container(POSTGRES);
        match action {
            DatabaseAction::Kill => {
                // A paused container cannot be killed.
                let _ = self.group.engine.unpause(&name).await;
                self.group.engine.signal(&name, "SIGKILL").await?;
                wait_until_ended(&self.group.engine, "the database", &name).await
            }
            DatabaseAction::Start => {
                self.group.engine.start(&name).await?;
                if self.is_disconnected.load(Ordering::Acquire) { Ok(()) } else { self.wait_until_it_answers().await }
            }
            // The walsender may be paused, and then the database does not end by itself.
            DatabaseAction::Stop => {
                let _ = self.group.engine.unpause(&name).await;
                self.group.engine.stop(&name, 2).await
            }
            DatabaseAction::Pause => self.group.engine.pause(&name).await,
            DatabaseAction::Resume => self.group.engine.unpause(&name).await,
            DatabaseAction::Disconnect => {
                self.is_disconnected.store(true, Ordering::Release);
                self.group.engine.disconnect(&self.group.network, &name).await
            }
            DatabaseAction::Reconnect => {
                self.group.engine.reconnect(&self.group.network, &name).await?;
                self.is_disconnected.store(false, Ordering::Release);
                // One that another fault has ended or paused answers later.
                match self.group.engine.state(&name).await? {
                    State::Well | State::Starting => self.wait_until_it_answers().await,
                    State::Frozen | State::Ended(_) => Ok(()),
                }
            }
        }
    }
}
