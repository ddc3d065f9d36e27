//! The compose file of a deployment, read: what its users start with `docker compose` is what the containers world
//! starts. Only what that file uses is known; anything else is refused by name.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_norway::Value as Yaml;

/// A compose file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Compose {
    pub(super) services: BTreeMap<String, Service>,
    /// Named volumes: what they hold goes with a container here, so that they are not asked for.
    #[serde(default, rename = "volumes")]
    _volumes: BTreeMap<String, Yaml>,
}

/// One container.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) image: String,
    /// By which the others reach it, too.
    #[serde(default)]
    pub(super) container_name: Option<String>,
    #[serde(default)]
    pub(super) profiles: Vec<String>,
    #[serde(default)]
    pub(super) restart: Option<String>,
    #[serde(default)]
    pub(super) entrypoint: Vec<String>,
    #[serde(default)]
    pub(super) command: Vec<String>,
    #[serde(default)]
    pub(super) user: Option<String>,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) ports: Vec<String>,
    #[serde(default)]
    pub(super) volumes: Vec<String>,
    #[serde(default)]
    pub(super) healthcheck: Option<Health>,
    #[serde(default)]
    pub(super) depends_on: BTreeMap<String, Dependency>,
}

/// How it is asked whether a container is healthy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Health {
    pub(super) test: Vec<String>,
    pub(super) interval: String,
    pub(super) timeout: String,
    pub(super) retries: u32,
}

/// What must be true of another container first.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dependency {
    pub(super) condition: String,
}

/// A published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) host: u16,
    pub(super) container: u16,
}

impl Compose {
    /// Reads a file, with variables from the environment.
    ///
    /// # Errors
    /// What is wrong with it, or the variable that is not set.
    pub(super) fn read(text: &str, variables: &BTreeMap<String, String>) -> Result<Self, String> {
        let yaml: Yaml = serde_norway::from_str(text).map_err(|error| format!("docker-compose.yml: {error}"))?;
        let filled = filled(yaml, variables).map_err(|problem| format!("docker-compose.yml: {problem}"))?;
        let compose: Self = serde_norway::from_value(filled).map_err(|error| format!("docker-compose.yml: {error}"))?;
        for (name, service) in &compose.services {
            let known = |name: &String| compose.services.contains_key(name);
            if let Some(missing) = service.depends_on.keys().find(|name| !known(name)) {
                return Err(format!("docker-compose.yml: {name} depends on {missing}, which is not there"));
            }
            let known = ["service_healthy", "service_completed_successfully", "service_started"];
            if let Some(other) = service.depends_on.values().find(|on| !known.contains(&on.condition.as_str())) {
                return Err(format!("docker-compose.yml: {name}: the condition {} is not known", other.condition));
            }
            service.published().map_err(|problem| format!("docker-compose.yml: {name}: {problem}"))?;
        }
        Ok(compose)
    }
}

impl Service {
    /// The ports that are published. All must be on loopback.
    pub(super) fn published(&self) -> Result<Vec<Port>, String> {
        let port = |text: &String| {
            let mut parts = text.split(':');
            let parsed = (parts.next(), parts.next().map(str::parse), parts.next().map(str::parse), parts.next());
            match parsed {
                (Some("127.0.0.1"), Some(Ok(host)), Some(Ok(container)), None) => Ok(Port { host, container }),
                _ => Err(format!("the port {text} is not of the form 127.0.0.1:HOST:CONTAINER")),
            }
        };
        self.ports.iter().map(port).collect()
    }

    /// What is mounted from files of the host: source, target, and `ro` or nothing. Named volumes are left out: what
    /// they hold is to go with the container.
    pub(super) fn mounted(&self) -> Vec<(&str, &str, Option<&str>)> {
        let split = |text: &'_ str| -> Option<(usize, usize)> {
            let source = text.find(':')?;
            let target = text[source + 1..].find(':').map_or(text.len(), |at| source + 1 + at);
            Some((source, target))
        };
        let is_path = |source: &str| source.starts_with('.') || source.starts_with('/');
        self.volumes
            .iter()
            .filter_map(|text| {
                let (source, target) = split(text)?;
                let mode = text.get(target + 1..).filter(|mode| !mode.is_empty());
                is_path(&text[..source]).then(|| (&text[..source], &text[source + 1..target], mode))
            })
            .collect()
    }
}

