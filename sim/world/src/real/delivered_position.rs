//! How far a service has replicated, told by what devices receive: a complete checkpoint with a write checkpoint holds
//! everything that was committed before that was asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

use super::activity::{Activity, OpenWork, Work};

/// The write checkpoints that were given to clients, and those that their streams have brought.
pub(super) struct DeliveredPosition {
    clients: Mutex<BTreeMap<String, Client>>,
    activity: Arc<Activity>,
}

/// What one client was given.
#[derive(Default)]
struct Client {
    /// Write checkpoints that its stream has not brought, with the database's position before they were asked for.
    open: BTreeMap<u64, u64>,
    /// The last that it has brought.
    delivered: Option<u64>,
    /// Its open streams. While there is one, write checkpoints that it has not brought are work under way.
    streams: usize,
    awaited: Option<OpenWork>,
}

/// A client's stream, until it is dropped.
pub(super) struct OpenStream {
    position: Arc<DeliveredPosition>,
    client: String,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut clients = self.position.lock();
        if let Some(client) = clients.get_mut(&self.client) {
            client.streams = client.streams.saturating_sub(1);
            if client.streams == 0 {
                client.awaited = None;
            }
        }
    }
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
    pub(super) fn new(activity: Arc<Activity>) -> Self {
        Self { clients: Mutex::default(), activity }
    }

    /// A client's stream is open.
    pub(super) fn begin_stream(self: &Arc<Self>, client: &str) -> OpenStream {
        self.lock().entry(client.to_owned()).or_default().streams += 1;
        OpenStream { position: self.clone(), client: client.to_owned() }
    }

    /// The service goes on with a client's stream.
    pub(super) fn note_sign_of_life(&self, client: &str) {
        if let Some(awaited) = self.lock().get(client).and_then(|client| client.awaited.as_ref()) {
            awaited.sign_of_life();
        }
    }

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
        if client.streams > 0 {
            client.awaited.get_or_insert_with(|| self.activity.begin(Work::Acknowledgement));
        }
        None
    }

    /// A client's stream has brought a write checkpoint. Gives the position that the service has reached.
    pub(super) fn note_delivered(&self, client: &str, number: u64) -> Option<u64> {
        let mut clients = self.lock();
        let client = clients.entry(client.to_owned()).or_default();
        client.delivered = Some(number);
        let later = client.open.split_off(&number.saturating_add(1));
        if later.is_empty()
            && let Some(awaited) = client.awaited.take()
        {
            awaited.done();
        }
        std::mem::replace(&mut client.open, later).into_values().max()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_brings_a_write_checkpoint_tells_how_far_replication_is() {
        let position = DeliveredPosition::new(Activity::new());
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

    #[test]
    fn plan_time_waits_for_what_an_open_stream_has_not_brought() {
        let activity = Activity::new();
        let position = Arc::new(DeliveredPosition::new(activity.clone()));
        let answer = |number: u64| format!(r#"{{"data":{{"write_checkpoint":"{number}"}}}}"#).into_bytes();
        position.note_answer("a", &answer(1), 100);
        assert!(!activity.is_busy(), "nobody listens");
        let stream = position.begin_stream("a");
        position.note_answer("a", &answer(2), 100);
        assert!(activity.is_busy());
        position.note_delivered("a", 1);
        assert!(activity.is_busy(), "the second is still to come");
        position.note_delivered("a", 2);
        assert!(!activity.is_busy());
        position.note_answer("a", &answer(3), 100);
        assert!(activity.is_busy());
        drop(stream);
        assert!(!activity.is_busy(), "nobody listens any more");
    }
}
