//! A deployment's folder: everything is read from it, and docker, where it is, tells of the containers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};

use super::{Told, told};

/// A folder that `deploy init` made, on ports where nobody listens.
fn deployment(folder: &Path) -> String {
    let made = Command::new(env!("CARGO_BIN_EXE_syncstorm")).args(["deploy", "init"]).arg(folder).output();
    assert!(made.expect("the program starts").status.success());
    let path = folder.join(".env");
    let text = fs::read_to_string(&path).expect("it is there");
    let ports = ["POSTGRES", "MONGODB", "REDIS", "BACKEND", "POWERSYNC"];
    let ports: String = ports.map(|part| format!("{part}_PORT={}\n", super::rig::free_port())).concat();
    fs::write(&path, format!("{text}{ports}")).expect("it is ours");
    let password = text.lines().find_map(|line| line.strip_prefix("POSTGRES_PASSWORD=")).expect("it is generated");
    password.to_owned()
}

/// A docker that knows these containers, and whose logs say this.
fn docker(folder: &Path, containers: &[Json], log: &str) -> String {
    let answers = folder.join("containers.json");
    fs::write(&answers, Json::from(containers.to_vec()).to_string()).expect("a file can be written");
    let script = format!(
        "#!/bin/sh\ncase $2 in\ninspect) cat '{}'; echo 'Error: No such container: x' >&2; exit 1;;\nlogs) echo '{log}';;\nesac\n",
        answers.display()
    );
    let program = folder.join("docker");
    fs::write(&program, script).expect("a file can be written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    format!("{}:/usr/bin:/bin", folder.display())
}

fn container(name: &str, state: Json) -> Json {
    json!({"Name": format!("/{name}"), "State": state, "RestartCount": 0, "NetworkSettings": {"Ports": {}}})
}

#[test]
fn containers_that_do_not_run_are_named_with_their_last_lines() {
    let outside = tempfile::tempdir().expect("a temporary folder");
    let stack = outside.path().join("stack");
    let password = deployment(&stack);
    let healthy = json!({"Status": "running", "Health": {"Status": "healthy"}});
    let containers = [
        container("flowstate-postgres", healthy.clone()),
        container("flowstate-redis", healthy),
        container("flowstate-powersync", json!({"Status": "exited", "ExitCode": 1})),
        container("flowstate-sync-backend", json!({"Status": "running", "Health": {"Status": "unhealthy"}})),
    ];
    let path = docker(outside.path(), &containers, &format!("FATAL password {password}"));
    let args = ["--deployment".to_owned(), stack.display().to_string()];
    let found: Told = told("verify", &args, Some(&path));
    let said = |line: &str| found.lines[line].1.as_str();
    assert_eq!(found.lines["containers: flowstate-postgres"].0, "ok");
    assert!(said("containers: flowstate-powersync").contains("does not run (exited, exit code 1"), "{}", found.raw);
    assert!(said("containers: flowstate-powersync").contains("FATAL password ***"), "{}", found.raw);
    assert!(said("containers: flowstate-sync-backend").contains("unhealthy"));
    assert!(said("containers: flowstate-mongodb").contains("no such container"));
    assert!(!found.raw.contains(&password));
    // Where everything is was read from the folder, and so was the key.
    for line in [
        "service: liveness",
        "backend: liveness",
        "database: reachable",
        "stores: Redis",
        "stores: MongoDB replica set",
    ] {
        assert_eq!(found.lines[line].0, "failed", "{line}: {}", found.raw);
    }
    assert_eq!(found.code, Some(1));

    // A docker that cannot be asked is no failure of the stack.
    let path = docker(outside.path(), &[], "");
    fs::write(outside.path().join("containers.json"), "").expect("it is ours");
    let found = told("verify", &args, Some(&path));
    assert_eq!(found.lines["containers: all run"].0, "skipped");
}

#[test]
fn ports_that_are_published_to_everybody() {
    let outside = tempfile::tempdir().expect("a temporary folder");
    let stack = outside.path().join("stack");
    deployment(&stack);
    let open = |host: &str| {
        let ports = json!({"5432/tcp": [{"HostIp": host, "HostPort": "5432"}], "8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]});
        json!({"Name": "/flowstate-postgres", "State": {"Status": "running"}, "NetworkSettings": {"Ports": ports}})
    };
    let args = ["--deployment".to_owned(), stack.display().to_string()];
    let (file, running) = ("network: compose file publishes nothing else", "network: containers publish nothing else");
    let found = told("audit", &args, Some(&docker(outside.path(), &[open("127.0.0.1")], "")));
    assert_eq!((found.lines[file].0.as_str(), found.lines[running].0.as_str()), ("ok", "ok"), "{}", found.raw);
    // Nothing of what could not be asked is called ok.
    assert_eq!(found.lines["passwords: PostgreSQL password"].0, "skipped");
    assert_eq!(found.lines["tokens: upload wants a token"].0, "skipped");
    let compose = stack.join("docker-compose.yml");
    let text =
        fs::read_to_string(&compose).expect("it is there").replace("127.0.0.1:${POSTGRES_PORT", "${POSTGRES_PORT");
    fs::write(&compose, text).expect("it is ours");
    let found = told("audit", &args, Some(&docker(outside.path(), &[open("0.0.0.0")], "")));
    assert!(found.lines[file].1.contains("postgres (${POSTGRES_PORT:-5432}:5432)"), "{}", found.raw);
    assert!(found.lines[running].1.contains("flowstate-postgres (0.0.0.0:5432 to 5432/tcp)"), "{}", found.raw);
    assert_eq!(found.code, Some(1));
}
