//! The way of a device to a stack that somebody else runs: HTTP, without any fault of ours.

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;

use sim_stack::target::http::{Http, NoReply, request};
use sim_network::{Answer, Ask, Incoming, LocalFuture, NetError, Network, Next, Opened, Target};

/// The way to the two servers of a target.
pub(super) struct RealNetwork {
    http: Http,
    urls: [String; 2],
    token: String,
}

/// The lines of a stream, as they come.
struct Arriving {
    body: hyper::body::Incoming,
    buffer: Vec<u8>,
}

impl Incoming for Arriving {
    fn next(&mut self) -> LocalFuture<'_, Next> {
        Box::pin(self.next_line())
    }
}

impl Arriving {
    async fn next_line(&mut self) -> Next {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                return Next::Line(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.buffer.extend_from_slice(bytes);
                    }
                }
                Some(Err(_)) => return Next::Reset,
                None => return Next::End,
            }
        }
    }
}

impl RealNetwork {
    /// To the service and the backend, in this order.
    pub(super) fn new(http: Http, urls: [String; 2], token: String) -> Self {
        Self { http, urls, token }
    }

    fn request(&self, ask: &Ask) -> http::Request<http_body_util::Full<Bytes>> {
        let url = match ask.target {
            Target::Service => &self.urls[0],
            Target::Backend => &self.urls[1],
        };
        let method = if ask.body.is_some() { Method::POST } else { Method::GET };
        let body = ask.body.as_ref().map(|body| String::from_utf8_lossy(body));
        request(method, &format!("{url}{}", ask.path), Some(&ask.token), body.as_deref())
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
    fn ask(&self, _: u32, ask: Ask) -> LocalFuture<'static, Result<Answer, NetError>> {
        let (http, request) = (self.http.clone(), self.request(&ask));
        Box::pin(async move {
            let reply = http.send(request).await.map_err(net_error)?;
            Ok(Answer { status: reply.status, body: reply.body })
        })
    }

    fn open(&self, _: u32, ask: Ask) -> LocalFuture<'static, Result<Opened, NetError>> {
        let (http, request) = (self.http.clone(), self.request(&ask));
        Box::pin(async move {
            let response = http.open(request).await.map_err(net_error)?;
            let status = response.status().as_u16();
            if status == 200 {
                return Ok(Opened::Stream(Box::new(Arriving { body: response.into_body(), buffer: Vec::new() })));
            }
            Ok(Opened::Refused(Answer { status, body: Bytes::new() }))
        })
    }

    fn token(&self, _: u32) -> String {
        self.token.clone()
    }
}
