//! A partition of the network: each side goes on by itself.

use super::super::super::scenario::{Fault, FaultKind};
use super::*;

/// Zone edge-B, which hears nobody else.
const APART: [u32; 2] = [3, 4];

#[test]
fn each_side_of_a_partition_goes_on_by_itself() {
    let mut scenario = scenario(&[(0, 30.0)]);
    let everyone: Vec<NodeIndex> = scenario.snapshot.site.topology.everyone().to_vec();
    let fault = |machine: u32| Fault {
        node: everyone[machine as usize],
        kind: FaultKind::Partitioned,
        at: Duration::ZERO,
        lasts: Duration::from_secs(1000),
        every: None,
    };
    scenario.cells[0].faults = APART.map(fault).to_vec();
    for contender in ["clairvoyant", "decentralized+predictive", "federated+predictive"] {
        let mut world = World::new(trial(&scenario, named(contender), 3));
        run_until(&mut world, 60, |_, _| {});
        let apart = |node: NodeIndex| APART.iter().any(|a| everyone[*a as usize] == node);
        let ran = world.samples.iter().filter_map(|s| s.target.map(|target| (s.entry, target)));
        let ran: Vec<(NodeIndex, NodeIndex)> = ran.collect();
        assert!(ran.iter().all(|(entry, target)| apart(*entry) == apart(*target)), "{contender}");
        for side in [false, true] {
            let theirs =
                ran.iter().filter(|(entry, target)| apart(*entry) == side && entry != target);
            assert!(theirs.count() > 20, "{contender}: those of a side hear each other");
        }
    }
}
