//! Write checkpoints: the one that follows each upload, and the run's fence.

use serde::Deserialize;
use sim_core::history::{Phase, What};
use sim_network::{LocalFuture, NetError, Purpose, Request, Response, ServerRole};
use tokio::time::Instant;

use super::state::{Actor, AfterStep};
use crate::error::DeviceError;
use crate::platform::REQUEST_TIMEOUT;

#[derive(Deserialize)]
struct CheckpointReply {
    data: CheckpointData,
}

#[derive(Deserialize)]
struct CheckpointData {
    write_checkpoint: String,
}

impl Actor {
    pub(super) fn request_write_checkpoint(&mut self) {
        self.requests.write_checkpoints += 1;
        let pending = self.send_checkpoint_request(Purpose::WriteCheckpoint, self.requests.write_checkpoints);
        if let Some(session) = self.session() {
            session.write_checkpoint = Some(pending);
        }
        self.record(What::WriteCheckpoint { phase: Phase::Invoke, number: None, status: None });
    }

    pub(super) fn write_checkpoint_answered(
        &mut self,
        result: Result<Response, NetError>,
    ) -> Result<AfterStep, DeviceError> {
        let Some(session) = self.session() else { return Ok(AfterStep::Continue) };
        session.write_checkpoint = None;
        let sequence = session.queue_sequence;
        let number = match self.read_checkpoint(&result) {
            Ok(number) => number,
            Err(problem) => return Ok(self.retry_upload(problem)),
        };
        self.note_progress();
        let Some(session) = self.session() else { return Ok(AfterStep::Continue) };
        let is_set = session.host.set_write_checkpoint(sequence, number)?;
        if self.count_step() == AfterStep::Crash {
            return Ok(AfterStep::Crash);
        }
        if is_set {
            let Some(session) = self.session() else { return Ok(AfterStep::Continue) };
            return match session.host.control("completed_upload", None) {
                Ok(result) => self.follow(result),
                Err(error) => self.upload_not_taken(&error),
            };
        }
        self.upload()
    }

    /// `completed_upload` without an open iteration: SDKs ignore that the core has nothing to retry.
    fn upload_not_taken(&mut self, error: &DeviceError) -> Result<AfterStep, DeviceError> {
        match self.session() {
            Some(session) if session.stream.is_none() => Ok(AfterStep::Continue),
            _ => self.protocol_error(error),
        }
    }

    pub(super) fn request_fence(&mut self) {
        self.requests.fences += 1;
        self.fence = Some(self.send_checkpoint_request(Purpose::Fence, self.requests.fences));
        self.record(What::WriteCheckpoint { phase: Phase::Invoke, number: None, status: None });
    }

    pub(super) fn fence_answered(&mut self, result: Result<Response, NetError>) {
        self.fence = None;
        match self.read_checkpoint(&result) {
            Ok(number) => {
                // The stream may have brought the number before the response did.
                let mut status = self.context.status.current.borrow_mut();
                status.fence = Some(number);
                status.fence_applied = status.write_checkpoint >= Some(number);
            }
            Err(problem) => {
                self.note_error(problem);
                self.fence_retry_at = Some(Instant::now() + self.platform.retry);
            }
        }
    }

    fn send_checkpoint_request(
        &mut self,
        purpose: Purpose,
        subject: u64,
    ) -> LocalFuture<'static, Result<Response, NetError>> {
        let request = Request {
            server: ServerRole::Service,
            purpose,
            subject,
            attempt: 1,
            body: None,
            path: format!("/write-checkpoint2.json?client_id={}", self.client_id),
            token: self.token(),
            timeout: REQUEST_TIMEOUT,
        };
        self.context.network.send(self.context.device, request)
    }

    /// Records the response; gives its number, or what is wrong with it.
    fn read_checkpoint(&mut self, result: &Result<Response, NetError>) -> Result<u64, String> {
        let (number, status, problem) = match result {
            Ok(response) if response.status == 200 => {
                let reply: Option<CheckpointReply> = serde_json::from_slice(&response.body).ok();
                let number = reply.and_then(|reply| reply.data.write_checkpoint.parse().ok());
                (number, Some(200), "the service's write checkpoint is unreadable".to_owned())
            }
            Ok(response) => {
                if response.status == 401 {
                    self.cached_token = None;
                }
                (None, Some(response.status), format!("the write checkpoint answered {}", response.status))
            }
            Err(error) => (None, None, format!("the write checkpoint: {error}")),
        };
        let phase = match (number, status) {
            (Some(_), _) => Phase::Ok,
            (None, Some(_)) => Phase::Fail,
            (None, None) => Phase::Info,
        };
        self.record(What::WriteCheckpoint { phase, number, status });
        number.ok_or(problem)
    }
}
