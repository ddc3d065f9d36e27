//! Who sent which operation: copies of a database share a client id, and a commit tells no more than that.
//!
//! What the ledger keeps of an operation is its number and the digest of its content; by these a commit is found to be
//! of the device that sent them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use backend::record::Commit;
use backend::wire::UploadRequest;

use sim_network::RequestTag;

/// The operations that were sent. One sent by several copies is of all of them, and the last stands here.
#[derive(Default)]
pub(super) struct Senders(Mutex<BTreeMap<Operation, RequestTag>>);

/// The client, the operation's number, and the digest of its content.
type Operation = (String, i64, [u8; 32]);

impl Senders {
    /// A device sends an upload.
    pub(super) fn note(&self, sent: RequestTag, body: &[u8]) {
        // Whatever else devices send, the backend refuses.
        let Ok(upload) = serde_json::from_slice::<UploadRequest>(body) else { return };
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for op in upload.transactions.iter().flat_map(|transaction| &transaction.ops) {
            senders.insert((upload.client_id.clone(), op.op_id, op.digest()), sent);
        }
    }

    /// Who sent the operations of a commit.
    pub(super) fn of(&self, commit: &Commit) -> Option<RequestTag> {
        let origin = commit.origin.as_ref()?;
        let senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = |op_id, digest| senders.get(&(origin.client_id.to_string(), op_id, digest)).copied();
        commit.ledger.iter().find_map(|entry| sent(entry.op_id, entry.digest))
    }
}
