//! Attempts after the first: how many an invocation has, and what all of them together may cost.
//!
//! When a node fails, every invocation it had looks for another. If each could do so for nothing, a
//! fleet that is nearly full would be given the load of its failures on top. So further attempts
//! are paid for: each invocation earns a small part of one.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::{Scheduler, Site, Time};

/// What further attempts there are; see [`super::retry`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryRule {
    /// Attempts of one invocation, the first included.
    pub attempts: u32,
    /// Further attempts per invocation, at most: the load they add.
    pub budget: f64,
    /// Further attempts per second that are there besides, so that a quiet node has some.
    pub floor_per_s: f64,
    /// Most further attempts that can be saved up: as many as a node that fails has at once.
    pub burst: f64,
    /// Longest wait before the node that failed is asked once more, where there is no other; it
    /// doubles with each attempt.
    pub wait: Duration,
}

impl RetryRule {
    /// Default of [`Self::attempts`].
    pub const ATTEMPTS: u32 = 3;
    /// Most attempts that can be configured.
    pub const ATTEMPTS_MAX: u32 = 10;
}

impl Default for RetryRule {
    fn default() -> Self {
        Self {
            attempts: Self::ATTEMPTS,
            budget: 0.2,
            floor_per_s: 10.0,
            burst: 100.0,
            wait: Duration::from_millis(50),
        }
    }
}

/// Whether an invocation was sent before, and what may have come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Again {
    /// This attempt costs nothing: it is the first, the one before found no room, or it is a second
    /// copy, which is paid for otherwise.
    #[default]
    No,
    /// It did not run.
    NothingRan,
    /// It may have run, and does no harm when it runs twice.
    MayHaveRun,
}

/// Further attempts that have been earned and not yet spent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Budget {
    balance: f64,
    updated: Option<Time>,
}

impl Budget {
    /// An invocation has come in.
    pub(super) fn earn(&mut self, rule: &RetryRule) {
        self.balance = (self.balance + rule.budget).min(rule.burst);
    }

    /// Pays for one further attempt, if it can be paid for.
    pub(super) fn spend(&mut self, rule: &RetryRule, now: Time) -> bool {
        // Those of a second are there from the start.
        let elapsed_s = self.updated.map_or(1.0, |updated| now.since(updated).as_secs_f64());
        let floor = rule.floor_per_s * elapsed_s;
        self.updated = self.updated.max(Some(now));
        self.balance = (self.balance + floor).min(rule.burst);
        let affordable = self.balance >= 1.0;
        if affordable {
            self.balance -= 1.0;
        }
        affordable
    }
}

impl<R: Rng> Scheduler<R> {
    /// How long to wait before a node is asked that has failed this invocation before, after
    /// `failures` of them.
    ///
    /// Any time up to a bound that doubles: those who failed together do not come back together.
    pub fn wait_again(&mut self, site: &Site, failures: u32) -> Duration {
        let doubled = failures.saturating_sub(1).min(RetryRule::ATTEMPTS_MAX);
        let longest = site.policy.retries.wait * (1 << doubled);
        longest.mul_f64(self.rng.random())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_attempts_are_a_share_of_the_first_ones() {
        let rule = RetryRule { floor_per_s: 0.0, ..RetryRule::default() };
        let mut budget = Budget::default();
        let mut spent = 0;
        for _ in 0..1000 {
            budget.earn(&rule);
            spent += u32::from(budget.spend(&rule, Time::ZERO));
        }
        assert!((199..=200).contains(&spent), "{spent} of 1000");
    }

    #[test]
    fn a_quiet_node_has_a_few_and_nobody_saves_up_more_than_the_burst() {
        let rule = RetryRule::default();
        let mut budget = Budget::default();
        for (now, saved) in [(0.0, 10), (0.1, 1), (3600.0, 100), (3601.0, 10)] {
            let now = Time::from_secs_f64(now);
            assert_eq!((0..1000).filter(|_| budget.spend(&rule, now)).count(), saved);
        }
        (0..10_000).for_each(|_| budget.earn(&rule));
        let later = Time::from_secs_f64(3602.0);
        assert_eq!((0..1000).filter(|_| budget.spend(&rule, later)).count(), 100);
    }
}
