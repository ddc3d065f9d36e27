//! The keys of a plan's tokens: in the backend's state directory, in the service's key set, and signing; or those of
//! whoever runs the servers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use backend::Key;
use backend::server::keys::Keyring;
use jsonwebtoken::{Algorithm, EncodingKey};

use super::ground::Server;
use super::link::{self, Http};
use sim_stack::signer::Signer;
use sim_stack::target::token::Source;
use crate::told::{self, AUDIENCE};

/// How long a server may take to know a new key.
const KNOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How long an answer may take that needs no more than the key. Whoever goes on to ask a frozen database took the key.
const ANSWER: Duration = Duration::from_millis(500);

/// What makes a plan's tokens.
#[derive(Clone)]
pub(crate) enum Issuer {
    /// A key: each device has tokens of its own.
    Signer(Signer),
    /// One token, for all devices.
    Text(String),
}

/// What makes tokens, and whom they are for.
pub(crate) struct Keys {
    holder: Holder,
    /// The audience that servers take.
    pub(crate) audience: String,
    /// All that have signed in this plan, by their names.
    signers: Mutex<BTreeMap<Option<String>, Signer>>,
}

enum Holder {
    /// The keys are ours.
    State(State),
    /// They are of those who run the servers.
    Others(Source),
}

/// The backend's state directory.
struct State {
    folder: PathBuf,
    algorithm: Algorithm,
    /// The service's key set, where it reads a file.
    set: Option<PathBuf>,
    /// Gives what stands in the state directory to whoever runs the backend.
    give: fn(&Path) -> std::io::Result<()>,
}

impl Keys {
    /// Shared secrets that the backend has in a state directory, and the service in a file.
    pub(crate) fn shared(state: PathBuf, set: PathBuf) -> Self {
        Self::own(State { folder: state, algorithm: Algorithm::HS256, set: Some(set), give: |_| Ok(()) })
    }

    /// Pairs that the backend has, whose public halves the service fetches there.
    pub(crate) fn pairs(state: PathBuf, give: fn(&Path) -> std::io::Result<()>) -> Self {
        Self::own(State { folder: state, algorithm: Algorithm::ES256, set: None, give })
    }

    fn own(state: State) -> Self {
        Self { holder: Holder::State(state), audience: AUDIENCE.to_owned(), signers: Mutex::default() }
    }

    /// What the servers take that somebody else runs.
    pub(crate) fn of_others(source: Source, audience: &str) -> Self {
        Self { holder: Holder::Others(source), audience: audience.to_owned(), signers: Mutex::default() }
    }

    /// One key, known to both servers from their start; those of the plan before are forgotten.
    pub(crate) fn begin(&self, now_us: i64) -> Result<Issuer, String> {
        self.signers().clear();
        let signer = match &self.holder {
            Holder::State(state) => {
                let keyring = state.keyring()?;
                // Each key that is not good for ever was replaced; one that signs stays, so that most plans make none.
                keyring.remove_retired(i64::MAX).map_err(|error| error.to_string())?;
                keyring.ensure(&[state.algorithm], now_us).map_err(|error| error.to_string())?;
                state.hand_over()?;
                state.publish()?;
                state.newest(|_| true)?.ok_or_else(|| "no key was generated".to_owned())?
            }
            Holder::Others(Source::Signer(signer)) => signer.clone(),
            Holder::Others(source) => return source.token("", &self.audience).map(|token| Issuer::Text(token.text)),
        };
        self.signers().insert(signer.kid.clone(), signer.clone());
        Ok(Issuer::Signer(signer))
    }

    /// A new key, which signs from now on; the backend knows it, if it runs.
    pub(super) async fn rotate(
        &self,
        now_us: i64,
        lifetime_us: i64,
        backend: Option<&dyn Server>,
        http: &Http,
    ) -> Result<Issuer, String> {
        let state = self.state()?;
        let names = state.keyring()?.rotate(&[state.algorithm], now_us, lifetime_us);
        let names = names.map_err(|error| error.to_string())?;
        state.hand_over()?;
        let signer = state.newest(|kid| names.iter().any(|name| name == kid))?.ok_or("the new key is not there")?;
        self.signers().insert(signer.kid.clone(), signer.clone());
        let Some(backend) = backend else { return Ok(Issuer::Signer(signer)) };
        let now_s = now_us.div_euclid(1_000_000);
        let token = told::signed(&signer, "nobody", &self.audience, now_s, now_s + lifetime_us / 1_000_000);
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
        Ok(Issuer::Signer(signer))
    }

    /// Writes the service's key set, if it reads one; says how many keys there are.
    pub(super) fn publish(&self) -> Result<u64, String> {
        self.state()?.publish()
    }

    /// One that signs tokens of this plan.
    pub(crate) fn any_signer(&self) -> Option<Signer> {
        self.signers().values().next_back().cloned()
    }

    /// What signed under a name in this plan.
    pub(super) fn signer(&self, kid: Option<String>) -> Option<Signer> {
        self.signers().get(&kid).cloned()
    }

    fn signers(&self) -> std::sync::MutexGuard<'_, BTreeMap<Option<String>, Signer>> {
        self.signers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> Result<&State, String> {
        match &self.holder {
            Holder::State(state) => Ok(state),
            Holder::Others(_) => Err("the keys are of those who run the servers".to_owned()),
        }
    }
}

impl State {
    fn publish(&self) -> Result<u64, String> {
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

    fn keyring(&self) -> Result<Keyring, String> {
        Keyring::open(&self.folder).map_err(|error| error.to_string())
    }

    fn hand_over(&self) -> Result<(), String> {
        (self.give)(&self.folder).map_err(|error| format!("{}: {error}", self.folder.display()))
    }

    /// The newest key of those that are asked for.
    fn newest(&self, is_asked: impl Fn(&str) -> bool) -> Result<Option<Signer>, String> {
        let (secrets, pairs) = self.keyring()?.load().map_err(|error| error.to_string())?;
        match self.algorithm {
            Algorithm::HS256 => Ok(secrets.into_iter().find(|key| is_asked(&key.kid)).map(|key| Signer {
                algorithm: Algorithm::HS256,
                key: EncodingKey::from_secret(&key.secret),
                kid: Some(key.kid),
            })),
            algorithm => {
                let pair = pairs.into_iter().find(|pair| pair.algorithm == algorithm && is_asked(&pair.kid));
                let signer = pair.map(|pair| {
                    let key = EncodingKey::from_ec_pem(pair.private_pem.as_bytes());
                    key.map(|key| Signer { algorithm, key, kid: Some(pair.kid) }).map_err(|error| error.to_string())
                });
                signer.transpose()
            }
        }
    }
}

fn shown(key: &Key) -> serde_json::Value {
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &key.secret);
    serde_json::json!({"kty": "oct", "alg": "HS256", "kid": key.kid, "k": encoded})
}

/// Waits until the service judges tokens by so many keys.
pub(crate) async fn known(http: &Http, service: std::net::SocketAddr, count: u64) -> Result<(), String> {
    let deadline = Instant::now() + KNOWN_TIMEOUT;
    while link::figure(http, service, "token_keys").await != Some(count) {
        if Instant::now() > deadline {
            return Err("the service does not read its keys again".to_owned());
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(())
}
