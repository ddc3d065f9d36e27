//! How far a service has replicated, told by what devices receive: a complete checkpoint with a write checkpoint holds
//! everything that was committed before that was asked for.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

/// The write checkpoints that were given to clients, and those that their streams have brought.
#[derive(Default)]
pub(super) struct DeliveredPosition(Mutex<BTreeMap<String, Client>>);

/// What one client was given.
#[derive(Default)]
struct Client {
    /// Write checkpoints that its stream has not brought, with the database's position before they were asked for.
    open: BTreeMap<u64, u64>,
    /// The last that it has brought.
    delivered: Option<u64>,
}

/// The service's answer.
#[derive(Deserialize)]
struct Answer {
    data: AnswerData,
}

#[derive(Deserialize)]
struct AnswerData {
    write_checkpoint: String,
}

impl DeliveredPosition {
    /// A client was given a write checkpoint. Gives the position if its stream has brought it already.
    pub(super) fn note_answer(&self, client: &str, body: &[u8], lsn: u64) -> Option<u64> {
        let answer: Answer = serde_json::from_slice(body).ok()?;
        let number: u64 = answer.data.write_checkpoint.parse().ok()?;
        let mut clients = self.lock();
        let client = clients.entry(client.to_owned()).or_default();
        if client.delivered.is_some_and(|delivered| delivered >= number) {
            return Some(lsn);
        }
        client.open.insert(number, lsn);
        None
    }

    /// A client's stream has brought a write checkpoint. Gives the position that the service has reached.
    pub(super) fn note_delivered(&self, client: &str, number: u64) -> Option<u64> {
        let mut clients = self.lock();
        let client = clients.entry(client.to_owned()).or_default();
        client.delivered = Some(number);
        let later = client.open.split_off(&number.saturating_add(1));
        std::mem::replace(&mut client.open, later).into_values().max()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_brings_a_write_checkpoint_tells_how_far_replication_is() {
        let position = DeliveredPosition::default();
        let answer = |number: u64| format!(r#"{{"data":{{"write_checkpoint":"{number}"}}}}"#).into_bytes();
        assert_eq!(position.note_answer("a", &answer(1), 100), None);
        assert_eq!(position.note_answer("a", &answer(2), 120), None);
        assert_eq!(position.note_delivered("b", 2), None, "it is another client's");
        assert_eq!(position.note_delivered("a", 1), Some(100));
        assert_eq!(position.note_delivered("a", 3), Some(120));
        // The stream may be faster than the answer.
        assert_eq!(position.note_answer("a", &answer(3), 140), Some(140));
        assert_eq!(position.note_answer("a", b"busy", 150), None);
    }
}
