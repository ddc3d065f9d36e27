//! Keys in a directory, one file each, readable only by their owner.
//!
//! Rotation writes new keys and then gives the old ones a retirement time: they no longer sign, and verify until the
//! tokens that they signed have expired. A running server notices that the directory changed.

mod error;
mod file;
mod keyring;

pub use error::KeyError;
pub use keyring::Keyring;
