//! Which device sent which operation. Copies of a database share a client id, so a commit alone does not say.
//!
//! The ledger keeps an operation's number and the digest of its content: by these its sender is found.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use backend::record::Commit;
use backend::wire::UploadRequest;
use sim_network::RequestTag;

/// The requests that carried each operation. Of an operation that several copies sent, the last is kept.
#[derive(Default)]
pub(super) struct UploadSenders(Mutex<BTreeMap<Operation, RequestTag>>);

/// The client, the operation's number, and the digest of its content.
type Operation = (String, i64, [u8; 32]);

impl UploadSenders {
    /// A device sends an upload.
    pub(super) fn note(&self, sent: RequestTag, body: &[u8]) {
        // The backend refuses whatever else devices send.
        let Ok(upload) = serde_json::from_slice::<UploadRequest>(body) else { return };
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for op in upload.transactions.iter().flat_map(|transaction| &transaction.ops) {
            senders.insert((upload.client_id.clone(), op.op_id, op.digest()), sent);
        }
    }

    /// The request that carried the operations of a commit.
    pub(super) fn of(&self, commit: &Commit) -> Option<RequestTag> {
        let origin = commit.origin.as_ref()?;
        let senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = |op_id, digest| senders.get(&(origin.client_id.to_string(), op_id, digest)).copied();
        commit.ledger.iter().find_map(|entry| sent(entry.op_id, entry.digest))
    }
}
