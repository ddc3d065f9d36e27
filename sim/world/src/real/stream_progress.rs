//! Where a sync stream is in its answer, told by its lines: in the middle, from its request or a checkpoint line on until
//! the checkpoint is complete, or up to date.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value as Json;

/// How every line begins that tells where the stream is. Data lines, which may be large, do not.
const CHECKPOINT_LINE: &[u8] = b"{\"checkpoint";
/// How the line begins that says that the connection is alive, and nothing else.
const KEEPALIVE_LINE: &[u8] = b"{\"token_expires_in\"";

/// Where one stream is.
pub(super) struct StreamProgress {
    /// The beginning of a line.
    partial: Vec<u8>,
    is_answering: bool,
    /// The last write checkpoint that a line carried.
    write_checkpoint: Option<u64>,
}

/// What a part of a stream brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// Whether the service has gone on with its answer: more than keepalives.
    pub(super) is_work: bool,
    /// The write checkpoint of the last checkpoint that is complete with it, if one is.
    pub(super) completed: Option<u64>,
}

#[derive(Deserialize)]
struct CheckpointLine {
    checkpoint: Option<Checkpoint>,
    checkpoint_diff: Option<Checkpoint>,
    checkpoint_complete: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Checkpoint {
    write_checkpoint: Option<Json>,
}

impl StreamProgress {
    /// That of a stream that was asked for.
    pub(super) fn of_request() -> Self {
        Self { partial: Vec::new(), is_answering: true, write_checkpoint: None }
    }

    /// A part of the stream arrives.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Received {
        let mut received = Received::default();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.partial);
            received.is_work |= !line.starts_with(KEEPALIVE_LINE);
            if self.line(&line) {
                received.completed = self.write_checkpoint;
            }
        }
        received.is_work |= !rest.is_empty();
        self.partial.extend_from_slice(rest);
        received
    }

    /// Whether more must follow.
    pub(super) fn is_in_the_middle(&self) -> bool {
        self.is_answering || !self.partial.is_empty()
    }

    /// Whether a checkpoint is complete with this line.
    fn line(&mut self, line: &[u8]) -> bool {
        let line = line.trim_ascii();
        if !line.starts_with(CHECKPOINT_LINE) {
            return false;
        }
        let Ok(line) = serde_json::from_slice::<CheckpointLine>(line) else { return false };
        if let Some(checkpoint) = line.checkpoint.or(line.checkpoint_diff) {
            self.is_answering = true;
            let number = checkpoint.write_checkpoint.as_ref().and_then(|number| match number {
                Json::String(text) => text.parse().ok(),
                number => number.as_u64(),
            });
            self.write_checkpoint = number.or(self.write_checkpoint);
        }
        let is_complete = line.checkpoint_complete.is_some();
        self.is_answering &= !is_complete;
        is_complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_its_complete_checkpoint() {
        let mut stream = StreamProgress::of_request();
        assert!(stream.is_in_the_middle(), "it was asked for");
        let mut receive = |text: &str| {
            let completed = stream.receive(text.as_bytes()).completed;
            (stream.is_in_the_middle(), completed)
        };
        assert_eq!(receive("{\"token_expires_in\":20}\n"), (true, None));
        assert_eq!(receive("{\"checkpoint\":{\"last_op_id\":\"5\",\"buckets\":[]}}\n{\"da"), (true, None));
        assert_eq!(receive("ta\":{\"data\":[{\"checkpoint_complete\":1}]}}\n"), (true, None));
        assert_eq!(receive("{\"partial_checkpoint_complete\":{\"priority\":1}}\n"), (true, None));
        assert_eq!(receive("{\"checkpoint_complete\":{\"last_op_id\":\"5\"}}\n"), (false, None));
        assert_eq!(receive("{\"token_expires_in\":20}\n"), (false, None));
        // A part of a line is something that was not read.
        assert_eq!(receive("{\"checkpoint_diff\":{\"write_ch"), (true, None));
        // One that is overtaken by the next is never completed by itself.
        assert_eq!(receive("eckpoint\":\"3\"}}\n{\"checkpoint_diff\":{\"last_op_id\":\"9\"}}\n"), (true, None));
        assert_eq!(receive("{\"checkpoint_complete\":{\"last_op_id\":\"9\"}}\n"), (false, Some(3)));
    }

    #[test]
    fn a_keepalive_is_no_work() {
        let mut stream = StreamProgress::of_request();
        assert!(!stream.receive(b"{\"token_expires_in\":20}\n").is_work);
        assert!(stream.receive(b"{\"token_expires_in\":20}\n{\"data\":{}}\n").is_work);
        assert!(stream.receive(b"{\"da").is_work && stream.is_in_the_middle());
    }
}
