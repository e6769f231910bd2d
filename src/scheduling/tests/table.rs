//! The mode × role table on five nodes, cell by cell.

use std::collections::BTreeSet;

use super::*;
use crate::scheduling::policy::{HopLimit, Selection};

const SEEDS: u64 = 200;

struct Cell {
    architecture: Architecture,
    here: &'static str,
    calm: &'static str,
    pressed: &'static str,
}

const fn cell(
    architecture: Architecture,
    here: &'static str,
    calm: &'static str,
    pressed: &'static str,
) -> Cell {
    Cell { architecture, here, calm, pressed }
}

use Architecture::{Centralized, Decentralized, Federated};

/// What a node may do with a call that enters there; all of it must occur, and nothing else.
const TABLE: [Cell; 15] = [
    cell(Decentralized, "cloud", "here", "here >edge1 >edge2 >edge3 >edge4"),
    cell(Decentralized, "edge1", "here", "here >cloud >edge2 >edge3 >edge4"),
    cell(Decentralized, "edge2", "here", "here >cloud >edge1 >edge3 >edge4"),
    cell(Decentralized, "edge3", "here", "here >cloud >edge1 >edge2 >edge4"),
    cell(Decentralized, "edge4", "here", "here >cloud >edge1 >edge2 >edge3"),
    cell(Federated, "cloud", "here", "here"),
    cell(Federated, "edge1", "here >edge2", "@cloud @edge3"),
    cell(Federated, "edge2", "@edge1", "@edge1"),
    cell(Federated, "edge3", "here >edge4", "@cloud @edge1"),
    cell(Federated, "edge4", "@edge3", "@edge3"),
    cell(
        Centralized,
        "cloud",
        "here >edge1 >edge2 >edge3 >edge4",
        "here >edge1 >edge2 >edge3 >edge4",
    ),
    cell(Centralized, "edge1", "@cloud", "@cloud"),
    cell(Centralized, "edge2", "@cloud", "@cloud"),
    cell(Centralized, "edge3", "@cloud", "@cloud"),
    cell(Centralized, "edge4", "@cloud", "@cloud"),
];

/// Asserts that over all seeds exactly the steps in `expected` occur.
fn assert_steps(site: &Site, invocation: &Invocation<'_>, cpu_share: f64, expected: &str) {
    let expected: BTreeSet<String> = expected.split(' ').map(String::from).collect();
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let mut scheduler = scheduler(&site.topology, seed);
        let decision = scheduler.decide(site, invocation, cpu_share, Time::ZERO);
        let step = short(&site.topology, decision.step);
        let context = format!("seed {seed} at {}, {:?}", site.node().id, site.policy);
        assert!(expected.contains(&step), "{context}: {step} is not among {expected:?}");
        assert_eq!(decision.fallback_from, None, "{context}");
        assert_eq!(decision.ticket.is_none(), matches!(decision.step, Step::Refuse(_)));
        seen.insert(step);
    }
    assert_eq!(seen, expected, "at {}, cpu {cpu_share}, {invocation:?}", site.node().id);
}

fn every_cell(check: impl Fn(&Cell, Policy, &Arc<Topology>)) {
    let topology = five_nodes();
    for cell in &TABLE {
        for selection in Selection::ALL.into_iter().filter(|s| *s != Selection::Predictive) {
            check(cell, Policy { selection, ..fixed(cell.architecture) }, &topology);
        }
    }
}

#[test]
fn a_call_that_enters() {
    every_cell(|cell, policy, topology| {
        let site = site(topology, cell.here, policy);
        assert_steps(&site, &entering(), 0.5, cell.calm);
        assert_steps(&site, &entering(), 0.91, cell.pressed);
    });
}

