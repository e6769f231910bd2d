//! What is inside a world while a trial runs, beside what it tells at the end: who is on the way,
//! what was drawn, and what is left behind.

mod chances;
mod drain;
mod health;
mod left;
mod little;
mod partition;

use super::super::scenario::{
    Cell, ConfigText, Demand, Entry, EntryShares, Function, Length, Load, LoadKind, Machine,
    Network, Rate, Scenario,
};
use super::*;
use crate::config::Snapshot;
use crate::scheduling::FunctionName;

const MILLISECOND: Duration = Duration::from_millis(1);
/// Id, role, zone, and the zone's place among the delays.
const NODES: [(&str, &str, &str, usize); 5] = [
    ("cloud", "cloud-controller", "cloud", 0),
    ("edge1", "edge-controller", "edge-A", 1),
    ("edge2", "worker", "edge-A", 1),
    ("edge3", "edge-controller", "edge-B", 2),
    ("edge4", "worker", "edge-B", 2),
];
/// One-way delays in milliseconds.
const DELAYS_MS: [[u32; 3]; 3] = [[10, 60, 60], [60, 10, 20], [60, 20, 10]];

/// The testbed under an open load: one function that may run twice, and one that must be quick.
fn scenario(rates: &[(u64, f64)]) -> Scenario {
    let mut text = ConfigText::default();
    for (i, (id, role, zone, _)) in NODES.iter().enumerate() {
        text.nodes.push([(*id).into(), (*role).into(), (*zone).into(), format!("10.0.0.{i}")]);
    }
    let snapshot = Snapshot::from_yaml(&text.of(&[0, 1, 2, 3, 4]), None).unwrap();
    let edge = snapshot.site.topology.everyone()[1..].iter().copied();
    let shares = EntryShares(edge.zip([0.25, 0.5, 0.75, 1.0]).collect());
    let network = Network {
        zone_of: NODES.iter().map(|(.., zone)| *zone).collect(),
        delays: DELAYS_MS.iter().map(|row| row.map(|ms| ms * MILLISECOND).to_vec()).collect(),
        bandwidth: None,
        overhead: Duration::ZERO,
        reconnect_after_idle: None,
    };
    let rate = rates.iter().map(|(at_s, rate)| (Duration::from_secs(*at_s), *rate)).collect();
    Scenario {
        name: "testbed".into(),
        text,
        machines: vec![Machine { cores: 2, speed: 1.0 }; NODES.len()],
        cells: vec![Cell {
            name: "one".into(),
            network,
            functions: functions(),
            faults: Vec::new(),
        }],
        entries: vec![Entry { name: "edge".into(), turns: vec![shares], turn: MILLISECOND }],
        loads: vec![Load { concurrency: 1.0, kind: LoadKind::Open(Rate::Steps(rate)) }],
        length: Length { invocations: 0, time: Duration::MAX, warm_up: Duration::ZERO },
        snapshot,
    }
}

fn functions() -> Vec<Function> {
    let slow = Function {
        name: FunctionName::new("f").unwrap(),
        weight: 2.0,
        demand: Demand::Lognormal(100 * MILLISECOND, 0.5),
        cold_start: None,
        waits: Vec::new(),
        bytes: [1000, 1000],
        idempotent: true,
        deadline: None,
    };
    let quick = Function {
        name: FunctionName::new("g").unwrap(),
        weight: 1.0,
        demand: Demand::Pareto(50 * MILLISECOND, 2.0),
        idempotent: false,
        deadline: Some(400 * MILLISECOND),
        ..slow.clone()
    };
    vec![slow, quick]
}

fn trial(scenario: &Scenario, contender: Contender, seed: u64) -> Trial<'_> {
    Trial {
        scenario,
        cell: &scenario.cells[0],
        entry: &scenario.entries[0],
        load: &scenario.loads[0],
        contender,
        seed,
    }
}

/// Handles events until this second, or the last; `look` sees the world after each, and what it was.
fn run_until(world: &mut World<'_>, secs: u64, mut look: impl FnMut(&World<'_>, Event)) {
    while let Some(event) = world.queue.pop() {
        world.handle(event);
        look(world, event);
        if world.queue.now() >= secs * 1_000_000_000 {
            return;
        }
    }
}

fn named(name: &str) -> Contender {
    name.parse().unwrap()
}
