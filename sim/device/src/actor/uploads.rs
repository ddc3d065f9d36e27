//! The upload queue: its transactions go to the backend one by one, and its answers are stored.

use std::sync::Arc;

use serde::Deserialize;
use sim_core::history::{OpAnswer, Outcome, Phase, SAID_MAX, TxOutcome, Upload, What, Who};
use sim_network::{NetError, Purpose, Request, Response, ServerRole};
use tokio::time::Instant;

use super::state::{Actor, AfterStep};
use super::upload_reply::{parse, same_for_all, stored_outcome};
use crate::error::DeviceError;
use crate::host::{QueuedTx, StoredOutcome};
use crate::platform::REQUEST_TIMEOUT;
use crate::upload_subject::UploadSubject;

impl Actor {
    /// Sends the oldest transaction; with an empty queue, asks for the write checkpoint if the device lacks it.
    pub(super) fn upload(&mut self) -> Result<AfterStep, DeviceError> {
        let Some(session) = self.session() else { return Ok(AfterStep::Continue) };
        if session.is_uploading() {
            return Ok(AfterStep::Continue);
        }
        if let Some(queued) = session.host.next_queued()? {
            return Ok(self.send_upload(queued));
        }
        let Some(sequence) = session.host.write_checkpoint_needed()? else { return Ok(AfterStep::Continue) };
        session.queue_sequence = sequence;
        self.request_write_checkpoint();
        Ok(AfterStep::Continue)
    }

    fn send_upload(&mut self, queued: QueuedTx) -> AfterStep {
        let tx_id = queued.tx_id;
        let (last, attempts) = self.requests.upload_attempts;
        let attempt = if last == tx_id { attempts + 1 } else { 1 };
        self.requests.upload_attempts = (tx_id, attempt);
        let body = format!(
            "{{\"client_id\":\"{}\",\"transactions\":[{{\"tx_id\":{tx_id},\"ops\":{}}}]}}",
            self.client_id, queued.ops_json
        );
        let request = Request {
            server: ServerRole::Backend,
            purpose: Purpose::Upload,
            subject: UploadSubject { losses: self.losses, tx_id }.encode(),
            attempt,
            body: Some(body.into()),
            path: "/upload".to_owned(),
            token: self.token(),
            timeout: REQUEST_TIMEOUT,
        };
        let upload = self.context.network.send(self.context.device, request);
        if let Some(session) = self.session() {
            session.upload = Some(upload);
            session.uploading_tx = Some(queued);
            session.is_answered = false;
        }
        self.record_upload(Phase::Invoke, tx_id, None, None, Vec::new());
        self.count_step()
    }

