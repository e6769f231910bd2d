//! The result as a program reads it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::table::{ArchitectureReport, NodeReport, Report};

/// The whole result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// How many calls ended.
    pub requests: u64,
    /// How many of those failed.
    pub failed: u64,
    /// How long it took.
    pub elapsed_s: f64,
    /// Calls that ended per second.
    pub requests_per_s: f64,
    /// By who decided.
    pub architectures: BTreeMap<String, ArchitectureSummary>,
    /// By where they ran.
    pub nodes: BTreeMap<String, NodeSummary>,
}

/// The calls placed under one architecture. What there are no successes to tell from is null.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArchitectureSummary {
    /// How many calls ended.
    pub requests: u64,
    /// How many of those failed.
    pub failed: u64,
    /// The latency that half of the successes do not exceed.
    pub p50_ms: Option<f64>,
    /// The latency that 95 % of the successes do not exceed.
    pub p95_ms: Option<f64>,
    /// P95/P50.
    pub ratio: Option<f64>,
}

/// The calls that one node ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeSummary {
    /// How many calls ended.
    pub requests: u64,
    /// Their share in what all nodes ran, from 0 to 1.
    pub share: f64,
    /// The mean latency of the successes; null where there were none.
    pub mean_ms: Option<f64>,
}

impl From<&Report> for Summary {
    fn from(report: &Report) -> Self {
        let architecture = |row: &ArchitectureReport| {
            let summary = ArchitectureSummary {
                requests: row.requests,
                failed: row.failed,
                p50_ms: rounded_ms(row.p50),
                p95_ms: rounded_ms(row.p95),
                ratio: row.ratio().map(rounded),
            };
            (row.name.clone(), summary)
        };
        let node = |node: &NodeReport| {
            let summary = NodeSummary {
                requests: node.requests,
                share: rounded(report.share(node)),
                mean_ms: rounded_ms(node.mean),
            };
            (node.id.clone(), summary)
        };
        Self {
            requests: report.finished,
            failed: report.failed,
            elapsed_s: rounded(report.elapsed.as_secs_f64()),
            requests_per_s: rounded(report.requests_per_s()),
            architectures: report.architectures.iter().map(architecture).collect(),
            nodes: report.nodes.iter().map(node).collect(),
        }
    }
}

fn rounded_ms(duration: Option<Duration>) -> Option<f64> {
    duration.map(|duration| rounded(duration.as_secs_f64() * 1e3))
}

/// Three decimals: more is noise.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::table::tests::report;

    #[test]
    fn the_summary_as_json() {
        let json = serde_json::to_value(Summary::from(&report())).unwrap();
        let expected = serde_json::json!({
            "requests": 100,
            "failed": 2,
            "elapsed_s": 12.5,
            "requests_per_s": 8.0,
            "architectures": {
                "centralized":
                    { "requests": 0, "failed": 0, "p50_ms": null, "p95_ms": null, "ratio": null },
                "decentralized":
                    { "requests": 100, "failed": 2, "p50_ms": 8.0, "p95_ms": 20.0, "ratio": 2.5 },
            },
            "nodes": {
                "cloud": { "requests": 75, "share": 0.75, "mean_ms": 1234.0 },
                "edge1": { "requests": 25, "share": 0.25, "mean_ms": null },
            },
        });
        assert_eq!(json, expected);
    }
}
