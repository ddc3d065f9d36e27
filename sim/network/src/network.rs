//! How a device sends requests and reads streams, whichever network it is on.

use std::future::Future;
use std::pin::Pin;

use crate::request::{NetError, Request, Response};

/// A future of the plan's own thread.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What a device reaches the servers through.
pub trait Network {
    /// Sends a request and waits for its whole response.
    fn send(&self, device: u32, request: Request) -> LocalFuture<'static, Result<Response, NetError>>;

    /// Sends a request whose response is a stream.
    fn open_stream(&self, device: u32, request: Request) -> LocalFuture<'static, Result<StreamResponse, NetError>>;

    /// A token for the device's user.
    fn token(&self, device: u32) -> String;
}

/// The response to a request for a stream.
pub enum StreamResponse {
    /// 200, and lines follow.
    Open(Box<dyn SyncStream>),
    /// Any other response.
    Refused(Response),
}

/// An open stream.
pub trait SyncStream {
    /// Waits for the next line, or the end. Dropping the future loses nothing.
    fn next(&mut self) -> LocalFuture<'_, StreamEvent>;
}

/// What comes next on an open stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// One line, without its newline.
    Line(String),
    /// The server ended the stream.
    End,
    /// The connection broke.
    Reset,
}
