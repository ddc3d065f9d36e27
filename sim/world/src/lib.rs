//! Where a plan runs. A trial asks for a [`World`] and does not need to know which.
//!
//! A trial is given a [`config`]: the [`system`] under test, the [`seams`] where something may be put between its
//! parts, and the [`WorldKind`]. [`deterministic`] is one world. `real` is what all worlds of real servers share;
//! [`embedded`], [`containers`] and [`external`] are the environments that their servers run in.
//!
//! At the bottom: `clock` (plan time as servers see it), `plan_rows` and `server_write` (rows and writes of a plan as
//! the server has them), `token`, and `translator` (what servers say in the words of the history).

pub mod child;
mod clock;
pub mod config;
pub mod containers;
pub mod deterministic;
pub mod embedded;
mod ending;
pub mod external;
mod kind;
mod plan_rows;
mod real;
pub mod seams;
mod server_write;
pub mod system;
mod token;
mod translator;

use std::rc::Rc;
use std::time::Duration;

use sim_core::Plan;
use sim_core::history::ConflictRecord;
use sim_core::plan::Fault;
use sim_device::platform::STREAM_IDLE_TIMEOUT;
use sim_device::recorder::Recorder;
use sim_network::sim::SimNetwork;

pub use config::TrialConfig;
pub use ending::Ending;
pub use kind::{NAMES, OWN_NAMES, WorldKind};
pub use system::SystemUnderTest;

/// One world, up.
pub enum World {
    /// See [`deterministic`].
    Deterministic(deterministic::World),
    /// Real servers, in whichever environment.
    Real(Box<real::World>),
}

impl World {
    /// Brings a world up, with the seed rows in its database. Must be called within a `LocalSet`.
    ///
    /// # Errors
    /// Why it did not come up.
    pub async fn up(config: &TrialConfig, plan: Rc<Plan>, recorder: Recorder) -> Result<Self, String> {
        let TrialConfig { system, seams, world, .. } = config;
        let world = match world {
            WorldKind::Deterministic => {
                let world = deterministic::World::up(system.clone(), seams.clone(), plan, recorder);
                return Ok(Self::Deterministic(world));
            }
            WorldKind::Embedded(pool) => {
                let (worker, pool) = (pool.take()?, pool.clone());
                real::World::up(system.clone(), plan, recorder, worker, move |worker| pool.give_back(worker)).await?
            }
            WorldKind::Containers(pool) => {
                let (worker, pool) = (pool.take()?, pool.clone());
                real::World::up(system.clone(), plan, recorder, worker, move |worker| pool.give_back(worker)).await?
            }
            WorldKind::External(pool) => {
                let (worker, pool) = (pool.take()?, pool.clone());
                recorder.omit_unplanned_rows();
                real::World::up(system.clone(), plan, recorder, worker, move |worker| pool.give_back(worker)).await?
            }
        };
        Ok(Self::Real(Box::new(world)))
    }

    /// How long devices wait on a silent stream, in plan time.
    #[must_use]
    pub fn stream_idle_timeout(&self) -> Duration {
        match self {
            Self::Deterministic(_) => STREAM_IDLE_TIMEOUT,
            Self::Real(world) => world.stream_idle_timeout(),
        }
    }

    /// How devices reach the servers.
    #[must_use]
    pub fn network(&self) -> &SimNetwork {
        match self {
            Self::Deterministic(world) => world.network(),
            Self::Real(world) => world.network(),
        }
    }

    /// A fault begins.
    ///
    /// # Errors
    /// Why it could not be injected.
    pub async fn inject(&self, key: u32, fault: &Fault) -> Result<(), String> {
        match self {
            Self::Deterministic(_) if !fault.spec().worlds.contains(&sim_core::fault::World::Deterministic) => {
                Err("there are no containers in this world".to_owned())
            }
            Self::Deterministic(world) => {
                world.inject(key, fault);
                Ok(())
            }
            Self::Real(world) => world.inject(key, fault).await,
        }
    }

    /// A fault ends.
    ///
    /// # Errors
    /// Why it could not be undone.
    pub async fn heal(&self, key: u32, fault: &Fault) -> Result<(), String> {
        match self {
            Self::Deterministic(world) => {
                world.heal(key, fault);
                Ok(())
            }
            Self::Real(world) => world.heal(key, fault).await,
        }
    }

    /// Ends what faults without an end of their own have left.
    pub async fn heal_remaining(&self) {
        match self {
            Self::Deterministic(world) => world.heal_remaining(),
            Self::Real(world) => world.heal_remaining().await,
        }
    }

    /// What `GET /conflicts` gives the device's user; `None` where the backend has no such route.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn conflicts(&self, device: u32) -> Result<Option<Vec<ConflictRecord>>, String> {
        match self {
            Self::Deterministic(world) => world.conflicts(device).await,
            Self::Real(world) => world.conflicts(device).await,
        }
    }

    /// Reads every row of the server into the history.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub async fn final_read(&self) -> Result<(), String> {
        match self {
            Self::Deterministic(world) => {
                world.final_read();
                Ok(())
            }
            Self::Real(world) => world.final_read().await,
        }
    }

    /// What was waited for in vain, in real time, and has not come since.
    #[must_use]
    pub fn waits_in_vain(&self) -> Vec<String> {
        match self {
            Self::Deterministic(_) => Vec::new(),
            Self::Real(world) => world.waits_in_vain(),
        }
    }

    /// Takes it down.
    pub async fn down(self) -> Ending {
        match self {
            Self::Deterministic(_) => Ending::default(),
            Self::Real(world) => world.down().await,
        }
    }
}
