//! MongoDB, asked through its own driver: `hello`, whether anybody may list databases, whether a password is taken.
//!
//! One member alone is asked, whatever others it names. `hello` is answered without authentication. It tells whether the
//! server is a member of a replica set, of which one, and whether there is a primary. It does not tell whether the data
//! can be read, nor whether the other members are well.

use std::io::ErrorKind as IoKind;
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::event::EventHandler;
use mongodb::event::sdam::SdamEvent;
use mongodb::options::{AuthMechanism, ClientOptions, ConnectionString, Credential, HostInfo, ServerAddress, Tls};
use sim_stack::existing_stack::ExistingStack;
use tokio::sync::mpsc;

/// The server's code for a command that wants authentication.
const UNAUTHORIZED: i32 = 13;
/// Where users are kept.
const ADMIN: &str = "admin";

/// Why there was no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    Refused,
    Silent,
    Tls(String),
    Broken(String),
    /// The server does not take the command.
    Command {
        code: i32,
        message: String,
    },
    /// The server does not take the name and the password.
    Password,
}

/// Whether a name and a password are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Granted,
    Refused,
}

/// What a URL says of a replica set.
pub(super) struct ReplicaSet {
    /// At least one.
    pub(super) hosts: Vec<ServerAddress>,
    /// Its name, where the URL has it.
    pub(super) name: Option<String>,
    pub(super) user: Option<String>,
    tls: Option<Tls>,
}

/// One member, and how it is reached.
pub(super) struct Member {
    address: ServerAddress,
    tls: Option<Tls>,
    patience: Duration,
}

/// The replica set that the arguments name, if they name one.
///
/// # Errors
/// The flag, and what would be right; nothing of the URL is repeated.
pub(super) fn replica_set(target: &ExistingStack) -> Result<Option<ReplicaSet>, String> {
    let wrong = "--mongodb-url: must be such as mongodb://user:password@host:27017/?replicaSet=rs0&tls=true";
    let parsed = target.mongodb.as_deref().map(|url| ReplicaSet::parse(url).ok_or(wrong));
    parsed.transpose().map_err(str::to_owned)
}

impl ReplicaSet {
    fn parse(url: &str) -> Option<Self> {
        let parsed = ConnectionString::parse(url).ok()?;
        let HostInfo::HostIdentifiers(hosts) = parsed.host_info else { return None };
        let mut tls = parsed.tls;
        if let Some(Tls::Enabled(options)) = &mut tls
            && options.ca_file_path.is_none()
        {
            // Without a file the driver believes public authorities alone.
            options.ca_file_path = std::env::var_os("SSL_CERT_FILE").map(Into::into);
        }
        let user = parsed.credential.and_then(|credential| credential.username);
        (!hosts.is_empty()).then_some(Self { hosts, name: parsed.replica_set, user, tls })
    }

    /// The first member that the URL names.
    pub(super) fn first(&self) -> &ServerAddress {
        &self.hosts[0]
    }

    pub(super) fn has_tls(&self) -> bool {
        matches!(self.tls, Some(Tls::Enabled(_)))
    }

    pub(super) fn member(&self, address: &ServerAddress, patience: Duration) -> Member {
        Member { address: address.clone(), tls: self.tls.clone(), patience }
    }
}

impl Member {
    /// What the server says of itself.
    pub(super) async fn hello(&self) -> Result<Document, NoAnswer> {
        self.command(doc! { "hello": 1 }, None).await
    }

    /// Whether somebody who has named nobody may list databases; `None` when the answer does not tell.
    pub(super) async fn is_open(&self) -> Result<Option<bool>, NoAnswer> {
        match self.command(doc! { "listDatabases": 1, "nameOnly": true }, None).await {
            Ok(_) => Ok(Some(true)),
            Err(NoAnswer::Command { code: UNAUTHORIZED, .. }) => Ok(Some(false)),
            Err(NoAnswer::Command { .. }) => Ok(None),
            Err(none) => Err(none),
        }
    }

