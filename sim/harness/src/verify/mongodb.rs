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
use super::target::percent_decoded;

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

/// Where a MongoDB is, and who asks.
pub(super) struct Place {
    /// `host:port`, one or several.
    pub(super) hosts: Vec<String>,
    /// Of the replica set, where the URL names it.
    pub(super) set: Option<String>,
    /// Whether the URL asks for TLS.
    pub(super) wants_tls: bool,
    pub(super) user: Option<(String, String)>,
}

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

impl Place {
    /// Reads `mongodb://user:password@host:port,…/…?replicaSet=…`.
    ///
    /// # Errors
    /// What would be right; nothing of the URL is repeated.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let example = "mongodb://user:password@host:27017/?replicaSet=rs0";
        if url.starts_with("mongodb+srv://") {
            return Err(format!("names in DNS (mongodb+srv) are not looked up here; name the hosts, as in {example}"));
        }
        let wrong = || format!("must be such as {example}");
        let rest = url.strip_prefix("mongodb://").ok_or_else(wrong)?;
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = before.split('/').next().unwrap_or_default();
        let (user, hosts) = authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
        let user = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            (percent_decoded(name), percent_decoded(password))
        });
        let host = |host: &str| if host.contains(':') { host.to_owned() } else { format!("{host}:27017") };
        let hosts: Vec<String> = hosts.split(',').filter(|host| !host.is_empty()).map(host).collect();
        let is_port = |host: &String| host.rsplit_once(':').is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
        if hosts.is_empty() || !hosts.iter().all(is_port) {
            return Err(wrong());
        }
        let option = |wanted: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned())
        };
        let wants_tls = ["tls", "ssl"].iter().any(|name| option(name).as_deref() == Some("true"));
        Ok(Self { hosts, set: option("replicaSet"), wants_tls, user })
    }
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
        let nonce = crate::postgres::random_word().map_err(|error| broken(&error.to_string()))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let place = Place::parse("mongodb://us%40er:p%3Aw@a,b:1/x?replicaSet=rs0&tls=true").expect("it is one");
        assert_eq!(place.hosts, ["a:27017", "b:1"]);
        assert_eq!((place.set.as_deref(), place.wants_tls), (Some("rs0"), true));
        assert_eq!(place.user, Some(("us@er".to_owned(), "p:w".to_owned())));
        for url in ["", "mongodb://", "http://h", "mongodb://u:hush@", "mongodb://h:x", "mongodb+srv://u:hush@h"] {
            assert!(Place::parse(url).is_err_and(|said| !said.contains("hush")), "{url}");
        }
    }
}
