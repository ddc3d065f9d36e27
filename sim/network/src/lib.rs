//! How a device reaches the two servers: one choke point where every network fault is injected.
//!
//! Devices speak to a [`Network`] and never learn which one it is.

mod changes;
pub mod sim;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

/// A server, as the device addresses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The sync service.
    Service,
    /// The upload backend.
    Backend,
}

/// What a request is for; part of the key of its fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// `POST /upload`.
    Upload,
    /// `GET /write-checkpoint2.json`.
    WriteCheckpoint,
    /// `POST /sync/stream`.
    Stream,
    /// The same as [`Purpose::WriteCheckpoint`], asked by the run's fence.
    Fence,
    /// `GET /conflicts`.
    Conflicts,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// To whom.
    pub target: Target,
    /// What for.
    pub purpose: Purpose,
    /// What it is about, for the key of its fate: the transaction, or the number of the try.
    pub about: u64,
    /// 1 for the first try.
    pub attempt: u32,
    /// GET when there is no body, else POST.
    pub body: Option<Bytes>,
    /// Path and query.
    pub path: String,
    /// The bearer token.
    pub token: String,
    /// When the host gives up.
    pub timeout: Duration,
}

/// Whose request it is, and what about, for those who see no more of it than its HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// The device.
    pub device: u32,
    /// [`Ask::about`].
    pub about: u64,
}

/// The backend is to be killed while it handles this request, before its commit. A way that can see to that says so by
/// [`Killed`].
#[derive(Clone, Copy, Debug)]
pub struct Doomed;

/// The backend was killed while it handled the request, before its commit.
#[derive(Clone, Copy, Debug)]
pub struct Killed;

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// The device knows that it has no network: nothing was sent.
    #[error("offline")]
    Offline,
    /// Nobody listens: the request was surely not acted on.
    #[error("connection refused")]
    Refused,
    /// The connection broke; the request may have been acted on.
    #[error("connection reset")]
    Reset,
    /// No answer in time; the request may have been acted on.
    #[error("timed out")]
    Timeout,
}

/// What comes next on an open stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// One line, without its newline.
    Line(String),
    /// The server ended the stream.
    End,
    /// The connection broke.
    Reset,
}

/// A future of the plan's own thread.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// An open stream.
pub trait Incoming {
    /// Waits for the next line. Dropping the future loses nothing.
    fn next(&mut self) -> LocalFuture<'_, Next>;
}

/// What answers a request for a stream.
pub enum Opened {
    /// 200, and lines follow.
    Stream(Box<dyn Incoming>),
    /// Anything else.
    Refused(Answer),
}

/// A way to the servers.
pub trait Network {
    /// Sends a request and waits for its whole answer.
    fn ask(&self, device: u32, ask: Ask) -> LocalFuture<'static, Result<Answer, NetError>>;

    /// Sends a request whose answer is a stream.
    fn open(&self, device: u32, ask: Ask) -> LocalFuture<'static, Result<Opened, NetError>>;

    /// A token for the device's user.
    fn token(&self, device: u32) -> String;
}
