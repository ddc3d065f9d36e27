//! The keys of a plan's tokens: ours, in the backend's state directory and the service's key set, or those of whoever
//! runs the servers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use backend::Key;
use backend::server::keys::Keyring;
use jsonwebtoken::{Algorithm, EncodingKey};

use sim_stack::existing_stack::token::Source;
use sim_stack::signer::Signer;

use super::http_client::{HttpClient, metric, status};
use super::server::Server;
use crate::token::{AUDIENCE, TokenIssuer, sign};

/// How long a server may take to know a new key.
const KNOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(20);
/// How long a refusal may take, for which the backend needs no database. An answer that takes longer accepted the key
/// and waits for a paused database.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// The keys of an environment's tokens, and their audience.
pub(crate) struct TokenKeys {
    owner: KeyOwner,
    /// The audience that servers take.
    pub(crate) audience: String,
    /// All keys that have signed in this plan, by their ids.
    signers: Mutex<BTreeMap<Option<String>, Signer>>,
}

enum KeyOwner {
    /// The keys are ours.
    Harness(StateDirectory),
    /// They belong to whoever runs the servers.
    Operator(Source),
}

/// The backend's state directory.
struct StateDirectory {
    folder: PathBuf,
    algorithm: Algorithm,
    /// The service's key set, where it reads a file.
    key_set: Option<PathBuf>,
    /// Lets the backend's user read the state directory.
    grant_access: fn(&Path) -> std::io::Result<()>,
}

impl TokenKeys {
    /// Shared secrets that the backend has in a state directory, and the service in a file.
    pub(crate) fn shared_secrets(folder: PathBuf, key_set: PathBuf) -> Self {
        let (algorithm, key_set) = (Algorithm::HS256, Some(key_set));
        Self::of_harness(StateDirectory { folder, algorithm, key_set, grant_access: |_| Ok(()) })
    }

    /// Pairs that the backend has, whose public halves the service fetches there.
    pub(crate) fn key_pairs(folder: PathBuf, grant_access: fn(&Path) -> std::io::Result<()>) -> Self {
        Self::of_harness(StateDirectory { folder, algorithm: Algorithm::ES256, key_set: None, grant_access })
    }

    fn of_harness(state: StateDirectory) -> Self {
        Self { owner: KeyOwner::Harness(state), audience: AUDIENCE.to_owned(), signers: Mutex::default() }
    }

    /// What servers accept that somebody else runs.
    pub(crate) fn of_operator(source: Source, audience: &str) -> Self {
        Self { owner: KeyOwner::Operator(source), audience: audience.to_owned(), signers: Mutex::default() }
    }

    /// For a new plan: one key, known to both servers from their start. Those of the plan before are forgotten.
    pub(crate) fn reset(&self, now_us: i64) -> Result<TokenIssuer, String> {
        self.signers().clear();
        let signer = match &self.owner {
            KeyOwner::Harness(state) => {
                let keyring = state.keyring()?;
                // Keys with an end were replaced in earlier plans. The one that signs stays, so that most plans make
                // none.
                keyring.remove_retired(i64::MAX).map_err(|error| error.to_string())?;
                keyring.ensure(&[state.algorithm], now_us).map_err(|error| error.to_string())?;
                state.grant_access()?;
                state.write_key_set()?;
                state.newest(|_| true)?.ok_or_else(|| "no key was generated".to_owned())?
            }
            KeyOwner::Operator(Source::Signer(signer)) => signer.clone(),
            KeyOwner::Operator(source) => {
                return source.token("", &self.audience).map(|token| TokenIssuer::FixedToken(token.text));
            }
        };
        self.signers().insert(signer.kid.clone(), signer.clone());
        Ok(TokenIssuer::SigningKey(signer))
    }

