//! Keys in a directory, one file each, for their owner alone.
//!
//! Rotation writes new keys and then dates the old ones: they sign no more, and verify until tokens that they signed
//! have expired. A server that runs sees that the directory changed.

mod error;
mod file;
mod keyring;

pub use error::KeyError;
pub use keyring::Keyring;
