//! Plan time outside the plan's own thread: as a function, and as a file that other processes read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use backend::server::clock::CLOCK_FILE_BYTES;
use sim_core::plan::EPOCH_US;
use sim_device::recorder::Recorder;

/// Microseconds since 1970.
pub(crate) type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Plan time by the paused clock of the runtime that calls it.
pub(crate) fn plan_clock(recorder: &Recorder) -> Clock {
    let start = recorder.start();
    Arc::new(move || {
        let now = tokio::time::Instant::now();
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        match now.checked_duration_since(start) {
            Some(since) => EPOCH_US + micros(since),
            None => EPOCH_US - micros(start - now),
        }
    })
}

/// An instant in a file, as servers read it (`backend::server::clock`).
#[derive(Debug)]
pub(crate) struct ClockFile {
    file: File,
    /// What it shows.
    shown_us: AtomicI64,
}

impl ClockFile {
    pub(crate) fn create(path: &Path, at_us: i64) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        let clock = Self { file, shown_us: AtomicI64::new(i64::MIN) };
        clock.show(at_us);
        Ok(clock)
    }

    /// Shows an instant to other processes. Between plans it goes back.
    pub(crate) fn show(&self, at_us: i64) {
        if self.shown_us.swap(at_us, Ordering::AcqRel) == at_us {
            return;
        }
        let mut bytes = [0; CLOCK_FILE_BYTES];
        bytes[..8].copy_from_slice(&at_us.to_le_bytes());
        bytes[8..].copy_from_slice(&(!at_us).to_le_bytes());
        if let Err(error) = self.file.write_all_at(&bytes, 0) {
            tracing::error!(%error, "the plan's clock cannot be shown to the servers");
        }
    }

    /// The instant that is shown.
    pub(crate) fn shown_us(&self) -> i64 {
        self.shown_us.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use backend::server::clock::file_clock;

    use super::*;

    #[test]
    fn what_is_shown_is_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("clock");
        let shown = ClockFile::create(&path, 5).expect("it can be made");
        let read = file_clock(&path).expect("it is there");
        assert_eq!((read(), shown.shown_us()), (5, 5));
        shown.show(-7);
        assert_eq!(read(), -7);
        assert!(file_clock(&folder.path().join("none")).is_err());
    }
}
