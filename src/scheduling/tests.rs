//! The core as a whole; leaves are tested beside their code.

mod deadline;
mod drained;
mod dynamic;
mod explanation;
mod fallback;
mod fleet;
mod health;
mod hedge;
mod hostile;
mod learning;
mod limit;
mod prediction;
mod properties;
mod queue;
mod reload;
mod table;
mod world;

use std::time::Duration;

use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::policy::Selection;
use super::retry::RetryRule;
use super::*;
use crate::topology::{Address, NodeId, NodeSpec, Role, Zone};

pub(super) fn topology_of(nodes: usize) -> Topology {
    let specs = (0..nodes).map(|i| spec(&format!("n{i}"), Role::Worker, "z")).collect();
    Topology::new(specs, None).unwrap()
}

fn spec(id: &str, role: Role, zone: &str) -> NodeSpec {
    let address = Address { host: id.into(), port: 1, gateway_port: 2 };
    NodeSpec { id: NodeId::new(id).unwrap(), role, zone: Zone::new(zone).unwrap(), address }
}

/// The cloud, and two zones of a controller and a worker.
fn five_nodes() -> Arc<Topology> {
    let specs = vec![
        spec("cloud", Role::CloudController, "cloud"),
        spec("edge1", Role::EdgeController, "edge-A"),
        spec("edge2", Role::Worker, "edge-A"),
        spec("edge3", Role::EdgeController, "edge-B"),
        spec("edge4", Role::Worker, "edge-B"),
    ];
    Arc::new(Topology::new(specs, None).unwrap())
}

fn site(topology: &Arc<Topology>, here: &str, policy: Policy) -> Site {
    let here = topology.index_of(here).unwrap();
    Site { topology: Arc::clone(topology), here, policy }
}

/// The documented rules, under `mode`.
fn documented(mode: Mode) -> Policy {
    let (selection, rule) = (Selection::Weighted, DynamicRule::TailRatio);
    Policy { selection, rule, ..Policy::new(mode) }
}

fn fixed(architecture: Architecture) -> Policy {
    documented(Mode::Fixed(architecture))
}

fn scheduler(topology: &Topology, seed: u64) -> Scheduler<Pcg64> {
    let functions_max = NonZeroUsize::new(100).unwrap();
    let mut scheduler = Scheduler::new(functions_max, Pcg64::seed_from_u64(seed));
    scheduler.adopt(topology);
    scheduler.keep_health(steady());
    scheduler
}

/// Attempts of one invocation.
const ATTEMPTS: usize = RetryRule::ATTEMPTS as usize;

/// Health without chance, and without probes.
fn steady() -> HealthRule {
    HealthRule { jitter: 0.0, probes: false, ..HealthRule::default() }
}

fn function(name: &str) -> FunctionName {
    FunctionName::new(name).unwrap()
}

/// A call that has just come in from a client.
fn entering() -> Invocation<'static> {
    Invocation {
        function: function("f"),
        hop: 0,
        stage: Stage::Entry,
        architecture: None,
        path: &[],
        passed_here: false,
        avoid: &[],
        again: Again::No,
        timed: true,
    }
}

fn at(secs: f64) -> Time {
    Time::from_secs_f64(secs)
}

/// A step in short: `here`, `>` and who is to run it, `@` and who is to place it, or `!`.
fn short(topology: &Topology, step: Step) -> String {
    match step {
        Step::RunHere => "here".into(),
        Step::Offload(node) => format!(">{}", topology.node(node).id),
        Step::Delegate(node) => format!("@{}", topology.node(node).id),
        Step::Refuse(refusal) => format!("!{refusal:?}"),
    }
}
