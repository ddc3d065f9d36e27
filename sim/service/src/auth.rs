//! Tokens: [`keys`] tells which key signed one, [`claims`] whether what it claims is good now.

mod claims;
mod keys;

pub use claims::Token;
pub use keys::{KeyError, Keys, key_id_of, token_of};
