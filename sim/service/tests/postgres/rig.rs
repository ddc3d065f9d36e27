//! The service's process on a cluster, and clients that reach it over a socket.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as Http;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::client::Client;
use crate::cluster::{Cluster, free_port};

pub(crate) const SECRET: &str = "a secret of the tests";
pub(crate) const AUDIENCE: &str = "powersync-dev";
pub(crate) const KEY: &str = "dev-1";
/// After this time something is wrong, even on a slow machine.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(120);

/// A cluster and a service on it.
pub(crate) struct Rig {
    pub(crate) cluster: Cluster,
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    pub(crate) child: Option<Child>,
    url: String,
    arguments: Vec<String>,
}

impl Rig {
    /// Tables, a publication of all of them, and a service that syncs by these rules.
    pub(crate) async fn start(tables: &str, sync_config: &str) -> Self {
        let mut rig = Self::idle(Cluster::start(), tables, sync_config);
        rig.up().await;
        rig
    }

    /// The same, without starting the service.
    pub(crate) fn idle(cluster: Cluster, tables: &str, sync_config: &str) -> Self {
        cluster.sql(tables);
        // An application's own schema may make the publication.
        if cluster.sql("SELECT count(*) FROM pg_publication WHERE pubname = 'powersync'") == "0" {
            cluster.sql("CREATE PUBLICATION powersync FOR ALL TABLES");
        }
        Self::on(cluster, sync_config)
    }

    /// On a cluster that has tables and a publication.
    pub(crate) fn on(cluster: Cluster, sync_config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = cluster.url();
        let rig = Self { cluster, folder, port: free_port(), child: None, url, arguments: Vec::new() };
        rig.configure(sync_config);
        rig
    }

    pub(crate) fn configure(&self, sync_config: &str) {
        fs::write(self.folder.path().join("sync-config.yaml"), sync_config).expect("a file can be written");
    }

    pub(crate) fn with_url(mut self, url: String) -> Self {
        self.url = url;
        self
    }

    pub(crate) fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|one| (*one).to_owned()));
        self
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Starts the process, without waiting for it.
    pub(crate) fn spawn(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_syncstorm-service"))
            .args(["--sync-config", "sync-config.yaml", "--store", "store.sqlite", "--audience", AUDIENCE])
            .args(["--listen", &format!("127.0.0.1:{}", self.port), "--hs256-key-id", KEY])
            .args(&self.arguments)
            .env("SYNCSTORM_SERVICE_DATABASE_URL", &self.url)
            .env("SYNCSTORM_SERVICE_HS256_SECRET", SECRET)
            .env("SYNCSTORM_SERVICE_LOG", "info,sim_service=debug,pgwire_replication=off")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the service starts");
        self.child = Some(child);
    }

    pub(crate) async fn up(&mut self) {
        self.spawn();
        self.ready().await;
    }

    pub(crate) async fn ready(&self) {
        self.wait_for("readiness", async || {
            matches!(self.get("/probes/readiness").await, Some(response) if response.status() == StatusCode::OK)
        })
        .await;
    }

    /// Kills the process.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("the service runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ended");
    }

    /// Asks the process to stop. Returns whether it succeeded.
    pub(crate) fn terminate(&mut self) -> bool {
        let mut child = self.child.take().expect("the service runs");
        self.signal(&child, "TERM");
        child.wait().expect("it ended").success()
    }

    pub(crate) fn signal(&self, child: &Child, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
        assert!(sent.expect("kill starts").success());
    }

    /// Waits until a condition holds.
    pub(crate) async fn wait_for(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let begun = Instant::now();
        while !condition().await {
            assert!(begun.elapsed() < WAIT_MAX, "no {what} in time; the log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Option<Response<hyper::body::Incoming>> {
        self.send("GET", path, Some(&token(&claims("u1", 0, 3600))), "").await
    }

    /// Sends a request; `None` when nobody answers.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &str,
    ) -> Option<Response<hyper::body::Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://127.0.0.1:{}{path}", self.port))
            .header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).expect("a good request");
        let http: Http<_, Full<Bytes>> = Http::builder(TokioExecutor::new()).build_http();
        http.request(request).await.ok()
    }

    pub(crate) async fn open(&self, body: &Json) -> Option<Lines> {
        self.open_as("u1", body).await
    }

    pub(crate) async fn open_as(&self, user: &str, body: &Json) -> Option<Lines> {
        let token = token(&claims(user, 0, 3600));
        let response = self.send("POST", "/sync/stream", Some(&token), &body.to_string()).await?;
        (response.status() == StatusCode::OK).then(|| Lines::of(response))
    }

    /// Asks for a write checkpoint; `None` when it is not given.
    pub(crate) async fn write_checkpoint(&self, client_id: &str) -> Option<String> {
        let response = self.get(&format!("/write-checkpoint2.json?client_id={client_id}")).await?;
        let body: Json = serde_json::from_str(&text_of(response).await).ok()?;
        body["data"]["write_checkpoint"].as_str().map(str::to_owned)
    }

    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let Some(response) = self.get("/metrics").await else { return 0 };
        let text = text_of(response).await;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("syncstorm_service_{name} ")));
        line.and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Reads a stream, and others after it, until the client holds these rows at a completed checkpoint.
    pub(crate) async fn converge(&self, device: &mut Device, expect: impl Fn() -> Vec<String>) {
        let begun = Instant::now();
        loop {
            if device.complete && device.client.rows() == expect() {
                return;
            }
            let late = || {
                panic!("the rows are not\n{:#?}\nbut\n{:#?}\nthe log:\n{}", expect(), device.client.rows(), self.log())
            };
            if begun.elapsed() > WAIT_MAX {
                late();
            }
            device.step(self).await;
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            let _ = fs::copy(self.log_path(), std::env::temp_dir().join(format!("service-{}.log", self.port)));
        }
    }
}

