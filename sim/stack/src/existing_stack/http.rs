//! HTTP with bounds: one try, a deadline, no redirects, bodies of limited size.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use reqwest::{Client, RequestBuilder, Response};

use super::chain;
use crate::tls;

/// Greatest size of an answer.
const BODY_MAX_BYTES: usize = 1 << 20;
/// Greatest length of an answer's body that is repeated in a diagnosis, in characters.
const TOLD_MAX: usize = 200;

/// A client whose every request ends within its patience.
#[derive(Clone)]
pub struct Http {
    client: Client,
    patience: Duration,
}

/// A whole answer.
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
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
    /// A client that trusts what the machine trusts.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(patience: Duration) -> Result<Self, String> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let tls = tls::client_config(roots).map_err(|error| error.to_string())?;
        // Only the addresses that were named are asked: no proxy of the environment, no redirect.
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(patience)
            .build();
        Ok(Self { client: client.map_err(|error| chain(&error))?, patience })
    }

    /// How long one answer may take.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// A request; addresses and tokens are checked where they are read.
    pub fn request(&self, method: Method, url: &str, token: Option<&str>, json: Option<&str>) -> RequestBuilder {
        let mut request = self.client.request(method, url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(json) = json {
            request = request.header(http::header::CONTENT_TYPE, "application/json").body(json.to_owned());
        }
        request
    }

    /// Sends a request; the head of its answer is there within the patience.
    pub async fn open(&self, request: RequestBuilder) -> Result<Response, NoReply> {
        match tokio::time::timeout(self.patience, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(NoReply::of(error)),
            Err(_) => Err(NoReply::Silent),
        }
    }

    /// Sends a request and waits for the whole answer.
    pub async fn send(&self, request: RequestBuilder) -> Result<Reply, NoReply> {
        let response = self.open(request).await?;
        self.whole(response, BODY_MAX_BYTES).await
    }

    /// The rest of an answer, where it comes within the patience and has at most so many bytes.
    pub async fn whole(&self, mut response: Response, max_bytes: usize) -> Result<Reply, NoReply> {
        let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
        let body = async {
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(NoReply::of)? {
                if body.len() + chunk.len() > max_bytes {
                    return Err(NoReply::Broken(format!("its answer has over {max_bytes} bytes")));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body.freeze())
        };
        let body = tokio::time::timeout(self.patience, body).await.unwrap_or(Err(NoReply::Silent))?;
        Ok(Reply { status, headers, body })
    }

    /// Asks for a URL.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn get(&self, url: &str, token: Option<&str>) -> Result<Reply, NoReply> {
        self.send(self.request(Method::GET, url, token, None)).await
    }

    /// Posts JSON to a URL.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn post(&self, url: &str, token: Option<&str>, json: &str) -> Result<Reply, NoReply> {
        self.send(self.request(Method::POST, url, token, Some(json))).await
    }

    /// What a browser asks before a page of another origin may post JSON with a token.
    pub async fn preflight(&self, url: &str, origin: &str) -> Result<Reply, NoReply> {
        // Origins are checked where they are read.
        let request = self
            .request(Method::OPTIONS, url, None, None)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type");
        self.send(request).await
    }
}

impl Reply {
    /// An answer of which only the status is known.
    pub fn without_body(status: u16) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header's value, where it is text.
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
    fn of(error: reqwest::Error) -> Self {
        // Whoever reads it knows the address.
        let error = error.without_url();
        let said = chain(&error);
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
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
