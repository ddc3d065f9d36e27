//! When a device wakes by itself, and what it does then.

use tokio::time::Instant;

use super::state::{Actor, AfterStep, Process};
use crate::error::DeviceError;

impl Actor {
    pub(super) fn next_timer(&self) -> Option<Instant> {
        let crash = self.armed_crash.map(|crash| crash.latest);
        match &self.process {
            Process::Down { until, .. } => Some(*until),
            Process::Running(session) if session.is_suspended => crash,
            Process::Running(session) => {
                let idle = session.stream.is_some().then(|| session.last_received + self.context.stream_idle_timeout);
                [crash, session.connect_at, session.upload_at, idle, self.fence_retry_at].into_iter().flatten().min()
            }
        }
    }

    pub(super) fn timer(&mut self) -> Result<AfterStep, DeviceError> {
        let now = Instant::now();
        if self.armed_crash.is_some_and(|crash| crash.latest <= now) {
            if matches!(self.process, Process::Running(_)) {
                return Ok(AfterStep::Crash);
            }
            self.armed_crash = None;
        }
        if let Process::Down { until, .. } = &self.process {
            if *until <= now {
                self.restart();
            }
            return Ok(AfterStep::Continue);
        }
        if self.fence_retry_at.is_some_and(|at| at <= now) {
            self.fence_retry_at = None;
            self.request_fence();
        }
        let idle_timeout = self.context.stream_idle_timeout;
        let Some(session) = self.session() else { return Ok(AfterStep::Continue) };
        if session.is_suspended {
            return Ok(AfterStep::Continue);
        }
        if session.stream.is_some() && session.last_received + idle_timeout <= now {
            return self.stream_ended("idle timeout");
        }
        if session.connect_at.is_some_and(|at| at <= now) {
            session.connect_at = None;
            return self.connect();
        }
        if session.upload_at.is_some_and(|at| at <= now) {
            session.upload_at = None;
            return self.upload();
        }
        Ok(AfterStep::Continue)
    }
}
