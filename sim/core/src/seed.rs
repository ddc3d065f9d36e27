//! Where every draw comes from: named forks of one seed.
//!
//! A fork is keyed by purpose and stable keys, never by how much was drawn before, so that removing a step of a
//! plan leaves every other draw as it was.

use std::fmt;
use std::str::FromStr;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The generator behind every draw.
pub type Rng = ChaCha8Rng;

/// One seed. Written as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seed(pub u64);

impl Seed {
    /// A generator for one purpose and key, independent of every other fork.
    #[must_use]
    pub fn fork(self, purpose: &str, key: &[u64]) -> Rng {
        Rng::from_seed(self.digest(purpose, key))
    }

    /// A seed of its own for one purpose and key: that of a plan, from the run's.
    #[must_use]
    pub fn derive(self, purpose: &str, key: &[u64]) -> Self {
        let digest = self.digest(purpose, key);
        Self(u64::from_le_bytes(digest[..8].try_into().expect("a SHA-256 digest has 32 bytes")))
    }

    /// A UUID (version 4 in form) for one purpose and key.
    #[must_use]
    pub fn uuid(self, purpose: &str, key: &[u64]) -> String {
        let mut bytes: [u8; 16] = self.digest(purpose, key)[..16].try_into().expect("a SHA-256 digest has 32 bytes");
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = |range: std::ops::Range<usize>| -> String {
            bytes[range].iter().map(|byte| format!("{byte:02x}")).collect()
        };
        format!("{}-{}-{}-{}-{}", hex(0..4), hex(4..6), hex(6..8), hex(8..10), hex(10..16))
    }

    fn digest(self, purpose: &str, key: &[u64]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.0.to_le_bytes());
        hash.update((purpose.len() as u64).to_le_bytes());
        hash.update(purpose.as_bytes());
        for part in key {
            hash.update(part.to_le_bytes());
        }
        hash.finalize().into()
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if digits.is_empty() || digits.len() > 16 {
            return Err(format!("seed `{text}`: expected 1 to 16 hexadecimal digits, such as 5eed"));
        }
        u64::from_str_radix(digits, 16)
            .map(Self)
            .map_err(|_| format!("seed `{text}`: expected 1 to 16 hexadecimal digits, such as 5eed"))
    }
}

impl Serialize for Seed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
