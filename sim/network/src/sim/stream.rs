//! An open sync stream on the simulated network.

use std::collections::VecDeque;
use std::rc::Rc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep_until};

use super::epochs::{Epoch, StreamEpoch};
use super::exchange::ServerResponse;
use super::state::State;
use crate::network::{LocalFuture, StreamEvent, SyncStream};
use crate::request::ServerRole;

/// The first part of the key of what is drawn for a line; requests and responses have 0 and 1.
const LINE_KEY: u64 = 2;

/// An open stream.
pub(super) struct SimStream {
    state: Rc<State>,
    device: u32,
    /// The subject of the request that opened it.
    subject: u64,
    epoch: Epoch,
    stream_epoch: StreamEpoch,
    body: Body,
    is_ended: bool,
    /// Something was swallowed: nothing after it can arrive in order, and the connection resets when the fault ends.
    is_broken: bool,
    /// The beginning of a line.
    partial: BytesMut,
    queue: VecDeque<LineInFlight>,
    lines: u64,
    last_arrival: Instant,
}

/// A line on its way.
struct LineInFlight {
    arrives: Instant,
    /// When it would have arrived on a network that is not slow.
    arrives_unslowed: Instant,
    line: String,
}

enum Wakeup {
    NetworkChanged,
    Frame(Option<Bytes>),
    LineArrived,
}

impl SyncStream for SimStream {
    fn next(&mut self) -> LocalFuture<'_, StreamEvent> {
        Box::pin(self.next_event())
    }
}

impl SimStream {
    /// The stream that a response carries.
    pub(super) fn new(state: Rc<State>, device: u32, subject: u64, response: ServerResponse) -> Self {
        let stream_epoch = state.epochs.of_stream(device);
        Self {
            state,
            device,
            subject,
            epoch: response.epoch,
            stream_epoch,
            body: response.http.into_body(),
            is_ended: false,
            is_broken: false,
            partial: BytesMut::new(),
            queue: VecDeque::new(),
            lines: 0,
            last_arrival: Instant::now(),
        }
    }

    async fn next_event(&mut self) -> StreamEvent {
        loop {
            let seen = self.state.changes.count();
            if self.is_reset() {
                return StreamEvent::Reset;
            }
            let due = self.queue.front().map(|line| line.arrives);
            let may_read = !self.is_ended && !self.state.faults.is_paused(ServerRole::Service);
            if self.is_ended && self.queue.is_empty() && !self.is_broken {
                return StreamEvent::End;
            }
            let wakeup = tokio::select! {
                biased;
                () = self.state.changes.more_than(seen) => Wakeup::NetworkChanged,
                frame = self.body.frame(), if may_read => {
                    Wakeup::Frame(frame.and_then(Result::ok).and_then(|frame| frame.into_data().ok()))
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Wakeup::LineArrived,
            };
            match wakeup {
                Wakeup::NetworkChanged => self.end_slowdown(),
                Wakeup::Frame(None) => self.is_ended = true,
                Wakeup::Frame(Some(bytes)) => {
                    (self.state.callbacks.on_handled)(None);
                    self.receive(&bytes);
                }
                Wakeup::LineArrived => {
                    if let Some(arrived) = self.queue.pop_front() {
                        return StreamEvent::Line(arrived.line);
                    }
                }
            }
        }
    }

    /// Whether a fault has ended the stream. The end comes in the middle of a line: a decoder of lines drops what it holds.
    fn is_reset(&self) -> bool {
        let state = &self.state;
        state.epochs.of(self.device, ServerRole::Service) != self.epoch
            || state.epochs.of_stream(self.device) != self.stream_epoch
            || self.is_broken && !state.faults.is_stream_silent(self.device)
    }

    /// If the network is no longer slow, what it still held back arrives.
    fn end_slowdown(&mut self) {
        if self.queue.is_empty() || self.state.faults.is_slow(self.device) {
            return;
        }
        let now = Instant::now();
        for line in &mut self.queue {
            line.arrives = line.arrives.min(line.arrives_unslowed.max(now));
        }
        self.last_arrival = self.queue.back().map_or(now, |line| line.arrives);
    }

    fn receive(&mut self, bytes: &Bytes) {
        if self.is_broken || self.state.faults.is_stream_silent(self.device) {
            self.is_broken = true;
            return;
        }
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line = self.partial.split_to(end + 1);
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            let key = [LINE_KEY, u64::from(self.device), self.subject, self.lines];
            self.lines += 1;
            let mut rng = self.state.plan.seed.fork("network", &key);
            let delay = self.state.draw_delay(&mut rng, self.device, line.len());
            let arrives_unslowed = Instant::now() + delay.link;
            self.last_arrival = self.last_arrival.max(arrives_unslowed + delay.slowdown);
            self.queue.push_back(LineInFlight { arrives: self.last_arrival, arrives_unslowed, line });
        }
    }
}
