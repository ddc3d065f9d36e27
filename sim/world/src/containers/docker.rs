//! The Docker engine, as far as the containers world asks anything of it: testcontainers makes containers and removes
//! them; what faults do to them goes to the engine by the same client. Whatever is made carries the label of its owner,
//! by which a later run finds what one that died has left behind.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use sim_stack::postgres::{is_there, this_process};
use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error;
use testcontainers::bollard::exec::{CreateExecOptions, StartExecResults};
use testcontainers::bollard::models::{
    ContainerState, EndpointSettings, HealthStatusEnum, NetworkConnectRequest, NetworkCreateRequest,
    NetworkDisconnectRequest, PortBinding, PortMap, RestartPolicy, RestartPolicyNameEnum,
};
use testcontainers::bollard::query_parameters::{
    KillContainerOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use testcontainers::core::client::{ClientError, docker_client_instance};
use testcontainers::core::{AccessMode, Healthcheck, IntoContainerPort as _, Mount};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt as _, TestcontainersError};

use super::compose::{self, Health, Service};
use super::docker_gateway::Gateway;

/// Who made a container or network: process id, and when the process started.
const OWNER: &str = "syncstorm.owner";
/// An image with this label takes SIGUSR1 for "compact your buckets".
pub(super) const COMPACTS: &str = "syncstorm.compacts";
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(60);
/// How long an image may take to come from its registry.
const PULL: Duration = Duration::from_secs(600);
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

/// The engine. Clones share the containers that one of them made.
#[derive(Clone)]
pub(super) struct Engine {
    docker: Docker,
    made: Arc<Mutex<BTreeMap<String, ContainerAsync<GenericImage>>>>,
    /// The way to it, for as long as it is needed.
    _gateway: Arc<Gateway>,
}

