//! A stack as `deploy init` made it: its `.env`, keys, certificate and application.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::backend::server::keys::Keyring;
use jsonwebtoken::{Algorithm, EncodingKey};

use super::jwk;
use crate::signer::Signer;

/// What the folder says.
pub struct Deployment {
    /// Its absolute path.
    pub folder: PathBuf,
    settings: BTreeMap<String, String>,
}

impl Deployment {
    /// Reads `.env`.
    ///
    /// # Errors
    /// When the folder is none of `deploy init`, or may not be read.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let wrong = |name: &str, said: &dyn std::fmt::Display| {
            format!(
                "--deployment {}: {name}: {said}; name a folder that `syncstorm deploy init DIR` made",
                folder.display()
            )
        };
        let text = std::fs::read_to_string(folder.join(".env")).map_err(|error| wrong(".env", &error))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let settings: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for name in ["POSTGRES_PASSWORD", "REDIS_PASSWORD", "AUDIENCE", "CORS_ORIGIN"] {
            if !settings.contains_key(name) {
                return Err(wrong(".env", &format!("{name} is not set there")));
            }
        }
        let folder = std::fs::canonicalize(folder).map_err(|error| wrong("the folder", &error))?;
        Ok(Self { folder, settings })
    }

    fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", String::as_str)
    }

    fn port(&self, variable: &str, usual: u16) -> u16 {
        self.setting(variable).parse().unwrap_or(usual)
    }

    /// Everything in it that nobody else may read.
    pub fn secrets(&self) -> Vec<String> {
        let secret = |name: &str| name.ends_with("PASSWORD") || name.ends_with("SECRET");
        self.settings.iter().filter(|(name, _)| secret(name)).map(|(_, value)| value.clone()).collect()
    }

    /// The audience of tokens.
    pub fn audience(&self) -> &str {
        self.setting("AUDIENCE")
    }

    /// The web client's origin.
    pub fn origin(&self) -> &str {
        self.setting("CORS_ORIGIN")
    }

    /// The application's folder.
    pub fn app(&self) -> String {
        self.folder.join("app").display().to_string()
    }

    /// The sync service.
    pub fn service_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port("POWERSYNC_PORT", 8080))
    }

    /// The upload backend.
    pub fn backend_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port("BACKEND_PORT", 3000))
    }

    /// The database, with its password.
    pub fn postgres_url(&self) -> String {
        let authority = self.folder.join("postgres/ca.crt").display().to_string();
        let authority: String = authority.bytes().map(percent_encoded).collect();
        format!(
            "postgres://user:{}@127.0.0.1:{}/flowstate?sslmode=verify-full&sslrootcert={authority}",
            self.setting("POSTGRES_PASSWORD"),
            self.port("POSTGRES_PORT", 5432)
        )
    }

    /// The cache, with its password.
    pub fn redis_url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}", self.setting("REDIS_PASSWORD"), self.port("REDIS_PORT", 6379))
    }

    /// Whether its bucket storage is MongoDB, and so a container of its own.
    pub fn has_mongodb(&self) -> bool {
        self.setting("COMPOSE_PROFILES").split(',').any(|profile| profile == "mongodb")
    }

    /// The bucket storage, with its password, where it is MongoDB.
    pub fn mongodb_url(&self) -> Option<String> {
        let (password, port) = (self.setting("MONGODB_PASSWORD"), self.port("MONGODB_PORT", 27017));
        self.has_mongodb()
            .then(|| format!("mongodb://user:{password}@127.0.0.1:{port}/?replicaSet=rs0&authSource=admin"))
    }

    /// The backend's own key.
    ///
    /// # Errors
    /// When there is no key, or it may not be read.
    pub fn signer(&self) -> Result<Signer, String> {
        let state = self.folder.join("backend");
        let wrong = |said: &dyn std::fmt::Display| {
            format!("--deployment: the keys in {}: {said}; run as whoever owns them", state.display())
        };
        if !state.join("keys").is_dir() {
            return Err(wrong(&"there is no folder keys, or it may not be looked at"));
        }
        let (secrets, pairs) =
            Keyring::open(&state).and_then(|keyring| keyring.load()).map_err(|error| wrong(&error))?;
        for algorithm in [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256] {
            if let Some(pair) = pairs.iter().find(|pair| pair.algorithm == algorithm) {
                let signer = jwk::read(&pair.private_pem).map_err(|said| wrong(&said))?;
                return Ok(Signer { kid: Some(pair.kid.clone()), ..signer });
            }
        }
        let secret = secrets.first().ok_or_else(|| wrong(&"none of them signs"))?;
        let key = EncodingKey::from_secret(&secret.secret);
        Ok(Signer { algorithm: Algorithm::HS256, key, kid: Some(secret.kid.clone()) })
    }
}

fn percent_encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}
