//! The last stretch of a request's way: from the simulated network over TCP to a server, and its answer back.
//!
//! Before an answer or a part of a stream goes back, everything is read that the database has committed by then.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::apart;
use super::doom;
use super::feed::Feed;
use super::share::{Passage, Share};
use super::pace::{Busy, Pulse, Work};
use super::senders::Senders;
use super::ground::{Ground, Killer, Pace};
use sim_network::{KillBeforeCommit, NetError, RequestTag, ServerRole};
use crate::clock::Clock;

/// The client of all requests of one plan.
pub(crate) type Http = Client<HttpConnector, Full<Bytes>>;

/// How long plan time follows the machine's for replication that does not catch up, though nothing is known to hold it up:
/// a machine may stand still for a while. It may be stuck for good as well, and then plan time must pass faster.
const LAG_MAX: Duration = Duration::from_secs(60);
/// How long one question of how far it is may take.
const QUESTION_MAX: Duration = Duration::from_secs(5);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(1);
/// How long a server that listens may take to be ready.
const READY_MAX: Duration = Duration::from_secs(120);
/// How long the database may be away before an answer that it stands behind is taken for lost.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// Where devices ask for write checkpoints.
const WRITE_CHECKPOINT: &str = "/write-checkpoint";

/// What the stretches to both servers share.
pub(super) struct Way {
    pub(super) real: Handle,
    pub(super) http: Http,
    pub(super) feed: Arc<Feed>,
    pub(super) pulse: Arc<Pulse>,
    /// The plan's, for the plan's thread.
    pub(super) clock: Clock,
    /// Where the service's figures are; `None` while nothing is to be expected of it.
    pub(super) figures: std::sync::Mutex<Option<SocketAddr>>,
    /// The position that the service is expected to reach.
    pub(super) expected: AtomicU64,
    /// For kills in the middle of a request: how to kill the backend, while it runs.
    pub(super) backend: std::sync::Mutex<Option<Killer>>,
    /// The site's, which goes when the site does.
    pub(super) ground: Weak<dyn Ground>,
    pub(super) pace: Pace,
    /// Who sent what, where copies of devices' databases are restored.
    pub(super) senders: Option<Senders>,
}

pub(crate) fn client() -> Http {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

/// The routes of a server at an address.
pub(super) fn router(way: &Arc<Way>, target: ServerRole, address: SocketAddr) -> Router {
    let way = way.clone();
    Router::new().fallback(move |request: Request<Body>| forward(way.clone(), target, address, request))
}

/// An answer that says that there was none.
fn none(error: NetError) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.extensions_mut().insert(error);
    response
}

async fn forward(way: Arc<Way>, target: ServerRole, address: SocketAddr, request: Request<Body>) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    // It is in memory already.
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    parts.uri = format!("http://{address}{path}").parse().expect("an address and a path make a URI");
    let sent = parts.extensions.remove::<RequestTag>();
    if let Some((senders, sent)) = way.senders.as_ref().zip(sent)
        && target == ServerRole::Backend
    {
        senders.note(sent, &body);
    }
    // No server sees a request before its time.
    let now_us = (way.clock)();
    way.pulse.show(now_us);
    let is_apart = match target {
        ServerRole::Service => way.pace.is_service_apart,
        ServerRole::Backend => way.pace.is_backend_apart,
    };
    if is_apart && let Some(ground) = way.ground.upgrade() {
        apart::translate(&mut parts.headers, &ground.common().keys, now_us, backend::server::machine_clock_us());
    }
    let busy = way.pulse.begin(match target {
        ServerRole::Backend => Work::Backend,
        ServerRole::Service if path.starts_with(WRITE_CHECKPOINT) => Work::Checkpoint,
        ServerRole::Service => Work::Service,
    });
    let is_doomed = parts.extensions.remove::<KillBeforeCommit>().is_some();
    let exchange = exchange(way.clone(), target, Request::from_parts(parts, Full::new(body)), sent, busy);
    let job = way.real.clone().spawn(async move {
        if is_doomed { doom::meet(&way, exchange).await } else { exchange.await }
    });
    job.await.unwrap_or_else(|_| none(NetError::Reset))
}

async fn exchange(
    way: Arc<Way>,
    target: ServerRole,
    request: Request<Full<Bytes>>,
    sent: Option<RequestTag>,
    busy: Busy,
) -> Response<Body> {
    let (is_upload, is_checkpoint) =
        (request.uri().path() == "/upload", request.uri().path().starts_with(WRITE_CHECKPOINT));
    let writing = is_upload.then(|| way.feed.writes());
    let lsn = way.feed.lsn();
    let passage = match way.feed.share() {
        Some(share) if is_upload && !share.notes() => Some(pass(share, &request, sent).await),
        _ => None,
    };
    let before = if is_checkpoint { way.feed.position().await.ok() } else { None };
    let lost = |error: NetError| {
        if is_upload {
            way.feed.is_unsure();
        }
        none(error)
    };
    let (parts, body) = match way.http.request(request).await {
        Ok(response) => response.into_parts(),
        // Nothing was sent where nobody listens.
        Err(error) if error.is_connect() => return none(NetError::Refused),
        Err(_) => return lost(NetError::Reset),
    };
    if target == ServerRole::Service && parts.status == StatusCode::OK && !is_checkpoint {
        way.pulse.touch(way.pace.coalescing);
        let (lines, mut arriving) = mpsc::unbounded_channel();
        way.real.spawn(carry(way.clone(), body, lines));
        let arriving = futures_util::stream::poll_fn(move |context| arriving.poll_recv(context));
        let arriving = futures_util::StreamExt::map(arriving, Ok::<Bytes, Infallible>);
        return Response::from_parts(parts, Body::from_stream(arriving));
    }
    let Ok(body) = body.collect().await else { return lost(NetError::Reset) };
    drop(writing);
    let reading = way.pulse.begin(Work::Reading);
    drop(busy);
    if is_upload {
        if !drained(&way).await {
            return lost(NetError::Reset);
        }
        if let Some(passage) = passage {
            // After 5xx it may yet be acted on.
            let is_committed = (!parts.status.is_server_error()).then(|| parts.status.is_success());
            way.feed.answered(&passage, is_committed, way.pulse.shown_us()).await;
        } else if parts.status.is_success() {
            way.feed.expects_note();
        }
        if way.feed.lsn() > lsn {
            expect(&way, way.feed.lsn());
        }
    }
    if let Some(before) = before {
        expect(&way, before);
    }
    drop(reading);
    Response::from_parts(parts, Body::from(body.to_bytes()))
}

