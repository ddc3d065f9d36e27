//! One request of a device, its response, and why there may be none.

use std::time::Duration;

use bytes::Bytes;

/// A server that a request is addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerRole {
    /// The sync service.
    Service,
    /// The upload backend.
    Backend,
}

/// What a request is for. Part of the key from which its delay and loss are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// `POST /upload`.
    Upload,
    /// `GET /write-checkpoint2.json`.
    WriteCheckpoint,
    /// `POST /sync/stream`.
    Stream,
    /// The same as [`Purpose::WriteCheckpoint`], for the run's fence.
    Fence,
    /// `GET /conflicts`.
    Conflicts,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// To whom.
    pub server: ServerRole,
    /// What for.
    pub purpose: Purpose,
    /// What it is about, for the key of its draws: the transaction, or a number that counts requests of this purpose.
    pub subject: u64,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// With a body it is a POST, without one a GET.
    pub body: Option<Bytes>,
    /// Path and query.
    pub path: String,
    /// The bearer token.
    pub token: String,
    /// How long the sender waits.
    pub timeout: Duration,
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// Why there is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// The device knows that it has no network: nothing was sent.
    #[error("offline")]
    Offline,
    /// Nobody listens: no server acted on the request.
    #[error("connection refused")]
    Refused,
    /// The connection broke; the server may have acted on the request.
    #[error("connection reset")]
    Reset,
    /// No response in time; the server may have acted on the request.
    #[error("timed out")]
    Timeout,
}
