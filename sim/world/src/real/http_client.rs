//! The HTTP client of everything that asks a server from this machine, and the questions of the harness itself.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::StatusCode;
use rustls::RootCertStore;
use sim_stack::tls;

/// The client of all requests of one plan.
pub(crate) type HttpClient = reqwest::Client;

/// How long a server that listens may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// How often it is asked.
const READY_POLL: Duration = Duration::from_millis(2);

/// A client for servers on loopback: what the environment says of proxies is not for them.
pub(crate) fn http_client() -> HttpClient {
    // They speak no TLS, so nobody needs to be trusted, and nothing is loaded for it.
    let tls = tls::client_config(RootCertStore::empty()).expect("ring knows the usual versions of TLS");
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never());
    client.build().expect("nothing in it can fail")
}

/// The position that the clients of our own service see.
pub(crate) async fn replicated_lsn(http: &HttpClient, service: SocketAddr) -> Option<u64> {
    metric(http, service, "replicated_lsn_bytes").await
}

/// One of the metrics of our own service.
pub(crate) async fn metric(http: &HttpClient, service: SocketAddr, name: &str) -> Option<u64> {
    let body = http.get(format!("http://{service}/metrics")).send().await.ok()?.bytes().await.ok()?;
    let mut lines = std::str::from_utf8(&body).ok()?.lines();
    lines.find_map(|line| line.strip_prefix("syncstorm_service_")?.strip_prefix(name)?.strip_prefix(' '))?.parse().ok()
}

/// The status with which a server answers a request with this token.
pub(crate) async fn status(http: &HttpClient, server: SocketAddr, path: &str, token: &str) -> Option<u16> {
    let request = http.get(format!("http://{server}{path}")).bearer_auth(token);
    request.send().await.ok().map(|response| response.status().as_u16())
}

/// Waits until a server says that it is ready.
pub(crate) async fn wait_until_ready(http: &HttpClient, server: SocketAddr) -> Result<(), String> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        match http.get(format!("http://{server}/probes/readiness")).send().await {
            Ok(answer) if answer.status() == StatusCode::OK => return Ok(()),
            Ok(answer) if Instant::now() > deadline => return Err(format!("not ready: {}", answer.status())),
            Err(error) if Instant::now() > deadline => return Err(format!("not ready: {error}")),
            _ => tokio::time::sleep(READY_POLL).await,
        }
    }
}