/// A client that reconnects when its stream ends.
#[derive(Default)]
pub(crate) struct Device {
    pub(crate) client: Client,
    pub(crate) lines: Option<Lines>,
    /// Whether the last line that is not a keepalive completed a checkpoint.
    pub(crate) complete: bool,
    /// How often it has connected.
    pub(crate) connections: usize,
}

impl Device {
    /// Takes a line if one comes soon. Connects if it is not connected.
    pub(crate) async fn step(&mut self, rig: &Rig) {
        let Some(lines) = &mut self.lines else {
            let body = request_body("c1", &self.client.request_buckets());
            self.lines = rig.open(&body).await;
            match self.lines {
                Some(_) => self.connections += 1,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
            self.complete = false;
            return;
        };
        match lines.next_within(Duration::from_millis(100)).await {
            Next::Line(line) => {
                if !line.starts_with("{\"token") {
                    self.complete = line.starts_with("{\"checkpoint_complete");
                }
                self.client.take(&line);
            }
            Next::Nothing => {}
            Next::Ended => self.lines = None,
        }
    }
}

pub(crate) fn request_body(client_id: &str, buckets: &Json) -> Json {
    json!({"client_id": client_id, "raw_data": true, "include_checksum": true, "buckets": buckets, "parameters": {}})
}

/// The lines of an open stream.
pub(crate) struct Lines {
    body: hyper::body::Incoming,
    buffer: Vec<u8>,
}

pub(crate) enum Next {
    Line(String),
    /// No line came in time.
    Nothing,
    Ended,
}

impl Lines {
    pub(crate) fn of(response: Response<hyper::body::Incoming>) -> Self {
        Self { body: response.into_body(), buffer: Vec::new() }
    }

    pub(crate) async fn next_within(&mut self, time: Duration) -> Next {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.drain(..=end).take(end).collect();
                return Next::Line(String::from_utf8(line).expect("lines are text"));
            }
            match tokio::time::timeout(time, self.body.frame()).await {
                Err(_) => return Next::Nothing,
                Ok(Some(Ok(frame))) => {
                    self.buffer.extend_from_slice(&frame.into_data().expect("a stream has no trailers"));
                }
                // The rest of a line that was cut is dropped.
                Ok(None | Some(Err(_))) => return Next::Ended,
            }
        }
    }

    /// The next line, which must come.
    pub(crate) async fn line(&mut self) -> String {
        match self.next_within(WAIT_MAX).await {
            Next::Line(line) => line,
            Next::Nothing => panic!("no line in time"),
            Next::Ended => panic!("the stream ended"),
        }
    }

    /// The lines up to the next completed checkpoint, without keepalives.
    pub(crate) async fn checkpoint(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            if line.starts_with("{\"token") {
                continue;
            }
            let complete = line.starts_with("{\"checkpoint_complete");
            lines.push(line);
            if complete {
                return lines;
            }
        }
    }
}

pub(crate) fn claims(user: &str, issued: i64, expires: i64) -> Json {
    #[expect(clippy::disallowed_methods, reason = "the service under test runs on the real clock")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970").as_secs();
    let now = i64::try_from(now).expect("it is long before the limit");
    json!({"sub": user, "aud": AUDIENCE, "iat": now + issued, "exp": now + expires})
}

pub(crate) fn token(claims: &Json) -> String {
    signed(KEY, SECRET, claims)
}

pub(crate) fn signed(key: &str, secret: &str, claims: &Json) -> String {
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    header.kid = Some(key.to_owned());
    let secret = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    format!("Token {}", jsonwebtoken::encode(&header, claims, &secret).expect("claims encode"))
}

pub(crate) async fn text_of(response: Response<hyper::body::Incoming>) -> String {
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Lines as texts.
pub(crate) fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
