//! Whether the run settled.

use super::context::Context;
use super::wording;
use crate::history::{Barrier, Phase, What};

/// Whether the run settled, both times.
///
/// # Errors
/// Why what holds of settled devices cannot be judged.
pub(super) fn settled(ctx: &Context<'_>) -> Result<(), String> {
    let mut settled = false;
    for event in &ctx.history.events {
        let What::Barrier { barrier, phase, .. } = &event.what else { continue };
        match phase {
            Phase::Fail | Phase::Info => {
                return Err(format!(
                    "the run did not reach {} in time (see progress)",
                    wording::barrier_name(*barrier)
                ));
            }
            Phase::Ok => settled |= *barrier == Barrier::SettleAgain,
            Phase::Invoke => {}
        }
    }
    if settled { Ok(()) } else { Err("the history ends before the run has settled".to_owned()) }
}
