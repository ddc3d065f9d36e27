//! What streams promise, tested over HTTP.
