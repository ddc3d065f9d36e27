//! A private PostgreSQL server for the tests of this crate: loopback only, in a folder of its own, gone when dropped.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// A server. It runs as `postgres` when the tests run as root.
pub(crate) struct Cluster {
    folder: TempDir,
    pub(crate) port: u16,
    running: bool,
}

fn binaries() -> PathBuf {
    let named = std::env::var_os("SYNCSTORM_PG_BIN").map(PathBuf::from);
    let usual = (15..=18).rev().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    let found = named.into_iter().chain(usual).find(|folder| folder.join("initdb").exists());
    found.expect("PostgreSQL 15 to 18 is installed (./x test sees to it), or SYNCSTORM_PG_BIN names its folder")
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    listener.local_addr().expect("it has an address").port()
}

fn as_postgres(program: &Path) -> Command {
    let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
    command
}

fn run(command: &mut Command) -> String {
    let output = command.current_dir("/").stdin(Stdio::null()).output().expect("a program of PostgreSQL starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// A data folder to copy, created once.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<TempDir> = OnceLock::new();
    let folder = TEMPLATE.get_or_init(|| {
        let folder = own_folder();
        let data = folder.path().join("data");
        run(as_postgres(&binaries().join("initdb"))
            .args(["--no-sync", "-A", "trust", "-U", "postgres", "-D"])
            .arg(&data));
        let mut settings =
            fs::OpenOptions::new().append(true).open(data.join("postgresql.conf")).expect("initdb wrote its settings");
        settings
            .write_all(
                b"wal_level = logical\nfsync = off\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n\
                  max_connections = 50\nautovacuum = off\ntimezone = 'Asia/Tokyo'\ndatestyle = 'German'\n",
            )
            .expect("settings can be written");
        folder
    });
    folder.path()
}

fn own_folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("pg-").tempdir().expect("a temporary folder");
    // PostgreSQL's own user creates the data folder in it.
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("it is ours");
    folder
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let folder = own_folder();
        let data = folder.path().join("data");
        run(as_postgres(Path::new("cp")).arg("-a").arg(template().join("data")).arg(&data));
        let mut cluster = Self { folder, port: free_port(), running: false };
        cluster.up();
        cluster
    }

    pub(crate) fn up(&mut self) {
        let options = format!("-p {}", self.port);
        let log = self.folder.path().join("log");
        self.control(&["-w", "-t", "60", "-o", &options, "-l", log.to_str().expect("a plain path"), "start"]);
        self.running = true;
    }

    /// Stops it: `fast`, or `immediate`, which is a crash.
    pub(crate) fn down(&mut self, mode: &str) {
        self.running = false;
        self.control(&["-w", "-t", "60", "-m", mode, "stop"]);
    }

    fn control(&self, arguments: &[&str]) {
        let data = self.folder.path().join("data");
        // The server would keep inherited pipes open.
        let status = as_postgres(&binaries().join("pg_ctl"))
            .arg("-D")
            .arg(data)
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("pg_ctl starts");
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        assert!(status.success(), "pg_ctl {arguments:?}: {log}");
    }

    /// Executes SQL, each statement in its own transaction unless it says otherwise. Returns the rows as `a|b` lines.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.sql_in("postgres", sql)
    }

    pub(crate) fn sql_in(&self, database: &str, sql: &str) -> String {
        let output = psql(self.port, database, sql).expect("psql reads");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        assert!(output.status.success(), "{sql}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Executes SQL that may fail. Returns whether it succeeded.
    pub(crate) fn try_sql(port: u16, sql: &str) -> bool {
        psql(port, "postgres", sql).is_some_and(|output| output.status.success())
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// Turns TLS on, with a certificate of its own.
    pub(crate) fn with_tls(&mut self) {
        let data = self.folder.path().join("data");
        let (key, certificate) = (data.join("server.key"), data.join("server.crt"));
        run(as_postgres(Path::new("openssl"))
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate));
        self.sql("ALTER SYSTEM SET ssl = on");
        self.down("fast");
        self.up();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.running {
            self.down("immediate");
        }
    }
}

/// `None` when the server went away before it had read everything.
fn psql(port: u16, database: &str, sql: &str) -> Option<std::process::Output> {
    let mut child = Command::new(binaries().join("psql"))
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres", "-d", database])
        .args(["-p", &port.to_string()])
        .env("PGOPTIONS", "-c client_min_messages=warning")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql starts");
    let written = child.stdin.take().expect("a pipe").write_all(sql.as_bytes());
    let output = child.wait_with_output().expect("psql ends");
    written.is_ok().then_some(output)
}
