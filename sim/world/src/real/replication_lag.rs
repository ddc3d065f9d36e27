//! How far the service is behind the database: plan time follows real time until it has caught up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::activity::Work;
use super::context::RunContext;

/// How long plan time waits for replication that does not catch up though no fault holds it up: the machine may stand
/// still for a while. Replication may also be stuck for good, and then plan time must pass faster.
const LAG_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the service is asked.
const POLL: Duration = Duration::from_millis(1);

/// Plan time follows real time until the service has replicated up to a position.
pub(super) fn wait_for_replication(context: &Arc<RunContext>, lsn: u64) {
    context.raise_expected_lsn(lsn);
    if !context.activity.set_lagging(true) {
        context.runtime.spawn(catch_up(context.clone()));
    }
}

async fn catch_up(context: Arc<RunContext>) {
    let deadline = Instant::now() + LAG_TIMEOUT;
    while let Some(service) = context.progressing_service() {
        let asked_at = Instant::now();
        let expected = context.expected_lsn();
        let Ok(environment) = context.environment() else { break };
        let asked = environment.replicated_lsn(&context.http, service);
        let reached = tokio::time::timeout(ANSWER_TIMEOUT, asked).await.ok().flatten();
        if reached.is_some_and(|reached| reached >= expected) || asked_at > deadline {
            if context.expected_lsn() == expected {
                break;
            }
            continue;
        }
        tokio::time::sleep(POLL).await;
    }
    context.activity.expect_more_within(context.timing.lines_after_replication);
    context.activity.set_lagging(false);
}

/// Asks the service something, so that it has seen the clock.
pub(super) fn let_service_see_clock(context: &Arc<RunContext>) {
    let Some(service) = context.progressing_service() else { return };
    let work = context.activity.begin(Work::ServiceRequest);
    let context = context.clone();
    context.runtime.clone().spawn(async move {
        if let Ok(environment) = context.environment() {
            let asked = environment.replicated_lsn(&context.http, service);
            let _ = tokio::time::timeout(ANSWER_TIMEOUT, asked).await;
        }
        drop(work);
    });
}
