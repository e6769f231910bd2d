//! What was seen, and what it cost the one who looked.

use std::fs;
use std::time::Duration;

/// Requests answered, requests that failed, and how long the answers took.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) took_ns: Vec<u32>,
    /// The first thing that went wrong.
    pub(crate) problem: Option<String>,
}

impl Tally {
    pub(crate) fn answered(&mut self, took: Duration) {
        self.answered += 1;
        self.took_ns.push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
    }

    pub(crate) fn failed(&mut self, why: &std::io::Error) {
        self.failed += 1;
        self.problem.get_or_insert_with(|| why.to_string());
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.failed += other.failed;
        self.took_ns.extend(other.took_ns);
        self.problem = self.problem.take().or(other.problem);
    }

    /// Prints all of it as JSON; `busy` is the share of its core that the busiest thread used.
    pub(crate) fn print(mut self, elapsed: Duration, busy: f64) {
        self.took_ns.sort_unstable();
        let quantile_us = |share: f64| {
            let last = self.took_ns.len().saturating_sub(1);
            let at = (self.took_ns.len() as f64 * share) as usize;
            f64::from(self.took_ns.get(at.min(last)).copied().unwrap_or_default()) / 1e3
        };
        let problem = self.problem.as_deref().unwrap_or_default();
        println!(
            "{{\"requests\": {}, \"failed\": {}, \"seconds\": {:.6}, \"p50_us\": {:.1}, \
             \"p99_us\": {:.1}, \"generator_busy\": {busy:.4}, \"problem\": {problem:?}}}",
            self.answered,
            self.failed,
            elapsed.as_secs_f64(),
            quantile_us(0.5),
            quantile_us(0.99),
        );
    }
}

/// Run time of the calling thread.
pub(crate) fn run_time() -> Duration {
    // On a kernel without schedstat the share shows as nothing, which nobody mistakes for a figure.
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
    Duration::from_nanos(first.unwrap_or_default())
}
