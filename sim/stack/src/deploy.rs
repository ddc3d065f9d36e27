//! What a deployment of the guide is made of: a folder that `docker compose` starts as it stands.
//!
//! The files that are the same for every deployment are data of [`fixtures::deployment`]; here is what differs:
//! passwords, the certificate of PostgreSQL, the key that signs tokens, the images, the application. Nothing secret is
//! anywhere else, and a folder that exists is never written to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::chown;
use std::path::Path;

use backend::server::keys::Keyring;
use fixtures::{App, deployment};
use nix::unistd::{Gid, Uid};

use crate::files::{self, NewFile};
use crate::postgres::{certificate, random_word};

/// Names by which PostgreSQL is reached, from the host and between containers.
const POSTGRES_HOSTS: [&str; 4] = ["localhost", "127.0.0.1", "postgres", "flowstate-postgres"];
/// The user of the backend's container where root makes the folder: nobody of the host.
const NOBODY: u32 = 65_532;

/// Where the sync service keeps its buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Storage {
    /// A MongoDB of its own, as in the guide.
    #[default]
    Mongodb,
    /// A schema in the application's database.
    Postgresql,
}

/// What can be chosen.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Bucket storage.
    pub storage: Storage,
    /// The audience of tokens.
    pub audience: String,
    /// The web client's origin.
    pub origin: String,
    /// Whether images are the locally built stand-ins.
    pub stand_ins: bool,
    /// Images in the place of those of `images.toml`, by part.
    pub images: BTreeMap<String, String>,
}

/// The image of each container, by variable.
///
/// # Errors
/// When a part is not known, or has no stand-in.
fn images(choice: &Choice) -> Result<BTreeMap<String, String>, String> {
    let mut known = deployment::images();
    known.retain(|_, image| image.container.is_some());
    if let Some(part) = choice.images.keys().find(|part| !known.contains_key(*part)) {
        let parts: Vec<&str> = known.keys().map(String::as_str).collect();
        return Err(format!("--image {part}=…: there is no such part; there are {}", parts.join(", ")));
    }
    let named = known.into_iter().map(|(part, image)| {
        let stand_in = if choice.stand_ins { image.stand_in } else { None };
        let name = choice.images.get(&part).cloned().or(stand_in).unwrap_or(image.image);
        (deployment::image_variable(&part), name)
    });
    Ok(named.collect())
}

/// `text`, each line indented.
fn indented(text: &str, spaces: usize) -> String {
    let lines: Vec<String> = text.trim_end().lines().map(|line| format!("{}{line}", " ".repeat(spaces))).collect();
    lines.join("\n")
}

/// The configuration of the PowerSync service.
fn powersync(choice: &Choice, authority: &str) -> String {
    let storage = match choice.storage {
        Storage::Mongodb => "storage:\n  type: mongodb\n  uri: !env PS_STORAGE_URI".to_owned(),
        Storage::Postgresql => format!(
            "storage:\n  type: postgresql\n  uri: !env PS_STORAGE_URI\n  sslmode: verify-full\n  cacert: |\n{}",
            indented(authority, 4)
        ),
    };
    deployment::POWERSYNC
        .replace("{authority}", &indented(authority, 8))
        .replace("{storage}", &storage)
        .replace("{audience}", &choice.audience)
}

/// What is between quotes in a file, or separates values there, may not be in a value.
fn check(name: &str, value: &str) -> Result<(), String> {
    let bad = |character: char| character.is_whitespace() || character.is_control() || "\"'\\$,{}".contains(character);
    if value.is_empty() || value.contains(bad) {
        return Err(format!("{name} {value:?}: write one word without quotes, commas, braces or $"));
    }
    Ok(())
}

