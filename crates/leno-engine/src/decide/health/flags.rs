//! What is wrong with an endpoint, besides what its configuration says.

use std::ops::BitOr;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// Its active health check says so.
    pub const FAILED_CHECK: Self = Self(1);
    /// Ejected by outlier detection.
    pub const EJECTED: Self = Self(1 << 1);
    /// It says of itself that it is degraded, in an answer to a check.
    pub const DEGRADED_CHECK: Self = Self(1 << 2);
    /// Never checked yet; told only where such endpoints are left out of account.
    pub const UNCHECKED: Self = Self(1 << 3);
    /// It has asked to get nothing more.
    pub const EXCLUDED: Self = Self(1 << 4);
    /// The last check has failed by its time-out.
    pub const TIMED_OUT: Self = Self(1 << 5);
    /// Discovery has taken it away, and it stays for as long as it is well.
    pub const LEAVING: Self = Self(1 << 6);

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    pub(super) const fn of_bits(bits: u8) -> Self {
        Self(bits)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}
