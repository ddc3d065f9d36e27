//! A session with the stack's database.

use std::collections::BTreeSet;
use std::time::Duration;

use ::backend::store::postgres::tls::Address;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::chain;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum NoSession {
    /// The server speaks no TLS, and the URL asks for it.
    #[error("it speaks no TLS, and the address asks for it")]
    NoTls,
    /// Its certificate is not believed.
    #[error("its certificate is not believed: {0}")]
    Certificate(String),
    /// Name or password.
    #[error("it does not take the name and password: {0}")]
    Password(String),
    /// By `pg_hba.conf`.
    #[error("it lets nobody in from here: {0}")]
    NotAllowed(String),
    /// Nothing came in time.
    #[error("it does not answer in time")]
    Silent,
    /// Everything else.
    #[error("it cannot be used: {0}")]
    Away(String),
}

/// A session, driven by a task of its own.
pub async fn connect(address: &Address, patience: Duration) -> Result<Client, NoSession> {
    let (mut config, tls) = address.connector().map_err(NoSession::Away)?;
    config.connect_timeout(patience).application_name("syncstorm");
    let (client, connection) = match tokio::time::timeout(patience, config.connect(tls)).await {
        Ok(Ok(session)) => session,
        Ok(Err(error)) => return Err(NoSession::of(&error)),
        Err(_) => return Err(NoSession::Silent),
    };
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a session ended");
        }
    });
    Ok(client)
}

/// The tables of schema `public` that a publication covers.
pub async fn published(client: &Client, publication: &str) -> Result<BTreeSet<String>, tokio_postgres::Error> {
    let sql = "SELECT tablename::text FROM pg_publication_tables WHERE pubname = $1 AND schemaname = 'public'";
    Ok(client.query(sql, &[&publication]).await?.iter().map(|row| row.get(0)).collect())
}

impl NoSession {
    fn of(error: &tokio_postgres::Error) -> Self {
        let said = chain(error);
        match error.code() {
            Some(code) if *code == SqlState::INVALID_PASSWORD => Self::Password(said),
            Some(code) if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => Self::NotAllowed(said),
            _ if said.contains("does not support TLS") => Self::NoTls,
            _ if said.contains("certificate") => Self::Certificate(said),
            _ if said.contains("password missing") => {
                Self::Password("it wants a password, and none was named".to_owned())
            }
            _ if said.contains("timed out") => Self::Silent,
            _ => Self::Away(said),
        }
    }
}
