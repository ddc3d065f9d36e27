//! From the simulated network over TCP to a server, and its answer back.
//!
//! Before an answer or a part of a stream goes back, everything is read that the database has committed by then.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use sim_network::{KillBeforeCommit, NetError, RequestTag, ServerRole};
use tokio::sync::mpsc;

use super::activity::{OpenWork, Work};
use super::context::RunContext;
use super::kill_before_commit::kill_before_commit;
use super::replication_lag::{note_replicated, wait_for_replication};
use super::stream_progress::{Received, StreamProgress};
use super::token_retiming;
use super::uploads_under_way::Answer;

/// Where devices ask for write checkpoints, and for their stream.
const WRITE_CHECKPOINT: &str = "/write-checkpoint";
const STREAM: &str = "/sync/stream";

/// The routes of a server at an address.
pub(super) fn router(context: &Arc<RunContext>, role: ServerRole, address: SocketAddr) -> Router {
    let context = context.clone();
    Router::new().fallback(move |request: Request<Body>| forward(context.clone(), role, address, request))
}

async fn forward(
    context: Arc<RunContext>,
    role: ServerRole,
    address: SocketAddr,
    request: Request<Body>,
) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    // It is in memory already.
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    parts.uri = format!("http://{address}{path}").parse().expect("an address and a path make a URI");
    let sent = parts.extensions.remove::<RequestTag>();
    if let Some(sent) = sent
        && role == ServerRole::Backend
    {
        context.log.note_upload(sent, &body);
    }
    // No server sees a request before its time.
    let now_us = (context.clock)();
    context.clock_file.show(now_us);
    let uses_machine_clock = match role {
        ServerRole::Service => context.timing.service_uses_machine_clock,
        ServerRole::Backend => context.timing.backend_uses_machine_clock,
    };
    if uses_machine_clock && let Ok(environment) = context.environment() {
        let machine_us = backend::server::machine_clock_us();
        token_retiming::retime(&mut parts.headers, &environment.base().keys, now_us, machine_us);
    }
    let work = context.activity.begin(match role {
        ServerRole::Backend => Work::BackendRequest,
        ServerRole::Service if path.starts_with(WRITE_CHECKPOINT) => Work::WriteCheckpoint,
        ServerRole::Service if path.starts_with(STREAM) => Work::Stream,
        ServerRole::Service => Work::ServiceRequest,
    });
    let is_to_be_killed = parts.extensions.remove::<KillBeforeCommit>().is_some();
    let request = Request::from_parts(parts, body);
    let exchange = exchange(context.clone(), role, request, sent, work);
    let job = context.runtime.clone().spawn(async move {
        if is_to_be_killed { kill_before_commit(&context, exchange).await } else { exchange.await }
    });
    job.await.unwrap_or_else(|_| no_answer(NetError::Reset))
}

/// An answer that says that there was none.
fn no_answer(error: NetError) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.extensions_mut().insert(error);
    response
}

