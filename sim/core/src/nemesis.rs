//! Drawing faults: which ones exist in a plan, how often they strike, which device, when and how hard.
//!
//! Swarm testing: most faults of a scenario are absent from most of its plans, so that plans differ in kind.

use rand::Rng as _;

use crate::device::{Device, DeviceKind};
use crate::fault::{Aim, Draw, Fault, FaultName, FaultSettings, StackPart, Strength};
use crate::range::Range;
use crate::seed::Rng;

/// The chance that a fault named in `swarm` exists in a plan.
const SWARM_CHANCE: f64 = 0.35;

/// A fault that the plans of a scenario may hold, and how it is drawn.
#[derive(Clone, Debug)]
pub(crate) struct FaultGenerator {
    pub(crate) fault: FaultName,
    /// The chance that it exists in a plan.
    pub(crate) chance: f64,
    /// How often it then strikes.
    pub(crate) times: Range,
    pub(crate) aim: Aim,
    /// Seconds from the beginning, instead of an aim.
    pub(crate) at_s: Option<Range>,
    /// The kinds of device that it may strike; empty: all.
    pub(crate) kinds: Vec<DeviceKind>,
    /// Whether a plan may do without it: it is one of a swarm.
    pub(crate) is_swarm: bool,
    strength: Strength,
}

/// A transaction of the workload: when, and on which device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransactionTime {
    pub(crate) at_us: i64,
    pub(crate) device: u32,
}

impl FaultGenerator {
    /// With default strength, in some plans only.
    pub(crate) fn swarm(fault: FaultName) -> Self {
        let strength = Strength::default_of(fault.spec());
        Self { chance: SWARM_CHANCE, times: Range::new(1.0, 3.0), is_swarm: true, ..Self::once(fault, strength) }
    }

    /// In every plan, once, with the strength that a file gives.
    pub(crate) fn always(fault: FaultName, settings: &FaultSettings) -> Result<Self, (String, String)> {
        settings.check(fault.spec())?;
        Ok(Self::once(fault, Strength::of(fault.spec(), settings)))
    }

    fn once(fault: FaultName, strength: Strength) -> Self {
        Self {
            fault,
            chance: 1.0,
            times: Range::exactly(1.0),
            aim: fault.spec().aim,
            at_s: None,
            kinds: fault.spec().device_kinds.to_vec(),
            is_swarm: false,
            strength,
        }
    }

    /// The container that it strikes, if a file names one.
    pub(crate) fn part(&self) -> Option<StackPart> {
        self.strength.part
    }

    /// Draws its strikes in one plan, as (time, fault). `end_us` is when the workload ends.
    pub(crate) fn strikes(
        &self,
        rng: &mut Rng,
        devices: &[Device],
        transactions: &[TransactionTime],
        end_us: i64,
    ) -> Vec<(i64, Fault)> {
        if !rng.random_bool(self.chance) {
            return Vec::new();
        }
        let suits = |device: u32| self.kinds.is_empty() || self.kinds.contains(&devices[device as usize].kind);
        let able: Vec<u32> = (0..devices.len() as u32).filter(|device| suits(*device)).collect();
        if able.is_empty() {
            return Vec::new();
        }
        let mut strikes = Vec::new();
        for _ in 0..self.times.count(rng) {
            let device = able[rng.random_range(0..able.len())];
            let (at_us, device) = match (self.at_s, self.aim) {
                (Some(range), _) => (range.seconds(rng), device),
                (None, Aim::Anywhere) => (rng.random_range(0..=end_us.max(1)), device),
                (None, Aim::Transaction) => self.near_a_transaction(rng, transactions, suits).unwrap_or((0, device)),
            };
            strikes.push((at_us, self.fault(rng, device)));
        }
        strikes
    }

    /// A moment around some transaction of some device that it may strike.
    fn near_a_transaction(
        &self,
        rng: &mut Rng,
        transactions: &[TransactionTime],
        suits: impl Fn(u32) -> bool,
    ) -> Option<(i64, u32)> {
        for _ in 0..16 {
            let transaction = transactions.get(rng.random_range(0..transactions.len().max(1)))?;
            if suits(transaction.device) {
                // Most uploads begin within a second of the transaction and take two round trips; some wait for a retry.
                let after_us = if self.fault.spec().before_upload {
                    -Range::new(0.0, 500.0).milliseconds(rng)
                } else if rng.random_bool(0.7) {
                    Range::new(0.0, 1400.0).milliseconds(rng)
                } else {
                    Range::new(0.0, 7000.0).milliseconds(rng)
                };
                return Some(((transaction.at_us + after_us).max(0), transaction.device));
            }
        }
        None
    }

    /// Draws one strike at a device; a fault of a server ignores the device.
    pub(crate) fn fault(&self, rng: &mut Rng, device: u32) -> Fault {
        let for_us = self.strength.for_s.seconds(rng).max(0) as u64;
        (self.fault.spec().draw)(&mut Draw { rng, strength: &self.strength, device, for_us })
    }
}
