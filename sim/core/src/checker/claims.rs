//! Claims: what a scenario's own sentence says, in terms of the history alone, one function a claim.
//!
//! Each is judged from what devices accepted, what the feed committed and what everybody read in the end, with no
//! help from the durability checker and no outcome believed: a defect of the one shows in the other. A claim on
//! the end of a run is unknown where the run did not settle; a claim on each commit is judged in any case.
//!
//! In reading order: [`facts`] what the claims look at, [`registers`] claims on values, [`rows`] claims on rows,
//! [`structure`] claims on what connects them, [`wire`] claims on commits and answers.

mod facts;
mod registers;
mod rows;
mod ruling;
mod stamps;
mod structure;
#[cfg(test)]
mod tests;
mod wire;

use super::context::Context;
use super::server_sets;
use super::timeline::Timeline;
use crate::promise::Claim;
use crate::verdict::Finding;

use facts::Facts;
use ruling::Ruling;

/// Judges each claim of the scenario.
#[must_use]
pub fn check(ctx: &Context<'_>, timeline: &Timeline<'_>) -> Finding {
    let mut finding = Finding::default();
    if ctx.promises.claims.is_empty() {
        return finding;
    }
    let written = server_sets::without(ctx);
    let ctx = &Context { history: written.as_ref().unwrap_or(ctx.history), ..*ctx };
    let facts = Facts::gather(ctx, timeline);
    for claim in ctx.promises.claims.iter().filter(|claim| claim.is_owed_by(&ctx.history.header.policy)) {
        judge(&facts, *claim, &mut finding);
    }
    finding
}

fn judge(facts: &Facts<'_, '_>, claim: Claim, finding: &mut Finding) {
    let code = claim.name();
    if is_of_the_end(claim)
        && let Some(why) = &facts.no_end
    {
        finding.unknown(format!("{code} is about the end of the run, and {why}"));
        return;
    }
    let mut verdict = Ruling { facts, code, finding };
    match claim {
        Claim::NothingOverridden => registers::nothing_overridden(&mut verdict),
        Claim::GreatestStampStays => registers::greatest_stamp_stays(&mut verdict),
        Claim::GroupsWhole => registers::groups_whole(&mut verdict),
        Claim::CountersExact => registers::counters_exact(&mut verdict),
        Claim::SetsExact => registers::sets_exact(&mut verdict),
        Claim::DeletedStayDeleted => rows::deleted_stay_deleted(&mut verdict),
        Claim::OneRowPerKey => rows::one_row_per_key(&mut verdict),
        Claim::SameSequence => rows::same_sequence(&mut verdict),
        Claim::OrphansRefused => rows::orphans_refused(&mut verdict),
        Claim::CyclesSuperseded => structure::cycles_superseded(&mut verdict),
        Claim::OneLeader => structure::one_leader(&mut verdict),
        Claim::OneCommitEach => wire::one_commit_each(&mut verdict),
        Claim::OneRefusalPerExpiry => wire::one_refusal_per_expiry(&mut verdict),
        Claim::OldTokensStayGood => wire::old_tokens_stay_good(&mut verdict),
        // Each of them says so itself.
        Claim::EveryChecker => {}
    }
}

/// Whether the claim is about the end of the run, and not about each commit.
fn is_of_the_end(claim: Claim) -> bool {
    match claim {
        Claim::NothingOverridden
        | Claim::GreatestStampStays
        | Claim::DeletedStayDeleted
        | Claim::GroupsWhole
        | Claim::CountersExact
        | Claim::SetsExact
        | Claim::OneRowPerKey
        | Claim::SameSequence
        | Claim::OrphansRefused => true,
        Claim::CyclesSuperseded
        | Claim::OneLeader
        | Claim::OneCommitEach
        | Claim::OneRefusalPerExpiry
        | Claim::OldTokensStayGood
        | Claim::EveryChecker => false,
    }
}