/// One container, as it is to be made.
pub(super) struct NewContainer<'a> {
    /// Its own name, which nobody else has: the name by which the others reach it, and the network's.
    pub(super) name: String,
    /// The network, which is also the domain in which names are looked up.
    pub(super) network: &'a str,
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
        let gateway = Gateway::shared().await?;
        let docker = docker_client_instance().await.map_err(|error| error.to_string())?.with_timeout(ANSWER);
        Ok(Self { docker, made: Arc::default(), _gateway: gateway })
    }

    /// Sees to it that an image is there.
    ///
    /// # Errors
    /// What to do about one that is not.
    pub(super) async fn have_image(&self, part: &str, image: &str) -> Result<(), String> {
        if self.docker.inspect_image(image).await.is_ok() {
            return Ok(());
        }
        let why = match tokio::time::timeout(PULL, named(image).pull_image()).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => problem(&error),
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
        let labels = self.docker.inspect_image(image).await.ok().and_then(|image| image.config?.labels);
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
        self.docker.create_network(request).await.map(drop).map_err(|error| said(&error))
    }

    /// Makes a container and starts it.
    pub(super) async fn run(&self, new: &NewContainer<'_>) -> Result<(), String> {
        may_make()?;
        let failed = |problem: String| format!("{}: {problem}", new.service.image);
        let container = request(new).map_err(failed)?.start().await.map_err(|error| failed(problem(&error)))?;
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(new.name.clone(), container);
        Ok(())
    }

    pub(super) async fn start(&self, name: &str) -> Result<(), String> {
        self.docker.start_container(name, None).await.map_err(|error| said(&error))
    }

    /// Sends its main process a signal, such as `SIGKILL`.
    pub(super) async fn signal(&self, name: &str, signal: &str) -> Result<(), String> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        self.docker.kill_container(name, Some(options)).await.map_err(|error| said(&error))
    }

    /// Asks it to end, and kills it after so many seconds.
    pub(super) async fn stop(&self, name: &str, grace_s: i32) -> Result<(), String> {
        let options = StopContainerOptionsBuilder::new().t(grace_s).build();
        self.docker.stop_container(name, Some(options)).await.map_err(|error| said(&error))
    }

    pub(super) async fn pause(&self, name: &str) -> Result<(), String> {
        self.docker.pause_container(name).await.map_err(|error| said(&error))
    }

    pub(super) async fn unpause(&self, name: &str) -> Result<(), String> {
        self.docker.unpause_container(name).await.map_err(|error| said(&error))
    }

    /// Cuts it off from the network, and so from the host, too.
    pub(super) async fn disconnect(&self, network: &str, name: &str) -> Result<(), String> {
        let request = NetworkDisconnectRequest { container: name.to_owned(), force: Some(true) };
        self.docker.disconnect_network(network, request).await.map_err(|error| said(&error))
    }

    pub(super) async fn reconnect(&self, network: &str, name: &str) -> Result<(), String> {
        let endpoint = Some(EndpointSettings::default());
        let request = NetworkConnectRequest { container: name.to_owned(), endpoint_config: endpoint };
        match self.docker.connect_network(network, request).await {
            // It is connected already.
            Err(Error::DockerResponseServerError { status_code: 403 | 409, .. }) => Ok(()),
            other => other.map_err(|error| said(&error)),
        }
    }

    /// Runs a command in a container; an error is what it wrote.
    pub(super) async fn exec(&self, name: &str, command: &[&str]) -> Result<(), String> {
        let options = CreateExecOptions {
            cmd: Some(command.to_vec()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let made = self.docker.create_exec(name, options).await.map_err(|error| said(&error))?;
        let started = self.docker.start_exec(&made.id, None).await.map_err(|error| said(&error))?;
        let mut wrote = String::new();
        if let StartExecResults::Attached { mut output, .. } = started {
            while let Some(Ok(part)) = output.next().await {
                wrote.push_str(&part.to_string());
            }
        }
        match self.docker.inspect_exec(&made.id).await.map_err(|error| said(&error))?.exit_code {
            Some(0) => Ok(()),
            code => Err(format!("{} ended with {}: {}", command.join(" "), code.unwrap_or(-1), wrote.trim())),
        }
    }

    pub(super) async fn state(&self, name: &str) -> Result<State, String> {
        let inspected = self.docker.inspect_container(name, None).await.map_err(|error| said(&error))?;
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
        let mut lines = std::pin::pin!(self.docker.logs(name, Some(options)));
        let mut tail = String::new();
        while let Some(Ok(line)) = lines.next().await {
            tail.push_str(&line.to_string());
        }
        tail.trim_end().to_owned()
    }

    /// Removes a container with its anonymous volumes; one that is not there is no error.
    pub(super) async fn remove(&self, name: &str) -> Result<(), String> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        match made {
            Some(container) => match container.rm().await {
                Ok(()) => Ok(()),
                Err(TestcontainersError::Client(ClientError::RemoveContainer(error))) => is_gone(Err(error)),
                Err(error) => Err(problem(&error)),
            },
            None => self.remove_any(name).await,
        }
    }

    /// Removes a container that somebody else may have made.
    async fn remove_any(&self, name: &str) -> Result<(), String> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        is_gone(self.docker.remove_container(name, Some(options)).await)
    }

    pub(super) async fn remove_network(&self, name: &str) -> Result<(), String> {
        is_gone(self.docker.remove_network(name).await)
    }

    /// Removes a network with all containers whose names end with its own.
    pub(super) async fn remove_all(&self, network: &str) {
        let made: Vec<String> = self.made.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        for name in made {
            if let Err(problem) = self.remove(&name).await {
                tracing::warn!(problem, "a container is left behind; the next run removes it");
            }
        }
        let filters = [("name", vec![network])].into_iter().collect();
        let listed = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        for _ in 0..REMOVALS {
            for container in self.docker.list_containers(Some(listed.clone())).await.unwrap_or_default() {
                let Some(id) = container.id.as_deref() else { continue };
                if let Err(problem) = self.remove_any(id).await {
                    tracing::warn!(problem, "a container is left behind; the next run removes it");
                }
            }
            // While a container is being made on it, it stays.
            let _ = self.remove_network(network).await;
            let is_gone = self.docker.inspect_network(network, None).await.is_err();
            if is_gone && !IS_ENDING.load(Ordering::Acquire) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            let rest = self.docker.list_containers(Some(listed.clone())).await.unwrap_or_default();
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
        for container in self.docker.list_containers(Some(listed)).await.unwrap_or_default() {
            let owner = container.labels.as_ref().and_then(|labels| labels.get(OWNER));
            if let Some(id) = container.id.as_deref().filter(|_| is_dead(owner)) {
                tracing::info!(id, "removing a container that a run that died left behind");
                let _ = self.remove_any(id).await;
            }
        }
        let listed = ListNetworksOptionsBuilder::new().filters(&filters()).build();
        for network in self.docker.list_networks(Some(listed)).await.unwrap_or_default() {
            let owner = network.labels.as_ref().and_then(|labels| labels.get(OWNER));
            if let Some(id) = network.id.as_deref().filter(|_| is_dead(owner)) {
                let _ = self.remove_network(id).await;
            }
        }
    }
}

