//! The Docker engine, as far as the containers world asks anything of it. Whatever it makes carries the label of its
//! owner, by which a later run finds what one that died has left behind.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerState, EndpointSettings, HealthConfig, HealthStatusEnum, HostConfig,
    NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest, NetworkingConfig, PortBinding,
    RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, KillContainerOptionsBuilder,
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
    StopContainerOptionsBuilder,
};
use bollard::{ClientVersion, Docker};
use futures_util::StreamExt as _;

use super::compose::{self, Service};
use sim_stack::postgres::{is_there, this_process};

/// Who made a container or network: process id, and when the process started.
const OWNER: &str = "syncstorm.owner";
/// An image with this label takes SIGUSR1 for "compact your buckets".
pub(super) const COMPACTS: &str = "syncstorm.compacts";
/// Where the engine listens, unless `DOCKER_HOST` says otherwise.
const SOCKET: &str = "unix:///var/run/docker.sock";
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(60);
/// How long the engine may take to say which it is.
const HELLO: Duration = Duration::from_secs(10);
/// How long an image may take to come from its registry.
const PULL: Duration = Duration::from_secs(600);
/// The versions of its interface that are spoken, the newest first: an engine refuses what is newer than itself, and
/// new ones refuse what is old. 1.41 is Docker 20.10.
const VERSIONS: [usize; 4] = [53, 47, 44, 41];
/// After so many restarts by itself, a container is taken for one that does not come up.
const RESTARTS_MAX: i64 = 4;
/// How much of a log is told.
const LOG_LINES: &str = "8";

/// This process is about to end: nothing is made any more.
static IS_ENDING: AtomicBool = AtomicBool::new(false);
/// How often it is looked whether what was being made just then is there, to be removed.
const REMOVALS: usize = 10;

/// Whatever is under way elsewhere in this process makes nothing more.
pub(super) fn make_no_more() {
    IS_ENDING.store(true, Ordering::Release);
}

fn may_make() -> Result<(), String> {
    if IS_ENDING.load(Ordering::Acquire) { Err("the run is being ended".to_owned()) } else { Ok(()) }
}

/// The engine. Clones share the connection.
#[derive(Clone)]
pub(super) struct Engine(Docker);

/// One container, as it is to be made.
pub(super) struct Order<'a> {
    /// Its own name, which nobody else has.
    pub(super) name: String,
    pub(super) network: &'a str,
    /// By which the others on the network reach it.
    pub(super) aliases: Vec<String>,
    pub(super) service: &'a Service,
    /// What paths of the service are relative to.
    pub(super) folder: &'a Path,
    /// Further mounts: source, target.
    pub(super) mounts: Vec<(String, &'a str)>,
    /// Further variables of the environment.
    pub(super) environment: BTreeMap<&'a str, String>,
}

/// How a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Starting,
    /// It is paused.
    Frozen,
    /// It runs, and says that it is well or says nothing.
    Well,
    /// It ended, with this code.
    Ended(i64),
}

impl Engine {
    /// The engine of this machine.
    ///
    /// # Errors
    /// What is missing, and what to do.
    pub(super) async fn connect() -> Result<Self, String> {
        let host = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        let host = host.unwrap_or_else(|| SOCKET.to_owned());
        let mut said = String::new();
        for minor_version in VERSIONS {
            let version = ClientVersion { major_version: 1, minor_version };
            let docker = match host.strip_prefix("unix://") {
                Some(_) => Docker::connect_with_unix(&host, ANSWER.as_secs(), &version),
                None => Docker::connect_with_http(&host, ANSWER.as_secs(), &version),
            };
            let docker = docker.map_err(|error| missing(&host, &error))?;
            match tokio::time::timeout(HELLO, docker.version()).await {
                Ok(Ok(_)) => return Ok(Self(docker)),
                Ok(Err(Error::DockerResponseServerError { message, .. })) => said = message,
                Ok(Err(error)) => return Err(missing(&host, &error)),
                Err(_) => return Err(missing(&host, &"it does not answer")),
            }
        }
        Err(missing(&host, &said))
    }

