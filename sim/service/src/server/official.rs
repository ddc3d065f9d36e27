//! The configuration file of the official service, for running in its place. Settings that this service has are used,
//! those that only concern the official one (bucket storage, telemetry, probes) are ignored, and any other is refused
//! by name.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use serde_norway::{Mapping, Value as Yaml};

use super::config::Config;
use super::error::ServeError;
use crate::percent::percent_encoded;

/// The official service's command line: `start -r unified`.
#[derive(Clone, Debug, clap::Args)]
pub struct Start {
    /// Which part runs: all of them, as one process
    #[arg(short = 'r', long = "runner-type", value_parser = ["unified"], default_value = "unified")]
    pub runner: String,

    /// The configuration file, YAML
    #[arg(short = 'c', long = "config-path", value_name = "FILE", env = "POWERSYNC_CONFIG_PATH")]
    pub config: PathBuf,

    /// The bucket store, a SQLite file, in a folder of its own; created when it is missing
    #[arg(long, value_name = "FILE", default_value = "buckets/buckets.sqlite")]
    pub store: PathBuf,
}

/// Gives every setting that is not in the file its default.
#[derive(clap::Parser)]
struct Defaults {
    #[command(flatten)]
    config: Config,
}

/// Looks up a variable of the environment.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Start {
    /// Reads the file. What this service needs as separate files (certificates, keys, a sync configuration in the file)
    /// is written beside the store.
    ///
    /// # Errors
    /// When the file cannot be read, or has an unknown setting.
    pub fn settings(&self) -> Result<Config, ServeError> {
        self.settings_with(&|name| std::env::var(name).ok())
    }

    fn settings_with(&self, environment: Environment<'_>) -> Result<Config, ServeError> {
        let text = std::fs::read_to_string(&self.config).map_err(|source| file(&self.config, source))?;
        let refuse = |problem: String| ServeError::Setting(format!("{}: {problem}", self.config.display()));
        let yaml: Yaml = serde_norway::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        let yaml = resolved(yaml, environment).map_err(refuse)?;
        let beside = self.store.parent().filter(|folder| !folder.as_os_str().is_empty());
        let beside = beside.map_or_else(|| PathBuf::from("."), Path::to_path_buf);
        std::fs::create_dir_all(&beside).map_err(|source| file(&beside, source))?;
        let reader = FileReader { beside: &beside, origin: self.config.parent().unwrap_or(Path::new(".")) };
        let flags = reader.flags(&yaml).map_err(|problem| match problem {
            Problem::Words(words) => refuse(words),
            Problem::File(path, source) => file(&path, source),
        })?;
        let store = format!("--store={}", self.store.display());
        let all = std::iter::once("syncstorm-service".to_owned()).chain(flags).chain([store]);
        let defaults = Defaults::try_parse_from(all).map_err(|error| refuse(error.to_string()))?;
        Ok(defaults.config)
    }
}

fn file(path: &Path, source: std::io::Error) -> ServeError {
    ServeError::File { path: path.to_owned(), source }
}

enum Problem {
    Words(String),
    File(PathBuf, std::io::Error),
}

impl From<String> for Problem {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

struct FileReader<'a> {
    /// Where files may be written.
    beside: &'a Path,
    /// Paths in the file are relative to this folder.
    origin: &'a Path,
}

