//! The server's clock: the machine's, or one in a file that a test harness writes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::upload::Clock;

/// Microseconds since 1970-01-01 UTC by the machine's clock.
#[must_use]
pub fn machine_clock_us() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "everything else gets its clock injected")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The size of a clock file: an instant in microseconds since 1970-01-01 UTC, little-endian, and its complement, which
/// reveals a torn read.
pub const CLOCK_FILE_BYTES: usize = 16;

/// The clock in a file of [`CLOCK_FILE_BYTES`]. Each call reads the file.
///
/// # Errors
/// When there is no such file, or it holds no instant.
pub fn file_clock(path: &Path) -> io::Result<Clock> {
    let file = File::open(path)?;
    let now = move || {
        for _ in 0..1000 {
            let mut bytes = [0; CLOCK_FILE_BYTES];
            file.read_exact_at(&mut bytes, 0).ok()?;
            let half = |at: usize| i64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
            let (value, complement) = (half(0), half(8));
            if value == !complement {
                return Some(value);
            }
        }
        None
    };
    let first = now().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the file holds no instant"))?;
    let last = AtomicI64::new(first);
    Ok(Arc::new(move || match now() {
        Some(value) => {
            last.store(value, Ordering::Relaxed);
            value
        }
        None => last.load(Ordering::Relaxed),
    }))
}
