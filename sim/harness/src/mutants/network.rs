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
    fn send(&self, device: u32, mut request: Request) -> LocalFuture<'static, Result<Response, NetError>> {
        if request.purpose == Purpose::Upload {
            bend_upload(&mut request, self.mutant);
        }
        match self.mutant {
            Mutant::CompletesOnRefusedToken if request.purpose == Purpose::Upload => {
                let sent = self.sound.send(device, request);
                Box::pin(async move {
                    let answer = sent.await?;
                    Ok(if answer.status == 401 { success() } else { answer })
                })
            }
            Mutant::RepeatsWriteCheckpoints if request.purpose == Purpose::WriteCheckpoint => {
                let sent = self.sound.send(device, request);
                Box::pin(async move {
                    let answer = sent.await?;
                    let body = r#"{"data":{"write_checkpoint":"1"}}"#;
                    Ok(if answer.status == 200 { Response { status: 200, body: body.into() } } else { answer })
                })
            }
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

/// Makes of an upload what a connector sends that leaves something out.
fn bend_upload(request: &mut Request, mutant: Mutant) {
    if !matches!(mutant, Mutant::TruncatesBatches | Mutant::CorruptsUploads | Mutant::UploadsWithoutNulls) {
        return;
    }
    let body = request.body.as_deref().unwrap_or_default();
    let Ok(mut upload) = serde_json::from_slice::<serde_json::Value>(body) else { return };
    let transactions = upload["transactions"].as_array_mut();
    for ops in transactions.into_iter().flatten().filter_map(|tx| tx["ops"].as_array_mut()) {
        if mutant == Mutant::TruncatesBatches && ops.len() > 1 {
            ops.pop();
        }
        for data in ops.iter_mut().filter_map(|op| op["data"].as_object_mut()) {
            match mutant {
                Mutant::UploadsWithoutNulls => data.retain(|_, value| !value.is_null()),
                Mutant::CorruptsUploads => {
                    for value in data.values_mut() {
                        if let Some(text) = value.as_str().filter(|text| text.contains('~')) {
                            *value = text.replacen('~', "?", 1).into();
                        }
                    }
                }
                _ => {}
            }
        }
    }
    request.body = Some(upload.to_string().into());
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
                match self.bent(line) {
                    Some(line) => return StreamEvent::Line(line),
                    None => continue,
                }
            }
            self.lines.set(self.lines.get() + 1);
            let strikes = self.lines.get() % 3 == 2;
            match self.mutant {
                Mutant::LosesLines if strikes => {}
                Mutant::RepeatsLines if strikes => {
                    self.again = Some(line.clone());
                    return StreamEvent::Line(line);
                }
                Mutant::CutsLines if strikes => {
                    let end = (line.len() / 2..line.len()).find(|at| line.is_char_boundary(*at)).unwrap_or(line.len());
                    return StreamEvent::Line(line[..end].to_owned());
                }
                Mutant::SwapsLines if strikes => match self.sound.next().await {
                    StreamEvent::Line(next) if next.starts_with("{\"data\"") => {
                        self.again = Some(line);
                        return StreamEvent::Line(next);
                    }
                    StreamEvent::Line(next) => {
                        self.again = Some(next);
                        return StreamEvent::Line(line);
                    }
                    ended => return ended,
                },
                Mutant::CorruptsValues if strikes => return StreamEvent::Line(corrupted(&line)),
                _ => return StreamEvent::Line(line),
            }
        }
    }
}

impl DefectiveStream {
    /// A line that carries no data, as it arrives; `None`: it does not.
    fn bent(&self, line: String) -> Option<String> {
        let count = || {
            self.lines.set(self.lines.get() + 1);
            self.lines.get()
        };
        match self.mutant {
            Mutant::LosesCompletions if line.starts_with("{\"checkpoint_complete\"") && count() % 3 == 2 => None,
            Mutant::ChangesChecksums if line.starts_with("{\"checkpoint") => {
                Some(line.replacen("\"checksum\":", "\"checksum\":1", 1))
            }
            Mutant::AcknowledgesOthers if line.starts_with("{\"checkpoint") => {
                Some(line.replacen("\"write_checkpoint\":\"", "\"write_checkpoint\":\"9", 1))
            }
            _ => Some(line),
        }
    }
}

/// The line with one value changed: text behind the `~` that generated texts carry.
fn corrupted(line: &str) -> String {
    line.replacen('~', "?", 1)
}
