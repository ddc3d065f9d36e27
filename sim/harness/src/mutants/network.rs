//! Defects between device and servers: a connector that lies or gives up, a stream that is not what was sent.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use super::Mutant;
use sim_network::{
    LocalFuture, NetError, Network, Purpose, Request, Response, StreamEvent, StreamResponse, SyncStream,
};

/// A network with a defect.
pub struct DefectiveNetwork {
    sound: Rc<dyn Network>,
    mutant: Mutant,
    given_up: Rc<RefCell<BTreeSet<u32>>>,
}

impl DefectiveNetwork {
    /// A network with this defect.
    #[must_use]
    pub fn new(sound: Rc<dyn Network>, mutant: Mutant) -> Self {
        Self { sound, mutant, given_up: Rc::default() }
    }
}

impl Network for DefectiveNetwork {
    fn send(&self, device: u32, request: Request) -> LocalFuture<'static, Result<Response, NetError>> {
        match self.mutant {
            Mutant::DropsQueue if request.purpose == Purpose::Upload && request.subject.is_multiple_of(3) => {
                Box::pin(async { Ok(success()) })
            }
            Mutant::CompletesOnError if request.purpose == Purpose::Upload => {
                let sent = self.sound.send(device, request);
                Box::pin(async move {
                    match sent.await {
                        Ok(answer) if answer.status < 500 => Ok(answer),
                        _ => Ok(success()),
                    }
                })
            }
            Mutant::NeverRetries if request.purpose == Purpose::Upload => {
                let given_up = self.given_up.clone();
                if given_up.borrow().contains(&device) {
                    Box::pin(std::future::pending())
                } else {
                    let sent = self.sound.send(device, request);
                    Box::pin(async move {
                        let answer = sent.await;
                        if answer.is_err() {
                            given_up.borrow_mut().insert(device);
                        }
                        answer
                    })
                }
            }
            Mutant::UploadsPiecemeal if request.purpose == Purpose::Upload => {
                Box::pin(piecemeal(self.sound.clone(), device, request))
            }
            _ => self.sound.send(device, request),
        }
    }

    fn open_stream(&self, device: u32, request: Request) -> LocalFuture<'static, Result<StreamResponse, NetError>> {
        let mutant = self.mutant;
        let opening = self.sound.open_stream(device, request);
        Box::pin(async move {
            Ok(match opening.await? {
                StreamResponse::Open(sound) => {
                    StreamResponse::Open(Box::new(DefectiveStream { sound, mutant, lines: Cell::new(0), again: None }))
                }
                StreamResponse::Refused(answer) => StreamResponse::Refused(answer),
            })
        })
    }

    fn token(&self, device: u32) -> String {
        self.sound.token(device)
    }
}

/// What a connector takes for success.
fn success() -> Response {
    Response { status: 200, body: "{}".into() }
}

/// Sends the operations of a transaction one by one, as connectors do that cut the queue into batches.
async fn piecemeal(network: Rc<dyn Network>, device: u32, request: Request) -> Result<Response, NetError> {
    let body = request.body.clone().unwrap_or_default();
    let Ok(whole) = serde_json::from_slice::<serde_json::Value>(&body) else { return Err(NetError::Reset) };
    let ops = whole["transactions"][0]["ops"].as_array().cloned().unwrap_or_default();
    let mut last = success();
    for op in ops {
        let mut one = whole.clone();
        one["transactions"][0]["ops"] = serde_json::Value::Array(vec![op]);
        last = network.send(device, Request { body: Some(one.to_string().into()), ..request.clone() }).await?;
        if last.status != 200 {
            return Ok(last);
        }
    }
    Ok(Response { status: last.status, body: "{}".into() })
}

/// A stream with a defect, if it is one of streams.
struct DefectiveStream {
    sound: Box<dyn SyncStream>,
    mutant: Mutant,
    lines: Cell<u64>,
    again: Option<String>,
}

impl SyncStream for DefectiveStream {
    fn next(&mut self) -> LocalFuture<'_, StreamEvent> {
        Box::pin(self.next_line())
    }
}

impl DefectiveStream {
    async fn next_line(&mut self) -> StreamEvent {
        loop {
            if let Some(line) = self.again.take() {
                return StreamEvent::Line(line);
            }
            let line = match self.sound.next().await {
                StreamEvent::Line(line) => line,
                ended => return ended,
            };
            if !line.starts_with("{\"data\"") {
                return StreamEvent::Line(line);
            }
            self.lines.set(self.lines.get() + 1);
            let strikes = self.lines.get() % 3 == 2;
            match self.mutant {
                Mutant::LosesLines if strikes => {}
                Mutant::RepeatsLines if strikes => {
                    self.again = Some(line.clone());
                    return StreamEvent::Line(line);
                }
                Mutant::CorruptsValues if strikes => return StreamEvent::Line(corrupted(&line)),
                _ => return StreamEvent::Line(line),
            }
        }
    }
}

/// The line with one value changed: text behind the `~` that generated texts carry.
fn corrupted(line: &str) -> String {
    line.replacen('~', "?", 1)
}
