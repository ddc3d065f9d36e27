//! How reports name and write things; every text from outside passes through here.

mod format;
mod names;
mod shown_text;

pub(crate) use format::{count, counted, duration, listed, milliseconds, moment, seconds};
pub(crate) use names::{Names, device_name, device_of, verdict_name};
pub(crate) use shown_text::{file_name, plain, shortened, visible};