impl FileReader<'_> {
    /// The document as this program's flags.
    fn flags(&self, yaml: &Yaml) -> Result<Vec<String>, Problem> {
        const KNOWN: [&str; 10] = [
            "replication",
            "storage",
            "port",
            "sync_config",
            "sync_rules",
            "client_auth",
            "api",
            "healthcheck",
            "telemetry",
            "system",
        ];
        let document = mapping(yaml, "the file")?;
        known(document, "the file", &KNOWN)?;
        let mut flags = Vec::new();
        let port = document.get("port").map_or(Ok(8080), |port| number(port, "port"))?;
        flags.push(format!("--listen=0.0.0.0:{port}"));
        let replication = mapping(needed(document, "", "replication")?, "replication")?;
        known(replication, "replication", &["connections"])?;
        match needed(replication, "replication.", "connections")?.as_sequence().map(Vec::as_slice) {
            Some([connection]) => flags.push(format!("--database-url={}", self.database(connection)?)),
            _ => return Err("replication.connections: write one connection".to_owned().into()),
        }
        self.sync_config(document, &mut flags)?;
        self.client_auth(needed(document, "", "client_auth")?, &mut flags)?;
        if let Some(api) = document.get("api") {
            let api = mapping(api, "api")?;
            known(api, "api", &["parameters"])?;
            if let Some(parameters) = api.get("parameters") {
                let parameters = mapping(parameters, "api.parameters")?;
                known(parameters, "api.parameters", &["max_concurrent_connections"])?;
                if let Some(count) = parameters.get("max_concurrent_connections") {
                    flags
                        .push(format!("--max-streams={}", number(count, "api.parameters.max_concurrent_connections")?));
                }
            }
        }
        Ok(flags)
    }

    /// A connection as a URL.
    fn database(&self, connection: &Yaml) -> Result<String, Problem> {
        const PLACE: &str = "replication.connections[0]";
        const KNOWN: [&str; 11] =
            ["type", "id", "tag", "uri", "hostname", "port", "username", "password", "database", "sslmode", "cacert"];
        let connection = mapping(connection, PLACE)?;
        known(connection, PLACE, &KNOWN)?;
        let prefix = format!("{PLACE}.");
        let get = |key: &str| connection.get(key).map(|value| string(value, &format!("{PLACE}.{key}"))).transpose();
        let kind = string(needed(connection, &prefix, "type")?, &format!("{PLACE}.type"))?;
        if kind != "postgresql" {
            return Err(format!("{PLACE}.type: {kind:?}: this service replicates from postgresql alone").into());
        }
        let mut url = get("uri")?.unwrap_or_else(|| "postgresql://".to_owned());
        let mut separator = if url.contains('?') { '&' } else { '?' };
        let mut option = |name: &str, value: &str| {
            url.push(separator);
            url.push_str(name);
            url.push('=');
            url.push_str(&percent_encoded(value));
            separator = '&';
        };
        for (key, name) in
            [("hostname", "host"), ("username", "user"), ("password", "password"), ("database", "dbname")]
        {
            if let Some(value) = get(key)? {
                option(name, &value);
            }
        }
        if let Some(port) = connection.get("port") {
            option("port", &number(port, &format!("{PLACE}.port"))?.to_string());
        }
        // As in the official service, certificates are checked unless the file says otherwise.
        let mode = get("sslmode")?.unwrap_or_else(|| "verify-full".to_owned());
        if !["verify-full", "verify-ca", "disable"].contains(&mode.as_str()) {
            return Err(format!("{PLACE}.sslmode: {mode:?}: write verify-full, verify-ca or disable").into());
        }
        option("sslmode", &mode);
        if let Some(certificate) = get("cacert")? {
            option("sslrootcert", &self.write("source-ca.crt", &certificate)?.display().to_string());
        }
        Ok(url)
    }

    fn sync_config(&self, document: &Mapping, flags: &mut Vec<String>) -> Result<(), Problem> {
        let (key, yaml) = ["sync_config", "sync_rules"]
            .iter()
            .find_map(|key| document.get(*key).map(|yaml| (*key, yaml)))
            .ok_or_else(|| "sync_config is missing: name a file as `path`".to_owned())?;
        let settings = mapping(yaml, key)?;
        known(settings, key, &["path", "content", "exit_on_error"])?;
        let path = match (settings.get("path"), settings.get("content")) {
            (Some(path), None) => self.origin.join(string(path, &format!("{key}.path"))?),
            (None, Some(content)) => self.write("sync-config.yaml", &string(content, &format!("{key}.content"))?)?,
            _ => return Err(format!("{key}: write either `path` or `content`").into()),
        };
        flags.push(format!("--sync-config={}", path.display()));
        Ok(())
    }

    fn client_auth(&self, yaml: &Yaml, flags: &mut Vec<String>) -> Result<(), Problem> {
        let settings = mapping(yaml, "client_auth")?;
        known(settings, "client_auth", &["jwks_uri", "jwks", "audience", "allow_local_jwks", "block_local_jwks"])?;
        let audience = needed(settings, "client_auth.", "audience")?;
        let audience = audience.as_sequence().ok_or_else(|| "client_auth.audience: write a list".to_owned())?;
        for name in audience {
            flags.push(format!("--audience={}", string(name, "client_auth.audience")?));
        }
        if let Some(uri) = settings.get("jwks_uri") {
            let uri = match uri.as_sequence().map(Vec::as_slice) {
                None => uri,
                Some([uri]) => uri,
                Some(_) => return Err("client_auth.jwks_uri: this service fetches one key set".to_owned().into()),
            };
            flags.push(format!("--jwks-url={}", string(uri, "client_auth.jwks_uri")?));
        }
        if let Some(keys) = settings.get("jwks") {
            let text = serde_json::to_string(keys).map_err(|error| format!("client_auth.jwks: {error}"))?;
            flags.push(format!("--jwks-file={}", self.write("keys.json", &text)?.display()));
        }
        Ok(())
    }

    /// Writes a file that only its owner can read.
    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Problem> {
        let path = self.beside.join(name);
        let opened = std::fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(&path);
        match opened.and_then(|mut opened| opened.write_all(text.as_bytes())) {
            Ok(()) => Ok(path),
            Err(source) => Err(Problem::File(path, source)),
        }
    }
}

