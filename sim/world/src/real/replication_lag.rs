//! How far the service is behind the database: plan time follows real time until it has caught up.
//!
//! What devices receive tells it first. The service, or the database for it, is asked as well, less often the longer it
//! takes: some services confirm their slot seconds after they have shown what was committed.

use std::sync::Arc;
use std::time::Duration;

use super::activity::{OpenWork, Work};
use super::context::RunContext;

/// How long one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Plan time follows real time until the service has replicated up to a position.
pub(super) fn wait_for_replication(context: &Arc<RunContext>, lsn: u64) {
    context.raise_expected_lsn(lsn);
    if context.has_caught_up() || context.progressing_service().is_none() || context.set_catching_up(true) {
        return;
    }
    let work = context.activity.begin(Work::Replication);
    context.runtime.spawn(catch_up(context.clone(), work));
}

/// It is known that the service has replicated up to a position.
pub(super) fn note_replicated(context: &RunContext, lsn: u64) {
    context.activity.expect_more_within(context.timing.lines_after_replication);
    context.raise_replicated_lsn(lsn);
}

async fn catch_up(context: Arc<RunContext>, work: OpenWork) {
    let mut pause = context.timing.replication_poll;
    while !context.has_caught_up() && work.is_awaited() {
        let Some(service) = context.progressing_service() else { break };
        tokio::select! {
            biased;
            () = context.replicated.notified() => continue,
            () = tokio::time::sleep(pause) => {}
        }
        if !context.may_ask(pause) {
            continue;
        }
        pause = (pause * 2).min(context.timing.replication_poll_max);
        let Ok(environment) = context.environment() else { break };
        let asked = environment.replicated_lsn(&context.http, service);
        if let Ok(Some(reached)) = tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
            note_replicated(&context, reached);
        }
    }
    context.set_catching_up(false);
    if context.has_caught_up() {
        work.done();
    } else if work.is_awaited() && context.environment().is_ok() {
        // More was committed in this very moment.
        drop(work);
        wait_for_replication(&context, 0);
    }
}

/// Asks the service something, so that it has seen the clock. One that goes by the machine's clock does not look at it.
pub(super) fn let_service_see_clock(context: &Arc<RunContext>) {
    let Some(service) = context.progressing_service().filter(|_| !context.timing.service_uses_machine_clock) else {
        return;
    };
    let work = context.activity.begin(Work::ServiceRequest);
    let context = context.clone();
    context.runtime.clone().spawn(async move {
        if let Ok(environment) = context.environment() {
            let asked = environment.replicated_lsn(&context.http, service);
            if let Ok(Some(_)) = tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
                work.done();
            }
        }
    });
}
