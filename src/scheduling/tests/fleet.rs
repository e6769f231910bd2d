//! Ten thousand nodes: whom one decision picks, and where many of them leave the load.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::scheduling::policy::{OffloadRule, Selection};

const NODES: usize = 10_000;
const PER_ZONE: usize = 100;
const HERE: &str = "n4200";

/// Nodes that are all the same, in zones of a hundred. Under the federated architecture a controller
/// places what its zone is given, and may not give it to another.
fn large_site(architecture: Architecture, selection: Selection) -> Site {
    let specs = (0..NODES).map(|i| {
        let role = if i % PER_ZONE == 0 { Role::EdgeController } else { Role::Worker };
        spec(&format!("n{i}"), role, &format!("z{}", i / PER_ZONE))
    });
    let topology = Arc::new(Topology::new(specs.collect(), None).unwrap());
    let enabled = architecture == Architecture::Decentralized;
    let offload = OffloadRule { enabled, ..OffloadRule::default() };
    let mut policy = Policy { selection, offload, ..Policy::new(Mode::Fixed(architecture)) };
    // Attempts enough that there is one elsewhere after two.
    policy.retries.attempts = 4;
    site(&topology, HERE, policy)
}

/// Where so many invocations go, of which none has ended.
fn targets(
    site: &Site,
    avoid: &[NodeIndex],
    cpu_share: f64,
    count: u32,
    seed: u64,
) -> Vec<NodeIndex> {
    let mut scheduler = scheduler(&site.topology, seed);
    let invocation = Invocation { avoid, ..entering() };
    let target = |i: u32| {
        let now = at(f64::from(i) * 1e-3);
        match scheduler.decide(site, &invocation, cpu_share, now).step {
            Step::RunHere => site.here,
            Step::Offload(node) => node,
            other => panic!("{other:?}"),
        }
    };
    (0..count).map(target).collect()
}

fn counts(targets: &[NodeIndex]) -> BTreeMap<NodeIndex, usize> {
    let mut counts = BTreeMap::new();
    targets.iter().for_each(|node| *counts.entry(*node).or_default() += 1);
    counts
}

/// A node of the zone of [`HERE`], and one of another.
fn two_to_avoid(site: &Site) -> [NodeIndex; 2] {
    ["n4207", "n17"].map(|id| site.topology.index_of(id).unwrap())
}

#[test]
fn of_a_zone_of_equal_nodes_each_gets_about_its_share() {
    const EACH: usize = 20;
    // By chance alone the most is about twice the share; who counts what is there does better.
    for (selection, most) in [
        (Selection::Weighted, 2.2),
        (Selection::Random, 2.2),
        (Selection::LeastRequest, 1.3),
        (Selection::PeakEwma, 2.2),
        (Selection::Predictive, 1.3),
    ] {
        let site = large_site(Architecture::Federated, selection);
        let avoid = two_to_avoid(&site);
        let targets = targets(&site, &avoid, 0.5, (EACH * PER_ZONE) as u32, 1);
        let zone: BTreeSet<_> = site.topology.zone_members(site.node()).iter().collect();
        assert!(targets.iter().all(|node| zone.contains(node)), "{selection:?}");
        let counts = counts(&targets);
        assert_eq!(counts.len(), PER_ZONE - 1, "{selection:?}: all but the one to be avoided");
        assert!(!counts.contains_key(&avoid[0]), "{selection:?}");
        let largest = counts.values().max().copied().unwrap_or_default() as f64 / EACH as f64;
        assert!(largest <= most, "{selection:?}: {largest}");
    }
}

#[test]
fn of_a_large_fleet_nobody_gets_much_and_nobody_is_asked_twice() {
    for selection in Selection::ALL {
        let site = large_site(Architecture::Decentralized, selection);
        let avoid = two_to_avoid(&site);
        // Its cores are in use, so that it offloads where there are thresholds.
        let targets = targets(&site, &avoid, 1.0, 3000, 1);
        let mut counts = counts(&targets);
        assert!(targets.iter().all(|node| node.as_usize() < NODES), "{selection:?}");
        assert!(avoid.iter().all(|node| !counts.contains_key(node)), "{selection:?}");
        let here = counts.remove(&site.here).unwrap_or_default();
        let most = counts.values().max().copied().unwrap_or_default();
        assert!(here <= 6 && most <= 6, "{selection:?}: {here} here, at most {most}");
        assert!(counts.len() > 2400, "{selection:?}: {} nodes", counts.len());
    }
}

#[test]
fn its_own_core_comes_first() {
    let site = large_site(Architecture::Decentralized, Selection::Predictive);
    let first = targets(&site, &[], 0.5, 2, 1);
    assert_eq!(first[0], site.here);
    assert_ne!(first[1], site.here, "a second would share it");
}

#[test]
fn the_same_seed_picks_the_same_of_ten_thousand() {
    for architecture in [Architecture::Decentralized, Architecture::Federated] {
        for selection in Selection::ALL {
            let site = large_site(architecture, selection);
            let [first, same, other] = [1, 1, 2].map(|seed| targets(&site, &[], 1.0, 300, seed));
            assert!(first == same, "{architecture} {selection:?}");
            assert!(first != other, "{architecture} {selection:?}");
        }
    }
}
