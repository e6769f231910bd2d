//! Nodes that leave and come back: whatever positions they have in each other's topologies, all of
//! them mean the machine they name.

use super::*;

/// Every node as every other knows it, by the topology that other goes by.
fn check(fleet: &Fleet, told: &str) {
    for (by, member) in (0..).zip(&fleet.members) {
        let topology = &member.site.topology;
        assert_eq!(topology.node(member.site.here).id.as_str(), NODES[by as usize].0, "{told}");
        for &index in topology.everyone() {
            let node = topology.node(index);
            let machine = fleet.machine_of(by, index);
            assert_eq!(node.id.as_str(), NODES[machine as usize].0, "{told}: as {by} knows it");
            assert_eq!(fleet.slot_of(by, machine), Some(node.slot), "{told}: as {by} knows it");
            let mut known = [NodeIndex::default(); 2];
            assert_eq!(fleet.translate(by, &[machine], &[], &mut known).0, [index], "{told}");
        }
    }
}

#[test]
fn everybody_means_the_machine_they_name() {
    let scenario = scenario(&[]);
    let mut fleet = Fleet::new(&scenario, &scenario.cells[0], named("federated+predictive"), 1);
    check(&fleet, "at first");
    for (machine, left) in [(1, true), (3, true), (1, false), (4, true), (3, false), (4, false)] {
        fleet.member(machine).ails.left = left;
        fleet.reconfigure(&scenario);
        check(&fleet, &format!("{} left: {left}", NODES[machine as usize].0));
    }
    // Who is gone knows those that were there; who stays does not know who is gone.
    fleet.member(2).ails.left = true;
    fleet.reconfigure(&scenario);
    assert_eq!(fleet.members[2].site.topology.everyone().len(), 5);
    assert_eq!(fleet.members[3].site.topology.everyone().len(), 4);
    assert!(fleet.slot_of(2, 3).is_some() && fleet.slot_of(3, 2).is_none());
}
