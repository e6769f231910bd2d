//! How many invocations a gateway runs well at once, learned from how long they take.
//!
//! A gateway with room to spare answers as fast as ever when it gets one more; one without lets
//! everything wait. So each invocation's time is held against what its function takes while little
//! runs, and the limit follows the mean of that stretch: it grows as long as nothing is stretched,
//! and shrinks when too much is (additive increase, multiplicative decrease). Because times are
//! compared function by function, a slow function among fast ones looks like no overload.

use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;

use super::{FunctionName, Time};

/// How far the limit may go, and what counts as too slow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimitRule {
    /// Whether the limit is learned; otherwise it is what is configured.
    pub enabled: bool,
    /// Most invocations at once, whatever is learned.
    pub max: u32,
    /// Times the usual time of a function that the mean invocation may take.
    pub stretch_max: f64,
}

impl LimitRule {
    /// Most invocations at once by default.
    pub const MAX: u32 = 1000;
    /// Twice as long as usual, by default: the gateway runs one, and lets one more wait for it.
    pub const STRETCH_MAX: f64 = 2.0;
}

impl Default for LimitRule {
    fn default() -> Self {
        Self { enabled: false, max: Self::MAX, stretch_max: Self::STRETCH_MAX }
    }
}

/// Fewest samples and least time between two changes of the limit.
const WINDOW_SAMPLES: u32 = 16;
const WINDOW_TIME: Duration = Duration::from_millis(100);

/// The limit after a window that was too slow, as a share of the one before.
const DECREASE: f64 = 0.9;

/// Most that one sample counts for: one that stalls says no more than that it was slow.
const STRETCH_CAP: f64 = 10.0;

/// Weight of a new sample in the usual time of a function.
const USUAL_WEIGHT: f64 = 0.1;

/// What is learned about one gateway.
#[derive(Debug)]
pub struct Limit {
    limit: f64,
    /// Before the first slow window the limit doubles, since it may be far off.
    found: bool,
    /// Since when it has been what it is.
    changed: Time,
    samples: u32,
    stretch: f64,
    reached: bool,
    /// The mean stretch of the last window.
    mean: f64,
    /// The usual seconds of each function.
    usual: LruCache<FunctionName, f64>,
}

/// An invocation that has run.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// The function.
    pub function: FunctionName,
    /// When it began to run.
    pub begun: Time,
    /// How many ran then, itself included.
    pub running: u32,
    /// Whether the gateway said that it had too much to do.
    pub shed: bool,
}

impl Limit {
    /// A limit that has yet to be learned, about at most `functions`.
    pub fn new(functions: NonZeroUsize) -> Self {
        Self {
            limit: 0.0,
            found: false,
            changed: Time::ZERO,
            samples: 0,
            stretch: 0.0,
            reached: false,
            mean: 1.0,
            usual: LruCache::new(functions),
        }
    }

    /// The limit now, where it starts from `least` and never falls below.
    pub fn current(&self, rule: &LimitRule, least: u32) -> u32 {
        (self.limit as u32).max(least).min(rule.max.max(least))
    }

    /// Learns from an invocation that ended well, or was shed.
    pub fn record(&mut self, rule: &LimitRule, least: u32, sample: Sample, now: Time) {
        let limit = self.current(rule, least);
        let seconds = now.since(sample.begun).as_secs_f64();
        // Of a function that is new while others are stretched, believe that it is stretched too.
        let mean = self.mean.max(1.0);
        let usual = self.usual.get_or_insert_mut(sample.function, || seconds / mean);
        if !sample.shed && sample.running <= least {
            *usual += USUAL_WEIGHT * (seconds - *usual);
        }
        let stretch = if sample.shed { STRETCH_CAP } else { seconds / usual.max(1e-6) };
        // What began under another limit says nothing of this one.
        if sample.begun < self.changed {
            return;
        }
        self.samples += 1;
        self.stretch += stretch.min(STRETCH_CAP);
        self.reached |= sample.running >= limit;
        if self.samples >= WINDOW_SAMPLES && now.since(self.changed) >= WINDOW_TIME {
            self.follow(rule, least, now);
        }
    }

    /// Draws the conclusion from a window.
    fn follow(&mut self, rule: &LimitRule, least: u32, now: Time) {
        let limit = f64::from(self.current(rule, least));
        let mean = self.stretch / f64::from(self.samples);
        self.mean = mean;
        let next = if mean > rule.stretch_max {
            self.found = true;
            limit * DECREASE
        } else if !self.reached {
            // Nobody has tried whether more would be too many.
            limit
        } else if self.found {
            limit + 1.0
        } else {
            limit * 2.0
        };
        self.limit = next.clamp(f64::from(least), f64::from(rule.max.max(least)));
        if self.limit != limit {
            self.changed = now;
        }
        (self.samples, self.stretch, self.reached) = (0, 0.0, false);
    }
}
