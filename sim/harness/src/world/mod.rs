//! Where a plan runs. Whoever runs one asks for a [`World`] and does not ask which.

pub mod child;
mod clock;
pub mod containers;
pub mod deterministic;
pub mod embedded;
pub mod external;
pub(crate) mod real;
mod told;
mod writes;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fixtures::App;
use sim_core::{Plan, Seed};
use sim_core::history::{ConflictRecord, Time};
use sim_core::plan::Fault;

use crate::device::kind::STREAM_IDLE_TIMEOUT;
use crate::network::sim::SimNetwork;
use crate::recorder::Recorder;
use crate::trial::Setup;

/// Which world, with what it keeps from plan to plan.
#[derive(Clone, Debug, Default)]
pub enum Kind {
    /// Everything in this process, in virtual time.
    #[default]
    Deterministic,
    /// Processes on loopback.
    Embedded(Arc<embedded::Pool>),
    /// A deployment in containers.
    Containers(Arc<containers::Pool>),
    /// A stack that somebody else runs.
    External(Arc<external::Pool>),
}

/// The names of the worlds that there are.
pub const NAMES: [&str; 4] = ["deterministic", "embedded", "containers", "external"];
/// Of those in which everything is ours, so that defects can be planted.
pub const OWN_NAMES: [&str; 3] = ["deterministic", "embedded", "containers"];

/// One world, up.
pub enum World {
    /// See [`deterministic`].
    Deterministic(deterministic::World),
    /// Real servers, whichever way they run.
    Real(Box<real::World>),
}

impl Kind {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Deterministic => "deterministic",
            Self::Embedded(_) => "embedded",
            Self::Containers(_) => "containers",
            Self::External(_) => "external",
        }
    }

    /// What the times of its histories are.
    #[must_use]
    pub fn time(&self) -> Time {
        match self {
            Self::Deterministic => Time::Virtual,
            Self::Embedded(_) | Self::Containers(_) | Self::External(_) => Time::Real,
        }
    }

    /// Whether others use its database as well.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::External(_))
    }

    /// The plan as it runs there.
    ///
    /// # Panics
    /// When the machine gives no randomness where ids must be new.
    #[must_use]
    pub fn adapt(&self, plan: &Plan, app: &App) -> Plan {
        let Self::External(pool) = self else { return plan.clone() };
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("a machine has randomness");
        external::guest(plan, app, pool.only_user(), Seed(u64::from_le_bytes(bytes)))
    }
}

impl World {
    /// Brings a world up, with the seed rows in its database. Must be called within a `LocalSet`.
    ///
    /// # Errors
    /// In words, why it did not come up.
    pub async fn up(setup: &Setup, plan: Rc<Plan>, recorder: Recorder) -> Result<Self, String> {
        let world = match &setup.world {
            Kind::Deterministic => return Ok(Self::Deterministic(deterministic::World::up(setup, plan, recorder))),
            Kind::Embedded(pool) => {
                let (site, pool) = (pool.take()?, pool.clone());
                real::World::up(setup, plan, recorder, site, move |site| pool.give_back(site)).await?
            }
            Kind::Containers(pool) => {
                let (site, pool) = (pool.take()?, pool.clone());
                real::World::up(setup, plan, recorder, site, move |site| pool.give_back(site)).await?
            }
            Kind::External(pool) => {
                let (site, pool) = (pool.take()?, pool.clone());
                recorder.keep_own();
                real::World::up(setup, plan, recorder, site, move |site| pool.give_back(site)).await?
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
