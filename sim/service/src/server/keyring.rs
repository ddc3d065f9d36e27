//! The keys of tokens: those that settings name, read again when asked to, and those of a key set that is fetched again
//! when a token names an unknown key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{StatusCode, Uri, header};
use reqwest::Client;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;

use super::config::Config;
use super::error::ServeError;
use crate::auth::Keys;

/// The interval between fetches that tokens cause, so that tokens with made-up key ids cause no more.
const FETCH_INTERVAL_MIN: Duration = Duration::from_secs(2);
/// The interval between regular fetches, so that keys that are no longer in the set are forgotten.
const REFRESH_INTERVAL: Duration = Duration::from_secs(300);
/// How long a fetch may take.
const FETCH_LIMIT: Duration = Duration::from_secs(5);
/// The greatest size of a key set.
const SIZE_MAX_BYTES: usize = 1 << 20;

/// The keys.
pub(super) struct Keyring {
    secret: Option<(String, String)>,
    file: Option<PathBuf>,
    remote: Option<Remote>,
    known: Mutex<Known>,
}

/// The keys by origin, and all of them.
#[derive(Default)]
struct Known {
    fixed: Keys,
    fetched: Keys,
    all: Arc<Keys>,
}

struct Remote {
    url: Uri,
    client: Client,
    /// When it was last tried.
    tried: tokio::sync::Mutex<Option<Instant>>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("url", &self.remote.as_ref().map(|remote| &remote.url)).finish_non_exhaustive()
    }
}

impl Keyring {
    pub(super) fn new(config: &Config) -> Result<Self, ServeError> {
        let setting = |problem: String| ServeError::Setting(problem);
        let secret = config.hs256_secret.clone().map(|secret| (config.hs256_key_id.clone(), secret));
        let file = config.jwks_file.clone();
        let fixed = fixed(secret.as_ref(), file.as_deref())?;
        let remote = match &config.jwks_url {
            None if fixed.is_empty() => {
                return Err(setting("tokens need keys: a JWKS URL, a JWKS file or an HS256 secret".to_owned()));
            }
            None => None,
            Some(url) => {
                let uri: Uri = url.parse().map_err(|_| setting(format!("{url} is no URL")))?;
                if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
                    return Err(setting(format!("{url}: must start with http:// or https://")));
                }
                let client = client().map_err(|problem| setting(format!("TLS: {problem}")))?;
                Some(Remote { url: uri, client, tried: tokio::sync::Mutex::new(None) })
            }
        };
        let keyring = Self { secret, file, remote, known: Mutex::default() };
        keyring.know(|known| known.fixed = fixed);
        Ok(keyring)
    }

    /// Reads the keys of the settings again. A file that is not a key set changes nothing.
    pub(super) fn reload(&self) {
        match fixed(self.secret.as_ref(), self.file.as_deref()) {
            Ok(fixed) => {
                self.know(|known| known.fixed = fixed);
                tracing::info!(keys = self.len(), "the keys of tokens were read again");
            }
            Err(error) => tracing::warn!(%error, "the keys of tokens stay as they are"),
        }
    }

    fn know(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        let mut all = known.fetched.clone();
        all.extend(&known.fixed);
        known.all = Arc::new(all);
    }

    /// The keys, fetched again if there is none with this id.
    pub(super) async fn keys(&self, key_id: Option<&str>) -> Arc<Keys> {
        let known = self.current();
        let Some(remote) = &self.remote else {
            return known;
        };
        if known.knows(key_id) {
            return known;
        }
        // Requests that need a key meanwhile wait for this fetch.
        let mut tried = remote.tried.lock().await;
        let known = self.current();
        if known.knows(key_id) || tried.is_some_and(|at| at.elapsed() < FETCH_INTERVAL_MIN) {
            return known;
        }
        self.refresh(remote).await;
        *tried = Some(Instant::now());
        self.current()
    }

    /// Fetches the keys regularly, for ever.
    pub(super) async fn keep_fresh(self: Arc<Self>) {
        let Some(remote) = &self.remote else {
            return;
        };
        loop {
            let good = {
                let mut tried = remote.tried.lock().await;
                let good = self.refresh(remote).await;
                *tried = Some(Instant::now());
                good
            };
            tokio::time::sleep(if good { REFRESH_INTERVAL } else { FETCH_INTERVAL_MIN }).await;
        }
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.current().len()
    }

    fn current(&self) -> Arc<Keys> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).all.clone()
    }

    async fn refresh(&self, remote: &Remote) -> bool {
        match tokio::time::timeout(FETCH_LIMIT, remote.fetch()).await {
            Ok(Ok(keys)) => {
                self.know(|known| known.fetched = keys);
                true
            }
            Ok(Err(problem)) => {
                tracing::warn!(url = %remote.url, problem, "cannot fetch the keys of tokens");
                false
            }
            Err(_) => {
                tracing::warn!(url = %remote.url, "the keys of tokens did not arrive in time");
                false
            }
        }
    }
}

impl Remote {
    async fn fetch(&self) -> Result<Keys, String> {
        let request = self.client.get(self.url.to_string()).header(header::ACCEPT, "application/json");
        let mut response = request.send().await.map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("status {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| error.to_string())? {
            body.extend_from_slice(&part);
            if body.len() > SIZE_MAX_BYTES {
                return Err(format!("it has more than {SIZE_MAX_BYTES} bytes"));
            }
        }
        let text = std::str::from_utf8(&body).map_err(|error| error.to_string())?;
        Keys::from_usable_jwks(text).map_err(|error| error.to_string())
    }
}

/// A client that trusts the usual authorities; an image of the service has no certificates of its own. Only the URL that
/// was named is asked: no proxy of the environment, no redirect.
fn client() -> Result<Client, String> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build();
    client.map_err(|error| error.to_string())
}

/// The keys of the settings.
fn fixed(secret: Option<&(String, String)>, file: Option<&Path>) -> Result<Keys, ServeError> {
    let mut fixed = Keys::default();
    if let Some((id, secret)) = secret {
        fixed.add_hs256(id, secret.as_bytes());
    }
    if let Some(path) = file {
        let text =
            std::fs::read_to_string(path).map_err(|source| ServeError::File { path: path.to_owned(), source })?;
        let keys = Keys::from_jwks(&text);
        fixed.extend(&keys.map_err(|error| ServeError::Setting(format!("{}: {error}", path.display())))?);
    }
    Ok(fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("jwks.json");
        let write = |ids: &[&str]| {
            let keys: Vec<_> = ids
                .iter()
                .map(|id| serde_json::json!({"kty": "oct", "alg": "HS256", "kid": id, "k": "c2VjcmV0"}))
                .collect();
            std::fs::write(&file, serde_json::json!({"keys": keys}).to_string()).expect("it can be written");
        };
        write(&["a"]);
        let secret = Some(("mine".to_owned(), "secret".to_owned()));
        let keyring = Keyring { secret, file: Some(file.clone()), remote: None, known: Mutex::default() };
        let knows = |id: &str| keyring.current().knows(Some(id));
        keyring.reload();
        assert!(knows("mine") && knows("a") && !knows("b"));
        write(&["b"]);
        keyring.reload();
        assert!(knows("mine") && !knows("a") && knows("b"));
        std::fs::write(&file, "no key set").expect("it can be written");
        keyring.reload();
        assert!(knows("mine") && knows("b"), "what was good stays");
    }
}
