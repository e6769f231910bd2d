//! What is known of each function: its shares of the architectures, and its response times.

use crate::problem::Problem;

use super::Time;
use super::absent::Absent;
use super::policy::{Architecture, TailRatioRule};
use super::speed::Service;
use super::tail_ratio::{Evidence, Shares, next_shares};
use super::warmth::Warmth;
use super::window::{Rate, Window};

/// The name of a function: 1 to 63 of `[-a-zA-Z0-9_.]`, and neither `.` nor `..`.
///
/// Held inline, so that naming a function on the request path allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FunctionName {
    length: u8,
    bytes: [u8; Self::BYTES_MAX],
}

/// A name that no function can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a function name has 1 to 63 characters of [-a-zA-Z0-9_.] and is neither \".\" nor \"..\"")]
pub struct FunctionNameError;

impl FunctionName {
    /// Most bytes in a name.
    pub const BYTES_MAX: usize = 63;

    /// The function called `name`, if it can be one.
    pub fn new(name: &str) -> Result<Self, FunctionNameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let fits = (1..=Self::BYTES_MAX).contains(&name.len());
        if !fits || !name.bytes().all(allowed) || matches!(name, "." | "..") {
            return Err(FunctionNameError);
        }
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(Self { length: name.len() as u8, bytes })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

/// Of the name only: most are much shorter than what they have room for.
impl std::hash::Hash for FunctionName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write(&self.bytes[..usize::from(self.length)]);
    }
}

impl std::fmt::Debug for FunctionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl std::fmt::Display for FunctionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The record of one function at this node.
#[derive(Debug, Clone)]
pub struct FunctionRecord {
    /// Shares from which the architecture of an invocation is drawn in dynamic mode.
    pub shares: Shares,
    /// Response times of invocations that entered here, per [`Architecture::index`].
    pub windows: [Window; 3],
    pub(super) rate: Rate,
    /// Service of it on a usual node, learned from all of them.
    pub(super) service: Service,
    /// Where it is warm.
    pub(super) warmth: Warmth,
    /// Where it is not.
    pub(super) absent: Absent,
    /// Service of it at this node.
    pub(super) own: Service,
    /// The architecture that [`super::adaptive`] last settled on.
    pub(super) incumbent: Option<Architecture>,
    /// How often another architecture took over.
    pub(super) switches: u64,
    /// When one was last let through that is likely to be late.
    pub(super) late_trial: Option<Time>,
    evaluated: Option<Time>,
    rate_before: Option<f64>,
}

impl FunctionRecord {
    pub(super) fn new(now: Time) -> Self {
        Self {
            shares: Shares::DECENTRALIZED,
            windows: Default::default(),
            rate: Rate::new(now),
            service: Service::default(),
            warmth: Warmth::default(),
            absent: Absent::default(),
            own: Service::default(),
            incumbent: None,
            switches: 0,
            late_trial: None,
            evaluated: None,
            rate_before: None,
        }
    }

    /// P95/P50 under `architecture`, where there are at least `min_samples`.
    pub fn tail_ratio(&self, architecture: Architecture, min_samples: u32) -> Option<f64> {
        let window = &self.windows[architecture.index()];
        if window.len() < min_samples.max(1) as usize {
            return None;
        }
        let p50 = window.quantile(0.50)?.as_secs_f64();
        let p95 = window.quantile(0.95)?.as_secs_f64();
        Some(p95 / p50.max(1e-6))
    }

    /// Follows the documented rule, if an evaluation is due and there is something to go by.
    pub(super) fn evaluate(&mut self, rule: &TailRatioRule, now: Time) {
        if self.evaluated.is_some_and(|last| now.since(last) < rule.sample_interval) {
            return;
        }
        self.expire(now);
        let samples: usize = self.windows.iter().map(Window::len).sum();
        if samples < rule.min_samples.max(1) as usize {
            return;
        }
        let rate = self.rate.per_second(now);
        let evidence = Evidence {
            ratio_decentralized: self.tail_ratio(Architecture::Decentralized, rule.min_samples),
            ratio_federated: self.tail_ratio(Architecture::Federated, rule.min_samples),
            rate,
            rate_before: self.rate_before,
        };
        let before = self.shares.leading();
        self.shares = next_shares(rule, self.shares, &evidence);
        self.switches += u64::from(self.shares.leading() != before);
        self.rate_before = Some(rate);
        self.evaluated = Some(now);
    }

    pub(super) fn expire(&mut self, now: Time) {
        self.windows.iter_mut().for_each(|window| window.expire(now));
        self.absent.expire(now);
    }
}

/// The problem with a name somebody wrote as a function's.
impl From<FunctionNameError> for Problem {
    fn from(error: FunctionNameError) -> Self {
        Self::new("function", "", error.to_string(), "rename the function")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names() {
        for good in ["a", "a.b", "...", "matrix-multiplication", "X_1.ns", &"f".repeat(63)] {
            assert_eq!(FunctionName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "a b", "a%2f", "../system", "é", &"f".repeat(64)] {
            assert_eq!(FunctionName::new(bad), Err(FunctionNameError), "{bad}");
        }
    }

    fn record_many(record: &mut FunctionRecord, now: Time, tail_ms: u64, count: u32) {
        for i in 0..count {
            record.rate.record(now);
            let ms = if i % 5 == 4 { tail_ms } else { 100 };
            let index = Architecture::Decentralized.index();
            record.windows[index].record(Duration::from_millis(ms), now);
        }
    }

    #[test]
    fn evaluation_waits_for_samples_and_for_the_interval() {
        let rule = TailRatioRule::default();
        let mut now = Time::from_secs_f64(10.0);
        let mut record = FunctionRecord::new(now);
        record_many(&mut record, now, 900, 9);
        record.evaluate(&rule, now);
        assert_eq!(record.shares, Shares::DECENTRALIZED, "nine samples are too few");

        record_many(&mut record, now, 900, 1);
        let mut ten = record.clone();
        ten.evaluate(&rule, now);
        assert_eq!(ten.shares.of(Architecture::Federated), 1.0, "ten samples are enough");

        record_many(&mut record, now, 900, 10);
        record.evaluate(&rule, now);
        assert_eq!(record.shares.of(Architecture::Federated), 1.0, "the tail is nine times P50");

        now = now + Duration::from_millis(1999);
        record_many(&mut record, now, 100, 2000);
        record.evaluate(&rule, now);
        assert_eq!(record.shares.of(Architecture::Federated), 1.0, "the interval is not over");

        now = now + Duration::from_millis(1);
        record.evaluate(&rule, now);
        // The rate rose from 20 to 1010/s, so a = 0.9.
        assert!((record.shares.of(Architecture::Federated) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn shares_return_when_an_architecture_is_no_longer_sampled() {
        let rule = TailRatioRule::default();
        let mut now = Time::from_secs_f64(10.0);
        let mut record = FunctionRecord::new(now);
        record_many(&mut record, now, 900, 20);
        record.evaluate(&rule, now);
        now = now + Duration::from_secs(61);
        for _ in 0..20 {
            record.rate.record(now);
            record.windows[Architecture::Federated.index()].record(Duration::from_millis(9), now);
        }
        let before = record.shares.of(Architecture::Decentralized);
        record.evaluate(&rule, now);
        assert!(record.shares.of(Architecture::Decentralized) > before);
    }
}
