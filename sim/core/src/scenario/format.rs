//! A scenario file as people write it. `scenarios/README.md` explains each field.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::definition::DeviceChoice;
use super::round::{ActorSet, Separation, When};
use crate::activity::{ListEntry, TermEntry};
use crate::device::DeviceKind;
use crate::fault::{Aim, FaultName, FaultSettings};
use crate::promise::Claim;
use crate::range::Range;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) claim: String,
    pub(super) app: Option<String>,
    #[serde(default)]
    pub(super) reproduces: Vec<String>,
    pub(super) plans: Option<u32>,
    #[serde(default)]
    pub(super) worlds: Vec<String>,
    #[serde(default)]
    pub(super) swarm: Vec<FaultName>,
    pub(super) token_lifetime_s: Option<Range>,
    pub(super) latency_ms: Option<Range>,
    pub(super) resume: Option<Range>,
    #[serde(default)]
    pub(super) devices: Vec<DeviceEntry>,
    #[serde(default)]
    pub(super) seed: Vec<SeedEntry>,
    #[serde(default)]
    pub(super) mix: Vec<MixEntry>,
    pub(super) rounds: Option<RoundsEntry>,
    #[serde(default)]
    pub(super) round: Vec<RoundEntry>,
    #[serde(default)]
    pub(super) faults: Vec<FaultEntry>,
    #[serde(default)]
    pub(super) promises: PromisesEntry,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceEntry {
    pub(super) kind: DeviceChoice,
    pub(super) count: Option<Range>,
    pub(super) clock_skew_s: Option<Range>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeedEntry {
    pub(super) table: String,
    pub(super) rows: Range,
    #[serde(default)]
    pub(super) set: BTreeMap<String, TermEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MixEntry {
    pub(super) activities: BTreeMap<String, f64>,
    pub(super) by: Option<ActorSet>,
    pub(super) start_s: Option<Range>,
    pub(super) for_s: Range,
    pub(super) transactions: Option<Range>,
    pub(super) every_s: Option<Range>,
    pub(super) hot: Option<f64>,
    pub(super) edges: Option<bool>,
    pub(super) large: Option<f64>,
    pub(super) transaction_size: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoundsEntry {
    pub(super) count: Range,
    pub(super) pause_s: Option<Range>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoundEntry {
    pub(super) weight: Option<f64>,
    pub(super) actors: Option<Range>,
    #[serde(default)]
    pub(super) apart: Vec<Separation>,
    pub(super) apart_by: Option<ActorSet>,
    pub(super) reconnect_s: Option<Range>,
    #[serde(default)]
    pub(super) targets: BTreeMap<String, TargetEntry>,
    #[serde(default)]
    pub(super) values: BTreeMap<String, TermEntry>,
    pub(super) act: Vec<ActEntry>,
    #[serde(default)]
    pub(super) faults: Vec<RoundFaultEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum TargetEntry {
    Pick(String),
    Hot(String),
    New(String),
    Made(String),
    List(ListEntry),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActEntry {
    pub(super) by: ActorSet,
    pub(super) activities: BTreeMap<String, f64>,
    pub(super) when: Option<When>,
    pub(super) at_s: Option<Range>,
    pub(super) times: Option<Range>,
    pub(super) gap_s: Option<Range>,
    #[serde(default)]
    pub(super) rows: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) values: BTreeMap<String, TermEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultEntry {
    pub(super) fault: FaultName,
    pub(super) chance: Option<f64>,
    pub(super) times: Option<Range>,
    pub(super) aim: Option<Aim>,
    pub(super) at_s: Option<Range>,
    pub(super) kinds: Option<Vec<DeviceKind>>,
    #[serde(default)]
    pub(super) with: FaultSettings,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoundFaultEntry {
    pub(super) fault: FaultName,
    pub(super) by: ActorSet,
    pub(super) at_s: Option<Range>,
    #[serde(default)]
    pub(super) with: FaultSettings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PromisesEntry {
    pub(super) claims: Vec<Claim>,
    pub(super) deadline_s: Option<f64>,
    pub(super) latency_p95_ms_max: Option<u64>,
    pub(super) must_occur: Vec<String>,
    pub(super) refused_percent_max: Option<u64>,
}
