//! What is wrong so far.

use std::collections::HashSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::problem::Problem;

/// Most seconds in anything: more than a year is probably a slip.
const SECONDS_MAX: f64 = 366.0 * 86_400.0;

/// Most problems told at once.
const PROBLEMS_MAX: usize = 100;

/// Problems, as they are found. What is refused is replaced by something harmless, so that reading
/// can go on.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<Problem>);

impl Notes {
    /// Notes what is wrong with `value` at `key`.
    pub(super) fn note(
        &mut self,
        key: impl Into<String>,
        value: impl Display,
        fault: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(Problem::new(key, value, fault, remedy));
    }

    pub(super) fn push(&mut self, problem: Problem) {
        if self.0.len() < PROBLEMS_MAX {
            self.0.push(problem);
        }
    }

    /// Everything noted; nothing is left.
    pub(super) fn take(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.0)
    }

    /// `value` if it lies in `range`, or else the start of that.
    pub(super) fn within(&mut self, key: &str, value: f64, range: RangeInclusive<f64>) -> f64 {
        if range.contains(&value) {
            return value;
        }
        let remedy = format!("write a number from {} to {}", range.start(), range.end());
        self.note(key, value, "is out of range", remedy);
        *range.start()
    }

    /// A time in seconds.
    pub(super) fn seconds(&mut self, key: &str, seconds: f64) -> Duration {
        Duration::from_secs_f64(self.within(key, seconds, 0.0..=SECONDS_MAX))
    }

    /// A time in milliseconds.
    pub(super) fn milliseconds(&mut self, key: &str, milliseconds: f64) -> Duration {
        Duration::from_secs_f64(self.within(key, milliseconds, 0.0..=SECONDS_MAX * 1e3) / 1e3)
    }

    /// A time that may not be nothing.
    pub(super) fn some_time(&mut self, key: &str, time: Duration) -> Duration {
        if time == Duration::ZERO {
            self.note(key, 0, "is no time at all", "write a number above 0");
            return Duration::from_secs(1);
        }
        time
    }

    /// Which one of several keys is written; a problem where it is none of them, or several.
    pub(super) fn only<T>(&mut self, key: &str, of: Vec<(&'static str, Option<T>)>) -> Option<T> {
        let names: Vec<&str> = of.iter().map(|(name, _)| *name).collect();
        let written: Vec<&str> =
            of.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| *name).collect();
        if written.len() != 1 {
            let value = written.join(" and ");
            let fault = if written.is_empty() { "says nothing" } else { "says two things" };
            self.note(key, value, fault, format!("write exactly one of {}", names.join(", ")));
            return None;
        }
        of.into_iter().find_map(|(_, value)| value)
    }

    /// Notes a name in `list` that stands there twice, or is empty.
    pub(super) fn distinct<'a>(&mut self, list: &str, names: impl Iterator<Item = &'a str>) {
        let mut seen = HashSet::new();
        for (i, name) in names.enumerate() {
            let key = format!("{list}[{i}].name");
            if name.is_empty() {
                self.note(&key, "\"\"", "is empty", "give it a name");
            } else if !seen.insert(name) {
                self.note(&key, name, "stands there twice", "give each a name of its own");
            }
        }
    }
}
