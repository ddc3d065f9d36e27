//! Faults of the two servers, and changes of what they run with: keys, sync configuration.

use std::net::SocketAddr;

use sim_network::ServerRole;

use super::state::StateGuard;
use crate::real::server::ServerStop;
use crate::token::TokenIssuer;

impl StateGuard {
    /// One fault more keeps a server down.
    pub(crate) async fn take_down(mut self, role: ServerRole, stop: ServerStop) -> Result<(), String> {
        let state = &mut *self.state;
        let server = match role {
            ServerRole::Backend => {
                state.backend_downs += 1;
                self.context.log.note_unanswered();
                self.context.set_backend_killer(None);
                state.backend.take()
            }
            ServerRole::Service => {
                state.service_downs += 1;
                self.context.set_progressing_service(None);
                state.service.take()
            }
        };
        match server {
            Some(server) => match stop {
                ServerStop::Kill => server.kill().await,
                ServerStop::Stop => server.stop().await,
                ServerStop::Disconnect => server.disconnect().await,
            },
            None => Ok(()),
        }
    }

    /// One fault fewer keeps a server down. Starts it when none is left, and gives its address.
    pub(crate) async fn bring_up(mut self, role: ServerRole) -> Result<Option<SocketAddr>, String> {
        let downs = match role {
            ServerRole::Backend => &mut self.state.backend_downs,
            ServerRole::Service => &mut self.state.service_downs,
        };
        *downs = downs.saturating_sub(1);
        if *downs > 0 {
            return Ok(None);
        }
        // Without its database a server listens and is never ready. Another implementation of the service is not waited
        // for.
        let waits = !self.state.is_database_away() && !self.context.timing.service_uses_machine_clock;
        let server = self.environment.start_server(role, &self.context.http, waits).await?;
        let address = server.address();
        match role {
            ServerRole::Backend => {
                if self.state.backend_pauses > 0 {
                    server.pause().await?;
                }
                self.context.set_backend_killer(Some(server.killer()));
                self.state.backend = Some(server);
            }
            ServerRole::Service => {
                if self.state.service_pauses > 0 {
                    server.pause().await?;
                }
                if std::mem::take(&mut self.state.wants_compaction) {
                    server.compact().await?;
                }
                self.state.service = Some(server);
                self.pause_walsender().await?;
                self.expect_progress();
            }
        }
        Ok(Some(address))
    }

    pub(crate) async fn pause_backend(mut self) -> Result<(), String> {
        self.state.backend_pauses += 1;
        match &self.state.backend {
            Some(backend) if self.state.backend_pauses == 1 => backend.pause().await,
            _ => Ok(()),
        }
    }

    pub(crate) async fn resume_backend(mut self) -> Result<(), String> {
        self.state.backend_pauses = self.state.backend_pauses.saturating_sub(1);
        match &self.state.backend {
            Some(backend) if self.state.backend_pauses == 0 => backend.resume().await,
            _ => Ok(()),
        }
    }

    pub(crate) async fn pause_service(mut self) -> Result<(), String> {
        self.state.service_pauses += 1;
        self.show_blocked();
        self.context.set_progressing_service(None);
        match &self.state.service {
            // It is paused once, however many faults do so.
            Some(service) if self.state.service_pauses == 1 => service.pause().await,
            _ => Ok(()),
        }
    }

    pub(crate) async fn resume_service(mut self) -> Result<(), String> {
        self.state.service_pauses = self.state.service_pauses.saturating_sub(1);
        if self.state.service_pauses > 0 {
            return Ok(());
        }
        let resumed = match &self.state.service {
            Some(service) => service.resume().await,
            None => Ok(()),
        };
        self.show_blocked();
        self.pause_walsender().await?;
        self.expect_progress();
        resumed
    }

    /// The service compacts its buckets, as soon as it runs.
    pub(crate) async fn compact(mut self) -> Result<(), String> {
        self.state.wants_compaction = self.state.service.is_none();
        match &self.state.service {
            Some(service) => service.compact().await,
            None => Ok(()),
        }
    }

    /// From its next start on the service has another text of the same rules, which is a new version.
    pub(crate) async fn change_sync_config(mut self) -> Result<(), String> {
        self.state.config_changes += 1;
        self.environment.write_sync_config(&format!("\n# Deployed again: {}.\n", self.state.config_changes))
    }

    /// A new key signs; the backend knows it at once.
    pub(crate) async fn rotate_keys(self, lifetime_us: i64) -> Result<TokenIssuer, String> {
        let (now_us, backend) = (self.context.clock_file.shown_us(), self.state.backend.as_deref());
        self.environment.base().keys.rotate(now_us, lifetime_us, backend, &self.context.http).await
    }

    /// The service gets all keys, and reads them again if it runs.
    pub(crate) async fn reload_keys(self) -> Result<(), String> {
        let count = self.environment.base().keys.write_key_set()?;
        let Some(service) = &self.state.service else { return Ok(()) };
        service.reload_keys(&self.context.http, count, self.state.service_pauses == 0).await
    }
}
