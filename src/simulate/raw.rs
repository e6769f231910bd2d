//! A scenario as written. Every mapping refuses keys it does not know; whether values make sense
//! is asked later, where all problems can be told at once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) nodes: Option<Vec<Node>>,
    pub(super) generate: Option<Generate>,
    pub(super) delays_ms: Delays,
    pub(super) bandwidth_mbps: Option<f64>,
    #[serde(default)]
    pub(super) overhead_ms: f64,
    pub(super) reconnect_after_idle_s: Option<f64>,
    pub(super) hopwise: Option<serde_yaml::Mapping>,
    #[serde(default)]
    pub(super) functions: Vec<Function>,
    pub(super) cells: Option<Vec<Cell>>,
    pub(super) entries: Vec<Entry>,
    pub(super) loads: Loads,
    #[serde(default)]
    pub(super) length: Length,
    #[serde(default = "seeds")]
    pub(super) seeds: Vec<u64>,
    pub(super) policies: Option<Vec<String>>,
}

fn seeds() -> Vec<u64> {
    (1..=5).collect()
}

/// A machine with its place in the topology.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) role: String,
    pub(super) zone: String,
    pub(super) cores: u16,
    #[serde(default = "one")]
    pub(super) speed: f64,
}

/// A fleet of equal zones, and a cloud.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Generate {
    pub(super) zones: usize,
    pub(super) nodes_per_zone: usize,
    #[serde(default = "two")]
    pub(super) cores: u16,
    #[serde(default = "one")]
    pub(super) speed: f64,
    pub(super) cloud: Option<Cloud>,
}

/// The cloud of a generated fleet.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cloud {
    #[serde(default = "one_node")]
    pub(super) nodes: usize,
    pub(super) cores: u16,
    #[serde(default = "one")]
    pub(super) speed: f64,
}

fn one() -> f64 {
    1.0
}

fn two() -> u16 {
    2
}

fn one_node() -> usize {
    1
}

/// One-way delays; a cell names those that differ.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Delays {
    pub(super) within_zone: Option<f64>,
    pub(super) between_zones: Option<f64>,
    pub(super) to_cloud: Option<f64>,
    pub(super) pairs: Option<Vec<Pair>>,
}

/// Two zones with a delay of their own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pair {
    pub(super) between: [String; 2],
    pub(super) ms: f64,
}

/// A function.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Function {
    pub(super) name: String,
    #[serde(default = "one")]
    pub(super) weight: f64,
    pub(super) demand: Demand,
    pub(super) cold_start: Option<ColdStart>,
    #[serde(default)]
    pub(super) waits_ms: BTreeMap<String, f64>,
    #[serde(default)]
    pub(super) request_bytes: u32,
    #[serde(default)]
    pub(super) answer_bytes: u32,
    #[serde(default)]
    pub(super) idempotent: bool,
    pub(super) deadline_ms: Option<f64>,
}

/// One of the distributions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Demand {
    pub(super) constant_ms: Option<f64>,
    pub(super) lognormal: Option<Lognormal>,
    pub(super) pareto: Option<Pareto>,
    pub(super) bimodal: Option<Bimodal>,
}

/// See [`crate::sim::scenario::Demand::Lognormal`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lognormal {
    pub(super) mean_ms: f64,
    pub(super) sigma: f64,
}

/// See [`crate::sim::scenario::Demand::Pareto`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pareto {
    pub(super) mean_ms: f64,
    pub(super) shape: f64,
}

/// See [`crate::sim::scenario::Demand::Bimodal`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bimodal {
    pub(super) usual_ms: f64,
    pub(super) rare_ms: f64,
    pub(super) probability: f64,
}

/// See [`crate::sim::scenario::ColdStart`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ColdStart {
    pub(super) takes_ms: f64,
    pub(super) keep_warm_s: f64,
}

/// One row of conditions: what differs from the rest of the file, and what goes wrong.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cell {
    pub(super) name: String,
    pub(super) functions: Option<Vec<Function>>,
    pub(super) delays_ms: Option<Delays>,
    #[serde(default)]
    pub(super) faults: Vec<Fault>,
}

/// Something that goes wrong, at one node or at several.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    pub(super) node: Option<String>,
    pub(super) nodes: Option<Vec<String>>,
    pub(super) zone: Option<String>,
    #[serde(default)]
    pub(super) all_edge: bool,
    pub(super) kind: String,
    pub(super) factor: Option<f64>,
    pub(super) probability: Option<f64>,
    #[serde(default)]
    pub(super) at_s: f64,
    pub(super) lasts_s: f64,
    pub(super) every_s: Option<f64>,
    #[serde(default)]
    pub(super) in_turn: bool,
}

/// One of the ways of entry.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) node: Option<String>,
    pub(super) uniform: Option<String>,
    pub(super) hot_zone: Option<String>,
    pub(super) share: Option<f64>,
    pub(super) moving_hot_spot: Option<MovingHotSpot>,
}

/// A zone that most invocations come in at, then another.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MovingHotSpot {
    pub(super) zones: Vec<String>,
    pub(super) share: f64,
    pub(super) turn_s: f64,
}

/// One of the kinds of load.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Loads {
    pub(super) closed: Option<Closed>,
    pub(super) closed_steps: Option<Vec<Step>>,
    pub(super) open: Option<Open>,
    pub(super) open_steps: Option<Vec<OpenStep>>,
    pub(super) bursts: Option<Bursts>,
    pub(super) diurnal: Option<Diurnal>,
    pub(super) replay: Option<Replay>,
}

/// Clients who wait for an answer before they go on: one load per number.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Closed {
    pub(super) concurrency: Vec<u32>,
    #[serde(default)]
    pub(super) think_ms: f64,
}

/// From when on there are how many clients.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) at_s: f64,
    pub(super) clients: u32,
}

/// Invocations per second: one load per number.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Open {
    pub(super) rate: Vec<f64>,
}

/// From when on there are how many invocations per second.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenStep {
    pub(super) at_s: f64,
    pub(super) rate: f64,
}

/// See [`crate::sim::scenario::Rate::Bursts`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bursts {
    pub(super) high: f64,
    pub(super) low: f64,
    pub(super) on_s: f64,
    pub(super) off_s: f64,
}

/// See [`crate::sim::scenario::Rate::Diurnal`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Diurnal {
    pub(super) mean: f64,
    pub(super) period_s: f64,
}

/// A trace to replay.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replay {
    pub(super) file: PathBuf,
    pub(super) functions_max: Option<usize>,
    pub(super) minutes: Option<usize>,
    #[serde(default = "one")]
    pub(super) speedup: f64,
}

/// When a trial ends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Length {
    pub(super) invocations: u64,
    pub(super) seconds: f64,
    pub(super) warm_up_seconds: f64,
}

impl Default for Length {
    fn default() -> Self {
        Self { invocations: 2000, seconds: 120.0, warm_up_seconds: 10.0 }
    }
}
