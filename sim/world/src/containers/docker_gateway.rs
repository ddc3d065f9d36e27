//! A private socket before the Docker engine that speaks the engine's own version of its interface.
//!
//! Written by hand because testcontainers does not negotiate the version (it is made for 1.53), and an engine refuses
//! whatever is newer than itself: Docker 20.10 knows 1.41, Docker 28 knows 1.51, Podman 4 says 1.41. So a version in a
//! request's path is replaced by the engine's, where that is older; bollard 0.21.1 happens to send none. Nothing else
//! changes: bodies pass in both directions as they come, and so do the connections that `exec` and `attach` take over.
//!
//! testcontainers finds the engine by `DOCKER_HOST` alone, and a process cannot change its own environment while it has
//! threads. So [`require_gateway`] starts the program again, once, with `DOCKER_HOST` naming the socket here.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use sim_stack::postgres::random_word;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::{Mutex, oneshot};

/// Where testcontainers looks for the engine.
const HOST_VARIABLE: &str = "DOCKER_HOST";
/// Where the engine really is; set when the program has started itself again.
const ENGINE_VARIABLE: &str = "SYNCSTORM_DOCKER_ENGINE";
/// Where the engine listens, unless `DOCKER_HOST` says otherwise.
const USUAL_ENGINE: &str = "unix:///var/run/docker.sock";
/// How long the engine may take to say which version it speaks.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);
/// Greatest size of that answer.
const VERSION_MAX_BYTES: usize = 1 << 20;

/// The socket that everybody in this process uses.
static SHARED: Mutex<Weak<Gateway>> = Mutex::const_new(Weak::new());

/// A socket in a folder of its own. Both go with the handle, and with them every connection.
pub(super) struct Gateway {
    folder: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Where an engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Engine {
    Unix(PathBuf),
    Tcp(String),
}

/// A version of the engine's interface, as in `/v1.41/info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u32,
    minor: u32,
}

/// A connection to an engine.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Starts this program again, with the same arguments, so that testcontainers finds the engine through the gateway;
/// returns where that has been done already. Nothing must have been written before.
///
/// # Errors
/// When the program cannot be started again.
pub fn require_gateway() -> Result<(), String> {
    if std::env::var_os(ENGINE_VARIABLE).is_some() {
        return Ok(());
    }
    let word = random_word().map_err(|error| error.to_string())?;
    let folder = std::env::temp_dir().join(format!("syncstorm-docker-{word}"));
    let program = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| program.clone().into_os_string());
    let error = Command::new(&program)
        .arg0(name)
        .args(arguments)
        .env(ENGINE_VARIABLE, engine_host(std::env::var(HOST_VARIABLE).ok()))
        .env(HOST_VARIABLE, format!("unix://{}", socket_in(&folder).display()))
        .exec();
    Err(format!("{}: {error}", program.display()))
}

fn engine_host(set: Option<String>) -> String {
    set.filter(|host| !host.is_empty()).unwrap_or_else(|| USUAL_ENGINE.to_owned())
}

fn socket_in(folder: &Path) -> PathBuf {
    folder.join("docker.sock")
}

impl Gateway {
    /// The socket that `DOCKER_HOST` names: the one that is up, or a new one.
    ///
    /// # Errors
    /// What is wrong with the engine, and what to do.
    pub(super) async fn shared() -> Result<Arc<Self>, String> {
        let mut shared = SHARED.lock().await;
        if let Some(gateway) = shared.upgrade() {
            return Ok(gateway);
        }
        let engine =
            std::env::var(ENGINE_VARIABLE).map_err(|_| "the program has not started itself again".to_owned())?;
        let gateway = Arc::new(Self::start(engine, folder().unwrap_or_default()).await?);
        *shared = Arc::downgrade(&gateway);
        Ok(gateway)
    }

    /// Listens in a new folder that its owner alone may enter, on a thread of its own: whoever uses it may come from
    /// any runtime, and outlive that.
    async fn start(engine: String, folder: PathBuf) -> Result<Self, String> {
        let ((stop, stopped), (up, is_up)) = (oneshot::channel(), oneshot::channel());
        let place = folder.clone();
        let thread = std::thread::spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(up.send(Err(error.to_string()))),
            };
            runtime.block_on(async move {
                match listen(&engine, &place).await {
                    Ok((listener, router)) => {
                        let _ = up.send(Ok(()));
                        tokio::select! {
                            biased;
                            _ = stopped => {}
                            served = axum::serve(listener, router) => drop(served),
                        }
                    }
                    Err(problem) => drop(up.send(Err(problem))),
                }
            });
        });
        let gateway = Self { folder, stop: Some(stop), thread: Some(thread) };
        is_up.await.unwrap_or_else(|_| Err("its thread ended".to_owned()))?;
        Ok(gateway)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Removes the socket of a process that is about to end without dropping its handles.
