//! Answers, field by field.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::config::{Limits, Snapshot, Timeouts};
use crate::host_load::LoadSample;
use crate::problem::Problem;
use crate::scheduling::FunctionName;
use crate::scheduling::policy::{Architecture, Thresholds};
use crate::scheduling::view::{FunctionView, NodeView, Summary};
use crate::topology::Node;

/// What `/entry` and `/schedule` answer. Times are seconds.
#[derive(Debug, Serialize)]
pub(super) struct EntryDocument {
    /// The function's answer as text; bytes that are no UTF-8 are replaced by U+FFFD. A function
    /// that answers binary is called by `/function/NAME`, which changes nothing.
    pub(super) resp: String,
    /// "failed" for a status of 400 and above.
    pub(super) status: &'static str,
    pub(super) target_node: String,
    pub(super) execution_location: &'static str,
    /// From the request's head to the answer.
    pub(super) total_time: f64,
    pub(super) hop: u8,
    pub(super) architecture: String,
    /// From the decision to the end of the function's answer.
    pub(super) architecture_time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tag: Option<String>,
}

/// What `/load` answers.
#[derive(Debug, Serialize)]
pub(super) struct LoadDocument {
    cpu_percent: f64,
    cpu_normalized: f64,
    load_1min: f64,
    load_5min: f64,
    load_15min: f64,
    memory_percent: f64,
    memory_available_gb: f64,
    disk_percent: f64,
    disk_free_gb: f64,
    in_flight: u32,
    /// Unix seconds.
    timestamp: f64,
}

impl LoadDocument {
    pub(super) fn new(sample: &LoadSample, in_flight: u32, timestamp: f64) -> Self {
        let [load_1min, load_5min, load_15min] = sample.load_averages;
        Self {
            cpu_percent: sample.cpu_percent,
            cpu_normalized: sample.cpu_normalized,
            load_1min,
            load_5min,
            load_15min,
            memory_percent: sample.memory_percent,
            memory_available_gb: sample.memory_available_gb,
            disk_percent: sample.disk_percent,
            disk_free_gb: sample.disk_free_gb,
            in_flight,
            timestamp,
        }
    }
}

/// What `/arch_metrics` answers. Unknown is null.
#[derive(Debug, Serialize)]
pub(super) struct MetricsDocument<'a> {
    pub(super) mode: &'static str,
    pub(super) functions: BTreeMap<&'a str, FunctionDocument>,
    pub(super) nodes: BTreeMap<&'a str, NodeDocument>,
}

/// One function. Quantiles of different architectures do not add up, so there are none over all.
#[derive(Debug, Serialize)]
pub(super) struct FunctionDocument {
    shares: PerArchitecture<f64>,
    qps: f64,
    /// Over all architectures.
    samples: usize,
    /// Only those with samples.
    architectures: BTreeMap<&'static str, SummaryDocument>,
}

#[derive(Debug, Serialize)]
struct SummaryDocument {
    count: usize,
    p50_s: f64,
    p95_s: f64,
    mean_s: f64,
    tail_ratio: f64,
}

/// One node: what it ran for this one, and what it said of itself.
#[derive(Debug, Serialize)]
pub(super) struct NodeDocument {
    mean_s: Option<f64>,
    p95_s: Option<f64>,
    count: usize,
    network_delay_s: Option<f64>,
    in_flight: Option<u32>,
    outstanding: u32,
    success_share: f64,
    unreachable: bool,
}

/// One value per architecture.
#[derive(Debug, Serialize)]
pub(super) struct PerArchitecture<T> {
    centralized: T,
    federated: T,
    decentralized: T,
}

impl<T> PerArchitecture<T> {
    /// From values in the order of [`Architecture::ALL`].
    pub(super) fn new([centralized, federated, decentralized]: [T; 3]) -> Self {
        Self { centralized, federated, decentralized }
    }
}

