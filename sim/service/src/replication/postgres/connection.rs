//! How PostgreSQL is reached: its URL and TLS settings.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use pgwire_replication::{Lsn, ReplicationClient, ReplicationConfig, SslMode, TlsConfig};

use super::session::{PostgresError, Session, identifier, within};
use crate::percent::percent_decoded;

/// The replication slot that the deployment guide names.
pub const DEFAULT_SLOT: &str = "powersync_replication_slot";
/// The publication that the deployment guide names.
pub const DEFAULT_PUBLICATION: &str = "powersync";

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Values must have one form, whatever the server's settings are.
const SESSION_OPTIONS: &str = "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c extra_float_digits=1 \
    -c bytea_output=hex -c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c synchronous_commit=local";

/// Where PostgreSQL is and what is followed there.
#[derive(Clone)]
pub struct Connection {
    host: String,
    port: u16,
    user: String,
    password: String,
    database: String,
    tls: TlsConfig,
    /// The replication slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
}

/// The description of a connection is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadConnection {
    /// The URL.
    #[error("the database URL {0}")]
    Url(&'static str),
    /// A name that PostgreSQL does not allow.
    #[error("{0}")]
    Name(&'static str),
}

impl Connection {
    /// Reads `postgres://user:password@host:port/database?sslmode=require&sslrootcert=ca.pem`. A host may also be
    /// given as `host=` in the query, for example a folder with a socket.
    ///
    /// # Errors
    /// When the URL is malformed or asks for what is not known, or a name is not one.
    pub fn new(url: &str, slot: &str, publication: &str) -> Result<Self, BadConnection> {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .ok_or(BadConnection::Url("must start with postgres://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, address) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':').unwrap_or("")),
            None => address.split_once(':').unwrap_or((address, "")),
        };
        let port = if port.is_empty() {
            5432
        } else {
            port.parse().map_err(|_| BadConnection::Url("has a port that is no number"))?
        };
        let user = if user.is_empty() { "postgres".to_owned() } else { percent_decoded(user) };
        let database = if database.is_empty() { user.clone() } else { percent_decoded(database) };
        let mut connection = Self {
            host: if host.is_empty() { "127.0.0.1".to_owned() } else { percent_decoded(host) },
            port,
            user,
            password: percent_decoded(password),
            database,
            tls: TlsConfig { mode: SslMode::Prefer, ..TlsConfig::default() },
            slot: slot.to_owned(),
            publication: publication.to_owned(),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            connection.option(key, percent_decoded(value))?;
        }
        if connection.host.starts_with('/') {
            connection.tls.mode = SslMode::Disable;
        }
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if slot.is_empty() || slot.len() > 63 || !slot.bytes().all(letters) {
            return Err(BadConnection::Name("a slot's name is made of a to z, 0 to 9 and _"));
        }
        if publication.is_empty() || publication.contains(['\0', ',']) {
            return Err(BadConnection::Name("one publication must be named"));
        }
        Ok(connection)
    }

    fn option(&mut self, key: &str, value: String) -> Result<(), BadConnection> {
        match key {
            "sslmode" => {
                self.tls.mode = match value.as_str() {
                    "disable" => SslMode::Disable,
                    "allow" | "prefer" => SslMode::Prefer,
                    "require" => SslMode::Require,
                    "verify-ca" => SslMode::VerifyCa,
                    "verify-full" => SslMode::VerifyFull,
                    _ => return Err(BadConnection::Url("has an sslmode that is not known")),
                }
            }
            "sslrootcert" => self.tls.ca_pem_path = Some(PathBuf::from(value)),
            "sslcert" => self.tls.client_cert_pem_path = Some(PathBuf::from(value)),
            "sslkey" => self.tls.client_key_pem_path = Some(PathBuf::from(value)),
            "sslsni" => self.tls.sni_hostname = Some(value),
            "host" => self.host = value,
            "port" => self.port = value.parse().map_err(|_| BadConnection::Url("has a port that is no number"))?,
            "user" => self.user = value,
            "password" => self.password = value,
            "dbname" => self.database = value,
            "application_name" | "connect_timeout" => {}
            _ => return Err(BadConnection::Url("has a parameter that is not known")),
        }
        Ok(())
    }

    /// Opens a session for queries. It can stream from `start` later.
    pub(super) async fn open(&self, start: u64) -> Result<Session, PostgresError> {
        // A publication is quoted as in SQL, a slot is not.
        let (slot, publication) = (self.slot.as_str(), identifier(&self.publication));
        let mut config =
            ReplicationConfig::new(&self.host, &self.user, &self.password, &self.database, slot, publication);
        config.port = self.port;
        config.tls = self.tls.clone();
        config.start_lsn = Lsn::from_u64(start);
        config.ack_lsn = Some(Lsn::from_u64(start));
        config.options = Some(SESSION_OPTIONS.to_owned());
        config.application_name = Some("syncstorm-service".to_owned());
        // A server that is being stopped waits for the confirmation of everything that it has sent.
        config.status_interval = Duration::from_millis(100);
        let mut client = within(CONNECT_LIMIT, ReplicationClient::connect_gated(config)).await?;
        within(CONNECT_LIMIT, client.simple_query("SELECT 1")).await?;
        Ok(Session { client })
    }
}

/// Shows nothing secret.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .field("slot", &self.slot)
            .field("publication", &self.publication)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expect: Result<&str, &str>) {
        let got = Connection::new(url, "slot", "powersync").map(|one| {
            let mode = one.tls.mode;
            format!("{} {} {} {} {} {mode:?}", one.host, one.port, one.user, one.password, one.database)
        });
        assert_eq!(got.map_err(|error| error.to_string()), expect.map(str::to_owned).map_err(str::to_owned), "{url}");
    }

    #[test]
    fn urls() {
        check("postgres://u:p%40ss@db:5433/app?sslmode=require", Ok("db 5433 u p@ss app Require"));
        check("postgresql://u@[::1]/app", Ok("::1 5432 u  app Prefer"));
        check("postgres:///app?host=/run/pg&port=6000&user=x", Ok("/run/pg 6000 x  app Disable"));
        check("postgres://localhost", Ok("localhost 5432 postgres  postgres Prefer"));
        check("mysql://x", Err("the database URL must start with postgres://"));
        check("postgres://x:port/", Err("the database URL has a port that is no number"));
        check("postgres://x/y?sslmode=maybe", Err("the database URL has an sslmode that is not known"));
        check("postgres://x/y?target=1", Err("the database URL has a parameter that is not known"));
        assert!(Connection::new("postgres://x", "Slot", "p").is_err());
        assert!(Connection::new("postgres://x", "s", "a,b").is_err());
    }

    #[test]
    fn nothing_secret_is_shown() {
        let connection = Connection::new("postgres://u:secret@h/d", "s", "p").expect("a good URL");
        assert!(!format!("{connection:?}").contains("secret"));
    }
}