#[test]
fn a_call_to_place_for_another_node() {
    every_cell(|cell, policy, topology| {
        let site = site(topology, cell.here, policy);
        let handed = Invocation { stage: Stage::Schedule, hop: 1, ..entering() };
        let worker = site.node().role == Role::Worker;
        let refused = "!NotAController";
        assert_steps(&site, &handed, 0.5, if worker { refused } else { cell.calm });
        assert_steps(&site, &handed, 0.91, if worker { refused } else { cell.pressed });
    });
}

#[test]
fn a_call_to_execute_runs_here_however_busy_and_far_travelled() {
    every_cell(|cell, policy, topology| {
        let site = site(topology, cell.here, policy);
        for (hop, cpu_share) in [(0, 0.0), (1, 1.0), (u8::MAX, 1.0)] {
            let ordered = Invocation { stage: Stage::Execute, hop, ..entering() };
            assert_steps(&site, &ordered, cpu_share, "here");
        }
    });
}

#[test]
fn a_node_that_may_not_offload_is_never_pressed_but_still_places_the_work_of_others() {
    every_cell(|cell, mut policy, topology| {
        policy.offload.enabled = false;
        assert_steps(&site(topology, cell.here, policy), &entering(), 1.0, cell.calm);
    });
}

#[test]
fn at_the_hop_limit_a_call_runs_where_it_is() {
    every_cell(|cell, mut policy, topology| {
        for limit in 0..=HopLimit::MAX {
            policy.hop_limit = HopLimit(limit);
            let site = site(topology, cell.here, policy);
            let worker = site.node().role == Role::Worker;
            for hop in [limit, limit + 1, u8::MAX] {
                let travelled = Invocation { hop, ..entering() };
                assert_steps(&site, &travelled, 1.0, "here");
                let handed = Invocation { stage: Stage::Schedule, ..travelled };
                assert_steps(&site, &handed, 1.0, if worker { "!NotAController" } else { "here" });
            }
        }
    });
}

#[test]
fn one_hop_below_the_limit_a_call_still_travels() {
    every_cell(|cell, policy, topology| {
        let site = site(topology, cell.here, policy);
        let travelled = Invocation { hop: policy.hop_limit.0 - 1, ..entering() };
        assert_steps(&site, &travelled, 1.0, cell.pressed);
    });
}

#[test]
fn a_call_that_has_come_round_in_a_circle_is_refused_at_every_stage() {
    every_cell(|cell, policy, topology| {
        let site = site(topology, cell.here, policy);
        for stage in [Stage::Entry, Stage::Schedule, Stage::Execute] {
            for hop in [0, 2] {
                let circled = Invocation { stage, hop, passed_here: true, ..entering() };
                assert_steps(&site, &circled, 0.0, "!Loop");
            }
        }
    });
}

#[test]
fn the_architecture_a_call_brings_along_stands_above_the_mode() {
    let topology = five_nodes();
    for cell in &TABLE {
        for mode in Mode::ALL {
            let site = site(&topology, cell.here, documented(mode));
            let brought = Invocation { architecture: Some(cell.architecture), ..entering() };
            assert_steps(&site, &brought, 0.0, cell.calm);
        }
    }
}

#[test]
fn pressed_by_invocations_in_flight() {
    let topology = five_nodes();
    let site = site(&topology, "edge2", fixed(Decentralized));
    let mut scheduler = scheduler(&topology, 1);
    let running: Vec<_> = (0..3)
        .map(|_| {
            let decision = scheduler.decide(&site, &entering(), 0.0, Time::ZERO);
            assert_eq!((decision.step, decision.why), (Step::RunHere, Why::Room));
            decision.ticket.unwrap()
        })
        .collect();
    let decision = scheduler.decide(&site, &entering(), 0.0, Time::ZERO);
    assert_eq!(decision.why, Why::Picked, "three in flight are more than two");
    for ticket in running.into_iter().chain(decision.ticket) {
        scheduler.record(ticket, Outcome::Good, None, at(0.1));
    }
    assert_eq!(scheduler.decide(&site, &entering(), 0.0, at(0.2)).why, Why::Room);
}