/// The document with `!env NAME` replaced. As in the official service, only names that begin with `PS_` can be.
fn resolved(yaml: Yaml, environment: Environment<'_>) -> Result<Yaml, String> {
    match yaml {
        Yaml::Tagged(tagged) if tagged.tag == "env" => {
            let name = tagged.value.as_str().unwrap_or_default();
            if !name.starts_with("PS_") {
                return Err(format!("!env {name}: only names that begin with PS_ can be used"));
            }
            environment(name).map(Yaml::String).ok_or_else(|| format!("!env {name}: it is not set"))
        }
        Yaml::Tagged(tagged) => Err(format!("{}: only !env is known", tagged.tag)),
        Yaml::Sequence(items) => {
            items.into_iter().map(|item| resolved(item, environment)).collect::<Result<_, _>>().map(Yaml::Sequence)
        }
        Yaml::Mapping(pairs) => {
            let pairs = pairs.into_iter().map(|(key, value)| Ok((key, resolved(value, environment)?)));
            pairs.collect::<Result<_, String>>().map(Yaml::Mapping)
        }
        plain => Ok(plain),
    }
}

fn mapping<'a>(yaml: &'a Yaml, place: &str) -> Result<&'a Mapping, String> {
    yaml.as_mapping().ok_or_else(|| format!("{place}: write keys and values"))
}

fn known(mapping: &Mapping, place: &str, names: &[&str]) -> Result<(), String> {
    match mapping.keys().find(|key| key.as_str().is_none_or(|key| !names.contains(&key))) {
        None => Ok(()),
        Some(key) => {
            let key = key.as_str().unwrap_or("a key that is no text");
            Err(format!("{place}: {key} is not known here; known are {}", names.join(", ")))
        }
    }
}

fn needed<'a>(mapping: &'a Mapping, prefix: &str, key: &str) -> Result<&'a Yaml, String> {
    mapping.get(key).ok_or_else(|| format!("{prefix}{key} is missing"))
}

fn string(yaml: &Yaml, place: &str) -> Result<String, String> {
    yaml.as_str().map(str::to_owned).ok_or_else(|| format!("{place}: write a text"))
}

