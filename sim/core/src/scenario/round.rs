//! Rounds of a scenario: devices come apart, act on the same rows, and meet again.

use serde::Deserialize;

use crate::activity::Term;
use crate::fault::{Direction, Fault, Server};
use crate::nemesis::FaultGenerator;
use crate::range::Range;

/// Rounds: devices come apart, act on the same rows, and meet again.
#[derive(Clone, Debug)]
pub(crate) struct Rounds {
    pub(crate) count: Range,
    pub(crate) pause_s: Range,
    pub(crate) kinds: Vec<Round>,
}

/// One kind of round.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) weight: f64,
    pub(crate) actors: Range,
    pub(crate) apart: Vec<Separation>,
    pub(crate) apart_by: ActorSet,
    pub(crate) reconnect_s: Range,
    pub(crate) targets: Vec<(String, RoundTarget)>,
    pub(crate) values: Vec<(String, Term)>,
    pub(crate) acts: Vec<Act>,
    pub(crate) faults: Vec<(ActorSet, Range, FaultGenerator)>,
}

/// A row, or rows, that a round is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RoundTarget {
    /// A seed row that no other round of the plan is about.
    Pick(usize),
    /// A seed row that other rounds may be about as well.
    Hot(usize),
    /// A row that each actor makes for itself.
    New(usize),
    /// One row for all actors, which is not there until one of them makes it.
    Made(usize),
    /// Seed rows in a list that other rounds may be about as well.
    List(usize, Range),
}

/// What some of the actors do in a round.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub(crate) by: ActorSet,
    pub(crate) activities: Vec<(f64, ActivityRef)>,
    pub(crate) when: When,
    pub(crate) at_s: Range,
    pub(crate) times: Range,
    pub(crate) gap_s: Range,
    /// (slot of the activity, target of the round), by name.
    pub(crate) rows: Vec<(String, usize)>,
    /// Values given to the activity, before those of the round.
    pub(crate) values: Vec<(String, Term)>,
}

/// Which of the actors, whose order is drawn for each round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ActorSet {
    /// All of them.
    All,
    /// The first.
    First,
    /// The second.
    Second,
    /// The third, if there is one.
    Third,
    /// All but the first.
    Others,
    /// None.
    Nobody,
}

impl ActorSet {
    /// Whether the actor in this place is meant.
    pub(crate) fn includes(self, place: usize) -> bool {
        match self {
            Self::All => true,
            Self::First => place == 0,
            Self::Second => place == 1,
            Self::Third => place == 2,
            Self::Others => place > 0,
            Self::Nobody => false,
        }
    }
}

/// Whether actors act before or after they can reach each other again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum When {
    /// While they are apart.
    Apart,
    /// After all have met again.
    Together,
}

/// How actors are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Separation {
    /// Each is offline and knows it.
    Offline,
    /// Each loses all messages and does not know it.
    Partition,
    /// Each loses messages to the backend: it sees others, and nobody sees it.
    Unheard,
    /// Each loses messages of the service: it is seen, and sees nobody.
    Unseeing,
}

impl Separation {
    /// The fault that keeps a device apart for this long.
    pub(crate) fn fault(self, device: u32, for_us: u64) -> Fault {
        let partition = |from: Server| Fault::Partition { device, from, direction: Direction::Both, for_us };
        match self {
            Self::Offline => Fault::Offline { device, for_us },
            Self::Partition => partition(Server::Both),
            Self::Unheard => partition(Server::Backend),
            Self::Unseeing => partition(Server::Service),
        }
    }
}

/// One transaction of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActivityRef {
    /// This activity.
    Activity(usize),
    /// Anything that schema and generators allow.
    Crud,
}