    /// A new key signs from now on. If the backend runs, it knows the key when this returns.
    pub(super) async fn rotate(
        &self,
        now_us: i64,
        lifetime_us: i64,
        backend: Option<&dyn Server>,
        http: &HttpClient,
    ) -> Result<TokenIssuer, String> {
        let state = self.state()?;
        let names = state.keyring()?.rotate(&[state.algorithm], now_us, lifetime_us);
        let names = names.map_err(|error| error.to_string())?;
        state.grant_access()?;
        let signer = state.newest(|kid| names.iter().any(|name| name == kid))?.ok_or("the new key is not there")?;
        self.signers().insert(signer.kid.clone(), signer.clone());
        let Some(backend) = backend else { return Ok(TokenIssuer::SigningKey(signer)) };
        let now_s = now_us.div_euclid(1_000_000);
        let token = sign(&signer, "nobody", &self.audience, now_s, now_s + lifetime_us / 1_000_000);
        let deadline = Instant::now() + KNOWN_TIMEOUT;
        let is_refused = || async {
            let asked = status(http, backend.address(), "/conflicts?after=0", &token);
            tokio::time::timeout(ANSWER_TIMEOUT, asked).await.is_ok_and(|status| status == Some(401))
        };
        while is_refused().await {
            if Instant::now() > deadline {
                return Err("the backend does not take up a new key".to_owned());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(TokenIssuer::SigningKey(signer))
    }

    /// Writes the service's key set, where it reads a file; gives the number of keys.
    pub(crate) fn write_key_set(&self) -> Result<u64, String> {
        self.state()?.write_key_set()
    }

    /// A key that signs tokens of this plan.
    pub(crate) fn any_signer(&self) -> Option<Signer> {
        self.signers().values().next_back().cloned()
    }

    /// The key of this id that signed in this plan.
    pub(super) fn signer(&self, kid: Option<String>) -> Option<Signer> {
        self.signers().get(&kid).cloned()
    }

    fn signers(&self) -> std::sync::MutexGuard<'_, BTreeMap<Option<String>, Signer>> {
        self.signers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> Result<&StateDirectory, String> {
        match &self.owner {
            KeyOwner::Harness(state) => Ok(state),
            KeyOwner::Operator(_) => Err("the keys belong to those who run the servers".to_owned()),
        }
    }
}

impl StateDirectory {
    fn write_key_set(&self) -> Result<u64, String> {
        let (secrets, pairs) = self.keyring()?.load().map_err(|error| error.to_string())?;
        let count = secrets.len() + pairs.len();
        if let Some(path) = &self.key_set {
            let jwks: Vec<serde_json::Value> = secrets.iter().map(jwk).collect();
            let set = serde_json::json!({"keys": jwks}).to_string();
            // The service may be reading it.
            let unfinished = path.with_extension("unfinished");
            let written = std::fs::write(&unfinished, set).and_then(|()| std::fs::rename(&unfinished, path));
            written.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(count as u64)
    }

    fn keyring(&self) -> Result<Keyring, String> {
        Keyring::open(&self.folder).map_err(|error| error.to_string())
    }

    fn grant_access(&self) -> Result<(), String> {
        (self.grant_access)(&self.folder).map_err(|error| format!("{}: {error}", self.folder.display()))
    }

    /// The newest key whose id is accepted.
    fn newest(&self, is_accepted: impl Fn(&str) -> bool) -> Result<Option<Signer>, String> {
        let (secrets, pairs) = self.keyring()?.load().map_err(|error| error.to_string())?;
        match self.algorithm {
            Algorithm::HS256 => Ok(secrets.into_iter().find(|key| is_accepted(&key.kid)).map(|key| Signer {
                algorithm: Algorithm::HS256,
                key: EncodingKey::from_secret(&key.secret),
                kid: Some(key.kid),
            })),
            algorithm => {
                let pair = pairs.into_iter().find(|pair| pair.algorithm == algorithm && is_accepted(&pair.kid));
                let signer = pair.map(|pair| {
                    let key = EncodingKey::from_ec_pem(pair.private_pem.as_bytes());
                    key.map(|key| Signer { algorithm, key, kid: Some(pair.kid) }).map_err(|error| error.to_string())
                });
                signer.transpose()
            }
        }
    }
}

fn jwk(key: &Key) -> serde_json::Value {
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &key.secret);
    serde_json::json!({"kty": "oct", "alg": "HS256", "kid": key.kid, "k": encoded})
}

/// Waits until the service judges tokens by this number of keys.
pub(crate) async fn wait_until_keys_are_loaded(
    http: &HttpClient,
    service: SocketAddr,
    count: u64,
) -> Result<(), String> {
    let deadline = Instant::now() + KNOWN_TIMEOUT;
    while metric(http, service, "token_keys").await != Some(count) {
        if Instant::now() > deadline {
            return Err("the service does not read its keys again".to_owned());
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