pub(super) fn remove_socket() {
    if let Some(folder) = folder() {
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// The folder of the socket that `DOCKER_HOST` names, once the program has started itself again.
fn folder() -> Option<PathBuf> {
    std::env::var_os(ENGINE_VARIABLE)?;
    let host = std::env::var(HOST_VARIABLE).ok()?;
    Path::new(host.strip_prefix("unix://")?).parent().map(Path::to_owned)
}

async fn listen(host: &str, folder: &Path) -> Result<(UnixListener, Router), String> {
    let missing = |why: &dyn std::fmt::Display| missing(host, why);
    let engine = Engine::parse(host).ok_or_else(|| missing(&"only unix:// and tcp:// are known here"))?;
    let version = match tokio::time::timeout(VERSION_TIMEOUT, engine.version()).await {
        Ok(version) => version.map_err(|problem| missing(&problem))?,
        Err(_) => return Err(missing(&"it does not answer")),
    };
    let words = |error: io::Error| format!("a socket for Docker in {}: {error}", folder.display());
    DirBuilder::new().mode(0o700).create(folder).map_err(words)?;
    let socket = socket_in(folder);
    let listener = UnixListener::bind(&socket).map_err(words)?;
    std::fs::set_permissions(&socket, Permissions::from_mode(0o600)).map_err(words)?;
    Ok((listener, Router::new().fallback(forward).with_state((Arc::new(engine), version))))
}

fn missing(host: &str, why: &dyn std::fmt::Display) -> String {
    format!("Docker does not answer at {host}: {why}. Start it, or install it (on Debian: apt-get install docker.io)")
}

impl Engine {
    fn parse(host: &str) -> Option<Self> {
        if let Some(path) = host.strip_prefix("unix://") {
            return Some(Self::Unix(PathBuf::from(path)));
        }
        let address = host.strip_prefix("tcp://").or_else(|| host.strip_prefix("http://"))?;
        Some(Self::Tcp(address.trim_end_matches('/').to_owned()))
    }

    async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        Ok(match self {
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tcp(address) => Box::new(TcpStream::connect(address.as_str()).await?),
        })
    }

    /// Sends a request on a connection of its own.
    async fn send<B>(&self, request: Request<B>) -> Result<Response<hyper::body::Incoming>, String>
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let connection = self.connect().await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(connection)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(|error| error.to_string())
    }

    /// The newest version that it speaks.
    async fn version(&self) -> Result<Version, String> {
        let mut request = Request::new(Empty::<bytes::Bytes>::new());
        *request.uri_mut() = Uri::from_static("/version");
        request.headers_mut().insert(http::header::HOST, HeaderValue::from_static("docker"));
        let answer = self.send(request).await?;
        let status = answer.status();
        let body =
            Limited::new(answer.into_body(), VERSION_MAX_BYTES).collect().await.map_err(|error| error.to_string())?;
        let json: serde_json::Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        let version = json["ApiVersion"].as_str().and_then(Version::parse);
        version.ok_or_else(|| format!("it does not say which version it speaks (status {status})"))
    }
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

/// The path with a version that the engine speaks.
fn path_for(engine: Version, path: &str) -> Option<String> {
    let (version, rest) = path.strip_prefix("/v")?.split_once('/')?;
    let is_newer = Version::parse(version)? > engine;
    is_newer.then(|| format!("/v{}.{}/{rest}", engine.major, engine.minor))
}

/// Sends a request on to the engine, and its answer back.
async fn forward(
    State((engine, version)): State<(Arc<Engine>, Version)>,
    mut request: Request<Body>,
) -> Response<Body> {
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let path = path_for(version, path).unwrap_or_else(|| path.to_owned());
    match path.parse() {
        Ok(uri) => *request.uri_mut() = uri,
        Err(error) => return failed(StatusCode::BAD_REQUEST, &error),
    }
    let client = hyper::upgrade::on(&mut request);
    match engine.send(request).await {
        Ok(mut answer) => {
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                let server = hyper::upgrade::on(&mut answer);
                tokio::spawn(async move {
                    if let (Ok(client), Ok(server)) = tokio::join!(client, server) {
                        // Either end may go away at any time.
                        let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(server)).await;
                    }
                });
            }
            answer.map(Body::new)
        }
        Err(problem) => failed(StatusCode::BAD_GATEWAY, &problem),
    }
}