/// An image by its name and tag.
fn named(image: &str) -> GenericImage {
    let tag_at = image.rfind(':').filter(|at| !image[*at..].contains('/'));
    let (name, tag) = tag_at.map_or((image, "latest"), |at| (&image[..at], &image[at + 1..]));
    GenericImage::new(name, tag)
}

/// The request for a container.
fn request(new: &NewContainer<'_>) -> Result<ContainerRequest<GenericImage>, String> {
    let service = new.service;
    let restart = match service.restart.as_deref() {
        None | Some("no") => RestartPolicyNameEnum::NO,
        Some("unless-stopped") => RestartPolicyNameEnum::UNLESS_STOPPED,
        Some("always") => RestartPolicyNameEnum::ALWAYS,
        Some(other) => return Err(format!("restart: {other} is not known here")),
    };
    // What follows an entrypoint's first word and what a command says are one list for the engine.
    let (image, command) = match service.entrypoint.split_first() {
        Some((program, rest)) => (named(&service.image).with_entrypoint(program), [rest, &service.command].concat()),
        None => (named(&service.image), service.command.clone()),
    };
    let mut request = image
        .with_cmd(command)
        .with_container_name(&new.name)
        .with_network(new.network)
        .with_label(OWNER, this_process())
        .with_startup_timeout(ANSWER);
    if let Some(user) = &service.user {
        request = request.with_user(user);
    }
    if let Some(health) = &service.healthcheck {
        request = request.with_health_check(healthcheck(health)?);
    }
    for (name, value) in &service.environment {
        request = request.with_env_var(name, value);
    }
    for (name, value) in &new.environment {
        request = request.with_env_var(*name, value);
    }
    for (source, target, mode) in service.mounted() {
        let mode = match mode {
            None | Some("rw") => AccessMode::ReadWrite,
            Some("ro") => AccessMode::ReadOnly,
            Some(other) => return Err(format!("volumes: {other} is not known here")),
        };
        let source = new.folder.join(source).display().to_string();
        request = request.with_mount(Mount::bind_mount(source, target).with_access_mode(mode));
    }
    for (source, target) in &new.mounts {
        request = request.with_mount(Mount::bind_mount(source, *target).with_access_mode(AccessMode::ReadOnly));
    }
    let mut bindings = PortMap::new();
    for port in service.published()? {
        request = request.with_mapped_port(port.host, port.container.tcp());
        // On loopback alone: testcontainers would publish it on every address.
        let binding = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(port.host.to_string()) };
        bindings.insert(format!("{}/tcp", port.container), Some(vec![binding]));
    }
    let domain = new.network.to_owned();
    Ok(request.with_host_config_modifier(move |host| {
        host.port_bindings = Some(bindings.clone());
        host.publish_all_ports = Some(false);
        host.restart_policy = Some(RestartPolicy { name: Some(restart), maximum_retry_count: None });
        // `flowstate-postgres` is looked up as `flowstate-postgres.NETWORK`, which is that container's name.
        host.dns_search = Some(vec![domain.clone()]);
        host.dns_options = Some(vec!["ndots:1".to_owned()]);
    }))
}

fn healthcheck(health: &Health) -> Result<Healthcheck, String> {
    let check = match health.test.split_first() {
        Some((kind, words)) if kind == "CMD" => Healthcheck::cmd(words),
        Some((kind, [line])) if kind == "CMD-SHELL" => Healthcheck::cmd_shell(line),
        _ => return Err("healthcheck: write test as [CMD, …] or [CMD-SHELL, LINE]".to_owned()),
    };
    let (interval, timeout) = (compose::duration(&health.interval)?, compose::duration(&health.timeout)?);
    Ok(check.with_interval(interval).with_timeout(timeout).with_retries(health.retries))
}

/// What the engine said, rather than that it said something.
fn said(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// What the engine said when testcontainers asked it.
fn problem(error: &TestcontainersError) -> String {
    match error {
        TestcontainersError::Client(
            ClientError::PullImage { err: error, .. }
            | ClientError::CreateContainer(error)
            | ClientError::StartContainer(error)
            | ClientError::RemoveContainer(error),
        ) => said(error),
        other => other.to_string(),
    }
}

fn is_gone(removed: Result<(), Error>) -> Result<(), String> {
    match removed {
        Ok(()) | Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
        Err(error) => Err(said(&error)),
    }
}

/// Does something about containers from where nothing can be awaited: as a handle goes.
pub(super) fn at_once(doing: impl Future<Output = ()> + Send + 'static) {
    let thread = std::thread::spawn(move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(doing),
        Err(error) => tracing::warn!(%error, "containers are left behind; the next run removes them"),
    });
    let _ = thread.join();
}