    /// Tries a name and a password (SCRAM-SHA-256).
    pub(super) async fn enter(&self, user: &str, password: &str) -> Result<Entry, NoAnswer> {
        let credential = Credential::builder()
            .username(user.to_owned())
            .password(password.to_owned())
            .source(ADMIN.to_owned())
            .mechanism(AuthMechanism::ScramSha256)
            .build();
        match self.command(doc! { "ping": 1 }, Some(credential)).await {
            Ok(_) => Ok(Entry::Granted),
            Err(NoAnswer::Password) => Ok(Entry::Refused),
            Err(none) => Err(none),
        }
    }

    /// Asks a command of the database `admin` on a connection of its own.
    async fn command(&self, command: Document, credential: Option<Credential>) -> Result<Document, NoAnswer> {
        let mut options = ClientOptions::builder()
            .hosts(vec![self.address.clone()])
            .direct_connection(true)
            .connect_timeout(self.patience)
            .server_selection_timeout(self.patience)
            .build();
        options.tls.clone_from(&self.tls);
        options.credential = credential;
        // The driver would go on trying until its time is over: the first failure is the answer.
        let (failures, mut failed) = mpsc::unbounded_channel();
        options.sdam_event_handler = Some(EventHandler::callback(move |event| {
            if let SdamEvent::ServerHeartbeatFailed(event) = event {
                let _ = failures.send(event.failure);
            }
        }));
        let client = Client::with_options(options).map_err(|error| NoAnswer::of(&error))?;
        let database = client.database(ADMIN);
        let answer = tokio::time::timeout(self.patience, async {
            tokio::select! {
                biased;
                answer = database.run_command(command) => answer,
                Some(failure) = failed.recv() => Err(failure),
            }
        });
        let answer = answer.await;
        client.shutdown().immediate(true).await;
        answer.map_or(Err(NoAnswer::Silent), |answer| answer.map_err(|error| NoAnswer::of(&error)))
    }
}

impl NoAnswer {
    fn of(error: &Error) -> Self {
        match error.kind.as_ref() {
            ErrorKind::Io(error) => match error.kind() {
                IoKind::ConnectionRefused => Self::Refused,
                IoKind::TimedOut => Self::Silent,
                _ => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                    Some(error) => Self::Tls(error.to_string()),
                    None => Self::Broken(error.to_string()),
                },
            },
            ErrorKind::Command(error) => Self::Command { code: error.code, message: error.message.clone() },
            ErrorKind::Authentication { .. } => Self::Password,
            ErrorKind::ServerSelection { .. } => Self::Silent,
            ErrorKind::InvalidResponse { .. } | ErrorKind::Internal { .. } => {
                Self::Broken("what answers there does not speak MongoDB's protocol".to_owned())
            }
            other => Self::Broken(other.to_string()),
        }
    }

    /// What it means for this host.
    pub(super) fn words(&self, host: &ServerAddress) -> String {
        match self {
            Self::Refused => format!("nobody listens at {host}: MongoDB is down, or is on another port"),
            Self::Silent => format!("{host} does not answer in time"),
            Self::Tls(said) => format!("{host}: TLS failed: {said}"),
            Self::Broken(said) | Self::Command { message: said, .. } => format!("{host}: {said}"),
            Self::Password => format!("{host} does not take the name and the password"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let set = ReplicaSet::parse("mongodb://us%40er:p%3Aw@a,b:1/x?replicaSet=rs0&tls=true").expect("it is one");
        assert_eq!(set.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:27017", "b:1"]);
        assert_eq!((set.name.as_deref(), set.has_tls(), set.user.as_deref()), (Some("rs0"), true, Some("us@er")));
        for url in ["", "mongodb://", "http://h", "mongodb://u:hush@", "mongodb://h:x", "mongodb+srv://u:hush@h"] {
            assert!(ReplicaSet::parse(url).is_none(), "{url}");
        }
    }
}
