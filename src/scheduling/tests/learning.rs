//! What decisions learn of nodes from their outcomes.

use super::*;
use Architecture::{Centralized, Decentralized, Federated};

/// Two clouds, of which the first runs fast and places slowly.
fn two_clouds() -> Arc<Topology> {
    let specs = vec![
        spec("cloud1", Role::CloudController, "cloud"),
        spec("cloud2", Role::CloudController, "cloud"),
        spec("edge", Role::Worker, "edge"),
    ];
    Arc::new(Topology::new(specs, None).unwrap())
}

fn teach(scheduler: &mut Scheduler<Pcg64>, site: &Site, step: Step, millis: u64) {
    let ticket = scheduler.issue_ticket(site, &entering(), Centralized, step, Time::ZERO).unwrap();
    let end = Time::ZERO + Duration::from_millis(millis);
    scheduler.record(ticket, Outcome::Good, None, end);
}

/// The share of `step` among decisions for a call under `architecture`.
fn share_of(site: &Site, seed: u64, architecture: Architecture, step: Step) -> f64 {
    let mut scheduler = scheduler(&site.topology, seed);
    for (id, runs, places) in [("cloud1", 100, 900), ("cloud2", 900, 100), ("edge", 900, 900)] {
        let node = site.topology.index_of(id).unwrap();
        teach(&mut scheduler, site, Step::Offload(node), runs);
        teach(&mut scheduler, site, Step::Delegate(node), places);
    }
    let call = Invocation { architecture: Some(architecture), ..entering() };
    let hits = (0..4000).filter(|_| {
        let decision = scheduler.decide(site, &call, 1.0, at(1.0));
        scheduler.record(decision.ticket.unwrap(), Outcome::Cancelled, None, at(1.0));
        decision.step == step
    });
    hits.count() as f64 / 4000.0
}

#[test]
fn running_and_placing_are_judged_apart() {
    let topology = two_clouds();
    let site = site(&topology, "edge", fixed(Centralized));
    let cloud1 = topology.index_of("cloud1").unwrap();
    for seed in 0..5 {
        // 1/900 against 1/100.
        let places = share_of(&site, seed, Centralized, Step::Delegate(cloud1));
        assert!((places - 0.1).abs() < 0.03, "seed {seed}: {places}");
        // 1/100 against 1/900 twice.
        let runs = share_of(&site, seed, Decentralized, Step::Offload(cloud1));
        assert!((runs - 9.0 / 11.0).abs() < 0.03, "seed {seed}: {runs}");
    }
}

#[test]
fn a_tick_drops_what_is_older_than_the_window() {
    let topology = two_clouds();
    let site = site(&topology, "edge", fixed(Centralized));
    let mut scheduler = scheduler(&topology, 1);
    let cloud1 = topology.index_of("cloud1").unwrap();
    teach(&mut scheduler, &site, Step::Offload(cloud1), 100);
    teach(&mut scheduler, &site, Step::Delegate(cloud1), 100);
    for (secs, kept) in [(60.1, 1), (60.2, 0)] {
        scheduler.tick(at(secs));
        let estimate = scheduler.estimate(topology.node(cloud1).slot).unwrap();
        let history = estimate.history();
        assert_eq!((history.executed.len(), history.placed.len()), (kept, kept), "{secs}");
        let [(_, record)] = &scheduler.functions.iter().collect::<Vec<_>>()[..] else {
            panic!("one function was called");
        };
        assert_eq!(record.windows[Centralized.index()].len(), 2 * kept, "{secs}");
    }
}

#[test]
fn what_a_node_says_of_itself_is_known_afterwards() {
    let topology = two_clouds();
    let site = site(&topology, "edge", fixed(Federated));
    let mut scheduler = scheduler(&topology, 1);
    let cloud1 = topology.index_of("cloud1").unwrap();
    let step = Step::Offload(cloud1);
    let ticket = scheduler.issue_ticket(&site, &entering(), Federated, step, Time::ZERO);
    let execution = Some(Duration::from_millis(150));
    let report = LoadReport { in_flight: 7, cores: 4, execution, ..LoadReport::default() };
    scheduler.record(ticket.unwrap(), Outcome::Good, Some(report), at(0.2));
    let view = scheduler.view_nodes(&site, at(1.2)).swap_remove(0);
    // What it answered has left since; the first time nothing is known of the way.
    assert_eq!(view.reported, Some((6, Duration::from_secs(1))));
    assert_eq!(view.network, Some(Duration::from_millis(50)));
    assert_eq!(view.executed.unwrap().mean, Duration::from_millis(200));
    // Heard through another node, later: the way there is not part of it.
    let report = LoadReport { in_flight: 3, ..report };
    scheduler.observe(topology.node(cloud1).slot, report, at(2.2));
    let view = scheduler.view_nodes(&site, at(2.2)).swap_remove(0);
    assert_eq!(view.reported, Some((2, Duration::from_millis(25))), "half a round trip old");
    assert_eq!(view.network, Some(Duration::from_millis(50)));
}

#[test]
fn opening_a_connection_is_no_part_of_the_way() {
    let topology = two_clouds();
    let policy = Policy::new(Mode::Fixed(Decentralized));
    let site = site(&topology, "edge", policy);
    let mut scheduler = scheduler(&topology, 1);
    let cloud1 = topology.index_of("cloud1").unwrap();
    let step = Step::Offload(cloud1);
    let mut ticket =
        scheduler.issue_ticket(&site, &entering(), Decentralized, step, Time::ZERO).unwrap();
    // Opened for 120 ms, on the way for as long, run for 100 ms.
    let execution = Some(Duration::from_millis(100));
    let report = LoadReport { in_flight: 1, cores: 4, execution, ..LoadReport::default() };
    ticket.note_sent(at(0.12));
    scheduler.record(ticket, Outcome::Good, Some(report), at(0.34));
    let (_, prospects) = scheduler.prospects(&site, None, at(0.34));
    let network = prospects.iter().find(|p| p.node == cloud1).unwrap().network;
    assert_eq!(network, Some(Duration::from_millis(120)));
}

#[test]
fn where_a_function_takes_longer_is_known_and_holds_for_no_other() {
    let topology = two_clouds();
    let site = site(&topology, "edge", fixed(Decentralized));
    let mut scheduler = scheduler(&topology, 1);
    let [near, far] = ["near", "far"].map(|name| FunctionName::new(name).unwrap());
    let slots = ["cloud1", "cloud2"].map(|id| topology.node(topology.index_of(id).unwrap()).slot);
    for i in 0..400 {
        let now = at(f64::from(i));
        // The data of one of them is far from the first cloud.
        for (function, slot, secs) in [
            (near, slots[0], 0.2),
            (near, slots[1], 0.2),
            (far, slots[0], 0.3),
            (far, slots[1], 0.2),
        ] {
            scheduler.function_mut(function, now).warmth.learn(slot, secs, None, now, now);
            scheduler.learn_from(function, slot, secs, 0, now);
        }
    }
    for (function, expected) in [(near, [0.2, 0.2]), (far, [0.3, 0.2])] {
        let (_, prospects) = scheduler.prospects(&site, Some(function), at(400.0));
        for (slot, secs) in slots.into_iter().zip(expected) {
            let found = prospects.iter().find(|p| topology.node(p.node).slot == slot).unwrap();
            assert!((found.service_s / secs).ln().abs() < 0.1, "{function} {found:?}");
        }
    }
}
