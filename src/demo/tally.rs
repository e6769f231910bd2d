//! Adds finished calls up, in memory that does not grow with their number.

use std::time::Duration;

use super::load::Finished;
use super::table::{ArchitectureReport, NodeReport, Report};
use crate::scheduling::policy::Architecture;
use crate::topology::NodeId;

/// Most nodes that are told apart; calls that others ran count as not attributed.
pub const NODES_MAX: usize = 64;

/// The name of the row for calls whose answer does not say who decided.
pub const UNATTRIBUTED: &str = "unattributed";

/// What was seen of all calls so far.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Per [`Architecture::index`], and last those whose answer names none.
    architectures: [Series; Architecture::ALL.len() + 1],
    nodes: Vec<(NodeId, Series)>,
}

/// Calls that have something in common.
#[derive(Debug, Clone, Default)]
struct Series {
    requests: u64,
    failed: u64,
    /// Of the successes only: a fast failure is not a fast answer.
    latencies: Histogram,
}

impl Tally {
    /// Nothing seen yet. `nodes` are reported in this order, also those that run nothing.
    pub fn new(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let nodes = nodes.into_iter().take(NODES_MAX).map(|id| (id, Series::default()));
        Self { architectures: Default::default(), nodes: nodes.collect() }
    }

    /// Counts one call.
    pub fn record(&mut self, call: &Finished) {
        let index = call.architecture.map_or(Architecture::ALL.len(), Architecture::index);
        self.architectures[index].record(call);
        let Some(id) = &call.node else { return };
        if let Some((_, node)) = self.nodes.iter_mut().find(|(known, _)| known == id) {
            node.record(call);
        } else if self.nodes.len() < NODES_MAX {
            self.nodes.push((id.clone(), Series::default()));
            if let Some((_, node)) = self.nodes.last_mut() {
                node.record(call);
            }
        }
    }

    /// How many calls have been counted.
    pub fn finished(&self) -> u64 {
        self.architectures.iter().map(|series| series.requests).sum()
    }

    /// How many of them failed.
    pub fn failed(&self) -> u64 {
        self.architectures.iter().map(|series| series.failed).sum()
    }

    /// What there is to show after `elapsed`, of `requests` if they are limited. `in_flight` says
    /// what a node is doing now.
    pub fn report(
        &self,
        elapsed: Duration,
        requests: Option<u64>,
        in_flight: impl Fn(&NodeId) -> usize,
    ) -> Report {
        let names = Architecture::ALL.map(Architecture::as_str);
        let names = names.into_iter().chain([UNATTRIBUTED]);
        let architectures = names
            .zip(&self.architectures)
            .filter(|(name, series)| *name != UNATTRIBUTED || series.requests > 0)
            .map(|(name, series)| ArchitectureReport {
                name: name.to_owned(),
                requests: series.requests,
                failed: series.failed,
                p50: series.latencies.quantile(0.50),
                p95: series.latencies.quantile(0.95),
            });
        let nodes = self.nodes.iter().map(|(id, series)| NodeReport {
            id: id.as_str().to_owned(),
            requests: series.requests,
            mean: series.latencies.mean(),
            in_flight: in_flight(id),
        });
        Report {
            elapsed,
            requests,
            finished: self.finished(),
            failed: self.failed(),
            architectures: architectures.collect(),
            nodes: nodes.collect(),
        }
    }
}

impl Series {
    fn record(&mut self, call: &Finished) {
        self.requests += 1;
        if call.failed() {
            self.failed += 1;
        } else {
            self.latencies.record(call.latency);
        }
    }
}

const SUB_BITS: u32 = 6;
const SUB: usize = 1 << SUB_BITS;
const BUCKETS: usize = SUB * (u32::BITS - SUB_BITS + 1) as usize;

/// Latencies in whole microseconds, up to 71 minutes. The mean is exact; quantiles are read from
/// 64 buckets per power of two, so they are off by at most 0.8 %.
#[derive(Debug, Clone)]
struct Histogram {
    count: u64,
    sum_micros: u64,
    buckets: Box<[u64; BUCKETS]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { count: 0, sum_micros: 0, buckets: Box::new([0; BUCKETS]) }
    }
}

impl Histogram {
    fn record(&mut self, latency: Duration) {
        let micros = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        self.count += 1;
        self.sum_micros += u64::from(micros);
        self.buckets[bucket(micros)] += 1;
    }