/// An upload waits for its turn.
async fn pass(share: &Share, request: &Request<Full<Bytes>>, sent: Option<RequestTag>) -> Passage {
    let body = request.body().clone().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    share.enter(sent, &body).await
}

/// Reads what was committed, also when the database has to come back first.
async fn drained(way: &Way) -> bool {
    let deadline = Instant::now() + DRAIN_MAX;
    loop {
        match way.feed.drain(way.pulse.shown_us()).await {
            Ok(()) => return true,
            Err(error) if way.feed.broken().is_some() || Instant::now() > deadline => {
                tracing::warn!(error, "the history's slot");
                return false;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Carries a stream, part by part, until either end has gone.
async fn carry(way: Arc<Way>, mut body: hyper::body::Incoming, lines: mpsc::UnboundedSender<Bytes>) {
    loop {
        let frame = tokio::select! {
            biased;
            () = lines.closed() => return,
            frame = body.frame() => frame,
        };
        let Some(Ok(frame)) = frame else { return };
        let Ok(bytes) = frame.into_data() else { continue };
        let reading = way.pulse.begin(Work::Reading);
        if way.feed.is_behind() && !drained(&way).await {
            return;
        }
        way.pulse.touch(way.pace.lines);
        // The device may have closed its stream.
        let _ = lines.send(bytes);
        drop(reading);
    }
}

/// Plan time follows real time until the service has replicated up to a position.
pub(super) fn expect(way: &Arc<Way>, lsn: u64) {
    way.expected.fetch_max(lsn, Ordering::AcqRel);
    if !way.pulse.lag(true) {
        way.real.spawn(catch_up(way.clone()));
    }
}

async fn catch_up(way: Arc<Way>) {
    let deadline = Instant::now() + LAG_MAX;
    let figures = || *way.figures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    while let Some(address) = figures() {
        let asked = Instant::now();
        let expected = way.expected.load(Ordering::Acquire);
        let Some(ground) = way.ground.upgrade() else { break };
        let reached = tokio::time::timeout(QUESTION_MAX, ground.replicated(&way.http, address)).await.ok().flatten();
        if reached.is_some_and(|reached| reached >= expected) || asked > deadline {
            if way.expected.load(Ordering::Acquire) == expected {
                break;
            }
            continue;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    way.pulse.touch(way.pace.coalescing);
    way.pulse.lag(false);
}

/// The position that the service's clients see.
pub(crate) async fn replicated(http: &Http, address: SocketAddr) -> Option<u64> {
    figure(http, address, "replicated_lsn_bytes").await
}

/// One of the service's figures.
pub(crate) async fn figure(http: &Http, address: SocketAddr, name: &str) -> Option<u64> {
    let uri = format!("http://{address}/metrics").parse().expect("an address and a path make a URI");
    let body = http.get(uri).await.ok()?.into_body().collect().await.ok()?.to_bytes();
    let mut lines = std::str::from_utf8(&body).ok()?.lines();
    lines.find_map(|line| line.strip_prefix("syncstorm_service_")?.strip_prefix(name)?.strip_prefix(' '))?.parse().ok()
}

/// How a server answers a request with this token.
pub(super) async fn status(http: &Http, address: SocketAddr, path: &str, token: &str) -> Option<u16> {
    let request = Request::get(format!("http://{address}{path}")).header(AUTHORIZATION, format!("Bearer {token}"));
    let request = request.body(Full::default()).expect("an address and a path make a URI, and tokens are texts");
    http.request(request).await.ok().map(|response| response.status().as_u16())
}

/// Asks the service something, so that it has had its turn.
pub(super) fn look(way: &Arc<Way>) {
    let figures = *way.figures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(address) = figures else { return };
    let busy = way.pulse.begin(Work::Service);
    let way = way.clone();
    way.real.clone().spawn(async move {
        if let Some(ground) = way.ground.upgrade() {
            let _ = tokio::time::timeout(QUESTION_MAX, ground.replicated(&way.http, address)).await;
        }
        drop(busy);
    });
}

/// Waits until a server says that it is ready.
pub(crate) async fn ready(http: &Http, address: SocketAddr) -> Result<(), String> {
    let deadline = Instant::now() + READY_MAX;
    loop {
        let uri = format!("http://{address}/probes/readiness").parse().expect("an address and a path make a URI");
        match http.get(uri).await {
            Ok(answer) if answer.status() == StatusCode::OK => return Ok(()),
            Ok(answer) if Instant::now() > deadline => return Err(format!("not ready: {}", answer.status())),
            Err(error) if Instant::now() > deadline => return Err(format!("not ready: {error}")),
            _ => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}