impl FunctionDocument {
    pub(super) fn new(view: &FunctionView) -> Self {
        let summaries = Architecture::ALL.into_iter().zip(&view.summaries);
        let known = summaries.filter_map(|(a, summary)| Some((a.as_str(), (*summary)?)));
        Self {
            shares: PerArchitecture::new(Architecture::ALL.map(|a| view.shares.of(a))),
            qps: view.rate,
            samples: view.summaries.iter().flatten().map(|summary| summary.count).sum(),
            architectures: known.map(|(name, s)| (name, SummaryDocument::new(&s))).collect(),
        }
    }
}

impl SummaryDocument {
    fn new(summary: &Summary) -> Self {
        Self {
            count: summary.count,
            p50_s: summary.p50.as_secs_f64(),
            p95_s: summary.p95.as_secs_f64(),
            mean_s: summary.mean.as_secs_f64(),
            tail_ratio: summary.tail_ratio(),
        }
    }
}

impl NodeDocument {
    /// `view`, with the number in flight known first-hand for this node itself.
    pub(super) fn new(view: &NodeView, in_flight_here: Option<u32>) -> Self {
        Self {
            mean_s: view.executed.map(|summary| summary.mean.as_secs_f64()),
            p95_s: view.executed.map(|summary| summary.p95.as_secs_f64()),
            count: view.executed.map_or(0, |summary| summary.count),
            network_delay_s: view.network.map(|network| network.as_secs_f64()),
            in_flight: in_flight_here.or(view.reported.map(|(in_flight, _)| in_flight)),
            outstanding: view.outstanding,
            success_share: view.success,
            unreachable: view.unreachable,
        }
    }
}

/// What `/durations` answers: seconds, oldest first, by function.
pub(super) type DurationsDocument = BTreeMap<String, PerArchitecture<Vec<f64>>>;

/// `views` as `/durations` answers them.
pub(super) fn durations_document(
    views: Vec<(FunctionName, [Vec<Duration>; 3])>,
) -> DurationsDocument {
    let seconds = |list: Vec<Duration>| list.iter().map(|d| d.as_secs_f64()).collect();
    let document = |lists: [Vec<_>; 3]| PerArchitecture::new(lists.map(seconds));
    views.into_iter().map(|(name, lists)| (name.to_string(), document(lists))).collect()
}

/// What `/configuration` answers: all but the secrets.
#[derive(Debug, Serialize)]
pub(super) struct ConfigurationDocument<'a> {
    generation: u64,
    mode: &'static str,
    #[serde(rename = "self")]
    here: &'a str,
    topology: Vec<TopologyRow<'a>>,
    thresholds: ThresholdsDocument,
    selection: &'static str,
    hop_limit: u8,
    limits: LimitsDocument,
    timeouts: TimeoutsDocument,
}

#[derive(Debug, Serialize)]
struct TopologyRow<'a> {
    id: &'a str,
    role: &'static str,
    zone: &'a str,
    address: &'a str,
    port: u16,
    gateway_port: u16,
}

impl<'a> ConfigurationDocument<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let site = &snapshot.site;
        let row = |node: &'a Node| TopologyRow {
            id: node.id.as_str(),
            role: node.role.as_str(),
            zone: node.zone.as_str(),
            address: &node.address.host,
            port: node.address.port,
            gateway_port: node.address.gateway_port,
        };
        Self {
            generation: snapshot.generation,
            mode: site.policy.mode.as_str(),
            here: site.node().id.as_str(),
            topology: site.topology.nodes().iter().map(row).collect(),
            thresholds: ThresholdsDocument::new(&site.policy.tail_ratio.thresholds),
            selection: site.policy.selection.as_str(),
            hop_limit: site.policy.hop_limit.0,
            limits: LimitsDocument::new(&snapshot.limits),
            timeouts: TimeoutsDocument::new(&snapshot.timeouts),
        }
    }
}