async fn exchange(
    context: Arc<RunContext>,
    role: ServerRole,
    request: Request<Bytes>,
    sent: Option<RequestTag>,
    work: OpenWork,
) -> Response<Body> {
    let (is_upload, is_checkpoint) =
        (request.uri().path() == "/upload", request.uri().path().starts_with(WRITE_CHECKPOINT));
    let write = is_upload.then(|| context.log.begin_write());
    let client = client_id(&request);
    let lsn_before = context.log.read_lsn();
    // Where uploads must pass one at a time, it waits for its turn.
    let turn = if is_upload { context.log.begin_upload(sent, request.body()).await } else { None };
    let head_lsn = if is_checkpoint { context.log.head_lsn().await.ok() } else { None };
    let unanswered = |error: NetError| {
        if is_upload {
            context.log.note_unanswered();
        }
        no_answer(error)
    };
    let request = reqwest::Request::try_from(request).expect("an address and a path make a URL");
    let (parts, body) = match context.http.execute(request).await {
        Ok(response) => Response::<reqwest::Body>::from(response).into_parts(),
        // Nothing was sent where nobody listens.
        Err(error) if error.is_connect() => return no_answer(NetError::Refused),
        Err(_) => return unanswered(NetError::Reset),
    };
    if role == ServerRole::Service && parts.status == StatusCode::OK && !is_checkpoint {
        context.activity.expect_more_within(context.timing.lines_after_replication);
        let (lines, mut arriving) = mpsc::unbounded_channel();
        context.runtime.spawn(carry_stream(context.clone(), client, body, lines, work));
        let arriving = futures_util::stream::poll_fn(move |task| arriving.poll_recv(task));
        let arriving = futures_util::StreamExt::map(arriving, Ok::<Bytes, Infallible>);
        return Response::from_parts(parts, Body::from_stream(arriving));
    }
    let Ok(body) = body.collect().await else { return unanswered(NetError::Reset) };
    drop(write);
    let reading = context.activity.begin(Work::LogReading);
    work.done();
    if is_upload {
        if !context.read_log().await {
            return unanswered(NetError::Reset);
        }
        if let Some(turn) = turn {
            let answer = match parts.status {
                status if status.is_success() => Answer::Accepted,
                status if status.is_server_error() => Answer::Failed,
                _ => Answer::Refused,
            };
            context.log.end_upload(&turn, answer, context.clock_file.shown_us()).await;
        } else if parts.status.is_success() {
            context.log.expect_annotation();
        }
        if context.log.read_lsn() > lsn_before {
            wait_for_replication(&context, context.log.read_lsn());
        }
    }
    let body = body.to_bytes();
    if let Some(head_lsn) = head_lsn {
        wait_for_replication(&context, head_lsn);
        if let Some(reached) = client.and_then(|client| context.delivered.note_answer(&client, &body, head_lsn)) {
            note_replicated(&context, reached);
        }
    }
    drop(reading);
    Response::from_parts(parts, Body::from(body))
}

/// The client of a request to the service.
fn client_id(request: &Request<Bytes>) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct StreamRequest {
        client_id: Option<String>,
    }
    match request.uri().query() {
        Some(query) => query.split('&').find_map(|pair| pair.strip_prefix("client_id=")).map(str::to_owned),
        None if request.uri().path() == STREAM => {
            serde_json::from_slice::<StreamRequest>(request.body()).ok()?.client_id
        }
        None => None,
    }
}

/// Carries a stream, part by part, until either end closes it. `work` is its request; it goes on until a checkpoint is
/// complete, and again from the next checkpoint line.
async fn carry_stream(
    context: Arc<RunContext>,
    client: Option<String>,
    mut body: reqwest::Body,
    lines: mpsc::UnboundedSender<Bytes>,
    work: OpenWork,
) {
    let mut progress = StreamProgress::of_request();
    let mut work = Some(work);
    let _open = client.as_ref().map(|client| context.delivered.begin_stream(client));
    loop {
        let frame = tokio::select! {
            biased;
            () = lines.closed() => return,
            frame = body.frame() => frame,
        };
        let Some(Ok(frame)) = frame else { return };
        let Ok(bytes) = frame.into_data() else { continue };
        let reading = context.activity.begin(Work::LogReading);
        if context.log.may_be_behind() && !context.read_log().await {
            return;
        }
        let Received { is_work, completed } = progress.receive(&bytes);
        context.activity.expect_more_within(context.timing.lines_after_lines);
        // The device may have closed its stream.
        let _ = lines.send(bytes);
        if progress.is_in_the_middle() {
            let work = work.get_or_insert_with(|| context.activity.begin(Work::Stream));
            if is_work {
                work.sign_of_life();
            }
        } else if let Some(work) = work.take() {
            work.done();
        }
        if let Some(client) = client.as_ref().filter(|_| is_work) {
            context.delivered.note_sign_of_life(client);
        }
        let reached = client.as_ref().zip(completed);
        if let Some(reached) = reached.and_then(|(client, number)| context.delivered.note_delivered(client, number)) {
            note_replicated(&context, reached);
        }
        drop(reading);
    }
}
