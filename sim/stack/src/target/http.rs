//! HTTP with bounds: one try, a deadline, no redirects, bodies of limited size.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::chain;

/// Greatest size of an answer.
const BODY_MAX_BYTES: usize = 1 << 20;
/// Greatest length of an answer's body that is repeated in a diagnosis, in characters.
const TOLD_MAX: usize = 200;

/// A client whose every request ends within its patience.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    patience: Duration,
}

/// A whole answer.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoReply {
    /// Nobody listens there.
    Refused,
    /// Nothing came in time.
    Silent,
    /// The name is not known.
    Name(String),
    /// The certificate is not believed, or the other side speaks no TLS.
    Tls(String),
    /// The connection broke.
    Broken(String),
}

impl Http {
    pub fn new(patience: Duration) -> Result<Self, String> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(patience));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(https), patience })
    }

    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Sends a request; the head of its answer is there within the patience.
    pub async fn open(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<hyper::body::Incoming>, NoReply> {
        match tokio::time::timeout(self.patience, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(NoReply::of(&error)),
            Err(_) => Err(NoReply::Silent),
        }
    }

    /// Sends a request and waits for the whole answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, NoReply> {
        let (parts, body) = self.open(request).await?.into_parts();
        let body = Limited::new(body, BODY_MAX_BYTES).collect();
        let body = match tokio::time::timeout(self.patience, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => return Err(NoReply::Broken(error.to_string())),
            Err(_) => return Err(NoReply::Silent),
        };
        Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    pub async fn get(&self, url: &str, token: Option<&str>) -> Result<Reply, NoReply> {
        self.send(request(Method::GET, url, token, None)).await
    }

    pub async fn post(&self, url: &str, token: Option<&str>, json: &str) -> Result<Reply, NoReply> {
        self.send(request(Method::POST, url, token, Some(json))).await
    }

    /// What a browser asks before a page of another origin may post JSON with a token.
    pub async fn preflight(&self, url: &str, origin: &str) -> Result<Reply, NoReply> {
        let mut request = request(Method::OPTIONS, url, None, None);
        let asked = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        for (name, value) in asked {
            // Origins are checked where they are read.
            if let Ok(value) = value.parse() {
                request.headers_mut().insert(name, value);
            }
        }
        self.send(request).await
    }
}

/// A request; addresses and tokens are checked where they are read.
pub fn request(method: Method, url: &str, token: Option<&str>, json: Option<&str>) -> Request<Full<Bytes>> {
    let mut request = Request::new(json.map_or_else(Full::default, |json| Full::from(json.to_owned())));
    *request.method_mut() = method;
    *request.uri_mut() = url.parse::<Uri>().unwrap_or_default();
    if let Some(value) = token.and_then(|token| format!("Bearer {token}").parse().ok()) {
        request.headers_mut().insert(http::header::AUTHORIZATION, value);
    }
    if json.is_some() {
        request.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    }
    request
}

impl Reply {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Status and the beginning of the body, for a diagnosis.
    pub fn told(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let text: String = text.trim().chars().take(TOLD_MAX).collect();
        if text.is_empty() { format!("status {}", self.status) } else { format!("status {}: {text}", self.status) }
    }
}

impl NoReply {
    fn of(error: &hyper_util::client::legacy::Error) -> Self {
        let said = chain(error);
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(cause) = source {
            if let Some(io) = cause.downcast_ref::<std::io::Error>() {
                match io.kind() {
                    std::io::ErrorKind::ConnectionRefused => return Self::Refused,
                    std::io::ErrorKind::TimedOut => return Self::Silent,
                    _ => {}
                }
                if let Some(inner) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                    return Self::Tls(inner.to_string());
                }
            }
            if cause.to_string().contains("dns error") {
                return Self::Name(said);
            }
            source = cause.source();
        }
        Self::Broken(said)
    }

    /// What it means, and what to do about it; `what` is the part of the stack.
    pub fn words(&self, what: &str, url: &str) -> (String, String) {
        let start = format!("start {what}, or name another address; its log says why it is not up");
        match self {
            Self::Refused => (format!("nobody listens at {url}: {what} is down, or is on another port"), start),
            Self::Silent => (
                format!("{url} does not answer in time: {what} hangs, or a firewall drops the packets"),
                format!("open the port in the firewall; look at the log of {what} if it is open already"),
            ),
            Self::Name(said) => (
                format!("the host of {url} is not known: {said}"),
                "correct the host's name; names of containers are known between containers alone".to_owned(),
            ),
            Self::Tls(said) => (
                format!("{url}: TLS failed: {said}"),
                "use http:// if it speaks no TLS; else let the machine trust the certificate's authority (SSL_CERT_FILE)"
                    .to_owned(),
            ),
            Self::Broken(said) => (
                format!("{url}: the connection broke: {said}"),
                format!("see that {what} speaks HTTP at that address; {start}"),
            ),
        }
    }
}
