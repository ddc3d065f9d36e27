//! One of the two servers while it runs, whichever way it does.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::http_client::HttpClient;

/// A boxed future of something that can fail, with the reason in words.
pub(crate) type BoxResult<'a, T> = BoxFuture<'a, Result<T, String>>;

/// Ends a server at once (SIGKILL), for somebody who does not hold it.
pub(crate) type ServerKiller = Arc<dyn Fn() -> BoxResult<'static, ()> + Send + Sync>;

/// A server that listens. It ends when its handle is dropped.
pub(crate) trait Server: Send + Sync {
    fn name(&self) -> &'static str;

    /// Where it listens.
    fn address(&self) -> SocketAddr;

    fn killer(&self) -> ServerKiller;

    /// Ends it at once.
    fn kill(self: Box<Self>) -> BoxResult<'static, ()>;

    /// Asks it to end, and kills it if it does not.
    fn stop(self: Box<Self>) -> BoxResult<'static, ()>;

    /// Disconnects it from the network.
    fn disconnect(&self) -> BoxResult<'_, ()> {
        ready(Err("there are no containers in this world".to_owned())).boxed()
    }

    fn pause(&self) -> BoxResult<'_, ()>;

    fn resume(&self) -> BoxResult<'_, ()>;

    /// The service compacts its buckets.
    fn compact(&self) -> BoxResult<'_, ()>;

    /// The service reads its keys again, of which there are `count`; with `waits`, until it has.
    fn reload_keys<'a>(&'a self, http: &'a HttpClient, count: u64, waits: bool) -> BoxResult<'a, ()>;

    /// How it ended, if it did by itself.
    fn exit_reason(&mut self) -> BoxFuture<'_, Option<String>>;
}

/// How a fault ends a server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ServerStop {
    Kill,
    Stop,
    /// It runs, and nobody reaches it.
    Disconnect,
}
