//! A run in, files out: what people and machines read about it.
//!
//! Nothing here decides whether a claim held: reports show verdicts as they are. In reading order: [`text`] for
//! terminals, [`html`] for people who are new to it, [`story`] a failing history in plain words, [`diagram`] the
//! same as a picture, [`json`] and [`junit`] for machines, [`markdown`] for pages and pull requests, [`mutants`] which planted defects were caught,
//! [`checklist`] what was checked in a deployment. Behind them: `joined` a history whose events are joined, `selection`
//! which of them a report shows, `faults`, `words`, `explain` and `headline` what they are called, `terminal` tables.

pub mod checklist;
pub mod diagram;
mod difference;
mod explain;
mod failure;
mod faults;
mod headline;
pub mod html;
mod initial_rows;
mod joined;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod mutants;
mod registers;
mod selection;
pub mod story;
mod terminal;
pub mod text;
mod words;

pub use failure::Failure;
