//! `deploy init`: a folder that holds together, with secrets that nobody else has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use fixtures::deployment;
use serde_norway::Value;

fn init(folder: &Path, further: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncstorm"));
    command.args(["deploy", "init"]).arg(folder).args(further).output().expect("the program starts")
}

fn made(folder: &Path, further: &[&str]) {
    let output = init(folder, further);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn yaml(folder: &Path, name: &str) -> Value {
    serde_norway::from_str(&text(folder, name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What `.env` sets.
fn environment(folder: &Path) -> BTreeMap<String, String> {
    let text = text(folder, ".env");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split_once('=').expect("NAME=VALUE"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The variables that a compose file takes from its environment, and whether each must be set.
fn variables(compose: &str) -> BTreeMap<String, bool> {
    let compose = compose.replace("$$", "");
    let named = compose.split("${").skip(1).map(|rest| rest.split('}').next().expect("it is closed"));
    let split = named.map(|inner| {
        let end = inner.find([':', '-', '?']).unwrap_or(inner.len());
        (inner[..end].to_owned(), inner[end..].starts_with(":?"))
    });
    split.collect()
}

#[test]
fn the_files_agree() {
    let outside = tempfile::tempdir().expect("a temporary folder can be made");
    let folder = outside.path().join("stack");
    made(&folder, &[]);
    let set = environment(&folder);
    let compose = yaml(&folder, "docker-compose.yml");

    for (name, must_be_set) in variables(&text(&folder, "docker-compose.yml")) {
        assert!(!must_be_set || set.get(&name).is_some_and(|value| !value.is_empty()), "{name} is not in .env");
    }
    let services = compose["services"].as_mapping().expect("services");
    let mut containers = BTreeSet::new();
    for (name, service) in services {
        for port in service["ports"].as_sequence().into_iter().flatten() {
            let port = port.as_str().expect("a port is a text");
            assert!(port.starts_with("127.0.0.1:"), "{name:?} is published beyond loopback: {port}");
        }
        for volume in service["volumes"].as_sequence().into_iter().flatten() {
            let from = volume.as_str().and_then(|volume| volume.split(':').next()).expect("a volume is a text");
            assert!(!from.starts_with('.') || folder.join(from).exists(), "{name:?} mounts {from}, which is not there");
        }
        containers.extend(service["container_name"].as_str().map(str::to_owned));
    }
    // images.toml names each container's image once, and .env hands it to the compose file.
    let images: BTreeMap<_, _> =
        deployment::images().into_iter().filter(|(_, image)| image.container.is_some()).collect();
    assert_eq!(containers, images.values().filter_map(|image| image.container.clone()).collect());
    for (part, image) in &images {
        assert_eq!(set[&deployment::image_variable(part)], image.image, "{part}");
        let version = image.image.rsplit_once(':').map(|(_, version)| version);
        assert!(version.is_some_and(|version| version != "latest"), "{} is not pinned", image.image);
        let wanted = format!("${{{}:?", deployment::image_variable(part));
        assert!(services[part.as_str()]["image"].as_str().is_some_and(|name| name.starts_with(&wanted)), "{part}");
    }
    // What starts before what.
    assert_eq!(services["sync-backend"]["depends_on"]["postgres"]["condition"], "service_healthy");
    assert!(services["sync-backend"]["user"].as_str().is_some_and(|user| user == "${BACKEND_USER:?}"));
    assert!(set["BACKEND_USER"].split(':').all(|id| id != "0"), "the backend never runs as root");

    let app = fixtures::App::builtin("flowstate").expect("it is built in");
    assert_eq!(text(&folder, "app/schema.sql"), app.schema_sql);
    assert_eq!(text(&folder, "powersync/sync-config.yaml"), app.sync_config);
    fixtures::App::load(&folder.join("app")).expect("the backend can read its application");
}

/// As the protocol's pages describe it: connection, storage, port, sync config, keys, probes, telemetry.
#[test]
fn the_official_service_is_configured_as_documented() {
    let outside = tempfile::tempdir().expect("a temporary folder can be made");
    for (storage, kind) in [("mongodb", "mongodb"), ("postgresql", "postgresql")] {
        let folder = outside.path().join(storage);
        made(&folder, &["--storage", storage, "--audience", "an-audience"]);
        let config = yaml(&folder, "powersync/powersync.yaml");
        let from_environment = |value: &Value, name: &str| {
            let Value::Tagged(tagged) = value else { panic!("{value:?} does not come from the environment") };
            assert_eq!((tagged.tag.to_string().as_str(), tagged.value.as_str()), ("!env", Some(name)));
        };
        let connection = &config["replication"]["connections"][0];
        assert_eq!(connection["type"], "postgresql");
        assert_eq!(connection["sslmode"], "verify-full");
        assert_eq!(connection["cacert"].as_str().map(str::trim), Some(text(&folder, "postgres/ca.crt").trim()));
        from_environment(&connection["uri"], "PS_DATABASE_URI");
        assert_eq!(config["storage"]["type"], kind);
        from_environment(&config["storage"]["uri"], "PS_STORAGE_URI");
        assert_eq!(config["port"], 8080);
        assert_eq!(config["sync_config"]["path"], "sync-config.yaml");
        from_environment(&config["client_auth"]["jwks_uri"], "PS_JWKS_URI");
        assert_eq!(config["client_auth"]["audience"][0], "an-audience");
        assert_eq!(config["healthcheck"]["probes"]["use_http"], true);
        assert_eq!(config["telemetry"]["disable_telemetry_sharing"], true);
        let set = environment(&folder);
        assert_eq!(set["COMPOSE_PROFILES"], if kind == "mongodb" { "mongodb" } else { "" });
        assert_eq!(set["AUDIENCE"], "an-audience");
        let scheme = if kind == "mongodb" { "mongodb://" } else { "postgresql://" };
        assert!(set["PS_STORAGE_URI"].starts_with(scheme), "{storage}");
    }
}

#[test]
fn secrets_are_its_own_and_nobody_elses() {
    let outside = tempfile::tempdir().expect("a temporary folder can be made");
    let (one, other) = (outside.path().join("one"), outside.path().join("other"));
    made(&one, &[]);
    made(&other, &[]);
    for name in ["POSTGRES_PASSWORD", "MONGODB_PASSWORD", "REDIS_PASSWORD"] {
        let (first, second) = (&environment(&one)[name], &environment(&other)[name]);
        assert!(first != second && first.len() >= 32, "{name}");
    }
    for name in [".env", "postgres/server.key", "mongodb/keyfile"] {
        let mode = fs::metadata(one.join(name)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        assert_ne!(text(&one, name), text(&other, name), "{name}");
    }
    let keys = fs::read_dir(one.join("backend/keys")).expect("the backend has its keys").count();
    assert!(keys >= 1);
    // What is there is never overwritten, and a wrong word leaves nothing behind.
    let before = text(&one, ".env");
    let again = init(&one, &[]);
    assert_eq!(again.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&again.stderr).contains("name a new folder"));
    assert_eq!(text(&one, ".env"), before);
    for (further, told) in [
        (["--image", "oracle=x:1"], "there is no such part"),
        (["--image", "postgres"], "PART=NAME"),
        (["--audience", "two words"], "--audience"),
        (["--web-origin", "$HOME"], "--web-origin"),
        (["--storage", "paper"], "mongodb"),
    ] {
        let output = init(&outside.path().join("wrong"), &further);
        assert_eq!(output.status.code(), Some(64), "{further:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(told), "{further:?}: {output:?}");
        assert_eq!(fs::read_dir(outside.path()).expect("it can be read").count(), 2, "{further:?} leaves something");
    }
}
