//! One of the two servers in its container.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::docker::{Engine, State};
use crate::real::http_client::HttpClient;
use crate::real::server::{BoxResult, Server, ServerKiller};

/// How long a killed container may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// Seconds in which it may end by itself when it is stopped.
pub(super) const GRACE_S: i32 = 10;
/// How often it is checked.
const POLL: Duration = Duration::from_millis(20);
/// How long a service may take until it streams.
const STREAM_TIMEOUT: Duration = Duration::from_secs(120);
/// How long one try may take.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);

/// A server in a container that runs.
pub(super) struct Container {
    pub(super) engine: Engine,
    /// What it is called in messages.
    pub(super) title: &'static str,
    /// The container's.
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) network: String,
    /// Whether it takes SIGUSR1 for "compact".
    pub(super) compacts: bool,
}

async fn kill(engine: Engine, title: &'static str, name: String) -> Result<(), String> {
    // A paused container cannot be killed.
    let _ = engine.unpause(&name).await;
    engine.signal(&name, "SIGKILL").await.map_err(|problem| format!("{title}: {problem}"))?;
    wait_until_ended(&engine, title, &name).await
}

/// Waits until a container has ended.
pub(super) async fn wait_until_ended(engine: &Engine, title: &str, name: &str) -> Result<(), String> {
    let deadline = Instant::now() + END_TIMEOUT;
    while !matches!(engine.state(name).await?, State::Ended(_)) {
        if Instant::now() > deadline {
            return Err(format!("{title}: its container does not end"));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

impl Container {
    /// Waits until it ends by itself.
    pub(super) async fn wait_until_ended(&self) -> String {
        loop {
            if let Ok(State::Ended(code)) = self.engine.state(&self.name).await {
                return format!("it ended with {code}");
            }
            tokio::time::sleep(POLL * 10).await;
        }
    }
}

impl Server for Container {
    fn name(&self) -> &'static str {
        self.title
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn killer(&self) -> ServerKiller {
        let (engine, title, name) = (self.engine.clone(), self.title, self.name.clone());
        Arc::new(move || kill(engine.clone(), title, name.clone()).boxed())
    }

    fn kill(self: Box<Self>) -> BoxResult<'static, ()> {
        async move {
            // Another fault may have killed it.
            match self.engine.state(&self.name).await? {
                State::Ended(_) => Ok(()),
                _ => kill(self.engine.clone(), self.title, self.name.clone()).await,
            }
        }
        .boxed()
    }

    fn stop(self: Box<Self>) -> BoxResult<'static, ()> {
        async move {
            // A paused container cannot end by itself.
            let _ = self.engine.unpause(&self.name).await;
            self.engine.stop(&self.name, GRACE_S).await
        }
        .boxed()
    }

    fn disconnect(&self) -> BoxResult<'_, ()> {
        self.engine.disconnect(&self.network, &self.name).boxed()
    }

    fn pause(&self) -> BoxResult<'_, ()> {
        self.engine.pause(&self.name).boxed()
    }

    fn resume(&self) -> BoxResult<'_, ()> {
        self.engine.unpause(&self.name).boxed()
    }

    fn compact(&self) -> BoxResult<'_, ()> {
        if self.compacts {
            return async { self.engine.signal(&self.name, "SIGUSR1").await }.boxed();
        }
        ready(Err(format!("{}: the image does not say how it is told to compact", self.title))).boxed()
    }

    fn reload_keys<'a>(&'a self, _http: &'a HttpClient, _count: u64, _waits: bool) -> BoxResult<'a, ()> {
        // It fetches them from the backend as soon as a token names one that it does not know.
        ready(Ok(())).boxed()
    }

    fn exit_reason(&mut self) -> BoxFuture<'_, Option<String>> {
        async {
            let Ok(State::Ended(code)) = self.engine.state(&self.name).await else { return None };
            let tail = self.engine.log_tail(&self.name).await;
            Some(format!("{} ended by itself (exit code {code}): {tail}", self.title))
        }
        .boxed()
    }
}

/// Waits until a service streams: readiness may turn true before a sync configuration is active.
pub(super) async fn wait_until_streaming(http: &HttpClient, service: SocketAddr, token: &str) -> Result<(), String> {
    let deadline = Instant::now() + STREAM_TIMEOUT;
    loop {
        let answer = match tokio::time::timeout(TRY_TIMEOUT, first_line(http, service, token)).await {
            Ok(Ok(line)) if line.contains("\"checkpoint\"") => return Ok(()),
            Ok(Ok(answer) | Err(answer)) => answer,
            Err(_) => "nothing".to_owned(),
        };
        if Instant::now() > deadline {
            return Err(format!("it does not stream a checkpoint but {answer}"));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn first_line(http: &HttpClient, service: SocketAddr, token: &str) -> Result<String, String> {
    let body = r#"{"client_id":"readiness","raw_data":true,"include_checksum":true,"buckets":[],"parameters":{}}"#;
    let request = http.post(format!("http://{service}/sync/stream")).bearer_auth(token);
    let request = request.header(CONTENT_TYPE, "application/json").body(body);
    let mut answer = request.send().await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let text = answer.chunk().await.ok().flatten().unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    if status == StatusCode::OK { Ok(text) } else { Err(format!("{status} {text}")) }
}