    /// Sees to it that an image is there.
    ///
    /// # Errors
    /// What to do about one that is not.
    pub(super) async fn have_image(&self, part: &str, image: &str) -> Result<(), String> {
        if self.0.inspect_image(image).await.is_ok() {
            return Ok(());
        }
        let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
        let pulling = async {
            let mut progress = std::pin::pin!(self.0.create_image(Some(options), None, None));
            while let Some(step) = progress.next().await {
                step?;
            }
            Ok::<_, Error>(())
        };
        let pulled = tokio::time::timeout(PULL, pulling).await;
        let why = match pulled {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => said(&error),
            Err(_) => format!("it took over {} s", PULL.as_secs()),
        };
        let variable = fixtures::deployment::image_variable(part);
        Err(format!(
            "the image {image} ({part}) is not there and could not be pulled: {why}. Where there is no registry, \
             fixtures/images/build-local makes stand-ins, which --stand-ins takes; {variable} names another image"
        ))
    }

    /// Whether an image carries a label.
    pub(super) async fn has_label(&self, image: &str, label: &str) -> bool {
        let labels = self.0.inspect_image(image).await.ok().and_then(|image| image.config?.labels);
        labels.is_some_and(|labels| labels.contains_key(label))
    }

    pub(super) async fn make_network(&self, name: &str) -> Result<(), String> {
        may_make()?;
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            labels: Some([(OWNER.to_owned(), this_process())].into_iter().collect()),
            ..NetworkCreateRequest::default()
        };
        self.0.create_network(request).await.map(drop).map_err(|error| said(&error))
    }

    /// Makes a container and starts it.
    pub(super) async fn run(&self, order: &Order<'_>) -> Result<(), String> {
        may_make()?;
        let failed = |problem: String| format!("{}: {problem}", order.service.image);
        let body = body(order).map_err(failed)?;
        let options = CreateContainerOptionsBuilder::new().name(&order.name).build();
        self.0.create_container(Some(options), body).await.map_err(|error| failed(said(&error)))?;
        self.start(&order.name).await.map_err(failed)
    }

    pub(super) async fn start(&self, name: &str) -> Result<(), String> {
        self.0.start_container(name, None).await.map_err(|error| said(&error))
    }

    /// Sends its main process a signal, such as `SIGKILL`.
    pub(super) async fn signal(&self, name: &str, signal: &str) -> Result<(), String> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        self.0.kill_container(name, Some(options)).await.map_err(|error| said(&error))
    }

    /// Asks it to end, and kills it after so many seconds.
    pub(super) async fn stop(&self, name: &str, grace_s: i32) -> Result<(), String> {
        let options = StopContainerOptionsBuilder::new().t(grace_s).build();
        self.0.stop_container(name, Some(options)).await.map_err(|error| said(&error))
    }

    pub(super) async fn pause(&self, name: &str) -> Result<(), String> {
        self.0.pause_container(name).await.map_err(|error| said(&error))
    }

    pub(super) async fn unpause(&self, name: &str) -> Result<(), String> {
        self.0.unpause_container(name).await.map_err(|error| said(&error))
    }

    /// Cuts it off from the network, and so from the host, too.
    pub(super) async fn disconnect(&self, network: &str, name: &str) -> Result<(), String> {
        let request = NetworkDisconnectRequest { container: name.to_owned(), force: Some(true) };
        self.0.disconnect_network(network, request).await.map_err(|error| said(&error))
    }

    pub(super) async fn reconnect(&self, network: &str, name: &str, aliases: Vec<String>) -> Result<(), String> {
        let endpoint = EndpointSettings { aliases: Some(aliases), ..EndpointSettings::default() };
        let request = NetworkConnectRequest { container: name.to_owned(), endpoint_config: Some(endpoint) };
        match self.0.connect_network(network, request).await {
            // It is connected already.
            Err(Error::DockerResponseServerError { status_code: 403 | 409, .. }) => Ok(()),
            other => other.map_err(|error| said(&error)),
        }
    }

    /// Runs a command in a container; an error is what it wrote.
    pub(super) async fn exec(&self, name: &str, command: &[&str]) -> Result<(), String> {
        let options = bollard::exec::CreateExecOptions {
            cmd: Some(command.to_vec()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..bollard::exec::CreateExecOptions::default()
        };
        let made = self.0.create_exec(name, options).await.map_err(|error| said(&error))?;
        let started = self.0.start_exec(&made.id, None).await.map_err(|error| said(&error))?;
        let mut wrote = String::new();
        if let bollard::exec::StartExecResults::Attached { mut output, .. } = started {
            while let Some(Ok(part)) = output.next().await {
                wrote.push_str(&part.to_string());
            }
        }
        match self.0.inspect_exec(&made.id).await.map_err(|error| said(&error))?.exit_code {
            Some(0) => Ok(()),
            code => Err(format!("{} ended with {}: {}", command.join(" "), code.unwrap_or(-1), wrote.trim())),
        }
    }

    pub(super) async fn state(&self, name: &str) -> Result<State, String> {
        let inspected = self.0.inspect_container(name, None).await.map_err(|error| said(&error))?;
        let restarts = inspected.restart_count.unwrap_or_default();
        let state = inspected.state.unwrap_or_default();
        let ContainerState { running, restarting, paused, exit_code, health, .. } = state;
        let health = health.and_then(|health| health.status);
        if paused == Some(true) {
            return Ok(State::Frozen);
        }
        Ok(match (running, restarting) {
            (_, Some(true)) if restarts < RESTARTS_MAX => State::Starting,
            (_, Some(true)) => State::Ended(exit_code.unwrap_or(-1)),
            (Some(true), _) if matches!(health, Some(HealthStatusEnum::STARTING | HealthStatusEnum::UNHEALTHY)) => {
                State::Starting
            }
            (Some(true), _) => State::Well,
            _ => State::Ended(exit_code.unwrap_or(-1)),
        })
    }

    /// The last lines that a container wrote.
    pub(super) async fn log_tail(&self, name: &str) -> String {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(LOG_LINES).build();
        let mut lines = std::pin::pin!(self.0.logs(name, Some(options)));
        let mut tail = String::new();
        while let Some(Ok(line)) = lines.next().await {
            tail.push_str(&line.to_string());
        }
        tail.trim_end().to_owned()
    }

    /// Removes a container with its anonymous volumes; one that is not there is no error.
    pub(super) async fn remove(&self, name: &str) -> Result<(), String> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        is_gone(self.0.remove_container(name, Some(options)).await)
    }

    pub(super) async fn remove_network(&self, name: &str) -> Result<(), String> {
        is_gone(self.0.remove_network(name).await)
    }

    /// Removes a network with all containers whose names begin with its own.
    pub(super) async fn remove_all(&self, network: &str) {
        let filters = [("name", vec![network])].into_iter().collect();
        let listed = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        for _ in 0..REMOVALS {
            for container in self.0.list_containers(Some(listed.clone())).await.unwrap_or_default() {
                let Some(id) = container.id.as_deref() else { continue };
                if let Err(problem) = self.remove(id).await {
                    tracing::warn!(problem, "a container is left behind; the next run removes it");
                }
            }
            // While a container is being made on it, it stays.
            let _ = self.remove_network(network).await;
            let is_gone = self.0.inspect_network(network, None).await.is_err();
            if is_gone && !IS_ENDING.load(Ordering::Acquire) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            let rest = self.0.list_containers(Some(listed.clone())).await.unwrap_or_default();
            if is_gone && rest.is_empty() {
                return;
            }
        }
        tracing::warn!(network, "something is left behind; the next run removes it");
    }

    /// Removes what runs have left behind whose processes are gone.
    pub(super) async fn sweep(&self) {
        let filters = || [("label", vec![OWNER])].into_iter().collect();
        let is_dead = |labels: Option<&String>| labels.is_some_and(|owner| !is_there(owner));
        let listed = ListContainersOptionsBuilder::new().all(true).filters(&filters()).build();
        for container in self.0.list_containers(Some(listed)).await.unwrap_or_default() {
            let owner = container.labels.as_ref().and_then(|labels| labels.get(OWNER));
            if let Some(id) = container.id.as_deref().filter(|_| is_dead(owner)) {
                tracing::info!(id, "removing a container that a run that died left behind");
                let _ = self.remove(id).await;
            }
        }
        let listed = ListNetworksOptionsBuilder::new().filters(&filters()).build();
        for network in self.0.list_networks(Some(listed)).await.unwrap_or_default() {
            let owner = network.labels.as_ref().and_then(|labels| labels.get(OWNER));
            if let Some(id) = network.id.as_deref().filter(|_| is_dead(owner)) {
                let _ = self.remove_network(id).await;
            }
        }
    }
}

