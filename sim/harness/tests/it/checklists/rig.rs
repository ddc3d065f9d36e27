//! A whole stack on loopback, as the guide has it: PostgreSQL, Redis with a password, the backend with its own keys, the
//! service that fetches them.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fixtures::App;
use sim_stack::postgres::{Postgres, Settings};
use tempfile::TempDir;

pub(super) const AUDIENCE: &str = "checklists";
pub(super) const ORIGIN: &str = "http://localhost:5173";
pub(super) const DATABASE: &str = "app";
const REDIS_PASSWORD: &str = "a-passw0rd-0f-the-tests-4711";
/// After this something is wrong, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process that ends with its handle.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) struct Rig {
    pub(super) app: App,
    pub(super) cluster: Postgres,
    pub(super) folder: TempDir,
    pub(super) backend: u16,
    pub(super) service: u16,
    pub(super) redis: u16,
    _backend: Server,
    _redis: Server,
    pub(super) running: Option<Server>,
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it has one").port()
}

pub(super) fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a server says that it is ready.
fn is_ready(port: u16) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))) else { return false };
    let mut answer = String::new();
    stream.write_all(b"GET /probes/readiness HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.contains(" 200 ")
}

/// Starts the program as a server and waits until it is ready.
pub(crate) fn serve(folder: &Path, port: u16, set: impl FnOnce(&mut Command)) -> Server {
    let log = fs::File::create(folder.join(format!("log-{port}"))).expect("a log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncstorm"));
    set(&mut command);
    command.args(["--listen", &format!("127.0.0.1:{port}")]).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let server = Server(command.spawn().expect("the program starts"));
    wait_for(&format!("{command:?} is not ready"), || is_ready(port));
    server
}

impl Rig {
    pub(super) async fn start() -> Self {
        let app = App::builtin("flowstate").expect("it is built in");
        let cluster = Postgres::start(Settings::default()).await.expect("PostgreSQL is installed");
        cluster.create_database(DATABASE).await.expect("it is empty");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (backend, service, redis) = (free_port(), free_port(), free_port());
        cluster.connect(DATABASE).await.expect("it answers").batch_execute(&app.schema_sql).await.expect("lawful");
        fs::write(folder.path().join("sync-config.yaml"), &app.sync_config).expect("a file can be written");
        let redis_server = Command::new("redis-server")
            .args(["--port", &redis.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
            .arg(folder.path())
            .args(["--requirepass", REDIS_PASSWORD])
            .stdout(Stdio::null())
            .spawn();
        let redis_server = Server(redis_server.expect("redis-server is installed; ./x test sees to it"));
        let backend_server = serve(folder.path(), backend, |command| {
            command.args(["backend", "--app", "flowstate", "--state-dir", "state", "--audience", AUDIENCE]);
            command.args(["--cors-origin", ORIGIN]).env("DATABASE_URL", cluster.url(DATABASE));
        });
        wait_for("Redis listens", || TcpStream::connect(("127.0.0.1", redis)).is_ok());
        let mut rig = Self {
            app,
            cluster,
            folder,
            backend,
            service,
            redis,
            _backend: backend_server,
            _redis: redis_server,
            running: None,
        };
        rig.start_service();
        rig
    }

    pub(super) fn start_service(&mut self) {
        self.running = Some(self.service_at(self.service, &[]));
    }

    /// A sync service of the rig's database.
    pub(super) fn service_at(&self, port: u16, further: &[&str]) -> Server {
        let folder = self.folder.path();
        serve(folder, port, |command| {
            command.args(["service", "--sync-config", "sync-config.yaml", "--audience", AUDIENCE]);
            command.arg("--store").arg(format!("store-{port}.sqlite")).args(["--store-sync", "process"]).args(further);
            command.args(["--jwks-url", &format!("http://127.0.0.1:{}/.well-known/jwks.json", self.backend)]);
            command
                .env("SYNCSTORM_SERVICE_DATABASE_URL", self.cluster.url(DATABASE).replace("verify-full", "verify-ca"));
        })
    }

    /// The backend's own key.
    pub(super) fn key_file(&self) -> PathBuf {
        let keys = fs::read_dir(self.folder.path().join("state/keys")).expect("the backend made its keys");
        keys.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some()).expect("there is one")
    }

    pub(super) fn redis_url(&self) -> String {
        format!("redis://:{REDIS_PASSWORD}@127.0.0.1:{}", self.redis)
    }

    /// Every flag, with these in the place of, or after, its own.
    pub(super) fn args(&self, others: &[(&str, String)]) -> Vec<String> {
        let mut flags = vec![
            ("--powersync-url", format!("http://127.0.0.1:{}", self.service)),
            ("--backend-url", format!("http://127.0.0.1:{}", self.backend)),
            ("--postgres-url", self.cluster.url(DATABASE)),
            ("--redis-url", self.redis_url()),
            ("--origin", ORIGIN.to_owned()),
            ("--audience", AUDIENCE.to_owned()),
            ("--token-key", self.key_file().display().to_string()),
        ];
        for (flag, value) in others {
            // One source of tokens takes the place of another.
            let is_token = |name: &str| name.starts_with("--token");
            flags.retain(|(name, _)| name != flag && !(is_token(name) && is_token(flag)));
            flags.push((flag, value.clone()));
        }
        flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
    }

    pub(super) async fn sql(&self, statements: &str) {
        let client = self.cluster.connect(DATABASE).await.expect("the cluster answers");
        client.batch_execute(statements).await.expect("the statements are lawful");
    }

    /// Asks Redis by hand.
    pub(super) fn redis(&self, password: &str, command: &str) {
        use std::io::{Read as _, Write as _};
        let mut stream = TcpStream::connect(("127.0.0.1", self.redis)).expect("Redis listens");
        let login = if password.is_empty() { String::new() } else { format!("AUTH {password}\r\n") };
        stream.write_all(format!("{login}{command}\r\nQUIT\r\n").as_bytes()).expect("it takes them");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("it answers");
        assert!(!said.contains("-ERR") && !said.contains("-NOAUTH"), "{said}");
    }

    pub(super) fn redis_password(&self) -> &'static str {
        REDIS_PASSWORD
    }
}
