//! What can be reached by whom: ports on other addresses than loopback, and traffic that others can read.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use serde_json::Value as Json;

use super::Lines;
use super::containers::inspected;
use super::mongodb::ReplicaSet;
use sim_stack::existing_stack::ExistingStack;

/// The ports that are for everybody: the service's and the backend's, as the guide numbers them.
const PUBLIC_PORTS: [u16; 2] = [8080, 3000];
/// The stack's other ports, as the guide numbers them.
const PRIVATE_PORTS: [u16; 3] = [5432, 27017, 6379];
/// How long another address of this machine may take; it answers at once or never.
const KNOCK: Duration = Duration::from_millis(500);

/// Where a part is, and whether what goes there is encrypted.
struct Part {
    name: &'static str,
    host: String,
    port: u16,
    is_plain: bool,
}

/// Host and port of a URL.
fn host_and_port(url: &str, usual: u16) -> Option<(String, u16)> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next()?;
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let place = place.split(',').next()?;
    match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
        }
        _ => Some((place.trim_matches(['[', ']']).to_owned(), usual)),
    }
}

fn parts(target: &ExistingStack, replica_set: Option<&ReplicaSet>) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut add = |name, url: &str, usual, is_plain| {
        if let Some((host, port)) = host_and_port(url, usual) {
            parts.push(Part { name, host, port, is_plain });
        }
    };
    for (name, url) in [("the service", &target.service), ("the backend", &target.backend)] {
        if let Some(url) = url {
            let is_plain = url.starts_with("http://");
            add(name, url, if is_plain { 80 } else { 443 }, is_plain);
        }
    }
    if let Some(url) = &target.postgres {
        // Whether sessions may be plain is a line of its own.
        add("PostgreSQL", url, 5432, false);
    }
    if let Some(replica_set) = replica_set {
        add("MongoDB", &replica_set.first().to_string(), 27017, !replica_set.has_tls());
    }
    if let Some(url) = &target.redis {
        add("Redis", url, 6379, !url.starts_with("rediss://"));
    }
    parts
}

/// The addresses of a host; none when it is not known.
fn addresses(host: &str, port: u16) -> Vec<IpAddr> {
    match host.parse() {
        Ok(address) => vec![address],
        Err(_) => (host, port).to_socket_addrs().map(|all| all.map(|one| one.ip()).collect()).unwrap_or_default(),
    }
}

/// Whether passwords, tokens and rows go over a network in the clear.
pub(super) fn plain_text(target: &ExistingStack, replica_set: Option<&ReplicaSet>, lines: &mut Lines) {
    let name = "nothing crosses a network in the clear";
    let (mut plain, mut unknown) = (Vec::new(), Vec::new());
    for part in parts(target, replica_set).into_iter().filter(|part| part.is_plain) {
        let found = addresses(&part.host, part.port);
        if found.is_empty() {
            unknown.push(part.host);
        } else if !found.iter().all(IpAddr::is_loopback) {
            plain.push(format!("{} at {}", part.name, part.host));
        }
    }
    if !plain.is_empty() {
        return lines.failed(
            name,
            format!("without TLS, to a host that is not loopback: {}", plain.join(", ")),
            "put a proxy with a certificate in front (https://), or reach it through a tunnel; passwords and tokens can be read",
        );
    }
    if unknown.is_empty() {
        lines.ok(name, "plain addresses are on loopback");
    } else {
        lines.skipped(name, format!("the address of {} is not known", unknown.join(", ")));
    }
}