/// An answer in the engine's own form.
fn failed(status: StatusCode, why: &dyn std::fmt::Display) -> Response<Body> {
    let mut response = Response::new(Body::from(serde_json::json!({ "message": why.to_string() }).to_string()));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_paths() {
        let docker_20_10 = Version { major: 1, minor: 41 };
        for (path, expect) in [
            ("/v1.53/containers/json?all=true", Some("/v1.41/containers/json?all=true")),
            ("/v1.41/info", None),
            ("/v1.24/info", None),
            ("/version", None),
            ("/v1.53", None),
            ("/volumes/v1.53/x", None),
        ] {
            assert_eq!(path_for(docker_20_10, path).as_deref(), expect, "{path}");
        }
    }

    #[test]
    fn addresses_of_engines() {
        let unix = Engine::Unix(PathBuf::from("/run/podman/podman.sock"));
        assert_eq!(Engine::parse("unix:///run/podman/podman.sock"), Some(unix));
        assert_eq!(Engine::parse("tcp://127.0.0.1:2375"), Some(Engine::Tcp("127.0.0.1:2375".to_owned())));
        assert_eq!(Engine::parse("ssh://somewhere"), None);
        assert_eq!(engine_host(Some(String::new())), USUAL_ENGINE);
    }

    /// An engine that answers with what it was asked, and takes a connection over where it is asked to.
    #[tokio::test]
    async fn requests_and_taken_over_connections_pass() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (engine, own) = (folder.path().join("engine.sock"), folder.path().join("own"));
        let listener = tokio::net::UnixListener::bind(&engine).expect("a socket");
        let answer = |request: Request<Body>| async move {
            match request.uri().path() {
                "/version" => Response::new(Body::from(r#"{"ApiVersion":"1.41"}"#)),
                "/v1.41/exec/x/start" => {
                    let mut request = request;
                    let client = hyper::upgrade::on(&mut request);
                    tokio::spawn(async move {
                        let mut client = TokioIo::new(client.await.expect("it is taken over"));
                        let mut bytes = [0; 4];
                        client.read_exact(&mut bytes).await.expect("four bytes");
                        client.write_all(&bytes).await.expect("it listens");
                    });
                    let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
                    let response = response.header("connection", "Upgrade").header("upgrade", "tcp");
                    response.body(Body::empty()).expect("sound headers")
                }
                path => Response::new(Body::from(path.to_owned())),
            }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        let gateway = Gateway::start(format!("unix://{}", engine.display()), own.clone()).await.expect("it listens");
        let socket = socket_in(&own);
        let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(&own), mode(&socket)), (0o700, 0o600));
        let through = Engine::Unix(socket);
        let request = |path: &str| {
            let request = Request::get(path).header("host", "docker");
            request.header("connection", "Upgrade").header("upgrade", "tcp").body(Body::empty()).expect("sound")
        };
        let reply = through.send(request("/v1.53/info")).await.expect("it answers");
        let body = reply.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, "/v1.41/info");
        let mut reply = through.send(request("/v1.53/exec/x/start")).await.expect("it answers");
        assert_eq!(reply.status(), StatusCode::SWITCHING_PROTOCOLS);
        let mut taken = TokioIo::new(hyper::upgrade::on(&mut reply).await.expect("it is taken over"));
        taken.write_all(b"ping").await.expect("it listens");
        let mut bytes = [0; 4];
        taken.read_exact(&mut bytes).await.expect("it answers");
        assert_eq!(&bytes, b"ping");
        drop(gateway);
        assert!(!own.exists());
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let started = Gateway::start("unix:///nowhere.sock".to_owned(), folder.path().join("own")).await;
        let problem = started.err().expect("nothing is there");
        assert!(
            problem.contains("Docker does not answer at unix:///nowhere.sock") && problem.contains("install"),
            "{problem}"
        );
    }
}
