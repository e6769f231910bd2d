//! The last decisions, with what they went by, for operators.
//!
//! At most [`PER_SECOND_MAX`] are kept per second, whatever comes in: to find that the next one is not
//! wanted costs an invocation one comparison.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::scheduling::explanation::Explanation;
use crate::scheduling::policy::Architecture;
use crate::scheduling::route::{Decision, Invocation, Stage, Step, Why};
use crate::scheduling::{FunctionName, Site, Time};
use crate::topology::{NodeIndex, Topology};

/// Most decisions that are kept per second besides those that somebody asks for.
pub const PER_SECOND_MAX: u32 = 10;

/// A decision, and all that it went by.
#[derive(Debug)]
pub struct Explained {
    /// When it was made, in seconds since 1970.
    pub unix_s: f64,
    /// Who the nodes in it are.
    pub topology: Arc<Topology>,
    /// Who made it.
    pub here: NodeIndex,
    /// For which function.
    pub function: FunctionName,
    /// What was asked of this node.
    pub stage: Stage,
    /// Sidecars the invocation had passed.
    pub hop: u8,
    /// Which attempt at it this was, from 1.
    pub attempt: usize,
    /// What was to be done.
    pub step: Step,
    /// The architecture that decided.
    pub architecture: Architecture,
    /// The one that should have.
    pub fallback_from: Option<Architecture>,
    /// The reason.
    pub why: Why,
    /// What it went by.
    pub explanation: Box<Explanation>,
}

impl Explained {
    /// `decision` for `invocation` at `site`, which went by `explanation`.
    pub fn new(
        site: &Site,
        invocation: &Invocation<'_>,
        decision: &Decision,
        explanation: Box<Explanation>,
    ) -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            unix_s: unix.map_or(0.0, |since| since.as_secs_f64()),
            topology: Arc::clone(&site.topology),
            here: site.here,
            function: invocation.function,
            stage: invocation.stage,
            hop: invocation.hop,
            attempt: invocation.avoid.len() + 1,
            step: decision.step,
            architecture: decision.architecture,
            fallback_from: decision.fallback_from,
            why: decision.why,
            explanation,
        }
    }
}

/// The last of them.
#[derive(Debug)]
pub struct Decisions {
    kept: Mutex<VecDeque<Arc<Explained>>>,
    kept_max: AtomicUsize,
    /// Nanoseconds after the origin of the clock from which on another is kept.
    from_nanos: AtomicU64,
}

impl Decisions {
    /// None yet, and never more than `kept_max`.
    pub fn new(kept_max: usize) -> Self {
        Self {
            kept: Mutex::default(),
            kept_max: AtomicUsize::new(kept_max),
            from_nanos: AtomicU64::new(if kept_max == 0 { u64::MAX } else { 0 }),
        }
    }

    /// Changes how many are kept; the oldest go.
    pub fn bound(&self, kept_max: usize) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.kept_max.store(kept_max, Relaxed);
        kept.truncate(kept_max);
        self.from_nanos.store(if kept_max == 0 { u64::MAX } else { 0 }, Relaxed);
    }

    /// Whether a decision that is made `now` is to be kept. Whoever is told so keeps it.
    pub fn wants(&self, now: Time) -> bool {
        let from = self.from_nanos.load(Relaxed);
        let nanos = u64::try_from(now.since(Time::ZERO).as_nanos()).unwrap_or(u64::MAX);
        if nanos < from {
            return false;
        }
        let interval = Duration::from_secs(1) / PER_SECOND_MAX;
        let next = nanos.saturating_add(interval.as_nanos() as u64);
        self.from_nanos.compare_exchange(from, next, Relaxed, Relaxed).is_ok()
    }

    /// Keeps `explained`.
    pub fn keep(&self, explained: Arc<Explained>) {
        let kept_max = self.kept_max.load(Relaxed);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_front(explained);
        kept.truncate(kept_max);
    }

    /// Those that are kept, the newest first; only those of `function`, where one is named.
    pub fn latest(&self, function: Option<FunctionName>) -> Vec<Arc<Explained>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |explained: &&Arc<Explained>| {
            function.is_none_or(|function| explained.function == function)
        };
        kept.iter().filter(wanted).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_kept_per_second() {
        let at = Time::from_secs_f64;
        let decisions = Decisions::new(5);
        let wanted =
            (0..20_000).filter(|i| decisions.wants(at(1.0 + f64::from(*i) * 1e-4))).count();
        assert_eq!(wanted, 20);
        decisions.bound(0);
        assert!(!decisions.wants(at(1000.0)));
        decisions.bound(3);
        assert!(decisions.wants(at(1001.0)));
        assert!(!Decisions::new(0).wants(at(1.0)));
    }
}
