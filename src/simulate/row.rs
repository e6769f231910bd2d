//! What is told of one trial.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::sim::scenario::{Function, Load, LoadKind, Rate};
use crate::sim::{Run, Sample, Trial};

/// Most functions that are told apart; of a trace with more, the samples tell.
const FUNCTIONS_TOLD_MAX: usize = 10;
/// How long after a change of the load its effect is told apart.
const AFTER_STEP: Duration = Duration::from_secs(10);

/// One trial. Quantiles are null where there is no answer to tell them from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) scenario: String,
    pub(super) cell: String,
    pub(super) entry: String,
    #[serde(serialize_with = "whole_if_possible")]
    pub(super) concurrency: f64,
    pub(super) policy: String,
    pub(super) seed: u64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p95_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) total_s: f64,
    /// Invocations that were not answered well, those of the warm-up included.
    pub(super) failed: u64,
    /// Answers that the quantiles are taken from.
    pub(super) samples: u64,
    /// Of invocations issued before the end of the warm-up.
    pub(super) warm_up_p95_ms: Option<f64>,
    /// Equal for equal trials.
    pub(super) trace_hash: String,
    /// Second copies sent.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) second_copies: u64,
    /// Where there are several: what came of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) functions: Vec<FunctionRow>,
    /// Where the load changes in steps: what came of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) phases: Vec<Phase>,
}

/// One of several functions, of invocations issued after the warm-up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct FunctionRow {
    pub(super) name: String,
    pub(super) p50_ms: Option<f64>,
    pub(super) p95_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) failed: u64,
    pub(super) samples: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Invocations issued in one stretch of a trial.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Phase {
    pub(super) from_s: f64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p95_ms: Option<f64>,
}

impl Row {
    pub(super) fn new(trial: &Trial<'_>, run: &Run) -> Self {
        let warm_up = trial.scenario.length.warm_up;
        let warm = Latencies::of(&run.samples, |sample| sample.issued >= warm_up);
        let cold = Latencies::of(&run.samples, |sample| sample.issued < warm_up);
        Self {
            scenario: trial.scenario.name.clone(),
            cell: trial.cell.name.clone(),
            entry: trial.entry.name.clone(),
            concurrency: trial.load.concurrency,
            policy: trial.contender.to_string(),
            seed: trial.seed,
            p50_ms: warm.quantile_ms(0.5),
            p95_ms: warm.quantile_ms(0.95),
            p99_ms: warm.quantile_ms(0.99),
            total_s: rounded(run.total.as_secs_f64()),
            failed: run.samples.iter().filter(|sample| !sample.good).count() as u64,
            samples: warm.0.len() as u64,
            warm_up_p95_ms: cold.quantile_ms(0.95),
            trace_hash: format!("{:016x}", run.trace_hash),
            second_copies: run.hedges[0],
            functions: functions(trial, &run.samples),
            phases: phases(trial.load, &run.samples),
        }
    }
}

/// How long good answers took, in order.
struct Latencies(Vec<Duration>);

impl Latencies {
    /// Those that are `wanted`.
    fn of(samples: &[Sample], wanted: impl Fn(&Sample) -> bool) -> Self {
        let good = samples.iter().filter(|sample| sample.good && wanted(sample));
        let mut took: Vec<Duration> = good.map(|sample| sample.took).collect();
        took.sort_unstable();
        Self(took)
    }

    /// The latency that this share of the answers does not exceed: the nearest rank.
    fn quantile_ms(&self, share: f64) -> Option<f64> {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        let took = self.0.get(rank.saturating_sub(1))?;
        Some(rounded(took.as_secs_f64() * 1e3))
    }
}

fn functions(trial: &Trial<'_>, samples: &[Sample]) -> Vec<FunctionRow> {
    let functions = &trial.cell.functions;
    if functions.len() < 2 || functions.len() > FUNCTIONS_TOLD_MAX {
        return Vec::new();
    }
    let warm_up = trial.scenario.length.warm_up;
    let row = |(i, function): (usize, &Function)| {
        let own = |s: &Sample| usize::from(s.function) == i && s.issued >= warm_up;
        let latencies = Latencies::of(samples, own);
        FunctionRow {
            name: function.name.to_string(),
            p50_ms: latencies.quantile_ms(0.5),
            p95_ms: latencies.quantile_ms(0.95),
            p99_ms: latencies.quantile_ms(0.99),
            failed: samples.iter().filter(|sample| own(sample) && !sample.good).count() as u64,
            samples: latencies.0.len() as u64,
        }
    };
    functions.iter().enumerate().map(row).collect()
}