/// Makes a folder that holds everything; it must not exist.
///
/// # Errors
/// What is wrong with a choice, or why the folder could not be made.
pub fn init(folder: &Path, app: &App, choice: &Choice) -> Result<(), String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    check("--audience", &choice.audience)?;
    check("--web-origin", &choice.origin)?;
    let images = images(choice)?;
    let certificate = certificate::generate(&POSTGRES_HOSTS).map_err(|error| said(&error))?;
    let word = || random_word().map_err(|error| said(&error));
    let (postgres, mongodb, redis) = (word()?, word()?, word()?);
    let storage_uri = match choice.storage {
        Storage::Mongodb => {
            format!("mongodb://user:{mongodb}@flowstate-mongodb:27017/powersync?replicaSet=rs0&authSource=admin")
        }
        Storage::Postgresql => format!("postgresql://user:{postgres}@flowstate-postgres:5432/flowstate"),
    };
    let own = Uid::effective();
    let (user, group) = if own.is_root() { (NOBODY, NOBODY) } else { (own.as_raw(), Gid::effective().as_raw()) };
    let profiles = if choice.storage == Storage::Mongodb && !choice.stand_ins { "mongodb" } else { "" };
    let mut environment =
        String::from("# Secret. Made by `syncstorm deploy init`; the compose file beside it reads it.\n");
    let settings = [
        ("COMPOSE_PROJECT_NAME", "flowstate"),
        ("COMPOSE_PROFILES", profiles),
        ("POSTGRES_PASSWORD", &postgres),
        ("MONGODB_PASSWORD", &mongodb),
        ("REDIS_PASSWORD", &redis),
        ("PS_STORAGE_URI", &storage_uri),
        ("AUDIENCE", &choice.audience),
        ("CORS_ORIGIN", &choice.origin),
        ("BACKEND_USER", &format!("{user}:{group}")),
    ];
    let images = images.iter().map(|(variable, image)| (variable.as_str(), image.as_str()));
    for (name, value) in settings.into_iter().chain(images) {
        let _ = writeln!(environment, "{name}={value}");
    }
    // MongoDB takes six characters or more of base64.
    let keyfile = format!("{}{}", word()?, word()?);
    let service = powersync(choice, &certificate.authority);
    let files = [
        NewFile::open("docker-compose.yml", deployment::COMPOSE),
        NewFile::secret(".env", &environment),
        NewFile::open("app/schema.sql", &app.schema_sql),
        NewFile::open("app/sync-config.yaml", &app.sync_config),
        NewFile::open("app/policy.toml", &app.policy_toml),
        NewFile::open("postgres/after-schema.sql", deployment::AFTER_SCHEMA),
        NewFile::open("postgres/pg_hba.conf", deployment::HBA),
        NewFile::open("postgres/ca.crt", &certificate.authority),
        NewFile::open("postgres/server.crt", &certificate.server),
        NewFile::secret("postgres/server.key", &certificate.key),
        NewFile::open("mongodb/initiate.js", deployment::INITIATE),
        NewFile::secret("mongodb/keyfile", &keyfile),
        NewFile::open("powersync/powersync.yaml", &service),
        NewFile::open("powersync/sync-config.yaml", &app.sync_config),
    ];
    files::write_new_folder(folder, &files, |staging| sign_in(&staging.join("backend")))
        .map_err(|error| format!("{}: {error}", folder.display()))
}

/// Gives a state directory to the user of the backend's container, where root made it.
///
/// # Errors
/// When the files are not ours to give.
pub fn give_to_backend(state: &Path) -> std::io::Result<()> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let keys = state.join("keys");
    for entry in std::fs::read_dir(&keys)? {
        chown(entry?.path(), Some(NOBODY), Some(NOBODY))?;
    }
    chown(&keys, Some(NOBODY), Some(NOBODY))?;
    chown(state, Some(NOBODY), Some(NOBODY))
}

/// Makes the key that the backend signs tokens with, for the user of its container.
fn sign_in(state: &Path) -> std::io::Result<()> {
    let keyring = Keyring::open(state).map_err(std::io::Error::other)?;
    let now_us = backend::server::machine_clock_us();
    keyring.ensure(&[jsonwebtoken::Algorithm::ES256], now_us).map_err(std::io::Error::other)?;
    give_to_backend(state)
}
