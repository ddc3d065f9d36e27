//! What a device does on each command of the run.

use std::time::Duration;

use tokio::time::Instant;

use super::state::{Actor, AfterStep, ArmedCrash, Process};
use crate::command::Command;
use crate::error::DeviceError;

/// An armed crash strikes after this time if its steps do not come.
const CRASH_WAITS_MAX: Duration = Duration::from_secs(10);

impl Actor {
    pub(super) fn command(&mut self, command: Command) -> Result<AfterStep, DeviceError> {
        match command {
            Command::Tx { step, activity, intents } => return self.run_tx(step, activity, &intents),
            Command::Offline(offline) => self.context.status.current.borrow_mut().online = !offline,
            Command::Crash { after_steps, down } => return Ok(self.arm_crash(after_steps, down)),
            Command::LoseStorage { down } => self.replace_storage(down, None)?,
            Command::TakeCopy { key } => self.take_copy(key)?,
            Command::RestoreCopy { key, down } => {
                if let Some(copy) = self.copies.remove(&key) {
                    self.replace_storage(down, Some((key, copy)))?;
                }
            }
            Command::Suspend => self.suspend(),
            Command::Resume => self.resume(),
            Command::TabClose { handover } => return Ok(self.close_tab(handover)),
            Command::ClockJump { by_us } => self.jumped_us += by_us,
            Command::Heal => {
                if let Process::Down { until, .. } = &mut self.process {
                    *until = Instant::now();
                }
                self.armed_crash = None;
                self.resume();
            }
            Command::Fence => {
                {
                    let mut status = self.context.status.current.borrow_mut();
                    status.fence = None;
                    status.fence_applied = false;
                }
                self.request_fence();
            }
            Command::FinalRead => self.final_read()?,
            Command::Stop => {}
        }
        Ok(AfterStep::Continue)
    }

    fn arm_crash(&mut self, after_steps: u32, down: Duration) -> AfterStep {
        let latest = if after_steps == 0 { Instant::now() } else { Instant::now() + CRASH_WAITS_MAX };
        self.armed_crash = Some(ArmedCrash { steps_left: after_steps, down, latest });
        if after_steps == 0 { AfterStep::Crash } else { AfterStep::Continue }
    }
}