/// A length of time as compose writes it: `2s`, `500ms`, `1m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(format!("{text:?} is no length of time such as 2s")),
    };
    text[..digits]
        .parse()
        .map(|number: u32| Duration::from_millis(unit_ms) * number)
        .map_err(|error| format!("{text:?}: {error}"))
}

/// The document with its variables replaced: `${NAME}`, `${NAME:-default}`, `${NAME:?message}`, and `$$` for `$`.
fn filled(yaml: Yaml, variables: &BTreeMap<String, String>) -> Result<Yaml, String> {
    match yaml {
        Yaml::String(text) => filled_text(&text, variables).map(Yaml::String),
        Yaml::Sequence(items) => {
            items.into_iter().map(|item| filled(item, variables)).collect::<Result<_, _>>().map(Yaml::Sequence)
        }
        Yaml::Mapping(pairs) => {
            let pairs = pairs.into_iter().map(|(key, value)| Ok((key, filled(value, variables)?)));
            pairs.collect::<Result<_, String>>().map(Yaml::Mapping)
        }
        plain => Ok(plain),
    }
}

fn filled_text(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        filled.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            filled.push('$');
            rest = after;
            continue;
        }
        let end = rest.find('}').filter(|_| rest.starts_with('{'));
        let end = end.ok_or_else(|| format!("in {text:?}: write ${{NAME}}, or $$ for a $"))?;
        let (name, fallback) = rest[1..end].split_once(':').unwrap_or((&rest[1..end], "?"));
        let set = variables.get(name).filter(|value| !value.is_empty());
        match (set, fallback.split_at_checked(1)) {
            (Some(value), _) => filled.push_str(value),
            (None, Some(("-", default))) => filled.push_str(default),
            (None, Some(("?", message))) => return Err(format!("{name} is not set {message}").trim_end().to_owned()),
            (None, _) => return Err(format!("in {text:?}: only :- and :? are known")),
        }
        rest = &rest[end + 1..];
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Compose, String> {
        let variables = [("IMAGE", "there:1"), ("PORT", "6000")];
        Compose::read(text, &variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    #[test]
    fn variables_are_filled_in() {
        let compose = read(
            "services:\n  one:\n    image: ${IMAGE:?}\n    environment: {A: \"$$X-${OTHER:-y}\"}\n    ports: [\"127.0.0.1:${PORT:-1}:5432\"]\n    volumes: [\"data:/data\", \"./here:/there:ro\", \"/etc/x:/y\"]\n",
        );
        let compose = compose.expect("it can be read");
        let one = &compose.services["one"];
        assert_eq!((one.image.as_str(), one.environment["A"].as_str()), ("there:1", "$X-y"));
        assert_eq!(one.published().expect("ports"), [Port { host: 6000, container: 5432 }]);
        assert_eq!(one.mounted(), [("./here", "/there", Some("ro")), ("/etc/x", "/y", None)]);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (text, says) in [
            ("services:\n  one: {image: \"${NONE:?make it}\"}", "NONE is not set make it"),
            ("services:\n  one: {image: a, privileged: true}", "privileged"),
            ("services:\n  one: {image: a, ports: [\"5432:5432\"]}", "127.0.0.1:HOST:CONTAINER"),
            ("services:\n  one: {image: a, ports: [\"0.0.0.0:1:2\"]}", "127.0.0.1:HOST:CONTAINER"),
            (
                "services:\n  one: {image: a, depends_on: {two: {condition: service_healthy}}}",
                "two, which is not there",
            ),
            ("services:\n  one: {image: $IMAGE}", "write ${NAME}"),
        ] {
            let problem = read(text).expect_err(text);
            assert!(problem.contains(says), "{text}: {problem}");
        }
    }

    #[test]
    fn lengths_of_time() {
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(duration("2 h").is_err());
    }
}
