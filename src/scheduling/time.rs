//! Time, as the core sees it.

use std::ops::Add;
use std::time::Duration;

/// A point in time, counted from an origin the shell chooses: whole nanoseconds, for 584 years.
///
/// Half the size of a [`Duration`], for what is believed of a node is mostly times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The origin.
    pub const ZERO: Self = Self(0);

    /// This long after the origin.
    pub const fn after_origin(elapsed: Duration) -> Self {
        Self(nanos(elapsed))
    }

    /// This many seconds after the origin.
    pub fn from_secs_f64(secs: f64) -> Self {
        Self::after_origin(Duration::from_secs_f64(secs))
    }

    /// How long after `earlier` this is; zero if it is before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This long before; the origin at the earliest.
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }

    /// How many seconds after `earlier` this is; zero if it is before. To the nanosecond for as long as a
    /// float can tell, and cheaper than [`Time::since`].
    pub(super) fn secs_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 * 1e-9
    }

    /// So many seconds before; the origin at the earliest.
    pub(super) fn before_secs(self, secs: f64) -> Self {
        // As many as fit, and none of what is no number.
        Self(self.0.saturating_sub((secs * 1e9) as u64))
    }

    /// Whole seconds since the origin.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Milliseconds since the origin, modulo 2^32.
    pub(crate) const fn as_millis_wrapping(self) -> u32 {
        (self.0 / 1_000_000) as u32
    }
}

/// As many as fit.
const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}
