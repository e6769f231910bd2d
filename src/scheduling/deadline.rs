//! Invocations that cannot be answered in time.
//!
//! To run one that will be late helps nobody, and takes from those that would not be. So one with
//! less time left than almost all of its function take is refused at once. Now and then one is let
//! through, or a function that was slow for a while would be taken to be slow for as long as the
//! samples of that count.

use std::time::Duration;

use rand::Rng;

use super::{FunctionName, Scheduler, Time};

/// Share of a function's invocations that are answered in less than what is called hopeless.
const QUANTILE: f64 = 0.05;
/// Fewest response times from which that is taken.
const SAMPLES_MIN: usize = 20;
/// How often one is let through all the same.
const TRIAL_EVERY: Duration = Duration::from_secs(1);

impl<R: Rng> Scheduler<R> {
    /// Whether an invocation of `function` that has this much time `left` need not be tried.
    pub fn is_hopeless(&mut self, function: FunctionName, left: Duration, now: Time) -> bool {
        let Some(record) = self.functions.get_mut(&function) else { return false };
        let least = |window: &super::window::Window| {
            (window.len() >= SAMPLES_MIN).then(|| window.quantile(QUANTILE)).flatten()
        };
        let Some(least) = record.windows.iter().filter_map(least).min() else { return false };
        if left >= least {
            return false;
        }
        let due = record.late_trial.is_none_or(|last| now.since(last) >= TRIAL_EVERY);
        if due {
            record.late_trial = Some(now);
        }
        !due
    }
}
