//! One private cluster: start, kill, pause, stop.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::postgres::binaries::{Binaries, unprivileged};
use crate::postgres::template::{self, SUPERUSER, random_word, run_as, tail, write};
use crate::postgres::{PostgresError, at, certificate, leftovers, process};

/// How a cluster is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether commits survive a power cut of the machine (fsync). Off for speed; a kill of the server alone loses
    /// no commit either way.
    pub is_durable: bool,
    /// Further settings of `postgresql.conf`, as (name, value); later ones win over ours.
    pub parameters: Vec<(String, String)>,
    /// How long the server may take to answer after a start.
    pub start_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { is_durable: false, parameters: Vec::new(), start_timeout: Duration::from_secs(60) }
    }
}

/// What connects over TLS and believes one authority alone, whose certificate this is (PEM).
pub fn trusting(authority: &str) -> Result<MakeRustlsConnect, PostgresError> {
    let failed = |error: &dyn std::error::Error| PostgresError::Certificate(error.to_string());
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(authority.as_bytes()).map_err(|error| failed(&error))?;
    roots.add(authority).map_err(|error| failed(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// A private cluster. Dropping it kills the server and removes the folder; [`Postgres::stop`] shuts it down first.
#[derive(Debug)]
pub struct Postgres {
    /// Removed when the cluster ends.
    folder: PathBuf,
    program: PathBuf,
    user: Option<(Uid, Gid)>,
    port: u16,
    password: String,
    /// PEM.
    authority: String,
    start_timeout: Duration,
    /// The postmaster, while it runs.
    server: Option<Child>,
    is_paused: bool,
}

/// How many ports are tried: another program may take one between our look and the server's.
const PORTS_MAX: usize = 8;
/// How long a fast shutdown may take before the server is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Postgres {
    /// Starts a cluster of its own in a temporary folder, and sweeps what crashed runs left there.
    ///
    /// # Errors
    /// When there is no server on this machine (the error says what to install), or it does not come up.
    pub async fn start(settings: Settings) -> Result<Self, PostgresError> {
        let binaries = Binaries::find()?;
        let user = unprivileged()?;
        leftovers::sweep(&std::env::temp_dir());
        let template = template::prepare(&binaries, user)?;
        let certificate = certificate::generate(&["localhost", "127.0.0.1"])?;
        let folder = tempfile::Builder::new()
            .prefix(leftovers::PREFIX)
            .permissions(fs::Permissions::from_mode(0o711))
            .tempdir()
            .map_err(at(&std::env::temp_dir()))?;
        write(&folder.path().join(leftovers::OWNER), &leftovers::this_process(), None)?;
        // The server resolves links in its own path, and is told from others by it.
        let path = fs::canonicalize(folder.path()).map_err(at(folder.path()))?;
        let mut cluster = Self {
            folder: path.clone(),
            program: binaries.program("postgres"),
            user,
            port: 0,
            password: template.password.clone(),
            authority: certificate.authority.clone(),
            start_timeout: settings.start_timeout,
            server: None,
            is_paused: false,
        };
        // From here on dropping the cluster removes the folder.
        let _ = folder.keep();
        leftovers::note(&path);
        let data = cluster.data();
        template::copy(&template.data, &data, user)?;
        let readable = path.join("ca.crt");
        fs::write(&readable, &certificate.authority).map_err(at(&readable))?;
        write(&data.join("server.crt"), &certificate.server, user)?;
        write(&data.join("server.key"), &certificate.key, user)?;
        let rules = "host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n";
        write(&data.join("pg_hba.conf"), rules, user)?;
        write(&data.join("postgresql.auto.conf"), &configuration(&settings), user)?;
        cluster.come_up(true).await?;
        cluster.change_password().await?;
        Ok(cluster)
    }

    /// The loopback port. It stays over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The cluster's folder, which goes with it. What else lies in it goes too.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The superuser's name.
    #[must_use]
    pub fn user(&self) -> &'static str {
        SUPERUSER
    }

    /// The superuser's password, generated for this cluster: 32 hex digits.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The file with the certificate of the authority that signed the server's, PEM.
    #[must_use]
    pub fn authority_file(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The URL of a database, with `sslmode=verify-full` and the authority's certificate.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let authority = self.authority_file();
        format!("{}?sslmode=verify-full&sslrootcert={}", self.bare_url(database), authority.display())
    }

    /// The URL of a database without parameters.
    #[must_use]
    pub fn bare_url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// The same as a configuration; TLS is required.
    #[must_use]
    pub fn config(&self, database: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user(SUPERUSER).password(&self.password).dbname(database);
        config.ssl_mode(SslMode::Require).connect_timeout(self.start_timeout);
        config
    }

    /// What connects over TLS and believes this cluster alone.
    ///
    /// # Errors
    /// When the certificate cannot be used.
    pub fn tls(&self) -> Result<MakeRustlsConnect, PostgresError> {
        trusting(&self.authority)
    }

    /// A connection to a database, driven by a task of its own.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn connect(&self, database: &str) -> Result<tokio_postgres::Client, PostgresError> {
        let (client, connection) = self.config(database).connect(self.tls()?).await.map_err(sql)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the private cluster ended");
            }
        });
        Ok(client)
    }

    /// Makes a database.
    ///
    /// # Errors
    /// When there is one of the name, or the server does not answer.
    pub async fn create_database(&self, name: &str) -> Result<(), PostgresError> {
        let client = self.connect("postgres").await?;
        client.batch_execute(&format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""))).await.map_err(sql)
    }

    /// Kills the postmaster and all its children at once, as a power cut would (SIGKILL). The data stays.
    ///
    /// # Errors
    /// When the processes cannot be signalled.
    pub async fn kill_hard(&mut self) -> Result<(), PostgresError> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        self.is_paused = false;
        process::kill_all(pid_of(&server))?;
        ended(&mut server, STOP_TIMEOUT).await.map(|_| ())
    }

    /// Starts the server again, on the same data and port; shuts it down first if it runs.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&mut self) -> Result<(), PostgresError> {
        self.shut_down().await?;
        self.come_up(false).await
    }

    /// Freezes the server: connections stay open, and nothing answers.
    ///
    /// # Errors
    /// When the processes cannot be signalled.
    pub fn pause(&mut self) -> Result<(), PostgresError> {
        let Some(server) = &self.server else { return Ok(()) };
        self.is_paused = true;
        process::pause(pid_of(server))
    }

    /// Lets a frozen server go on.
    ///
    /// # Errors
    /// When the processes cannot be signalled.
    pub fn resume(&mut self) -> Result<(), PostgresError> {
        let Some(server) = &self.server else { return Ok(()) };
        self.is_paused = false;
        process::resume(pid_of(server))
    }

    /// Shuts the server down (fast: transactions are rolled back) and removes its folder.
    ///
    /// # Errors
    /// When the server could neither be shut down nor killed.
    pub async fn stop(mut self) -> Result<(), PostgresError> {
        self.shut_down().await
    }

    /// The last lines of the server's log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&fs::read_to_string(self.log()).unwrap_or_default())
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    async fn shut_down(&mut self) -> Result<(), PostgresError> {
        if self.is_paused {
            self.resume()?;
        }
        let Some(server) = &mut self.server else { return Ok(()) };
        process::signal(pid_of(server), Signal::SIGINT)?;
        match ended(server, STOP_TIMEOUT).await {
            Ok(_) => {
                self.server = None;
                Ok(())
            }
            Err(_) => self.kill_hard().await,
        }
    }

    /// Starts the server and waits until it answers. A new cluster takes another port when its own is taken.
    async fn come_up(&mut self, is_new: bool) -> Result<(), PostgresError> {
        for attempt in 1.. {
            if is_new {
                self.port = free_port()?;
            }
            self.server = Some(self.spawn()?);
            match self.answers().await {
                Ok(()) => return Ok(()),
                Err(PostgresError::Start { said })
                    if is_new && attempt < PORTS_MAX && said.contains("could not bind") => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("the loop returns")
    }

    fn spawn(&self) -> Result<Child, PostgresError> {
        let log = self.log();
        let log = fs::OpenOptions::new().create(true).append(true).open(&log).map_err(at(&log))?;
        let errors = log.try_clone().map_err(at(&self.log()))?;
        let mut command = Command::new(&self.program);
        command.arg("-D").arg(self.data()).arg("-p").arg(self.port.to_string());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("TZ", "UTC").current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        run_as(&mut command, self.user);
        command.spawn().map_err(at(&self.program))
    }

    /// Waits until the server takes a connection; its end or the timeout is an error.
    async fn answers(&mut self) -> Result<(), PostgresError> {
        let deadline = Instant::now() + self.start_timeout;
        loop {
            let asked = match self.connect("postgres").await {
                Ok(client) => client.batch_execute("").await.map_err(sql),
                Err(error) => Err(error),
            };
            let Err(error) = asked else { return Ok(()) };
            let server = self.server.as_mut().expect("it was just started");
            if let Ok(Some(status)) = server.try_wait() {
                self.server = None;
                return Err(PostgresError::Start { said: format!("{status}\n{}", self.log_tail()) });
            }
            if Instant::now() > deadline {
                self.kill_hard().await?;
                return Err(PostgresError::Start { said: format!("{error}\n{}", self.log_tail()) });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn change_password(&mut self) -> Result<(), PostgresError> {
        let password = random_word()?;
        let client = self.connect("postgres").await?;
        client.batch_execute(&format!("ALTER ROLE {SUPERUSER} PASSWORD '{password}'")).await.map_err(sql)?;
        self.password = password;
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            if let Err(error) = process::kill_all(pid_of(&server)) {
                tracing::warn!(%error, "the private cluster");
            }
            let _ = server.wait();
        }
        leftovers::remove(&self.folder);
    }
}

fn sql(error: tokio_postgres::Error) -> PostgresError {
    let said = match error.as_db_error() {
        Some(refused) => refused.to_string(),
        None => error.to_string(),
    };
    PostgresError::Sql(said)
}

fn pid_of(server: &Child) -> i32 {
    i32::try_from(server.id()).expect("process ids are positive and small")
}

async fn ended(server: &mut Child, timeout: Duration) -> Result<ExitStatus, PostgresError> {
    let deadline = Instant::now() + timeout;
    loop {
        match server.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < deadline => tokio::time::sleep(LOOK_EVERY).await,
            Ok(None) => return Err(PostgresError::Signal("the server does not end".to_owned())),
            Err(error) => return Err(PostgresError::Signal(error.to_string())),
        }
    }
}

fn free_port() -> Result<u16, PostgresError> {
    let loopback = Path::new("127.0.0.1");
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(at(loopback))?;
    Ok(listener.local_addr().map_err(at(loopback))?.port())
}

/// `postgresql.auto.conf`, which wins over `postgresql.conf`.
fn configuration(settings: &Settings) -> String {
    let durable = if settings.is_durable { "on" } else { "off" };
    let ours = [
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("wal_level", "logical"),
        ("max_connections", "100"),
        ("max_wal_senders", "20"),
        ("max_replication_slots", "20"),
        ("ssl", "on"),
        ("ssl_cert_file", "server.crt"),
        ("ssl_key_file", "server.key"),
        ("password_encryption", "scram-sha-256"),
        ("fsync", durable),
        // A kill of the server alone loses no commit: what is written reaches the system before it is acknowledged.
        ("synchronous_commit", "on"),
        ("full_page_writes", durable),
        ("shared_buffers", "32MB"),
        ("max_wal_size", "256MB"),
        ("min_wal_size", "2MB"),
        // Files in the data folder: shared memory of the system would outlive a kill.
        ("dynamic_shared_memory_type", "mmap"),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
        ("log_line_prefix", "%m [%p] "),
    ];
    let further = settings.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let lines =
        ours.into_iter().chain(further).map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''")));
    lines.collect()
}
