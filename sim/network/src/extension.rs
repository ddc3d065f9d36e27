//! What goes with a request to a router and with its response besides their HTTP, as `http` extensions.

/// The request's sender and subject, for a router that sees no more of it than its HTTP.
#[derive(Clone, Copy, Debug)]
pub struct RequestTag {
    /// The device.
    pub device: u32,
    /// [`Request::subject`](crate::request::Request::subject).
    pub subject: u64,
}

/// On a request: the router must kill the backend while it handles the request, before its commit. A router that does so
/// answers with [`KilledBeforeCommit`].
#[derive(Clone, Copy, Debug)]
pub struct KillBeforeCommit;

/// On a response: the backend was killed while it handled the request, before its commit.
#[derive(Clone, Copy, Debug)]
pub struct KilledBeforeCommit;
