//! The keys of a plan's tokens: in the backend's state directory, in the service's key set, and signing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use backend::server::keys::Keyring;
use backend::{Auth, Key};
use jsonwebtoken::Algorithm;

use super::link::{self, Http};
use super::process::Process;
use crate::world::told::AUDIENCE;

/// How long a server may take to know a new key.
const KNOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How long an answer may take that needs no more than the key. Whoever goes on to ask a frozen database took the key.
const ANSWER: Duration = Duration::from_millis(500);

/// The files of both servers, below a site's folder.
#[derive(Debug)]
pub(super) struct Keys {
    state: PathBuf,
    set: PathBuf,
}

impl Keys {
    pub(super) fn below(folder: &Path) -> Self {
        Self { state: folder.join("state"), set: folder.join("jwks.json") }
    }

    /// One key, known to both servers from their start; those of the plan before are forgotten.
    pub(super) fn begin(&self, now_us: i64) -> Result<Key, String> {
        let keyring = self.keyring()?;
        // Each key that is not good for ever was replaced; one that signs stays, so that most plans make none.
        keyring.remove_retired(i64::MAX).map_err(|error| error.to_string())?;
        keyring.ensure(&[Algorithm::HS256], now_us).map_err(|error| error.to_string())?;
        self.publish()?;
        self.all()?.into_iter().next().ok_or_else(|| "no key was generated".to_owned())
    }

    /// A new key, which signs from now on; the backend knows it, if it runs.
    pub(super) async fn rotate(
        &self,
        now_us: i64,
        lifetime_us: i64,
        backend: Option<&Process>,
        http: &Http,
    ) -> Result<Key, String> {
        let names = self.keyring()?.rotate(&[Algorithm::HS256], now_us, lifetime_us);
        let names = names.map_err(|error| error.to_string())?;
        let key = self.all()?.into_iter().find(|key| names.contains(&key.kid)).ok_or("the new key is not there")?;
        let Some(backend) = backend else { return Ok(key) };
        let auth = Auth::hs256(vec![key.clone()], vec![AUDIENCE.to_owned()]);
        let token = auth.mint("nobody", now_us, lifetime_us / 1_000_000).ok_or("no key signs tokens")?;
        let deadline = Instant::now() + KNOWN_TIMEOUT;
        let is_known = || async {
            let asked = link::status(http, backend.address(), "/conflicts?after=0", &token);
            tokio::time::timeout(ANSWER, asked).await.is_ok_and(|status| status == Some(401))
        };
        while is_known().await {
            if Instant::now() > deadline {
                return Err("the backend does not take up a new key".to_owned());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        Ok(key)
    }

    /// Writes the service's key set; says how many keys it has.
    pub(super) fn publish(&self) -> Result<u64, String> {
        let keys = self.all()?;
        let shown: Vec<serde_json::Value> = keys.iter().map(shown).collect();
        let set = serde_json::json!({"keys": shown}).to_string();
        // The service may be reading it.
        let unfinished = self.set.with_extension("unfinished");
        let written = std::fs::write(&unfinished, set).and_then(|()| std::fs::rename(&unfinished, &self.set));
        written.map_err(|error| format!("{}: {error}", self.set.display()))?;
        Ok(keys.len() as u64)
    }

    fn keyring(&self) -> Result<Keyring, String> {
        Keyring::open(&self.state).map_err(|error| error.to_string())
    }

    /// The newest first.
    fn all(&self) -> Result<Vec<Key>, String> {
        self.keyring()?.load().map(|(secrets, _)| secrets).map_err(|error| error.to_string())
    }
}

fn shown(key: &Key) -> serde_json::Value {
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &key.secret);
    serde_json::json!({"kty": "oct", "alg": "HS256", "kid": key.kid, "k": encoded})
}

/// Waits until the service judges tokens by so many keys.
pub(super) async fn known(http: &Http, service: &Process, count: u64) -> Result<(), String> {
    let deadline = Instant::now() + KNOWN_TIMEOUT;
    while link::figure(http, service.address(), "token_keys").await != Some(count) {
        if Instant::now() > deadline {
            return Err("the service does not read its keys again".to_owned());
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(())
}
