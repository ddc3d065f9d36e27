//! How hard a fault strikes: what a scenario file says, and what holds where it says nothing.

use serde::Deserialize;

use super::{ContainerFault, Direction, FaultSpec, KillInstant, Server, StackPart};
use crate::range::Range;

/// What a scenario file gives under `with`; which of it a fault has is in the table of faults.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FaultSettings {
    pub(crate) for_s: Option<Range>,
    pub(crate) latency_ms: Option<Range>,
    pub(crate) jitter_ms: Option<Range>,
    pub(crate) bandwidth: Option<Range>,
    pub(crate) request_lost: Option<Range>,
    pub(crate) reply_lost: Option<Range>,
    pub(crate) duplicated: Option<Range>,
    pub(crate) after_steps: Option<Range>,
    pub(crate) by_s: Option<Range>,
    pub(crate) age_s: Option<Range>,
    pub(crate) server: Option<Server>,
    pub(crate) direction: Option<Direction>,
    pub(crate) instant: Option<KillInstant>,
    pub(crate) part: Option<StackPart>,
    pub(crate) how: Option<ContainerFault>,
}

/// How hard a fault strikes. Settings that a fault does not have are ignored.
#[derive(Clone, Debug)]
pub(crate) struct Strength {
    pub(crate) for_s: Range,
    pub(crate) latency_ms: Range,
    pub(crate) jitter_ms: Range,
    pub(crate) bandwidth: Range,
    pub(crate) request_lost: Range,
    pub(crate) reply_lost: Range,
    pub(crate) duplicated: Range,
    pub(crate) after_steps: Range,
    pub(crate) by_s: Range,
    pub(crate) age_s: Range,
    pub(crate) server: Option<Server>,
    pub(crate) direction: Option<Direction>,
    pub(crate) instant: Option<KillInstant>,
    pub(crate) part: Option<StackPart>,
    pub(crate) how: Option<ContainerFault>,
}

impl Strength {
    /// The default strength of a fault that lasts this long by default.
    pub(crate) fn default_of(spec: &FaultSpec) -> Self {
        Self {
            for_s: spec.for_s,
            latency_ms: Range::new(100.0, 1500.0),
            jitter_ms: Range::new(0.0, 1000.0),
            bandwidth: Range::new(2_000.0, 100_000.0),
            request_lost: Range::new(0.0, 40.0),
            reply_lost: Range::new(0.0, 60.0),
            duplicated: Range::new(0.0, 40.0),
            after_steps: Range::new(0.0, 10.0),
            by_s: Range::new(-3600.0, 3600.0),
            age_s: Range::new(1.0, 60.0),
            server: None,
            direction: None,
            instant: None,
            part: None,
            how: None,
        }
    }

    /// The strength that a file gives, with the defaults for the rest.
    pub(crate) fn of(spec: &FaultSpec, with: &FaultSettings) -> Self {
        let default = Self::default_of(spec);
        let lossy = with.request_lost.is_some() || with.reply_lost.is_some() || with.duplicated.is_some();
        let unnamed = Range::exactly(0.0);
        Self {
            for_s: with.for_s.unwrap_or(default.for_s),
            latency_ms: with.latency_ms.unwrap_or(default.latency_ms),
            jitter_ms: with.jitter_ms.unwrap_or(default.jitter_ms),
            bandwidth: with.bandwidth.unwrap_or(default.bandwidth),
            // A file that names one fate of requests means that one; a file that names none means all of them.
            request_lost: with.request_lost.unwrap_or(if lossy { unnamed } else { default.request_lost }),
            reply_lost: with.reply_lost.unwrap_or(if lossy { unnamed } else { default.reply_lost }),
            duplicated: with.duplicated.unwrap_or(if lossy { unnamed } else { default.duplicated }),
            after_steps: with.after_steps.unwrap_or(default.after_steps),
            by_s: with.by_s.unwrap_or(default.by_s),
            age_s: with.age_s.unwrap_or(default.age_s),
            server: with.server,
            direction: with.direction,
            instant: with.instant,
            part: with.part,
            how: with.how,
        }
    }
}

impl FaultSettings {
    /// Whether the fault has everything that is given, and every number is possible.
    ///
    /// # Errors
    /// The field, and what would be right.
    pub(crate) fn check(&self, spec: &FaultSpec) -> Result<(), (String, String)> {
        let ranges = [
            ("for_s", self.for_s),
            ("latency_ms", self.latency_ms),
            ("jitter_ms", self.jitter_ms),
            ("bandwidth", self.bandwidth),
            ("request_lost", self.request_lost),
            ("reply_lost", self.reply_lost),
            ("duplicated", self.duplicated),
            ("after_steps", self.after_steps),
            ("by_s", self.by_s),
            ("age_s", self.age_s),
        ];
        let others = [
            ("server", self.server.is_some()),
            ("direction", self.direction.is_some()),
            ("instant", self.instant.is_some()),
            ("part", self.part.is_some()),
            ("how", self.how.is_some()),
        ];
        let mut given = ranges.iter().map(|(name, range)| (*name, range.is_some())).chain(others);
        if let Some((field, _)) = given.find(|(field, given)| *given && !spec.settings.contains(field)) {
            let has = if spec.settings.is_empty() { "nothing".to_owned() } else { spec.settings.join(", ") };
            return Err((format!("with.{field}"), format!("the fault {} has {has}", spec.name)));
        }
        for (field, range) in ranges {
            let Some(range) = range else { continue };
            if range.min < 0.0 && field != "by_s" {
                return Err((format!("with.{field}"), "is not below 0".to_owned()));
            }
            if matches!(field, "request_lost" | "reply_lost" | "duplicated") && range.max > 100.0 {
                return Err((format!("with.{field}"), "is a percentage".to_owned()));
            }
        }
        Ok(())
    }
}