    pub(super) fn upload_answered(&mut self, result: Result<Response, NetError>) -> Result<AfterStep, DeviceError> {
        let Some(session) = self.session() else { return Ok(AfterStep::Continue) };
        session.upload = None;
        let Some(queued) = session.uploading_tx.take() else { return Ok(AfterStep::Continue) };
        let tx_id = queued.tx_id;
        let is_refused = result.as_ref().is_ok_and(|response| !matches!(response.status, 200..=299 | 400 | 413));
        self.context.status.current.borrow_mut().upload_refused = is_refused;
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                let phase = match error {
                    NetError::Offline | NetError::Refused => Phase::Fail,
                    NetError::Reset | NetError::Timeout => Phase::Info,
                };
                self.record_upload(phase, tx_id, None, None, Vec::new());
                return Ok(self.retry_upload(format!("the backend: {error}")));
            }
        };
        match response.status {
            200..=299 => {
                let (outcome, ops, stored) = self.read_reply(&queued, &response.body);
                self.record_upload(Phase::Ok, tx_id, Some(response.status), Some(outcome), ops);
                if outcome == TxOutcome::NotAttempted {
                    return Ok(self.retry_upload("the backend did not attempt the transaction".to_owned()));
                }
                self.complete(queued, &stored)
            }
            400 | 413 => {
                let reason = format!("HTTP {}", response.status);
                let ops = same_for_all(&queued, Outcome::Rejected, Some(&reason));
                let (status, outcome) = (Some(response.status), Some(TxOutcome::Refused));
                self.record_upload_that_said(Phase::Ok, tx_id, status, outcome, ops, first_words(&response.body));
                self.complete(queued, &stored_outcome("refused", Some(reason)))
            }
            status => {
                let phase = if status >= 500 { Phase::Info } else { Phase::Fail };
                let said = first_words(&response.body);
                self.record_upload_that_said(phase, tx_id, Some(status), None, Vec::new(), said);
                if status == 401 {
                    self.cached_token = None;
                }
                Ok(self.retry_upload(format!("the backend answered {status}")))
            }
        }
    }

    fn complete(&mut self, queued: QueuedTx, stored: &[StoredOutcome]) -> Result<AfterStep, DeviceError> {
        if let Some(session) = self.session() {
            session.is_answered = true;
        }
        if self.count_step() == AfterStep::Crash {
            return Ok(AfterStep::Crash);
        }
        if let Some(session) = self.session() {
            session.host.complete(&queued, stored)?;
            session.is_answered = false;
        }
        let author = self.context.recorder.tx_author(self.installation, queued.tx_id);
        self.context.recorder.add(Who::Client(author), What::Complete { tx_id: queued.tx_id });
        self.note_progress();
        if self.count_step() == AfterStep::Crash {
            return Ok(AfterStep::Crash);
        }
        self.upload()
    }

    /// Reads the backend's answer; gives what the history says of it and what the device stores.
    fn read_reply(&mut self, queued: &QueuedTx, body: &[u8]) -> (TxOutcome, Vec<OpAnswer>, Vec<StoredOutcome>) {
        let Some(reply) = parse(body, queued.tx_id) else {
            // A foreign backend that answers a bare 2xx has applied every operation of the request.
            let ops = same_for_all(queued, Outcome::Applied, None);
            return (TxOutcome::Committed, ops, stored_outcome("committed", None));
        };
        let stored = reply.stored_outcomes();
        let mut ops = Vec::with_capacity(reply.ops.len());
        for op in reply.ops {
            let survivor = op.merged_into.as_deref();
            let merged_into = survivor.and_then(|survivor| self.follow_merge(queued, op.op_id, survivor));
            ops.push(OpAnswer {
                op_id: op.op_id,
                outcome: op.outcome,
                reason: op.reason,
                by: op.by.map(|by| self.context.recorder.writer(&by)),
                merged_into,
            });
        }
        (reply.outcome, ops, stored)
    }

    /// From now on the device knows the symbolic row that was merged by the survivor's id.
    fn follow_merge(&mut self, queued: &QueuedTx, op_id: i64, survivor: &str) -> Option<u32> {
        #[derive(Deserialize)]
        struct WireOp {
            op_id: i64,
            table: String,
            id: String,
        }
        let ops: Vec<WireOp> = serde_json::from_str(&queued.ops_json).ok()?;
        let op = ops.into_iter().find(|op| op.op_id == op_id)?;
        let plan = self.context.plan.clone();
        for (row, table) in (0u32..).zip(&plan.rows) {
            if *table == op.table && plan.row_id(row) == op.id {
                self.row_aliases.set(row, Arc::from(survivor));
            }
        }
        let table = self.context.app.schema.table_index(&op.table)?;
        Some(self.context.recorder.row(table, survivor))
    }

    fn record_upload(
        &self,
        phase: Phase,
        tx_id: i64,
        status: Option<u16>,
        outcome: Option<TxOutcome>,
        ops: Vec<OpAnswer>,
    ) {
        self.record_upload_that_said(phase, tx_id, status, outcome, ops, None);
    }

    fn record_upload_that_said(
        &self,
        phase: Phase,
        tx_id: i64,
        status: Option<u16>,
        outcome: Option<TxOutcome>,
        ops: Vec<OpAnswer>,
        said: Option<String>,
    ) {
        let (_, attempt) = self.requests.upload_attempts;
        // What was queued in a copy is a transaction of the device that the copy was made of.
        let author = self.context.recorder.tx_author(self.installation, tx_id);
        let upload = Upload { phase, tx_id, attempt, status, outcome, ops, said };
        self.context.recorder.add(Who::Client(author), What::Upload(upload));
    }

    pub(super) fn retry_upload(&mut self, error: String) -> AfterStep {
        self.note_error(error);
        let retry = self.platform.retry;
        if let Some(session) = self.session() {
            session.upload_at = Some(Instant::now() + retry);
        }
        AfterStep::Continue
    }
}

/// The beginning of an answer's text; `None` where it has none.
fn first_words(body: &[u8]) -> Option<String> {
    // A character has four bytes at most.
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * SAID_MAX)]);
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(SAID_MAX).collect();
    (!text.is_empty()).then_some(text)
}
