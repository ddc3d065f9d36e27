//! The two servers as child processes of a harness: the same programs, by the plan's clock. They end with their parent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;

use backend::server::clock::file_clock;

use crate::clock::Clock;

/// The variable that makes `syncstorm backend` and `syncstorm service` children: the file with the plan's clock, or
/// [`MACHINE_CLOCK`].
pub(crate) const CLOCK_FILE: &str = "SYNCSTORM_CLOCK_FILE";
/// The variable with the process id of a child's parent.
pub(crate) const PARENT: &str = "SYNCSTORM_PARENT";
/// For a child that no plan runs on.
pub(crate) const MACHINE_CLOCK: &str = "machine";
/// How often a server that waits for the clock looks at it again.
const CLOCK_POLL: Duration = Duration::from_millis(2);

/// What a child was given.
pub struct Child {
    /// The plan's; `None` is the machine's.
    clock: Option<Clock>,
}

impl Child {
    /// `None` when this process is no child; a child ends with its parent from now on.
    ///
    /// # Errors
    /// When the clock cannot be read, or the parent is gone.
    pub fn of_environment() -> Result<Option<Self>, Box<dyn std::error::Error>> {
        let Some(path) = std::env::var_os(CLOCK_FILE) else { return Ok(None) };
        #[cfg(target_os = "linux")]
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The kernel sends no signal for a parent that had ended before.
        if std::env::var(PARENT)? != nix::unistd::getppid().to_string() {
            return Err("the harness that started this server is gone".into());
        }
        let clock = if path == MACHINE_CLOCK { None } else { Some(file_clock(path.as_ref())?) };
        Ok(Some(Self { clock }))
    }

    /// Runs the backend until it is told to end; `announce` is given its address.
    ///
    /// # Errors
    /// Those of the backend.
    pub async fn backend(
        self,
        config: backend::server::Config,
        announce: impl FnOnce(SocketAddr),
    ) -> Result<(), backend::server::ServerError> {
        let clock = self.clock.unwrap_or_else(|| Arc::new(backend::server::machine_clock_us));
        backend::server::serve_with(config, clock, announce).await
    }

    /// Runs the service until it is told to end; `announce` is given its address.
    ///
    /// # Errors
    /// Those of the service.
    pub fn service(
        self,
        config: sim_service::server::Config,
        announce: impl FnOnce(SocketAddr),
    ) -> Result<(), sim_service::server::ServeError> {
        let time = self.clock.map_or_else(sim_service::server::Time::default, |clock| sim_service::server::Time {
            clock,
            clock_poll_interval: Some(CLOCK_POLL),
        });
        sim_service::server::run_with(config, time, announce)
    }
}