/// This machine's addresses that others may reach.
fn outward() -> Result<Vec<IpAddr>, String> {
    let found = nix::ifaddrs::getifaddrs().map_err(|error| error.to_string())?;
    let all = found.filter_map(|interface| {
        let address = interface.address?;
        let four = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        four.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    // Link-local addresses need a scope, and no server is reached by them.
    let is_local = |address: &IpAddr| matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
    let all: BTreeSet<IpAddr> = all.filter(|address| !address.is_loopback() && !is_local(address)).collect();
    Ok(all.into_iter().collect())
}

/// Knocks at the stack's other ports on this machine's addresses that others may reach.
pub(super) async fn ports(target: &ExistingStack, replica_set: Option<&ReplicaSet>, lines: &mut Lines) {
    let name = "no other port is reachable";
    let own = match outward() {
        Ok(own) if own.is_empty() => {
            return lines.skipped(name, "this machine has no address but loopback: ask from outside");
        }
        Ok(own) => own,
        Err(said) => return lines.skipped(name, format!("this machine's addresses are not known: {said}")),
    };
    let parts = parts(target, replica_set);
    let stores = parts.iter().filter(|part| !matches!(part.name, "the service" | "the backend"));
    let elsewhere: Vec<&str> = parts
        .iter()
        .filter(|part| !addresses(&part.host, part.port).iter().all(|one| one.is_loopback() || own.contains(one)))
        .map(|part| part.name)
        .collect();
    if !elsewhere.is_empty() {
        return lines.skipped(name, format!("{} is on another machine: run the audit there", elsewhere.join(", ")));
    }
    let ports: BTreeSet<u16> = stores.map(|part| part.port).chain(usual(&parts)).collect();
    let mut open = Vec::new();
    for address in &own {
        for port in &ports {
            let knock = tokio::net::TcpStream::connect(SocketAddr::new(*address, *port));
            if matches!(tokio::time::timeout(KNOCK, knock).await, Ok(Ok(_))) {
                open.push(format!("{port} at {address}"));
            }
        }
    }
    if open.is_empty() {
        let asked: Vec<String> = ports.iter().map(u16::to_string).collect();
        return lines.ok(name, format!("{} are closed at {} addresses of this machine", asked.join(", "), own.len()));
    }
    lines.failed(
        name,
        format!("open to other machines: {}", open.join(", ")),
        "publish them on 127.0.0.1 alone (ports: 127.0.0.1:5432:5432), or close them in the firewall",
    );
}

/// The guide's ports are of this stack where its stores have them.
fn usual(parts: &[Part]) -> impl Iterator<Item = u16> {
    let is_guides = parts.iter().any(|part| PRIVATE_PORTS.contains(&part.port) || PUBLIC_PORTS.contains(&part.port));
    PRIVATE_PORTS.into_iter().filter(move |_| is_guides)
}

/// What a deployment publishes: by its compose file, and by docker if it is here.
pub(super) fn published(target: &ExistingStack, lines: &mut Lines) {
    let (file, running) = ("compose file publishes nothing else", "containers publish nothing else");
    let Some(deployment) = &target.deployment else {
        lines.skipped(file, "no --deployment");
        return lines.skipped(running, "no --deployment");
    };
    let fix = "publish it on loopback: - 127.0.0.1:5432:5432; then docker compose up --detach";
    let path = deployment.folder.join("docker-compose.yml");
    let compose = std::fs::read_to_string(&path).map_err(|error| error.to_string());
    match compose.and_then(|text| serde_norway::from_str::<Json>(&text).map_err(|error| error.to_string())) {
        Err(said) => lines.skipped(file, format!("{}: {said}", path.display())),
        Ok(compose) => match of_compose(&compose) {
            wide if wide.is_empty() => lines.ok(file, "ports but those of the service and the backend are on loopback"),
            wide => lines.failed(file, format!("on every address: {}", wide.join(", ")), fix),
        },
    }
    let names: Vec<String> = fixtures::deployment::images().into_values().filter_map(|image| image.container).collect();
    match inspected(target, &names) {
        Err(reason) => lines.skipped(running, reason),
        Ok(found) if found.is_empty() => lines.skipped(running, "there are no containers"),
        Ok(found) => match of_containers(&found) {
            wide if wide.is_empty() => lines.ok(running, "as docker tells"),
            wide => lines.failed(running, format!("beyond loopback: {}", wide.join(", ")), fix),
        },
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Services with a port that is published beyond loopback and is not for everybody.
fn of_compose(compose: &Json) -> Vec<String> {
    let mut wide = Vec::new();
    for (service, about) in compose["services"].as_object().into_iter().flatten() {
        for port in about["ports"].as_array().into_iter().flatten() {
            let (host, inner, shown) = match port {
                Json::Object(long) => {
                    let host = long.get("host_ip").and_then(Json::as_str).unwrap_or_default();
                    let inner = long.get("target").and_then(Json::as_u64).unwrap_or_default();
                    (host.to_owned(), inner.to_string(), inner.to_string())
                }
                short => {
                    let text = short.as_str().map_or_else(|| short.to_string(), str::to_owned);
                    let (rest, inner) = text.rsplit_once(':').unwrap_or(("", text.as_str()));
                    // A variable with a default, ${PORT:-5432}, has a colon of its own.
                    let host =
                        if rest.starts_with("${") { "" } else { rest.rsplit_once(':').map_or("", |(host, _)| host) };
                    let host = host.split(":${").next().unwrap_or_default();
                    (host.to_owned(), inner.split('/').next().unwrap_or_default().to_owned(), text.clone())
                }
            };
            let is_public = inner.parse().is_ok_and(|port| PUBLIC_PORTS.contains(&port));
            if !is_public && !is_loopback(&host) {
                wide.push(format!("{service} ({shown})"));
            }
        }
    }
    wide
}

/// The same, as docker tells it of containers.
fn of_containers(found: &[Json]) -> Vec<String> {
    let mut wide = BTreeSet::new();
    for container in found {
        let name = container["Name"].as_str().unwrap_or_default().trim_start_matches('/');
        for (inner, bindings) in container["NetworkSettings"]["Ports"].as_object().into_iter().flatten() {
            let is_public = inner
                .split('/')
                .next()
                .and_then(|port| port.parse().ok())
                .is_some_and(|port| PUBLIC_PORTS.contains(&port));
            for binding in bindings.as_array().into_iter().flatten().filter(|_| !is_public) {
                let host = binding["HostIp"].as_str().unwrap_or_default();
                if !is_loopback(host) {
                    wide.insert(format!(
                        "{name} ({host}:{} to {inner})",
                        binding["HostPort"].as_str().unwrap_or_default()
                    ));
                }
            }
        }
    }
    wide.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bindings() {
        let table = [
            (json!("5432:5432"), true),
            (json!("0.0.0.0:5432:5432"), true),
            (json!("${PORT:-5432}:5432"), true),
            (json!("[::]:5432:5432/tcp"), true),
            (json!("192.0.2.1:${PORT:-5432}:5432"), true),
            (json!(5432), true),
            (json!({"target": 5432, "published": 5432}), true),
            (json!("127.0.0.1:5432:5432"), false),
            (json!("127.0.0.1:${PORT:-5432}:5432"), false),
            (json!("[::1]:5432:5432"), false),
            (json!({"target": 5432, "host_ip": "127.0.0.1"}), false),
            (json!("8080:8080"), false),
            (json!("3000:3000"), false),
        ];
        for (port, is_wide) in table {
            let compose = json!({"services": {"x": {"ports": [port]}}});
            assert_eq!(!of_compose(&compose).is_empty(), is_wide, "{port}");
        }
        let deployed: Json = serde_norway::from_str(fixtures::deployment::COMPOSE).expect("YAML");
        assert_eq!(of_compose(&deployed), Vec::<String>::new());
        let container = |host: &str, inner: &str| json!({"Name": "/x", "NetworkSettings": {"Ports": {inner: [{"HostIp": host, "HostPort": "1"}]}}});
        for (host, inner, is_wide) in [
            ("0.0.0.0", "5432/tcp", true),
            ("::", "5432/tcp", true),
            ("127.0.0.1", "5432/tcp", false),
            ("0.0.0.0", "3000/tcp", false),
        ] {
            assert_eq!(!of_containers(&[container(host, inner)]).is_empty(), is_wide, "{host} {inner}");
        }
    }

    #[test]
    fn places_in_urls() {
        let table = [
            ("postgres://u:p@h/d", ("h", 1)),
            ("redis://:p%40@h:6", ("h", 6)),
            ("http://[::1]:8080/x", ("::1", 8080)),
            ("http://[::1]", ("::1", 1)),
            ("a:27017,b:1", ("a", 27017)),
        ];
        for (url, (host, port)) in table {
            assert_eq!(host_and_port(url, 1), Some((host.to_owned(), port)), "{url}");
        }
    }
}