/// A number, which may be a string because environment variables are.
fn number(yaml: &Yaml, place: &str) -> Result<u64, String> {
    let number = yaml.as_u64().or_else(|| yaml.as_str().and_then(|text| text.parse().ok()));
    number.ok_or_else(|| format!("{place}: write a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPLOYED: &str = "\
replication:
  connections:
    - type: postgresql
      uri: !env PS_DATABASE_URI
      sslmode: verify-ca
      cacert: |
        -----BEGIN CERTIFICATE-----
storage:
  type: mongodb
  uri: !env PS_STORAGE_URI
port: 9000
sync_config:
  path: rules.yaml
client_auth:
  jwks_uri: !env PS_JWKS_URI
  jwks:
    keys: [{kty: oct, alg: HS256, kid: k, k: c2VjcmV0}]
  audience: [one, two]
healthcheck:
  probes:
    use_http: true
telemetry:
  disable_telemetry_sharing: true
";

    fn settings(text: &str) -> (tempfile::TempDir, Result<Config, String>) {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("powersync.yaml");
        std::fs::write(&config, text).expect("written");
        let start = Start { runner: "unified".to_owned(), config, store: folder.path().join("s/b.sqlite") };
        let environment = |name: &str| match name {
            "PS_DATABASE_URI" => Some("postgresql://user:p%40ss@db:5432/app".to_owned()),
            "PS_STORAGE_URI" => Some("mongodb://there/powersync".to_owned()),
            "PS_JWKS_URI" => Some("http://backend:3000/.well-known/jwks.json".to_owned()),
            _ => None,
        };
        let settings = start.settings_with(&environment).map_err(|error| error.to_string());
        (folder, settings)
    }

    #[test]
    fn a_deployed_file_is_understood() {
        let (folder, settings) = settings(DEPLOYED);
        let settings = settings.expect("understood");
        let beside = folder.path().join("s");
        let certificate = beside.join("source-ca.crt");
        assert_eq!(
            settings.database_url,
            format!("postgresql://user:p%40ss@db:5432/app?sslmode=verify-ca&sslrootcert={}", certificate.display())
        );
        assert_eq!(std::fs::read_to_string(certificate).expect("there"), "-----BEGIN CERTIFICATE-----\n");
        assert_eq!(settings.listen.to_string(), "0.0.0.0:9000");
        assert_eq!(settings.audience, ["one", "two"]);
        assert_eq!(settings.sync_config, folder.path().join("rules.yaml"));
        assert_eq!(settings.jwks_url.as_deref(), Some("http://backend:3000/.well-known/jwks.json"));
        let keys = std::fs::read_to_string(settings.jwks_file.expect("a file")).expect("there");
        assert_eq!(keys, r#"{"keys":[{"kty":"oct","alg":"HS256","kid":"k","k":"c2VjcmV0"}]}"#);
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (from, to, says) in [
            ("storage:", "storag:", "storag is not known here"),
            ("PS_DATABASE_URI", "DATABASE_URI", "only names that begin with PS_"),
            ("PS_JWKS_URI", "PS_OTHER", "!env PS_OTHER: it is not set"),
            ("type: postgresql", "type: mysql", "replicates from postgresql alone"),
            ("sslmode: verify-ca", "sslmode: require", "write verify-full, verify-ca or disable"),
            ("port: 9000", "port: many", "port: write a number"),
            ("  path: rules.yaml", "  paths: rules.yaml", "paths is not known here"),
            ("  audience: [one, two]", "  audience: one", "client_auth.audience: write a list"),
            ("  audience: [one, two]\n", "", "client_auth.audience is missing"),
        ] {
            assert!(DEPLOYED.contains(from), "{from}");
            let (_folder, settings) = settings(&DEPLOYED.replacen(from, to, 1));
            let problem = settings.expect_err(to);
            assert!(problem.contains(says) && problem.contains("powersync.yaml"), "{to}: {problem}");
        }
    }
}
