//! MongoDB by its own wire protocol (OP_MSG), as far as checklists need it: `hello`, `listDatabases`, and SCRAM-SHA-256.
//!
//! `hello` is answered without authentication. It tells whether the server is a member of a replica set, of which one,
//! and whether there is a primary. It does not tell whether the data can be read, nor whether the other members are
//! well; nor is TLS spoken here.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::bson::{self, Item, Value};
use super::scram::Scram;

/// OP_MSG.
const OPCODE: i32 = 2013;
/// A length, two ids and the opcode.
const HEADER_BYTES: usize = 16;
/// Flags, and the kind of the one section.
const PRELUDE_BYTES: usize = 5;
/// No answer to what is asked here is longer.
const MESSAGE_MAX_BYTES: usize = 1 << 20;
/// The server's code for a command that wants authentication.
const UNAUTHORIZED: i64 = 13;
/// Exchanges of SCRAM at most.
const STEPS_MAX: usize = 4;

/// Why there was no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    Refused,
    Silent,
    Broken(String),
}

/// Whether a name and a password are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Granted,
    Refused,
}

/// A connection.
pub(super) struct Session {
    stream: TcpStream,
    patience: Duration,
    asked: i32,
}

impl Session {
    pub(super) async fn open(host: &str, patience: Duration) -> Result<Self, NoAnswer> {
        match tokio::time::timeout(patience, TcpStream::connect(host)).await {
            Ok(Ok(stream)) => Ok(Self { stream, patience, asked: 0 }),
            Ok(Err(error)) => Err(NoAnswer::of(&error)),
            Err(_) => Err(NoAnswer::Silent),
        }
    }

    /// Asks a command of a database; its answer as a flat list, also when the server refuses it.
    pub(super) async fn command(&mut self, mut command: Vec<Item>, database: &str) -> Result<Vec<Item>, NoAnswer> {
        command.push(("$db".to_owned(), Value::Text(database.to_owned())));
        let patience = self.patience;
        tokio::time::timeout(patience, self.exchange(&command)).await.unwrap_or(Err(NoAnswer::Silent))
    }

    async fn exchange(&mut self, command: &[Item]) -> Result<Vec<Item>, NoAnswer> {
        self.asked += 1;
        let document = bson::written(command);
        let length = HEADER_BYTES + PRELUDE_BYTES + document.len();
        let mut message = Vec::with_capacity(length);
        for number in [i32::try_from(length).unwrap_or(i32::MAX), self.asked, 0, OPCODE, 0] {
            message.extend_from_slice(&number.to_le_bytes());
        }
        // A section of one document.
        message.push(0);
        message.extend_from_slice(&document);
        let told = |error: std::io::Error| NoAnswer::of(&error);
        self.stream.write_all(&message).await.map_err(told)?;
        let mut header = [0; HEADER_BYTES];
        self.stream.read_exact(&mut header).await.map_err(told)?;
        let number = |at: usize| i32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = usize::try_from(number(0)).unwrap_or(0);
        let foreign = || NoAnswer::Broken("what answers there does not speak MongoDB's protocol".to_owned());
        if number(12) != OPCODE || !(HEADER_BYTES + PRELUDE_BYTES..=MESSAGE_MAX_BYTES).contains(&length) {
            return Err(foreign());
        }
        let mut body = vec![0; length - HEADER_BYTES];
        self.stream.read_exact(&mut body).await.map_err(told)?;
        bson::read(&body[PRELUDE_BYTES..]).ok_or_else(foreign)
    }

    /// What the server says of itself.
    pub(super) async fn hello(&mut self) -> Result<Vec<Item>, NoAnswer> {
        self.command(vec![("hello".to_owned(), Value::Int(1))], "admin").await
    }

    /// Whether somebody who has named nobody may list databases; `None` when the answer does not tell.
    pub(super) async fn is_open(&mut self) -> Result<Option<bool>, NoAnswer> {
        let asked = vec![("listDatabases".to_owned(), Value::Int(1)), ("nameOnly".to_owned(), Value::Bool(true))];
        let answer = self.command(asked, "admin").await?;
        if bson::number(&answer, "ok") == Some(1) {
            return Ok(Some(true));
        }
        Ok((bson::number(&answer, "code") == Some(UNAUTHORIZED)).then_some(false))
    }

    /// Tries a name and a password (SCRAM-SHA-256).
    pub(super) async fn enter(&mut self, user: &str, password: &str) -> Result<Entry, NoAnswer> {
        let broken = |said: &str| NoAnswer::Broken(said.to_owned());
        let nonce = sim_stack::postgres::random_word().map_err(|error| broken(&error.to_string()))?;
        let scram = Scram::new(user, password, &nonce);
        let payload = |text: &str| ("payload".to_owned(), Value::Bytes(text.as_bytes().to_vec()));
        let mut answer = self
            .command(
                vec![
                    ("saslStart".to_owned(), Value::Int(1)),
                    ("mechanism".to_owned(), Value::Text("SCRAM-SHA-256".to_owned())),
                    payload(&scram.first()),
                ],
                "admin",
            )
            .await?;
        for step in 0..STEPS_MAX {
            if bson::number(&answer, "ok") != Some(1) {
                return Ok(Entry::Refused);
            }
            if bson::flag(&answer, "done") == Some(true) {
                return Ok(Entry::Granted);
            }
            let next = if step == 0 {
                let challenge = bson::bytes(&answer, "payload").unwrap_or_default();
                scram.answer(&String::from_utf8_lossy(&challenge)).ok_or_else(|| broken("a malformed challenge"))?
            } else {
                String::new()
            };
            let conversation = bson::number(&answer, "conversationId").unwrap_or(1);
            let asked = vec![
                ("saslContinue".to_owned(), Value::Int(1)),
                ("conversationId".to_owned(), Value::Int(i32::try_from(conversation).unwrap_or(1))),
                payload(&next),
            ];
            answer = self.command(asked, "admin").await?;
        }
        Err(broken("the exchange does not end"))
    }
}

impl NoAnswer {
    fn of(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::ConnectionRefused => Self::Refused,
            std::io::ErrorKind::TimedOut => Self::Silent,
            _ => Self::Broken(error.to_string()),
        }
    }

    pub(super) fn words(&self, host: &str) -> String {
        match self {
            Self::Refused => format!("nobody listens at {host}: MongoDB is down, or is on another port"),
            Self::Silent => format!("{host} does not answer in time"),
            Self::Broken(said) => format!("{host}: {said}"),
        }
    }
}
