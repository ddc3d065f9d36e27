//! The variables of a deployment in a folder.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use fixtures::deployment;

/// The variables of a deployment's `.env`. Images that the environment names win, and ports are free ones.
pub(super) fn variables(deployment: &Path) -> Result<BTreeMap<String, String>, String> {
    let text = read(&deployment.join(".env"))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut variables: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for part in deployment::images().keys() {
        let name = deployment::image_variable(part);
        if let Some(image) = std::env::var(&name).ok().filter(|image| !image.is_empty()) {
            variables.insert(name, image);
        }
    }
    let ports = ["POSTGRES_PORT", "MONGODB_PORT", "REDIS_PORT", "BACKEND_PORT", "POWERSYNC_PORT"];
    // All are held until all are known, so that none is used twice.
    let held: Vec<TcpListener> = ports
        .iter()
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("no free port: {error}"))?;
    for (name, listener) in ports.iter().zip(&held) {
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        variables.insert((*name).to_owned(), address.port().to_string());
    }
    Ok(variables)
}

pub(super) fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
