//! How late something was: a histogram that shows whether the machine was too busy to be trusted.

use std::time::Duration;

use serde_json::{Value, json};

const STEP_US: u64 = 20;
/// The last counts all that is later than 200 ms.
const STEPS: usize = 10_000;

/// Counts by lateness, in bounded memory.
#[derive(Debug)]
pub(crate) struct Lateness {
    counts: Vec<u64>,
    max: Duration,
}

impl Default for Lateness {
    fn default() -> Self {
        Self { counts: vec![0; STEPS], max: Duration::ZERO }
    }
}

impl Lateness {
    /// Counts one.
    pub(crate) fn note(&mut self, late: Duration) {
        let step = (late.as_micros() as u64 / STEP_US) as usize;
        self.counts[step.min(STEPS - 1)] += 1;
        self.max = self.max.max(late);
    }

    /// The upper end of the step in which the given share is reached, in milliseconds.
    fn quantile_ms(&self, share: f64) -> f64 {
        let total: u64 = self.counts.iter().sum();
        let wanted = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        let reached = |count: &u64| {
            seen += count;
            seen >= wanted
        };
        let step = self.counts.iter().position(reached).unwrap_or(0) as u64;
        if total == 0 { 0.0 } else { ((step + 1) * STEP_US) as f64 / 1000.0 }
    }

    /// What was seen, in milliseconds; counting starts anew.
    pub(crate) fn take(&mut self) -> Value {
        let told = json!({
            "count": self.counts.iter().sum::<u64>(),
            "p50_ms": self.quantile_ms(0.5),
            "p99_ms": self.quantile_ms(0.99),
            "p999_ms": self.quantile_ms(0.999),
            "max_ms": self.max.as_micros() as f64 / 1000.0,
        });
        *self = Self::default();
        told
    }
}
