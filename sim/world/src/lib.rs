//! Where a plan runs. Whoever runs one asks for a [`World`] and does not ask which.
//!
//! [`system`] what is tested, [`seams`] what may be put between its parts, [`config`] both and where they run: that is what
//! a trial is given. [`deterministic`] is one world; `real` is what is the same wherever servers are real, [`embedded`],
//! [`containers`] and [`external`] are what it stands on.

pub mod child;
mod clock;
pub mod config;
pub mod containers;
pub mod deterministic;
pub mod embedded;
pub mod external;
mod kind;
mod real;
pub mod seams;
pub mod system;
mod told;
mod writes;

use std::rc::Rc;
use std::time::Duration;

use sim_core::Plan;
use sim_core::history::ConflictRecord;
use sim_core::plan::Fault;
use sim_device::platform::STREAM_IDLE_TIMEOUT;
use sim_device::recorder::Recorder;
use sim_network::sim::SimNetwork;

pub use config::TrialConfig;
pub use kind::{NAMES, OWN_NAMES, WorldKind};
pub use system::SystemUnderTest;

/// One world, up.
pub enum World {
    /// See [`deterministic`].
    Deterministic(deterministic::World),
    /// Real servers, whichever way they run.
    Real(Box<real::World>),
}

impl World {
    /// Brings a world up, with the seed rows in its database. Must be called within a `LocalSet`.
    ///
    /// # Errors
    /// In words, why it did not come up.
    pub async fn up(config: &TrialConfig, plan: Rc<Plan>, recorder: Recorder) -> Result<Self, String> {
        let TrialConfig { system, seams, world } = config;
        let world = match world {
            WorldKind::Deterministic => {
                let world = deterministic::World::up(system.clone(), seams.clone(), plan, recorder);
                return Ok(Self::Deterministic(world));
            }
            WorldKind::Embedded(pool) => {
                let (site, pool) = (pool.take()?, pool.clone());
                real::World::up(system.clone(), plan, recorder, site, move |site| pool.give_back(site)).await?
            }
            WorldKind::Containers(pool) => {
                let (site, pool) = (pool.take()?, pool.clone());
                real::World::up(system.clone(), plan, recorder, site, move |site| pool.give_back(site)).await?
            }
            WorldKind::External(pool) => {
                let (site, pool) = (pool.take()?, pool.clone());
                recorder.omit_unplanned_rows();
                real::World::up(system.clone(), plan, recorder, site, move |site| pool.give_back(site)).await?
            }
        };
        Ok(Self::Real(Box::new(world)))
    }

    /// How long devices bear with silence on a stream, in plan time.
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
    /// In words, why it could not be injected.
    pub async fn strike(&self, key: u32, fault: &Fault) -> Result<(), String> {
        match self {
            Self::Deterministic(_) if matches!(fault, Fault::Container { .. } | Fault::CacheFlushed) => {
                Err("there are no containers in this world".to_owned())
            }
            Self::Deterministic(world) => {
                world.strike(key, fault);
                Ok(())
            }
            Self::Real(world) => world.strike(key, fault).await,
        }
    }

    /// A fault ends.
    ///
    /// # Errors
    /// In words, why it could not be undone.
    pub async fn heal(&self, key: u32, fault: &Fault) -> Result<(), String> {
        match self {
            Self::Deterministic(world) => {
                world.heal(key, fault);
                Ok(())
            }
            Self::Real(world) => world.heal(key, fault).await,
        }
    }

    /// Undoes what faults without a length of their own have left.
    pub async fn mend(&self) {
        match self {
            Self::Deterministic(world) => world.mend(),
            Self::Real(world) => world.mend().await,
        }
    }

    /// What `GET /conflicts` gives the device's user; `None` where the backend has no such route.
    ///
    /// # Errors
    /// In words, when the answer is none.
    pub async fn conflicts(&self, device: u32) -> Result<Option<Vec<ConflictRecord>>, String> {
        match self {
            Self::Deterministic(world) => world.conflicts(device).await,
            Self::Real(world) => world.conflicts(device).await,
        }
    }

    /// Reads every row of the server into the history.
    ///
    /// # Errors
    /// In words, when they cannot be read.
    pub async fn final_read(&self) -> Result<(), String> {
        match self {
            Self::Deterministic(world) => {
                world.final_read();
                Ok(())
            }
            Self::Real(world) => world.final_read().await,
        }
    }

    /// Takes it down.
    ///
    /// # Errors
    /// What went wrong meanwhile that is nobody's fault: a server that ended by itself.
    pub async fn down(self) -> Result<(), String> {
        match self {
            Self::Deterministic(_) => Ok(()),
            Self::Real(world) => world.down().await,
        }
    }
}