/// The request for a container.
fn body(order: &Order<'_>) -> Result<ContainerCreateBody, String> {
    let service = order.service;
    let ports = service.published()?;
    let named = |port: u16| format!("{port}/tcp");
    let binding = |host: u16| PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(host.to_string()) };
    let own = service.mounted().into_iter().map(|(source, target, mode)| {
        let source = order.folder.join(source);
        format!("{}:{target}{}", source.display(), mode.map(|mode| format!(":{mode}")).unwrap_or_default())
    });
    let further = order.mounts.iter().map(|(source, target)| format!("{source}:{target}:ro"));
    let mut environment = service.environment.clone();
    environment.extend(order.environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let health = service.healthcheck.as_ref().map(|health| {
        Ok::<_, String>(HealthConfig {
            test: Some(health.test.clone()),
            interval: Some(compose::nanoseconds(&health.interval)?),
            timeout: Some(compose::nanoseconds(&health.timeout)?),
            retries: Some(health.retries),
            ..HealthConfig::default()
        })
    });
    let restart = match service.restart.as_deref() {
        None | Some("no") => RestartPolicyNameEnum::NO,
        Some("unless-stopped") => RestartPolicyNameEnum::UNLESS_STOPPED,
        Some("always") => RestartPolicyNameEnum::ALWAYS,
        Some(other) => return Err(format!("restart: {other} is not known here")),
    };
    let endpoint = EndpointSettings { aliases: Some(order.aliases.clone()), ..EndpointSettings::default() };
    let some = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    Ok(ContainerCreateBody {
        image: Some(service.image.clone()),
        user: service.user.clone(),
        entrypoint: some(&service.entrypoint),
        cmd: some(&service.command),
        env: Some(environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        exposed_ports: Some(ports.iter().map(|port| named(port.container)).collect()),
        healthcheck: health.transpose()?,
        labels: Some([(OWNER.to_owned(), this_process())].into_iter().collect()),
        host_config: Some(HostConfig {
            binds: Some(own.chain(further).collect()),
            port_bindings: Some(
                ports.iter().map(|port| (named(port.container), Some(vec![binding(port.host)]))).collect(),
            ),
            restart_policy: Some(RestartPolicy { name: Some(restart), maximum_retry_count: None }),
            network_mode: Some(order.network.to_owned()),
            ..HostConfig::default()
        }),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some([(order.network.to_owned(), endpoint)].into_iter().collect()),
        }),
        ..ContainerCreateBody::default()
    })
}

/// What the engine said, rather than that it said something.
fn said(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

fn missing(host: &str, why: &dyn std::fmt::Display) -> String {
    format!("Docker does not answer at {host}: {why}. Start it, or install it (on Debian: apt-get install docker.io)")
}

fn is_gone(removed: Result<(), Error>) -> Result<(), String> {
    match removed {
        Ok(()) | Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
        Err(error) => Err(said(&error)),
    }
}

/// Does something about containers from where nothing can be awaited: as a handle goes.
pub(super) fn at_once(doing: impl Future<Output = ()> + Send + 'static) {
    let thread = std::thread::spawn(move || {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(doing),
            Err(error) => tracing::warn!(%error, "containers are left behind; the next run removes them"),
        }
    });
    let _ = thread.join();
}
