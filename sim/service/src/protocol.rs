//! The wire protocol of `/sync/stream`: [`request`] what a client asks for, [`line`] the lines that it gets.

pub mod line;
pub mod request;
