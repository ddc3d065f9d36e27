//! The containers of one deployment: a network, and what the compose file says of each service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use sim_stack::postgres::random_word;

use super::compose::{Compose, Service};
use super::docker::{self, Engine, NewContainer, State};
use super::docker_gateway;

/// How long a container may take until it is healthy.
pub(super) const HEALTHY_TIMEOUT: Duration = Duration::from_secs(180);
/// How often it is checked.
pub(super) const HEALTHY_POLL: Duration = Duration::from_millis(50);

/// The networks of this process's groups.
static NETWORKS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Removed when it is dropped.
pub(super) struct ContainerGroup {
    pub(super) engine: Engine,
    /// The network's name, with which the names of all containers end.
    pub(super) network: String,
    pub(super) compose: Compose,
    /// The deployment's folder.
    folder: PathBuf,
}

impl ContainerGroup {
    /// An empty group of what a compose file in a folder says.
    pub(super) async fn create(engine: Engine, compose: Compose, folder: PathBuf) -> Result<Self, String> {
        let network = format!("syncstorm-{}", &random_word().map_err(|error| error.to_string())?[..12]);
        NETWORKS.lock().unwrap_or_else(PoisonError::into_inner).insert(network.clone());
        let group = Self { engine, network, compose, folder };
        group.engine.make_network(&group.network).await?;
        Ok(group)
    }

    /// Starts all but `later`, in the order of their dependencies, side by side where there is none.
    pub(super) async fn start_all_but(&self, later: &[&str]) -> Result<(), String> {
        let mut waiting: BTreeMap<&str, &Service> =
            self.compose.services.iter().map(|(name, service)| (name.as_str(), service)).collect();
        waiting.retain(|name, _| !later.contains(name));
        while !waiting.is_empty() {
            let can_start =
                |service: &Service| service.depends_on.keys().all(|name| !waiting.contains_key(name.as_str()));
            let next: Vec<&str> =
                waiting.iter().filter(|(_, service)| can_start(service)).map(|(name, _)| *name).collect();
            if next.is_empty() {
                return Err("the compose file's containers wait for each other".to_owned());
            }
            try_join_all(next.iter().map(|name| self.start_and_wait(name))).await?;
            waiting.retain(|name, _| !next.contains(name));
        }
        Ok(())
    }

    async fn start_and_wait(&self, name: &str) -> Result<(), String> {
        self.engine.run(&self.new_container(name, Vec::new(), BTreeMap::new())).await?;
        self.wait_until_healthy(name).await
    }

    /// Waits until a container is healthy, or has ended with success if it does one thing only.
    pub(super) async fn wait_until_healthy(&self, name: &str) -> Result<(), String> {
        let is_one_shot = self.compose.services[name].restart.as_deref() == Some("no");
        let deadline = Instant::now() + HEALTHY_TIMEOUT;
        let container = self.container(name);
        loop {
            match self.engine.state(&container).await? {
                State::Well if !is_one_shot => return Ok(()),
                State::Ended(0) if is_one_shot => return Ok(()),
                State::Ended(code) => {
                    let tail = self.engine.log_tail(&container).await;
                    return Err(format!("the container {name} ended with {code}; its last lines:\n{tail}"));
                }
                _ if Instant::now() > deadline => {
                    let tail = self.engine.log_tail(&container).await;
                    let limit = HEALTHY_TIMEOUT.as_secs();
                    return Err(format!(
                        "the container {name} is not healthy after {limit} s; its last lines:\n{tail}"
                    ));
                }
                _ => tokio::time::sleep(HEALTHY_POLL).await,
            }
        }
    }

    /// The name of a service's container: the name in the compose file, in the domain of this network.
    pub(super) fn container(&self, name: &str) -> String {
        let own = self.compose.services.get(name).and_then(|service| service.container_name.as_deref());
        format!("{}.{}", own.unwrap_or(name), self.network)
    }

    /// What the engine needs to make a container, with further mounts and variables.
    pub(super) fn new_container<'a>(
        &'a self,
        name: &str,
        mounts: Vec<(String, &'a str)>,
        environment: BTreeMap<&'a str, String>,
    ) -> NewContainer<'a> {
        NewContainer {
            name: self.container(name),
            network: &self.network,
            service: &self.compose.services[name],
            folder: &self.folder,
            mounts,
            environment,
        }
    }

    /// Where a service is published on this machine.
    pub(super) fn address(&self, name: &str) -> Result<SocketAddr, String> {
        let ports = self.compose.services[name].published()?;
        let port = ports.first().ok_or_else(|| format!("the compose file publishes no port of {name}"))?;
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port.host)))
    }
}

impl Drop for ContainerGroup {
    fn drop(&mut self) {
        let (engine, network) = (self.engine.clone(), self.network.clone());
        docker::at_once(async move { remove(&engine, &network).await });
    }
}

/// Removes every container and network of this process, which ends without dropping them.
pub fn end_all() {
    docker::make_no_more();
    let networks: Vec<String> = NETWORKS.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
    if !networks.is_empty() {
        docker::at_once(async move {
            match Engine::connect().await {
                Ok(engine) => {
                    for network in networks {
                        remove(&engine, &network).await;
                    }
                }
                Err(problem) => tracing::warn!(problem, "containers are left behind; the next run removes them"),
            }
        });
    }
    docker_gateway::remove_socket();
}

async fn remove(engine: &Engine, network: &str) {
    engine.remove_all(network).await;
    NETWORKS.lock().unwrap_or_else(PoisonError::into_inner).remove(network);
}
