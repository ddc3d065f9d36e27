//! The sync stream: how it opens, what it brings, how it ends, and what the core wants done about it.

use std::time::Duration;

use bytes::Bytes;
use sim_core::history::{Phase, What};
use sim_network::{NetError, Purpose, Request, ServerRole, StreamEvent, StreamResponse};
use tokio::time::Instant;

use super::state::{Actor, AfterStep};
use crate::error::DeviceError;
use crate::host::{ControlResult, Instruction};
use crate::platform::REQUEST_TIMEOUT;

impl Actor {
    pub(super) fn connect(&mut self) -> Result<AfterStep, DeviceError> {
        self.control("start", "{\"parameters\":{}}")
    }

    pub(super) fn stream_opened(&mut self, result: Result<StreamResponse, NetError>) -> Result<AfterStep, DeviceError> {
        match result {
            Ok(StreamResponse::Open(stream)) => {
                self.record(What::Stream { phase: Phase::Ok, status: Some(200), reason: "open" });
                let Some(session) = self.session() else { return Ok(AfterStep::Continue) };
                session.stream = Some(stream);
                session.last_received = Instant::now();
                if !session.is_uploading() {
                    session.upload_at = Some(Instant::now());
                }
                self.control("connection", "established")
            }
            Ok(StreamResponse::Refused(response)) => {
                let status = response.status;
                self.record(What::Stream { phase: Phase::Fail, status: Some(status), reason: "refused" });
                self.note_error(format!("the sync stream answered {status}"));
                if status == 401 {
                    self.cached_token = None;
                }
                self.control("connection", "end")
            }
            Err(error) => {
                self.record(What::Stream { phase: Phase::Fail, status: None, reason: reason(error) });
                self.note_error(format!("the sync stream: {error}"));
                self.control("connection", "end")
            }
        }
    }

    pub(super) fn stream_event(&mut self, event: StreamEvent) -> Result<AfterStep, DeviceError> {
        let line = match event {
            StreamEvent::Line(line) => line,
            StreamEvent::End => return self.stream_ended("ended by the service"),
            StreamEvent::Reset => return self.stream_ended("connection reset"),
        };
        let Some(session) = self.session() else { return Ok(AfterStep::Continue) };
        session.last_received = Instant::now();
        match session.host.line(&line) {
            Ok(result) => self.follow(result),
            Err(error) => self.protocol_error(&error),
        }
    }

    pub(super) fn stream_ended(&mut self, why: &'static str) -> Result<AfterStep, DeviceError> {
        if let Some(session) = self.session() {
            session.stream = None;
        }
        self.record(What::Stream { phase: Phase::Info, status: None, reason: why });
        self.control("connection", "end")
    }

    /// Calls the core and does what it wants.
    fn control(&mut self, op: &str, payload: &str) -> Result<AfterStep, DeviceError> {
        let Some(session) = self.session() else { return Ok(AfterStep::Continue) };
        match session.host.control(op, Some(payload)) {
            Ok(result) => self.follow(result),
            Err(error) => self.protocol_error(&error),
        }
    }

    /// The core refused a line or a call: the iteration is over, and the SDK starts another.
    pub(super) fn protocol_error(&mut self, error: &DeviceError) -> Result<AfterStep, DeviceError> {
        self.record(What::Protocol { message: error.to_string() });
        let retry = self.platform.retry;
        if let Some(session) = self.session() {
            session.reconnect_at(Instant::now() + retry);
        }
        Ok(AfterStep::Continue)
    }

    /// Records what a call to the core applied, and does what the core wants.
    pub(super) fn follow(&mut self, result: ControlResult) -> Result<AfterStep, DeviceError> {
        if let Some(applied) = result.applied {
            let is_full = applied.priority.is_none();
            let write_checkpoint = applied.write_checkpoint;
            self.record(What::Apply(applied));
            if is_full {
                let mut status = self.context.status.current.borrow_mut();
                status.applied += 1;
                status.write_checkpoint = write_checkpoint;
                status.fence_applied |= status.fence.is_some_and(|fence| write_checkpoint >= Some(fence));
            }
            self.note_progress();
        }
        if self.count_step() == AfterStep::Crash {
            return Ok(AfterStep::Crash);
        }
        for instruction in result.instructions {
            match instruction {
                Instruction::EstablishSyncStream { request } => self.open_stream(request.get()),
                Instruction::FetchCredentials { did_expire } => {
                    self.cached_token = None;
                    if !did_expire {
                        self.token();
                        if self.control("refreshed_token", "")? == AfterStep::Crash {
                            return Ok(AfterStep::Crash);
                        }
                    }
                }
                Instruction::CloseSyncStream { hide_disconnect } => {
                    let pause = if hide_disconnect { Duration::ZERO } else { self.platform.retry };
                    if let Some(session) = self.session() {
                        session.reconnect_at(Instant::now() + pause);
                    }
                }
                Instruction::LogLine { severity, line } => {
                    if severity == "WARNING" {
                        self.record(What::Protocol { message: line });
                    }
                }
                Instruction::UpdateSyncStatus(_)
                | Instruction::FlushFileSystem(_)
                | Instruction::DidCompleteSync(_)
                | Instruction::HandleDiagnostics(_) => {}
            }
        }
        Ok(AfterStep::Continue)
    }

    fn open_stream(&mut self, body: &str) {
        self.requests.streams += 1;
        let request = Request {
            server: ServerRole::Service,
            purpose: Purpose::Stream,
            subject: self.requests.streams,
            attempt: 1,
            body: Some(Bytes::copy_from_slice(body.as_bytes())),
            path: "/sync/stream".to_owned(),
            token: self.token(),
            timeout: REQUEST_TIMEOUT,
        };
        self.record(What::Stream { phase: Phase::Invoke, status: None, reason: "request" });
        let opening = self.context.network.open_stream(self.context.device, request);
        if let Some(session) = self.session() {
            session.opening = Some(opening);
        }
    }
}

fn reason(error: NetError) -> &'static str {
    match error {
        NetError::Offline => "offline",
        NetError::Refused => "connection refused",
        NetError::Reset => "connection reset",
        NetError::Timeout => "timed out",
    }
}
