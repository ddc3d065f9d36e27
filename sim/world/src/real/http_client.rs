//! The HTTP client of everything that asks a server from this machine, and the questions of the harness itself.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// The client of all requests of one plan.
pub(crate) type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// How long a server that listens may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// How often it is asked.
const READY_POLL: Duration = Duration::from_millis(2);

pub(crate) fn http_client() -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

/// The position that the clients of our own service see.
pub(crate) async fn replicated_lsn(http: &HttpClient, service: SocketAddr) -> Option<u64> {
    metric(http, service, "replicated_lsn_bytes").await
}

/// One of the metrics of our own service.
pub(crate) async fn metric(http: &HttpClient, service: SocketAddr, name: &str) -> Option<u64> {
    let uri = format!("http://{service}/metrics").parse().expect("an address and a path make a URI");
    let body = http.get(uri).await.ok()?.into_body().collect().await.ok()?.to_bytes();
    let mut lines = std::str::from_utf8(&body).ok()?.lines();
    lines.find_map(|line| line.strip_prefix("syncstorm_service_")?.strip_prefix(name)?.strip_prefix(' '))?.parse().ok()
}

/// The status with which a server answers a request with this token.
pub(crate) async fn status(http: &HttpClient, server: SocketAddr, path: &str, token: &str) -> Option<u16> {
    let request = Request::get(format!("http://{server}{path}")).header(AUTHORIZATION, format!("Bearer {token}"));
    let request = request.body(Full::default()).expect("an address and a path make a URI, and tokens are texts");
    http.request(request).await.ok().map(|response| response.status().as_u16())
}

/// Waits until a server says that it is ready.
pub(crate) async fn wait_until_ready(http: &HttpClient, server: SocketAddr) -> Result<(), String> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let uri = format!("http://{server}/probes/readiness").parse().expect("an address and a path make a URI");
        match http.get(uri).await {
            Ok(answer) if answer.status() == StatusCode::OK => return Ok(()),
            Ok(answer) if Instant::now() > deadline => return Err(format!("not ready: {}", answer.status())),
            Err(error) if Instant::now() > deadline => return Err(format!("not ready: {error}")),
            _ => tokio::time::sleep(READY_POLL).await,
        }
    }
}