/// The first seconds after each change, and the rest up to the next one.
fn phases(load: &Load, samples: &[Sample]) -> Vec<Phase> {
    let steps: Vec<Duration> = match &load.kind {
        LoadKind::Closed { phases, .. } => phases.iter().map(|(from, _)| *from).collect(),
        LoadKind::Open(Rate::Steps(steps)) => steps.iter().map(|(from, _)| *from).collect(),
        LoadKind::Open(_) | LoadKind::Replay(_) => return Vec::new(),
    };
    if steps.len() < 2 {
        return Vec::new();
    }
    let mut phases = Vec::new();
    for (i, &from) in steps.iter().enumerate() {
        let until = steps.get(i + 1).copied().unwrap_or(Duration::MAX);
        let settled = from.saturating_add(AFTER_STEP).min(until);
        for (from, until) in [(from, settled), (settled, until)] {
            if from < until {
                let latencies =
                    Latencies::of(samples, |sample| (from..until).contains(&sample.issued));
                phases.push(Phase {
                    from_s: from.as_secs_f64(),
                    p50_ms: latencies.quantile_ms(0.5),
                    p95_ms: latencies.quantile_ms(0.95),
                });
            }
        }
    }
    phases
}

/// Three decimals: more is noise.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// Numbers of clients are whole, and read better so.
fn whole_if_possible<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    const WHOLE_MAX: f64 = 1e15;
    if number.fract() == 0.0 && (0.0..WHOLE_MAX).contains(number) {
        serializer.serialize_u64(*number as u64)
    } else {
        serializer.serialize_f64(*number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(issued_s: u64, took_ms: u64, good: bool) -> Sample {
        let study = crate::simulate::tests::study("");
        Sample {
            issued: Duration::from_secs(issued_s),
            took: Duration::from_millis(took_ms),
            function: 0,
            entry: study.scenario.snapshot.site.topology.everyone()[0],
            target: None,
            architecture: None,
            good,
        }
    }

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let samples: Vec<Sample> = (1..=20).rev().map(|ms| sample(0, ms, true)).collect();
        let all = Latencies::of(&samples, |_| true);
        for (share, ms) in [(0.5, 10.0), (0.51, 11.0), (0.95, 19.0), (0.99, 20.0), (0.0, 1.0)] {
            assert_eq!(all.quantile_ms(share), Some(ms), "{share}");
        }
        let one = Latencies::of(&samples[..1], |_| true);
        assert_eq!((one.quantile_ms(0.5), one.quantile_ms(0.99)), (Some(20.0), Some(20.0)));
        assert_eq!(Latencies::of(&[], |_| true).quantile_ms(0.5), None);
    }

    #[test]
    fn a_row_tells_the_warm_up_apart_and_takes_quantiles_from_good_answers() {
        let study = crate::simulate::tests::study("");
        let trials = crate::simulate::grid::trials(&study, &Default::default()).unwrap();
        let samples = vec![
            sample(9, 900, true),
            sample(9, 1, false),
            sample(10, 100, true),
            sample(11, 300, true),
            sample(12, 5, false),
        ];
        let run = Run {
            samples,
            total: Duration::from_millis(13_500),
            trace_hash: 0xab,
            hedges: [0; 2],
            served: Duration::ZERO,
        };
        let row = serde_json::to_value(Row::new(&trials[0], &run)).unwrap();
        let expected = serde_json::json!({
            "scenario": "small", "cell": "steady", "entry": "single", "concurrency": 2,
            "policy": "federated+predictive", "seed": 1, "p50_ms": 100.0, "p95_ms": 300.0,
            "p99_ms": 300.0, "total_s": 13.5, "failed": 2, "samples": 2, "warm_up_p95_ms": 900.0,
            "trace_hash": "00000000000000ab",
        });
        assert_eq!(row, expected);
    }

    #[test]
    fn steps_have_a_beginning_and_a_rest_each() {
        let secs = Duration::from_secs;
        let steps = vec![(secs(0), 1), (secs(60), 9), (secs(65), 1)];
        let rates = steps.iter().map(|&(at, clients)| (at, f64::from(clients))).collect();
        let closed = LoadKind::Closed { phases: steps, think: Duration::ZERO };
        let samples = [sample(9, 1, true), sample(10, 2, true), sample(64, 3, true)];
        let none = None;
        let expected =
            [(0.0, Some(1.0)), (10.0, Some(2.0)), (60.0, Some(3.0)), (65.0, none), (75.0, none)];
        for kind in [closed, LoadKind::Open(Rate::Steps(rates))] {
            let phases = phases(&Load { concurrency: 9.0, kind }, &samples);
            let told: Vec<_> = phases.iter().map(|p| (p.from_s, p.p50_ms)).collect();
            assert_eq!(told, expected);
        }
    }
}
