//! Sync streams: a request and a storage become lines.
//!
//! - [`subscription`][]: which buckets a request gets
//! - [`machine`][]: a stream as a state machine, without input or output
//! - [`keepalive`][]: when a stream says how long its token is still good for
//! - [`permit`][]: how many streams may be open
//! - [`body`][]: all of it as a response body

pub(crate) mod body;
pub(crate) mod keepalive;
pub(crate) mod machine;
pub(crate) mod permit;
mod subscription;
