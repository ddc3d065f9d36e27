//! One request: on its way to the server, handled there, and its response on the way back.

use std::rc::Rc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use rand::Rng as _;
use sim_core::plan;
use sim_core::seed::Rng;
use tokio::time::sleep;
use tower::ServiceExt;

use super::epochs::Epoch;
use super::kills::Kill;
use super::state::State;
use crate::extension::{KillBeforeCommit, KilledBeforeCommit, RequestTag};
use crate::request::{NetError, Purpose, Request, Response, ServerRole};

/// A response as the server sends it, and the connection that it goes back on.
pub(super) struct ServerResponse {
    pub(super) http: http::Response<Body>,
    pub(super) epoch: Epoch,
}

/// Which way a message goes; part of the key of its draws.
#[derive(Clone, Copy)]
enum Leg {
    Request = 0,
    Response = 1,
}

/// Carries a request to its server and lets it handle it; gives the response as the server sends it.
pub(super) async fn send(state: Rc<State>, device: u32, request: &Request) -> Result<ServerResponse, NetError> {
    if state.faults.is_offline(device) {
        return Err(NetError::Offline);
    }
    let epoch = state.epochs.of(device, request.server);
    let mut rng = generator(&state, Leg::Request, device, request);
    let delay = state.draw_delay(&mut rng, device, request.body.as_ref().map_or(0, Bytes::len));
    let loss = state.faults.loss(device, request.server);
    let roll: u8 = rng.random_range(0..100);
    let is_lost = loss.is_some_and(|loss| roll < loss.request_lost);
    let is_duplicated = loss.is_some_and(|loss| rng.random_range(0..100) < loss.duplicated);
    let duplicate_after = Duration::from_micros(rng.random_range(1_000..3_000_000));
    let mut is_swallowed = is_lost || state.faults.is_swallowed(device, request.server, true);
    if !state.travel(device, delay, request.timeout).await {
        return Err(NetError::Timeout);
    }
    is_swallowed |= state.faults.is_swallowed(device, request.server, true);
    if state.epochs.of(device, request.server).device != epoch.device {
        return Err(NetError::Reset);
    }
    if is_swallowed {
        // The sender's timeout resets the connection.
        sleep(request.timeout).await;
        return Err(NetError::Timeout);
    }
    if state.epochs.of(device, request.server).server != epoch.server {
        return Err(NetError::Reset);
    }
    wait_while_paused(&state, request.server).await;
    if is_duplicated && request.purpose == Purpose::Upload {
        tokio::task::spawn_local(deliver_again(state.clone(), device, request.clone(), duplicate_after));
    }
    let epoch = state.epochs.of(device, request.server);
    let before = kill_at(&state, device, request, plan::KillInstant::BeforeCommit);
    if let Some(Kill { by_router: false, strike, .. }) = &before {
        strike();
        return Err(NetError::Reset);
    }
    let http = handle(&state, device, request, before.as_ref()).await?;
    if http.status().is_success()
        && let Some(kill) = kill_at(&state, device, request, plan::KillInstant::AfterCommit)
    {
        // The connection is of an earlier epoch from here on, so no response arrives.
        (kill.strike)();
    }
    Ok(ServerResponse { http, epoch })
}

/// Carries a whole response back.
pub(super) async fn deliver(
    state: Rc<State>,
    device: u32,
    request: &Request,
    ServerResponse { http, epoch }: ServerResponse,
) -> Result<Response, NetError> {
    let status = http.status().as_u16();
    let body = match http.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Err(NetError::Reset),
    };
    let mut rng = generator(&state, Leg::Response, device, request);
    let delay = state.draw_delay(&mut rng, device, body.len());
    let roll: u8 = rng.random_range(0..100);
    let is_lost = state.faults.loss(device, request.server).is_some_and(|loss| roll < loss.reply_lost);
    let mut is_swallowed = state.faults.is_swallowed(device, request.server, false);
    if !state.travel(device, delay, request.timeout).await {
        return Err(NetError::Timeout);
    }
    is_swallowed |= state.faults.is_swallowed(device, request.server, false);
    if is_lost || state.epochs.of(device, request.server) != epoch {
        return Err(NetError::Reset);
    }
    if is_swallowed {
        sleep(request.timeout).await;
        return Err(NetError::Timeout);
    }
    Ok(Response { status, body })
}

/// A message's own generator: removing a step of the plan leaves what is drawn for every other message as it was.
fn generator(state: &State, leg: Leg, device: u32, request: &Request) -> Rng {
    // The 0 has no meaning. It stays because seeds would draw otherwise without it.
    let key = [leg as u64, u64::from(device), request.purpose as u64, request.subject, u64::from(request.attempt), 0];
    state.plan.seed.fork("network", &key)
}

/// What kills the backend at this instant of the request, if anything does.
fn kill_at(state: &State, device: u32, request: &Request, instant: plan::KillInstant) -> Option<Kill> {
    if request.purpose != Purpose::Upload || !state.routers.is_backend_up() {
        return None;
    }
    state.kills.find(device, instant)
}

async fn wait_while_paused(state: &State, server: ServerRole) {
    while state.faults.is_paused(server) {
        state.changes.more_than(state.changes.count()).await;
    }
}

/// Lets the server handle a request a second time, after a while. The response reaches nobody: the sender took the first.
async fn deliver_again(state: Rc<State>, device: u32, request: Request, after: Duration) {
    state.in_flight.set(state.in_flight.get() + 1);
    sleep(after).await;
    let status = handle(&state, device, &request, None).await.ok().map(|response| response.status().as_u16());
    (state.callbacks.on_duplicate)(device, &request, status);
    state.in_flight.set(state.in_flight.get() - 1);
}

/// Lets the server handle the request. `kill`: the router is to kill it meanwhile.
async fn handle(
    state: &State,
    device: u32,
    request: &Request,
    kill: Option<&Kill>,
) -> Result<http::Response<Body>, NetError> {
    let router = state.routers.get(request.server).ok_or(NetError::Refused)?;
    let response = match router.oneshot(http_request(device, request, kill.is_some())).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    (state.callbacks.on_handled)(Some((device, request)));
    if let Some(kill) = kill.filter(|_| response.extensions().get::<KilledBeforeCommit>().is_some()) {
        (kill.strike)();
    }
    // A router that stands for a real server may have no response.
    match response.extensions().get::<NetError>() {
        Some(error) => Err(*error),
        None => Ok(response),
    }
}

fn http_request(device: u32, request: &Request, kill_before_commit: bool) -> http::Request<Body> {
    let mut http = http::Request::builder()
        .uri(&request.path)
        .method(if request.body.is_some() { http::Method::POST } else { http::Method::GET })
        .extension(RequestTag { device, subject: request.subject })
        .header(http::header::AUTHORIZATION, format!("Bearer {}", request.token));
    if kill_before_commit {
        http = http.extension(KillBeforeCommit);
    }
    if request.body.is_some() {
        http = http.header(http::header::CONTENT_TYPE, "application/json");
    }
    http.body(request.body.clone().map_or_else(Body::empty, Body::from))
        .expect("paths and tokens are our own and well-formed")
}
