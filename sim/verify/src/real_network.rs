//! The way of a device to a stack that somebody else runs: HTTP, without any fault of ours.

use bytes::Bytes;
use http::Method;
use reqwest::RequestBuilder;

use sim_network::{
    LocalFuture, NetError, Network, Request, Response, ServerRole, StreamEvent, StreamResponse, SyncStream,
};
use sim_stack::existing_stack::http::{Http, NoReply};

/// The way to the two servers of a target.
pub(super) struct RealNetwork {
    http: Http,
    urls: [String; 2],
    token: String,
}

/// The lines of a stream, as they come.
struct Arriving {
    response: reqwest::Response,
    buffer: Vec<u8>,
}

impl SyncStream for Arriving {
    fn next(&mut self) -> LocalFuture<'_, StreamEvent> {
        Box::pin(self.next_line())
    }
}

impl Arriving {
    async fn next_line(&mut self) -> StreamEvent {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                return StreamEvent::Line(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => return StreamEvent::End,
                Err(_) => return StreamEvent::Reset,
            }
        }
    }
}

impl RealNetwork {
    /// To the service and the backend, in this order.
    pub(super) fn new(http: Http, urls: [String; 2], token: String) -> Self {
        Self { http, urls, token }
    }

    fn http_request(&self, request: &Request) -> RequestBuilder {
        let url = match request.server {
            ServerRole::Service => &self.urls[0],
            ServerRole::Backend => &self.urls[1],
        };
        let method = if request.body.is_some() { Method::POST } else { Method::GET };
        let body = request.body.as_ref().map(|body| String::from_utf8_lossy(body));
        self.http.request(method, &format!("{url}{}", request.path), Some(&request.token), body.as_deref())
    }
}

fn net_error(none: NoReply) -> NetError {
    match none {
        NoReply::Refused | NoReply::Name(_) => NetError::Refused,
        NoReply::Silent => NetError::Timeout,
        NoReply::Tls(_) | NoReply::Broken(_) => NetError::Reset,
    }
}

impl Network for RealNetwork {
    fn send(&self, _: u32, request: Request) -> LocalFuture<'static, Result<Response, NetError>> {
        let (http, request) = (self.http.clone(), self.http_request(&request));
        Box::pin(async move {
            let reply = http.send(request).await.map_err(net_error)?;
            Ok(Response { status: reply.status, body: reply.body })
        })
    }

    fn open_stream(&self, _: u32, request: Request) -> LocalFuture<'static, Result<StreamResponse, NetError>> {
        let (http, request) = (self.http.clone(), self.http_request(&request));
        Box::pin(async move {
            let response = http.open(request).await.map_err(net_error)?;
            let status = response.status().as_u16();
            if status == 200 {
                return Ok(StreamResponse::Open(Box::new(Arriving { response, buffer: Vec::new() })));
            }
            Ok(StreamResponse::Refused(Response { status, body: Bytes::new() }))
        })
    }

    fn token(&self, _: u32) -> String {
        self.token.clone()
    }
}
