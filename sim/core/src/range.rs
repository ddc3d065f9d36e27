//! A number, or a range from which each plan draws one: `3` or `[2, 5]`.

use std::fmt;

use rand::Rng as _;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use crate::seed::Rng;

/// A range with both ends, of any unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Range {
    /// A range.
    #[must_use]
    pub const fn new(min: f64, max: f64) -> Self {
        Self { min, max }
    }

    /// Exactly this.
    #[must_use]
    pub const fn exactly(value: f64) -> Self {
        Self { min: value, max: value }
    }

    /// A real number.
    pub fn real(self, rng: &mut Rng) -> f64 {
        if self.max > self.min { rng.random_range(self.min..=self.max) } else { self.min }
    }

    /// A whole number.
    pub fn int(self, rng: &mut Rng) -> i64 {
        let (min, max) = (self.min.ceil() as i64, self.max.floor() as i64);
        if max > min { rng.random_range(min..=max) } else { min }
    }

    /// How many.
    pub fn count(self, rng: &mut Rng) -> u32 {
        u32::try_from(self.int(rng).max(0)).unwrap_or(u32::MAX)
    }

    /// A percentage.
    pub fn percent(self, rng: &mut Rng) -> u8 {
        self.int(rng).clamp(0, 100) as u8
    }

    /// Microseconds, of a range in seconds.
    pub fn seconds(self, rng: &mut Rng) -> i64 {
        (self.real(rng) * 1e6) as i64
    }

    /// Microseconds, of a range in milliseconds.
    pub fn milliseconds(self, rng: &mut Rng) -> i64 {
        (self.real(rng) * 1e3) as i64
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RangeVisitor)
    }
}

struct RangeVisitor;

impl<'de> Visitor<'de> for RangeVisitor {
    type Value = Range;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a range such as [2, 5]")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Range, E> {
        Ok(Range::exactly(value as f64))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Range, E> {
        Ok(Range::exactly(value as f64))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Range, E> {
        if value.is_finite() { Ok(Range::exactly(value)) } else { Err(E::custom("a range is of finite numbers")) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Range, A::Error> {
        let mut bound = || items.next_element::<Range>();
        match (bound()?, bound()?, bound()?) {
            (Some(low), Some(high), None) if low.min == low.max && high.min == high.max => {
                if low.min <= high.min {
                    Ok(Range::new(low.min, high.min))
                } else {
                    Err(de::Error::custom(format!("the range [{}, {}] begins above its end", low.min, high.min)))
                }
            }
            _ => Err(de::Error::custom("a range has two numbers, such as [2, 5]")),
        }
    }
}
