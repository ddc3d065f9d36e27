//! Defects between device and servers: a connector that lies or gives up, a stream that is not what was sent.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use super::Mutant;
use sim_network::{Answer, Ask, Incoming, LocalFuture, NetError, Network, Next, Opened, Purpose};

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
    fn ask(&self, device: u32, ask: Ask) -> LocalFuture<'static, Result<Answer, NetError>> {
        match self.mutant {
            Mutant::DropsQueue if ask.purpose == Purpose::Upload && ask.about.is_multiple_of(3) => {
                Box::pin(async { Ok(success()) })
            }
            Mutant::CompletesOnError if ask.purpose == Purpose::Upload => {
                let sent = self.sound.ask(device, ask);
                Box::pin(async move {
                    match sent.await {
                        Ok(answer) if answer.status < 500 => Ok(answer),
                        _ => Ok(success()),
                    }
                })
            }
            Mutant::NeverRetries if ask.purpose == Purpose::Upload => {
                let given_up = self.given_up.clone();
                if given_up.borrow().contains(&device) {
                    Box::pin(std::future::pending())
                } else {
                    let sent = self.sound.ask(device, ask);
                    Box::pin(async move {
                        let answer = sent.await;
                        if answer.is_err() {
                            given_up.borrow_mut().insert(device);
                        }
                        answer
                    })
                }
            }
            Mutant::UploadsPiecemeal if ask.purpose == Purpose::Upload => {
                Box::pin(piecemeal(self.sound.clone(), device, ask))
            }
            _ => self.sound.ask(device, ask),
        }
    }

    fn open(&self, device: u32, ask: Ask) -> LocalFuture<'static, Result<Opened, NetError>> {
        let mutant = self.mutant;
        let opening = self.sound.open(device, ask);
        Box::pin(async move {
            Ok(match opening.await? {
                Opened::Stream(sound) => {
                    Opened::Stream(Box::new(DefectiveStream { sound, mutant, lines: Cell::new(0), again: None }))
                }
                Opened::Refused(answer) => Opened::Refused(answer),
            })
        })
    }

    fn token(&self, device: u32) -> String {
        self.sound.token(device)
    }
}

/// What a connector takes for success.
fn success() -> Answer {
    Answer { status: 200, body: "{}".into() }
}

/// Sends the operations of a transaction one by one, as connectors do that cut the queue into batches.
async fn piecemeal(network: Rc<dyn Network>, device: u32, ask: Ask) -> Result<Answer, NetError> {
    let body = ask.body.clone().unwrap_or_default();
    let Ok(whole) = serde_json::from_slice::<serde_json::Value>(&body) else { return Err(NetError::Reset) };
    let ops = whole["transactions"][0]["ops"].as_array().cloned().unwrap_or_default();
    let mut last = success();
    for op in ops {
        let mut one = whole.clone();
        one["transactions"][0]["ops"] = serde_json::Value::Array(vec![op]);
        last = network.ask(device, Ask { body: Some(one.to_string().into()), ..ask.clone() }).await?;
        if last.status != 200 {
            return Ok(last);
        }
    }
    Ok(Answer { status: last.status, body: "{}".into() })
}

/// A stream with a defect, if it is one of streams.
struct DefectiveStream {
    sound: Box<dyn Incoming>,
    mutant: Mutant,
    lines: Cell<u64>,
    again: Option<String>,
}

impl Incoming for DefectiveStream {
    fn next(&mut self) -> LocalFuture<'_, Next> {
        Box::pin(self.next_line())
    }
}

impl DefectiveStream {
    async fn next_line(&mut self) -> Next {
        loop {
            if let Some(line) = self.again.take() {
                return Next::Line(line);
            }
            let line = match self.sound.next().await {
                Next::Line(line) => line,
                ended => return ended,
            };
            if !line.starts_with("{\"data\"") {
                return Next::Line(line);
            }
            self.lines.set(self.lines.get() + 1);
            let strikes = self.lines.get() % 3 == 2;
            match self.mutant {
                Mutant::LosesLines if strikes => {}
                Mutant::RepeatsLines if strikes => {
                    self.again = Some(line.clone());
                    return Next::Line(line);
                }
                Mutant::CorruptsValues if strikes => return Next::Line(corrupted(&line)),
                _ => return Next::Line(line),
            }
        }
    }
}

/// The line with one value changed: text behind the `~` that generated texts carry.
fn corrupted(line: &str) -> String {
    line.replacen('~', "?", 1)
}
