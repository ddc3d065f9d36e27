//! What became of the registers of one edit, counted.

/// In how many registers an edit met which fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FateCounts {
    /// Registers in which it visibly took effect as sent.
    pub(super) stands: u32,
    /// Registers in which it joined, changed on the way, or found its value there already.
    pub(super) other: u32,
    /// Registers in which another's value stays.
    pub(super) lost: u32,
}

impl FateCounts {
    pub(super) const STANDS: Self = Self { stands: 1, other: 0, lost: 0 };
    pub(super) const OTHER: Self = Self { stands: 0, other: 1, lost: 0 };
    pub(super) const LOST: Self = Self { stands: 0, other: 0, lost: 1 };
}
