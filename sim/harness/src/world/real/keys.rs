//! The keys of a plan's tokens: in the backend's state directory, in the service's key set, and signing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use backend::Key;
use backend::server::keys::Keyring;
use jsonwebtoken::{Algorithm, EncodingKey};

use super::ground::Server;
use super::link::{self, Http};
use crate::world::told::{self, AUDIENCE};

/// How long a server may take to know a new key.
const KNOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How long an answer may take that needs no more than the key. Whoever goes on to ask a frozen database took the key.
const ANSWER: Duration = Duration::from_millis(500);

/// What signs tokens.
#[derive(Clone)]
pub(in crate::world) struct Signer {
    pub(in crate::world) kid: String,
    pub(in crate::world) algorithm: Algorithm,
    pub(in crate::world) key: EncodingKey,
}

/// The keys of both servers, in the backend's state directory.
pub(crate) struct Keys {
    state: PathBuf,
    algorithm: Algorithm,
    /// The service's key set, where it reads a file.
    set: Option<PathBuf>,
    /// Gives what stands in the state directory to whoever runs the backend.
    give: fn(&Path) -> std::io::Result<()>,
    /// All that have signed in this plan, by their names.
    signers: Mutex<BTreeMap<String, Signer>>,
}

impl Keys {
    /// Shared secrets that the backend has in a state directory, and the service in a file.
    pub(in crate::world) fn shared(state: PathBuf, set: PathBuf) -> Self {
        let (algorithm, set) = (Algorithm::HS256, Some(set));
        Self { state, algorithm, set, give: |_| Ok(()), signers: Mutex::default() }
    }

    /// Pairs that the backend has, whose public halves the service fetches there.
    pub(in crate::world) fn pairs(state: PathBuf, give: fn(&Path) -> std::io::Result<()>) -> Self {
        Self { state, algorithm: Algorithm::ES256, set: None, give, signers: Mutex::default() }
    }

    /// One key, known to both servers from their start; those of the plan before are forgotten.
    pub(super) fn begin(&self, now_us: i64) -> Result<Signer, String> {
        let keyring = self.keyring()?;
        // Each key that is not good for ever was replaced; one that signs stays, so that most plans make none.
        keyring.remove_retired(i64::MAX).map_err(|error| error.to_string())?;
        keyring.ensure(&[self.algorithm], now_us).map_err(|error| error.to_string())?;
        self.hand_over()?;
        self.publish()?;
        self.signers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.newest(|_| true)?.ok_or_else(|| "no key was generated".to_owned())
    }

    /// A new key, which signs from now on; the backend knows it, if it runs.
    pub(super) async fn rotate(
        &self,
        now_us: i64,
        lifetime_us: i64,
        backend: Option<&dyn Server>,
        http: &Http,
    ) -> Result<Signer, String> {
        let names = self.keyring()?.rotate(&[self.algorithm], now_us, lifetime_us);
        let names = names.map_err(|error| error.to_string())?;
        self.hand_over()?;
        let signer = self.newest(|kid| names.iter().any(|name| name == kid))?.ok_or("the new key is not there")?;
        let Some(backend) = backend else { return Ok(signer) };
        let now_s = now_us.div_euclid(1_000_000);
        let token = told::signed(&signer, "nobody", AUDIENCE, now_s, now_s + lifetime_us / 1_000_000);
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
        Ok(signer)
    }

    /// Writes the service's key set, if it reads one; says how many keys there are.
    pub(super) fn publish(&self) -> Result<u64, String> {
        let (secrets, pairs) = self.keyring()?.load().map_err(|error| error.to_string())?;
        let count = secrets.len() + pairs.len();
        if let Some(path) = &self.set {
            let shown: Vec<serde_json::Value> = secrets.iter().map(shown).collect();
            let set = serde_json::json!({"keys": shown}).to_string();
            // The service may be reading it.
            let unfinished = path.with_extension("unfinished");
            let written = std::fs::write(&unfinished, set).and_then(|()| std::fs::rename(&unfinished, path));
            written.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(count as u64)
    }

    /// One that signs tokens of this plan.
    pub(in crate::world) fn any_signer(&self) -> Option<Signer> {
        self.signers.lock().unwrap_or_else(PoisonError::into_inner).values().next_back().cloned()
    }

    /// What signed under a name in this plan.
    pub(super) fn signer(&self, kid: &str) -> Option<Signer> {
        self.signers.lock().unwrap_or_else(PoisonError::into_inner).get(kid).cloned()
    }

    fn keyring(&self) -> Result<Keyring, String> {
        Keyring::open(&self.state).map_err(|error| error.to_string())
    }

    fn hand_over(&self) -> Result<(), String> {
        (self.give)(&self.state).map_err(|error| format!("{}: {error}", self.state.display()))
    }

    /// The newest key of those that are asked for.
    fn newest(&self, is_asked: impl Fn(&str) -> bool) -> Result<Option<Signer>, String> {
        let (secrets, pairs) = self.keyring()?.load().map_err(|error| error.to_string())?;
        let signer = match self.algorithm {
            Algorithm::HS256 => secrets.into_iter().find(|key| is_asked(&key.kid)).map(|key| Signer {
                algorithm: Algorithm::HS256,
                key: EncodingKey::from_secret(&key.secret),
                kid: key.kid,
            }),
            algorithm => {
                let pair = pairs.into_iter().find(|pair| pair.algorithm == algorithm && is_asked(&pair.kid));
                let signer = pair.map(|pair| {
                    let key = EncodingKey::from_ec_pem(pair.private_pem.as_bytes());
                    key.map(|key| Signer { algorithm, key, kid: pair.kid }).map_err(|error| error.to_string())
                });
                signer.transpose()?
            }
        };
        if let Some(signer) = &signer {
            let mut signers = self.signers.lock().unwrap_or_else(PoisonError::into_inner);
            signers.insert(signer.kid.clone(), signer.clone());
        }
        Ok(signer)
    }
}

fn shown(key: &Key) -> serde_json::Value {
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &key.secret);
    serde_json::json!({"kty": "oct", "alg": "HS256", "kid": key.kid, "k": encoded})
}

/// Waits until the service judges tokens by so many keys.
pub(in crate::world) async fn known(http: &Http, service: std::net::SocketAddr, count: u64) -> Result<(), String> {
    let deadline = Instant::now() + KNOWN_TIMEOUT;
    while link::figure(http, service, "token_keys").await != Some(count) {
        if Instant::now() > deadline {
            return Err("the service does not read its keys again".to_owned());
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(())
}
