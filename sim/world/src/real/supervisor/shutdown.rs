//! The end of a plan: every fault is healed, and the servers end.

use super::state::StateGuard;
use crate::real::environment::DatabaseAction;

impl StateGuard {
    /// Heals everything, and ends the servers. An error names one that ended by itself.
    pub(crate) async fn end_all(mut self) -> Result<(), String> {
        self.context.set_progressing_service(None);
        self.resume_walsender().await;
        let environment = self.environment.clone();
        let state = &mut *self.state;
        state.slot_blocker = None;
        let mut ended = Ok(());
        if state.postgres_disconnects > 0 {
            ended = environment.control_database(DatabaseAction::Reconnect).await;
        }
        if state.postgres_downs > 0 {
            ended = ended.and(environment.control_database(DatabaseAction::Start).await);
        } else if state.postgres_pauses > 0 {
            ended = ended.and(environment.control_database(DatabaseAction::Resume).await);
        }
        for server in [&mut state.backend, &mut state.service] {
            let Some(mut server) = server.take() else { continue };
            if let Some(reason) = server.exit_reason().await {
                ended = ended.and(Err(reason));
            }
            // It is killed when it is dropped.
        }
        ended
    }
}
