//! Nodes that fail or are gone: who is still sent there, and how they are found again.

use super::super::super::scenario::{Fault, FaultKind};
use super::*;

/// The last node, a worker.
const ILL: MachineId = 4;

/// Invocations at `rate`, of which the last node fails or loses all from 5 s on, for so long.
fn with_fault(kind: FaultKind, rate: f64, lasts_s: u64) -> Scenario {
    let mut scenario = scenario(&[(0, rate)]);
    let node = scenario.snapshot.site.topology.everyone()[ILL as usize];
    let (at, lasts) = (Duration::from_secs(5), Duration::from_secs(lasts_s));
    scenario.cells[0].faults = vec![Fault { node, kind, at, lasts, every: None }];
    scenario
}

#[test]
fn a_node_that_fails_is_sent_next_to_nothing_whoever_decides() {
    let scenario = with_fault(FaultKind::Failing(1.0), 60.0, 1000);
    for policy in ["federated+predictive", "centralized+weighted", "centralized+least_request"] {
        let mut world = World::new(trial(&scenario, named(policy), 1));
        run_until(&mut world, 120, |_, _| {});
        let ill = scenario.snapshot.site.topology.everyone()[ILL as usize];
        let later = world.samples.iter().filter(|sample| sample.issued.as_secs() >= 10);
        let (count, there) = later.fold((0, 0), |(count, there), sample| {
            (count + 1, there + u32::from(sample.target == Some(ill)))
        });
        assert!(count > 5000 && there * 100 <= count, "{policy}: {there} of {count}");
    }
}

#[test]
fn a_node_that_is_gone_is_found_by_probes_and_costs_no_invocation_until_then() {
    let scenario = with_fault(FaultKind::Stopped, 40.0, 10);
    let mut world = World::new(trial(&scenario, named("decentralized+predictive"), 1));
    let (mut refused, mut probed) = (0, [0; 2]);
    run_until(&mut world, 60, |world, event| {
        let gone = world.queue.now() < 15_000_000_000;
        match event {
            Event::Refused(_) => refused += 1,
            Event::Probed { .. } => probed[usize::from(!gone)] += 1,
            _ => {}
        }
    });
    // Four others, each of which has to find out for itself, and sends nobody there again.
    assert!((3..=4).contains(&refused), "{refused} were sent in vain");
    assert!(probed[0] >= 3 && probed[1] >= 3, "{probed:?}");
    let ill = scenario.snapshot.site.topology.everyone()[ILL as usize];
    let back = world.samples.iter().filter(|sample| {
        sample.issued.as_secs() >= 30 && sample.target == Some(ill) && sample.entry != ill
    });
    assert!(back.count() > 20, "it is used again");
}