    fn mean(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_micros(self.sum_micros / self.count))
    }

    /// The smallest latency that a share `q` of all do not exceed.
    fn quantile(&self, q: f64) -> Option<Duration> {
        let rank = ((q * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map(|bucket| Duration::from_micros(middle(bucket)))
    }
}

/// Exact below 128 µs; above, the leading seven bits decide.
fn bucket(micros: u32) -> usize {
    let shift = (u32::BITS - micros.leading_zeros()).saturating_sub(SUB_BITS + 1);
    SUB * shift as usize + (micros >> shift) as usize
}

fn middle(bucket: usize) -> u64 {
    let shift = (bucket / SUB).saturating_sub(1);
    let lowest = ((bucket - SUB * shift) as u64) << shift;
    lowest + ((1 << shift) - 1) / 2
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;
    use crate::scheduling::function::FunctionName;

    fn call(architecture: Option<Architecture>, node: &str, micros: u64, status: u16) -> Finished {
        Finished {
            function: FunctionName::new("echo").unwrap(),
            target: 0,
            latency: Duration::from_micros(micros),
            result: StatusCode::from_u16(status).map_err(|error| error.to_string()),
            node: NodeId::new(node).ok(),
            architecture,
            hop: None,
        }
    }

    #[test]
    fn buckets_are_near_what_they_stand_for() {
        assert!(bucket(u32::MAX) < BUCKETS);
        let mut last = 0;
        for exponent in 0..32 {
            for offset in [0, 1, 5, 100, 12345] {
                let micros = (1_u32 << exponent).saturating_add(offset);
                let off = middle(bucket(micros)).abs_diff(micros.into());
                assert!(off as f64 <= f64::from(micros) * 0.008, "{micros} is off by {off}");
            }
            assert!(bucket(1 << exponent) > last);
            last = bucket(1 << exponent);
        }
    }

    #[test]
    fn quantiles_and_means() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.mean(), histogram.quantile(0.5)), (None, None));
        for micros in 1..=100 {
            histogram.record(Duration::from_micros(micros));
        }
        assert_eq!(histogram.quantile(0.50), Some(Duration::from_micros(50)));
        assert_eq!(histogram.quantile(0.95), Some(Duration::from_micros(95)));
        assert_eq!(histogram.quantile(0.0), Some(Duration::from_micros(1)));
        assert_eq!(histogram.quantile(1.0), Some(Duration::from_micros(100)));
        assert_eq!(histogram.mean(), Some(Duration::from_micros(50)));
        histogram.record(Duration::MAX);
        assert!(histogram.quantile(1.0) > Some(Duration::from_secs(4200)));
    }

    #[test]
    fn calls_are_counted_once_and_failures_are_not_fast_answers() {
        let ids = ["cloud", "edge1"].map(|id| NodeId::new(id).unwrap());
        let mut tally = Tally::new(ids);
        let federated = Some(Architecture::Federated);
        tally.record(&call(federated, "edge1", 100, 200));
        tally.record(&call(federated, "edge1", 1, 502));
        tally.record(&call(federated, "new", 50, 200));
        assert_eq!(tally.report(Duration::ZERO, None, |_| 0).architectures.len(), 3);
        tally.record(&call(None, "", 1, 504));

        let report = tally.report(Duration::from_secs(2), Some(9), |id| id.as_str().len());
        assert_eq!((report.finished, report.failed, report.requests), (4, 2, Some(9)));
        let row = &report.architectures[Architecture::Federated.index()];
        assert_eq!((row.name.as_str(), row.requests, row.failed), ("federated", 3, 1));
        assert_eq!(row.p95, Some(Duration::from_micros(100)));
        let rest = &report.architectures[3];
        assert_eq!((rest.name.as_str(), rest.requests, rest.p50), (UNATTRIBUTED, 1, None));
        let nodes: Vec<_> =
            report.nodes.iter().map(|node| (node.id.as_str(), node.requests)).collect();
        assert_eq!(nodes, [("cloud", 0), ("edge1", 2), ("new", 1)]);
        assert_eq!(report.nodes[1].mean, Some(Duration::from_micros(100)));
        assert_eq!(report.nodes[1].in_flight, 5);
    }

    #[test]
    fn nodes_are_bounded() {
        let mut tally = Tally::new([]);
        for n in 0..2 * NODES_MAX {
            tally.record(&call(None, &format!("n{n}"), 1, 200));
        }
        assert_eq!(tally.nodes.len(), NODES_MAX);
        assert_eq!(tally.finished(), 2 * NODES_MAX as u64);
    }
}
