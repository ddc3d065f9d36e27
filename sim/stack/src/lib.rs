//! Servers and databases as one reaches them from outside.
//!
//! [`postgres`] a private PostgreSQL; [`deploy`] the folder of a deployment to start with; [`existing_stack`] a stack that somebody
//! else runs: where it is, whose tokens are used, how each part is asked; [`signer`] makes tokens, [`files`] writes whole
//! files and folders, [`tls`] chooses the cryptography.

pub mod deploy;
pub mod existing_stack;
pub mod files;
pub mod postgres;
pub mod signer;
pub mod tls;
