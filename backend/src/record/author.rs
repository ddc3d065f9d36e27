//! Who wrote something: an uploaded operation, or the server.

use std::fmt;
use std::sync::Arc;

/// One operation, by who sent it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Writer {
    /// The token's subject.
    pub subject: Arc<str>,
    /// The client id.
    pub client: Arc<str>,
    /// The client's epoch. A restored copy of its database has not seen what the lost one wrote.
    pub epoch: u32,
    /// The operation id.
    pub op: i64,
}

impl Writer {
    /// Whether both are operations of one database of one client.
    #[must_use]
    pub fn is_same_client(&self, other: &Self) -> bool {
        self.client == other.client && self.subject == other.subject && self.epoch == other.epoch
    }

    /// Whether it is the same installation's, or that of a copy of its database that was restored.
    #[must_use]
    pub fn is_same_installation(&self, other: &Self) -> bool {
        self.client == other.client && self.subject == other.subject
    }
}

/// Who wrote a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Author {
    /// An uploaded operation.
    Client(Arc<Writer>),
    /// The server: a seed row, or a write that bypassed the backend.
    Server,
}

impl Author {
    /// The operation, unless the server is the author.
    #[must_use]
    pub fn writer(&self) -> Option<&Arc<Writer>> {
        match self {
            Self::Client(writer) => Some(writer),
            Self::Server => None,
        }
    }

    /// Whether this is an earlier operation of the writer's own client, which has therefore seen it.
    #[must_use]
    pub fn is_earlier_of(&self, writer: &Writer) -> bool {
        self.writer().is_some_and(|own| own.is_same_client(writer) && own.op <= writer.op)
    }
}

/// `client/op`, as the wire's `by` has it; `client@epoch/op` of a restored copy, which uses operation ids again;
/// `server` for the server.
impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(writer) if writer.epoch > 1 => write!(f, "{}@{}/{}", writer.client, writer.epoch, writer.op),
            Self::Client(writer) => write!(f, "{}/{}", writer.client, writer.op),
            Self::Server => f.write_str("server"),
        }
    }
}
