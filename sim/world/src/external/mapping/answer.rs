//! What an endpoint's answer means, and what the device gets for it.

use bytes::Bytes;
use http::StatusCode;
use sim_stack::existing_stack::http::{NoReply, Reply};

use super::types::{FailureField, Mapping};

/// What a device is answered.
#[derive(Debug, PartialEq)]
pub(in crate::external) struct UploadAnswer {
    pub(in crate::external) status: StatusCode,
    pub(in crate::external) body: Bytes,
}

impl Mapping {
    /// Why an answer ends its transaction for good, if it does.
    pub(super) fn refusal(&self, reply: &Reply) -> Option<String> {
        let status = reply.status;
        if (200..300).contains(&status) {
            return None;
        }
        let body = reply.json();
        let code = self.answer.code.as_ref().and_then(|field| body[field.as_str()].as_str());
        if let Some(code) =
            code.filter(|code| self.answer.refused_codes.iter().any(|begins| code.starts_with(begins.as_str())))
        {
            return Some(code.to_owned());
        }
        self.answer.refused.contains(&status).then(|| format!("HTTP {status}"))
    }

    /// The answer that a device gets. Devices give up after 400 and 413, and try again after everything else.
    pub(super) fn device_answer(&self, reply: Result<Reply, NoReply>) -> UploadAnswer {
        let plain = |status: StatusCode| UploadAnswer { status, body: Bytes::new() };
        let reply = match reply {
            Ok(reply) => reply,
            Err(NoReply::Refused | NoReply::Name(_)) => return plain(StatusCode::SERVICE_UNAVAILABLE),
            Err(_) => return plain(StatusCode::GATEWAY_TIMEOUT),
        };
        let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
        if status.is_success() {
            let says_failed = |failed: &FailureField| reply.json().get(&failed.field) == Some(&failed.is);
            return match self.answer.failed.as_ref().is_some_and(says_failed) {
                true => plain(StatusCode::INTERNAL_SERVER_ERROR),
                false => UploadAnswer { status, body: reply.body },
            };
        }
        let ends = matches!(status, StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE);
        match (self.refusal(&reply).is_some(), ends) {
            (true, false) => plain(StatusCode::BAD_REQUEST),
            // Tried again: the device gets a status that it tries again after, and the body says which one it was.
            (false, true) => {
                let said = String::from_utf8_lossy(&reply.body).into_owned();
                UploadAnswer { status: StatusCode::CONFLICT, body: format!("HTTP {status}: {said}").into() }
            }
            _ => UploadAnswer { status, body: reply.body },
        }
    }
}
