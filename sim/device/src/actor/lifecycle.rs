//! How the app's process ends, starts again, freezes and hands its connection from tab to tab.

use std::time::Duration;

use sim_core::history::{Lifecycle, Moment, What};
use tokio::time::Instant;

use super::session::Session;
use super::state::{Actor, AfterStep, Process};
use crate::host::Host;

impl Actor {
    pub(super) fn crash(&mut self) {
        let down = self.armed_crash.take().map_or(Duration::ZERO, |crash| crash.down);
        let now = Instant::now();
        let process = std::mem::replace(&mut self.process, Process::Down { database: None, until: now + down });
        let Process::Running(mut session) = process else {
            self.process = process;
            return;
        };
        let moment = session.moment().unwrap_or(Moment::Idle);
        let (database, spent) = session.host.kill();
        self.sqlite_time += spent;
        self.process = Process::Down { database: Some(database), until: now + down };
        self.cached_token = None;
        self.fence = None;
        self.fence_retry_at = None;
        self.record(What::Lifecycle(Lifecycle::Killed(moment)));
    }

    pub(super) fn restart(&mut self) {
        let Process::Down { database, .. } = &mut self.process else { return };
        let Some(database) = database.take() else { return };
        let host = Host::start(database, self.context.app.clone(), self.context.recorder.clone(), false);
        let mut session = Session::new(host, Instant::now());
        session.upload_at = Some(Instant::now());
        self.process = Process::Running(session);
        self.record(What::Lifecycle(Lifecycle::Started));
    }

    pub(super) fn suspend(&mut self) {
        if let Some(session) = self.session() {
            session.is_suspended = true;
            self.record(What::Lifecycle(Lifecycle::Suspended));
        }
    }

    pub(super) fn resume(&mut self) {
        let Some(session) = self.session() else { return };
        if session.is_suspended {
            // Timers that came due meanwhile fire now, once; what its sockets missed shows at the next read.
            session.is_suspended = false;
            self.record(What::Lifecycle(Lifecycle::Resumed));
        }
    }

    pub(super) fn close_tab(&mut self, handover: Duration) -> AfterStep {
        let process = std::mem::replace(&mut self.process, Process::Down { database: None, until: Instant::now() });
        let Process::Running(session) = process else {
            self.process = process;
            return AfterStep::Continue;
        };
        let (database, spent) = session.host.kill();
        self.sqlite_time += spent;
        self.record(What::Lifecycle(Lifecycle::TabClosed));
        let host = Host::start(database, self.context.app.clone(), self.context.recorder.clone(), false);
        let mut session = Session::new(host, Instant::now() + handover);
        session.upload_at = session.connect_at;
        self.process = Process::Running(session);
        AfterStep::Continue
    }
}
