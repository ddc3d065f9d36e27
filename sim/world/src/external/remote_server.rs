//! A server that somebody else runs: it can be reached, and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use crate::real::http_client::HttpClient;
use crate::real::server::{BoxResult, Server, ServerKiller};

pub(super) struct RemoteServer {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
}

/// Why nothing is done to a server.
pub(super) const NOT_OURS: &str = "the servers are somebody else's";

pub(super) fn refuse() -> BoxResult<'static, ()> {
    ready(Err(NOT_OURS.to_owned())).boxed()
}

impl Server for RemoteServer {
    fn name(&self) -> &'static str {
        self.name
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn killer(&self) -> ServerKiller {
        Arc::new(refuse)
    }

    fn kill(self: Box<Self>) -> BoxResult<'static, ()> {
        refuse()
    }

    fn stop(self: Box<Self>) -> BoxResult<'static, ()> {
        refuse()
    }

    fn pause(&self) -> BoxResult<'_, ()> {
        refuse()
    }

    fn resume(&self) -> BoxResult<'_, ()> {
        refuse()
    }

    fn compact(&self) -> BoxResult<'_, ()> {
        refuse()
    }

    fn reload_keys<'a>(&'a self, _http: &'a HttpClient, _count: u64, _waits: bool) -> BoxResult<'a, ()> {
        refuse()
    }

    fn exit_reason(&mut self) -> BoxFuture<'_, Option<String>> {
        ready(None).boxed()
    }
}
