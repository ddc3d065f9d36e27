//! One write of a device.

/// A device's write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Write {
    /// The device.
    pub(super) device: u32,
    /// The event of its local transaction.
    pub(super) event: usize,
    /// The operation.
    pub(super) op_id: i64,
    /// The commit that brought it to the server.
    pub(super) seq: u64,
}
