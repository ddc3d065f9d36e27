//! Write checkpoints: a counter for each client, and the source position that it waits for.
//!
//! Only the latest counter of a client is known. While its position is not replicated, the client has no write
//! checkpoint at all, so a stream may show 3, then none, then 4.

use std::collections::BTreeMap;

/// The write checkpoints of all clients.
#[derive(Clone, Debug, Default)]
pub struct WriteCheckpoints {
    clients: BTreeMap<String, WriteCheckpoint>,
}

#[derive(Clone, Copy, Debug)]
struct WriteCheckpoint {
    counter: u64,
    head: u64,
}

impl WriteCheckpoints {
    /// Increments the client's counter. It is acknowledged once the source is replicated up to `head`.
    pub fn create(&mut self, client: &str, head: u64) -> u64 {
        let counter = self.clients.get(client).map_or(0, |latest| latest.counter) + 1;
        self.clients.insert(client.to_owned(), WriteCheckpoint { counter, head });
        counter
    }

    /// Stores a counter that the client chose, if it is greater than the known one. Returns the greater of the two.
    pub fn request(&mut self, client: &str, counter: u64, head: u64) -> u64 {
        match self.clients.get(client) {
            Some(latest) if latest.counter >= counter => latest.counter,
            _ => {
                self.clients.insert(client.to_owned(), WriteCheckpoint { counter, head });
                counter
            }
        }
    }

    /// The client's counter and what it waits for.
    pub(crate) fn latest(&self, client: &str) -> Option<(u64, u64)> {
        self.clients.get(client).map(|latest| (latest.counter, latest.head))
    }

    /// Sets a client's counter to what a durable store holds.
    pub(crate) fn set(&mut self, client: &str, counter: u64, head: u64) {
        self.clients.insert(client.to_owned(), WriteCheckpoint { counter, head });
    }

    /// All as (client, counter, head).
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.clients.iter().map(|(client, latest)| (client.as_str(), latest.counter, latest.head))
    }

    /// The client's counter, if what it waits for is replicated.
    #[must_use]
    pub fn acknowledged(&self, client: &str, replicated_lsn: u64) -> Option<u64> {
        self.clients.get(client).filter(|latest| latest.head <= replicated_lsn).map(|latest| latest.counter)
    }
}

/// The key of a client's counter.
#[must_use]
pub fn client_key(subject: &str, client_id: Option<&str>) -> String {
    match client_id {
        None => subject.to_owned(),
        Some(client_id) => format!("{subject}/{client_id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_request_hides_the_older_until_it_is_replicated() {
        let mut all = WriteCheckpoints::default();
        assert_eq!(all.create("u/a", 5), 1);
        assert_eq!(all.acknowledged("u/a", 4), None);
        assert_eq!(all.acknowledged("u/a", 5), Some(1));
        assert_eq!(all.create("u/a", 7), 2);
        assert_eq!(all.acknowledged("u/a", 6), None);
        assert_eq!(all.acknowledged("u/a", 7), Some(2));
        assert_eq!(all.acknowledged("u/b", 7), None);
        assert_eq!(all.create("u/b", 7), 1);
    }

    #[test]
    fn requested_counters_only_grow() {
        let mut all = WriteCheckpoints::default();
        assert_eq!(all.request("u/a", 50, 3), 50);
        assert_eq!(all.request("u/a", 49, 9), 50);
        assert_eq!(all.acknowledged("u/a", 3), Some(50));
        assert_eq!(all.create("u/a", 9), 51);
    }
}