/// The thresholds in force.
#[derive(Debug, Serialize)]
pub(super) struct ThresholdsDocument {
    soft_d2f: f64,
    hard_d2f: f64,
    soft_f2c: f64,
    hard_f2c: f64,
}

impl ThresholdsDocument {
    pub(super) fn new(thresholds: &Thresholds) -> Self {
        let Thresholds { soft_d2f, hard_d2f, soft_f2c, hard_f2c } = *thresholds;
        Self { soft_d2f, hard_d2f, soft_f2c, hard_f2c }
    }
}

#[derive(Debug, Serialize)]
struct LimitsDocument {
    entry_body_bytes: usize,
    replay_body_bytes: usize,
    headers: usize,
    connections: usize,
    in_flight: usize,
    client_share: f64,
    functions: usize,
    metric_names: usize,
    decisions: usize,
    idle_connections: usize,
}

impl LimitsDocument {
    fn new(limits: &Limits) -> Self {
        Self {
            entry_body_bytes: limits.entry_body_bytes,
            replay_body_bytes: limits.replay_body_bytes,
            headers: limits.headers,
            connections: limits.connections,
            in_flight: limits.in_flight,
            client_share: limits.client_share,
            functions: limits.functions.get(),
            metric_names: limits.metric_names,
            decisions: limits.decisions,
            idle_connections: limits.idle_connections,
        }
    }
}

/// Under the names that configuration uses.
#[derive(Debug, Serialize)]
struct TimeoutsDocument {
    connect_ms: u64,
    request_header_ms: u64,
    request_body_ms: u64,
    keep_alive_ms: u64,
    answer_ms: u64,
    answer_body_ms: u64,
    client_read_ms: u64,
    total_ms: u64,
    tunnel_ms: u64,
    idle_ms: u64,
    drain_ms: u64,
}

impl TimeoutsDocument {
    fn new(timeouts: &Timeouts) -> Self {
        let ms = |timeout: Duration| timeout.as_millis() as u64;
        Self {
            connect_ms: ms(timeouts.connect),
            request_header_ms: ms(timeouts.request_header),
            request_body_ms: ms(timeouts.request_body),
            keep_alive_ms: ms(timeouts.keep_alive),
            answer_ms: ms(timeouts.answer),
            answer_body_ms: ms(timeouts.answer_body),
            client_read_ms: ms(timeouts.client_read),
            total_ms: ms(timeouts.total),
            tunnel_ms: ms(timeouts.tunnel),
            idle_ms: ms(timeouts.idle),
            drain_ms: ms(timeouts.drain),
        }
    }
}

/// What `/reload` answers.
#[derive(Debug, Serialize)]
pub(super) struct ReloadDocument {
    pub(super) generation: u64,
    pub(super) architecture: &'static str,
    pub(super) changed: Vec<String>,
    pub(super) restart_needed: Vec<&'static str>,
}

/// What `/update_threshold` answers.
#[derive(Debug, Serialize)]
pub(super) struct UpdateDocument {
    pub(super) thresholds: ThresholdsDocument,
    pub(super) generation: u64,
}

/// The error of a refused change, with every problem in parts.
#[derive(Debug, Serialize)]
pub(super) struct RefusedChange<'a> {
    pub(super) error: &'static str,
    pub(super) message: String,
    pub(super) request_id: String,
    pub(super) problems: Vec<ProblemRow<'a>>,
}

/// One problem.
#[derive(Debug, Serialize)]
pub(super) struct ProblemRow<'a> {
    line: Option<usize>,
    column: Option<u32>,
    key: &'a str,
    value: &'a str,
    fault: &'a str,
    remedy: &'a str,
}

impl<'a> ProblemRow<'a> {
    pub(super) fn new(problem: &'a Problem) -> Self {
        let Problem { key, value, fault, remedy, line, column } = problem;
        Self { line: *line, column: *column, key, value, fault, remedy }
    }
}
