//! Storage that is lost, copies of it, and copies that are restored: the device is another installation from then on.

use std::time::Duration;

use sim_core::history::{CopyOf, Lifecycle, What};
use tokio::time::Instant;

use super::state::{Actor, Process, StorageCopy};
use crate::database::Database;
use crate::error::DeviceError;
use crate::recorder::RestoredCopy;

impl Actor {
    pub(super) fn take_copy(&mut self, key: u32) -> Result<(), DeviceError> {
        let database = match &self.process {
            Process::Running(session) => Some(session.host.database()),
            Process::Down { database, .. } => database.as_ref(),
        };
        let Some(storage) = database.map(Database::copy).transpose()? else { return Ok(()) };
        let client_id = self.client_id.clone();
        self.copies.insert(key, StorageCopy { storage, client_id, of: self.installation, last_tx: self.last_tx });
        self.record(What::Lifecycle(Lifecycle::CopyTaken(key)));
        Ok(())
    }

    /// The database is gone, whether the app runs or not, and so is whatever the app held in memory. An old copy replaces
    /// it, or nothing.
    pub(super) fn replace_storage(
        &mut self,
        down: Duration,
        copy: Option<(u32, StorageCopy)>,
    ) -> Result<(), DeviceError> {
        let until = Instant::now() + down;
        let database = match std::mem::replace(&mut self.process, Process::Down { database: None, until }) {
            Process::Running(session) => {
                let (database, spent) = session.host.kill();
                self.sqlite_time += spent;
                Some(database)
            }
            Process::Down { database, .. } => database,
        };
        self.record(What::Lifecycle(match &copy {
            Some((key, _)) => Lifecycle::CopyRestored(*key),
            None => Lifecycle::StorageLost,
        }));
        self.losses += 1;
        let restored = copy
            .as_ref()
            .map(|(key, copy)| RestoredCopy { copy: CopyOf { device: copy.of, key: *key }, last_tx: copy.last_tx });
        self.last_tx = copy.as_ref().map_or(0, |(_, copy)| copy.last_tx);
        self.client_id = match &copy {
            Some((_, copy)) => copy.client_id.clone(),
            None => self.context.plan.client_id_again(self.context.device, self.losses),
        };
        let ended = self.installation;
        self.installation = self.context.recorder.add_installation(ended, self.client_id.clone(), restored);
        (self.cached_token, self.fence, self.fence_retry_at, self.armed_crash) = (None, None, None, None);
        self.requests.upload_attempts = (0, 0);
        self.context.status.current.borrow_mut().write_checkpoint = None;
        if let Some(mut database) = database {
            match copy {
                Some((_, copy)) => database.restore(&copy.storage)?,
                None => database.wipe(&self.client_id)?,
            }
            self.process = Process::Down { database: Some(database), until };
        }
        Ok(())
    }
}
