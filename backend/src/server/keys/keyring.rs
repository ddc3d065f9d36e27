//! The directory of keys: reading, writing, rotation.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::auth::{Algorithm, Key, KeyPair};
use crate::server::keys::error::KeyError;
use crate::server::keys::file::{KeyFile, generate, public_key};

/// The keys of a state directory.
#[derive(Clone, Debug)]
pub struct Keyring {
    folder: PathBuf,
}

impl Keyring {
    /// The keys in a state directory, which is created if it is missing (0700).
    ///
    /// # Errors
    /// When it cannot be created or read, or others may read it.
    pub fn open(state_dir: &Path) -> Result<Self, KeyError> {
        let folder = state_dir.join("keys");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(file_error(&folder))?;
        check_private(&folder)?;
        Ok(Self { folder })
    }

    /// Generates a key for each algorithm that has none in use.
    ///
    /// # Errors
    /// When a key cannot be read, generated or written.
    pub fn ensure(&self, algorithms: &[Algorithm], now_us: i64) -> Result<(), KeyError> {
        let keys = self.files()?;
        for algorithm in algorithms {
            if !keys.iter().any(|key| key.algorithm == *algorithm && key.retires_us.is_none()) {
                self.write(&generate(*algorithm, now_us)?)?;
            }
        }
        Ok(())
    }

    /// Gives each algorithm a new key. Old ones verify for another `keep_us` microseconds. Returns the new key ids.
    ///
    /// # Errors
    /// When a key cannot be read, generated or written. Files that were written stay, and another rotation completes them.
    pub fn rotate(&self, algorithms: &[Algorithm], now_us: i64, keep_us: i64) -> Result<Vec<String>, KeyError> {
        let old = self.files()?;
        let mut names = Vec::new();
        for algorithm in algorithms {
            let key = generate(*algorithm, now_us)?;
            self.write(&key)?;
            names.push(key.kid);
        }
        for mut key in old {
            if algorithms.contains(&key.algorithm) && key.retires_us.is_none() {
                key.retires_us = Some(now_us.saturating_add(keep_us));
                self.write(&key)?;
            }
        }
        Ok(names)
    }

    /// Removes retired keys.
    ///
    /// # Errors
    /// When a file cannot be read or removed.
    pub fn remove_retired(&self, now_us: i64) -> Result<(), KeyError> {
        for key in self.files()? {
            if key.retires_us.is_some_and(|at_us| at_us <= now_us) {
                let path = self.path(&key.kid);
                fs::remove_file(&path).map_err(file_error(&path))?;
            }
        }
        Ok(())
    }

    /// All keys, the newest first.
    ///
    /// # Errors
    /// When a file cannot be read, is invalid, or may be read by others.
    pub fn load(&self) -> Result<(Vec<Key>, Vec<KeyPair>), KeyError> {
        let (mut secrets, mut pairs) = (Vec::new(), Vec::new());
        for key in self.files()? {
            let path = self.path(&key.kid);
            let malformed = |message: String| KeyError::Malformed { path: path.clone(), message };
            let (kid, algorithm, retires_us) = (key.kid, key.algorithm, key.retires_us);
            match (key.secret, key.private_pem) {
                (Some(secret), _) if algorithm == Algorithm::HS256 => {
                    let secret = URL_SAFE_NO_PAD.decode(secret).map_err(|error| malformed(error.to_string()))?;
                    secrets.push(Key { kid, secret, retires_us });
                }
                (_, Some(private_pem)) => {
                    let public = public_key(algorithm, &private_pem).map_err(malformed)?;
                    pairs.push(KeyPair { kid, algorithm, private_pem, public, retires_us });
                }
                _ => return Err(malformed("neither secret nor private_pem".to_owned())),
            }
        }
        Ok((secrets, pairs))
    }

    /// Changes when keys do: paths, inodes and times of the files.
    pub(in crate::server) fn fingerprint(&self) -> Vec<(PathBuf, u64, i64, i64)> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let mut found: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let about = entry.metadata().ok()?;
                Some((entry.path(), about.ino(), about.mtime(), about.mtime_nsec()))
            })
            .collect();
        found.sort();
        found
    }

    fn path(&self, kid: &str) -> PathBuf {
        self.folder.join(format!("{kid}.json"))
    }

    /// The newest first.
    fn files(&self) -> Result<Vec<KeyFile>, KeyError> {
        let mut keys = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(file_error(&self.folder))? {
            let path = entry.map_err(file_error(&self.folder))?.path();
            if path.extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            check_private(&path)?;
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                // Another process has removed it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(file_error(&path)(error)),
            };
            let key: KeyFile = serde_json::from_str(&text)
                .map_err(|error| KeyError::Malformed { path: path.clone(), message: error.to_string() })?;
            if self.path(&key.kid) != path {
                return Err(KeyError::Malformed { path, message: format!("its kid is {}", key.kid) });
            }
            keys.push(key);
        }
        keys.sort_by(|a, b| (b.created_us, &b.kid).cmp(&(a.created_us, &a.kid)));
        Ok(keys)
    }

    /// Writes a key atomically.
    fn write(&self, key: &KeyFile) -> Result<(), KeyError> {
        let path = self.path(&key.kid);
        let unfinished = self.folder.join(format!("{}.unfinished-{}", key.kid, std::process::id()));
        let text = serde_json::to_string_pretty(key).expect("texts and numbers always serialize");
        let written = (|| {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)
        })();
        written.map_err(file_error(&path))
    }
}

fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> KeyError {
    let path = path.to_owned();
    move |error| KeyError::File { path, error }
}

fn check_private(path: &Path) -> Result<(), KeyError> {
    let mode = fs::metadata(path).map_err(file_error(path))?.mode();
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyError::NotPrivate { path: path.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Auth, AuthError};

    const ALL: [Algorithm; 4] = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::HS256, Algorithm::RS256];

    fn auth(keyring: &Keyring, algorithms: &[Algorithm]) -> Auth {
        let (secrets, pairs) = keyring.load().expect("the keys were just written");
        Auth::new(&secrets, &pairs, algorithms.to_vec(), vec!["here".to_owned()]).expect("the keys are keys")
    }

    fn subject(auth: &Auth, token: &str, now_us: i64) -> Result<String, AuthError> {
        auth.subject(Some(&format!("Bearer {token}")), now_us).map(|subject| subject.to_string())
    }

    #[test]
    fn rotated_keys_verify_until_their_tokens_expire() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let keyring = Keyring::open(folder.path()).expect("it can be made");
        keyring.ensure(&ALL, 0).expect("keys can be generated");
        keyring.ensure(&ALL, 0).expect("nothing to do");
        assert_eq!(keyring.files().expect("they can be read").len(), ALL.len());
        for algorithm in ALL {
            let before = auth(&keyring, &[algorithm]);
            let token = before.mint("someone", 0, 3600).expect("there is a key");
            assert_eq!(subject(&before, &token, 1), Ok("someone".to_owned()), "{algorithm:?}");
            let fingerprint = keyring.fingerprint();
            let names = keyring.rotate(&[algorithm], 1_000_000, 3_600_000_000).expect("keys can be rotated");
            assert_ne!(keyring.fingerprint(), fingerprint, "a running server sees it");
            let after = auth(&keyring, &[algorithm]);
            assert_eq!(subject(&after, &token, 2_000_000), Ok("someone".to_owned()), "the old token stays good");
            let new = after.mint("someone", 2_000_000, 7200).expect("there is a key");
            let shown = after.jwks(true).to_string();
            assert!(shown.contains(&names[0]), "{shown}");
            assert!(matches!(subject(&before, &new, 2_000_000), Err(AuthError::Key(kid)) if kid == names[0]));
            // The old key retires, and is removed.
            assert!(matches!(subject(&after, &token, 3_601_000_000), Err(AuthError::Key(_))));
            keyring.remove_retired(3_601_000_000).expect("it can be removed");
            assert_eq!(keyring.files().expect("they can be read").len(), ALL.len());
            assert_eq!(subject(&auth(&keyring, &[algorithm]), &new, 3_602_000_000), Ok("someone".to_owned()));
        }
    }

    #[test]
    fn a_key_is_good_for_its_own_algorithm_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let keyring = Keyring::open(folder.path()).expect("it can be made");
        keyring.ensure(&ALL, 0).expect("keys can be generated");
        let everything = auth(&keyring, &ALL);
        for algorithm in ALL {
            let alone = auth(&keyring, &[algorithm]);
            for other in ALL {
                let token = auth(&keyring, &[other]).mint("someone", 0, 60).expect("there is a key");
                assert_eq!(subject(&alone, &token, 1).is_ok(), other == algorithm, "{other:?} to {algorithm:?}");
                assert!(subject(&everything, &token, 1).is_ok());
            }
        }
        // The public half of a key pair, taken for a shared secret.
        let (_, pairs) = keyring.load().expect("they can be read");
        for pair in pairs {
            let secret = everything.jwks(false)["keys"].to_string();
            let header =
                jsonwebtoken::Header { kid: Some(pair.kid.clone()), ..jsonwebtoken::Header::new(Algorithm::HS256) };
            let claims = serde_json::json!({"sub": "someone", "exp": 60, "aud": "here"});
            let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
            let token = jsonwebtoken::encode(&header, &claims, &key).expect("signed");
            assert!(matches!(subject(&everything, &token, 1), Err(AuthError::Algorithm(_))));
        }
        let public = everything.jwks(false);
        let kinds: Vec<&str> =
            public["keys"].as_array().expect("keys").iter().filter_map(|key| key["kty"].as_str()).collect();
        assert!(!kinds.contains(&"oct") && kinds.len() == 3, "{public}");
        assert!(!public.to_string().contains("\"d\""), "no private part is shown");
    }

    #[test]
    fn keys_are_their_owners() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let keyring = Keyring::open(&folder.path().join("state")).expect("it can be made");
        keyring.ensure(&[Algorithm::ES256], 0).expect("keys can be generated");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o777;
        let path = keyring.path(&keyring.files().expect("they can be read")[0].kid);
        assert_eq!((mode(&folder.path().join("state")), mode(&keyring.folder), mode(&path)), (0o700, 0o700, 0o600));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("it is ours");
        assert!(matches!(keyring.load(), Err(KeyError::NotPrivate { path: open }) if open == path));
    }
}
