//! Nodes that fail, nodes without a function, and what further attempts may cost.

use super::*;
use crate::scheduling::health::Cause;
use Architecture::Centralized;

/// Lets the cloud place `count` invocations, one every 10 ms, each answered as `outcome` says.
/// How many each node was sent.
fn run(
    scheduler: &mut Scheduler<Pcg64>,
    site: &Site,
    from: Time,
    count: u32,
    outcome: impl Fn(&str) -> Outcome,
) -> std::collections::BTreeMap<String, u32> {
    let mut sent = std::collections::BTreeMap::new();
    for i in 0..count {
        let now = from + Duration::from_millis(10) * i;
        let decision = scheduler.decide(site, &entering(), 0.0, now);
        let node = match decision.step {
            Step::Offload(node) => node,
            _ => site.here,
        };
        let id = site.topology.node(node).id.as_str();
        *sent.entry(id.to_owned()).or_default() += 1;
        let end = now + Duration::from_millis(5);
        scheduler.record(decision.ticket.unwrap(), outcome(id), None, end);
    }
    sent
}

#[test]
fn a_node_that_fails_fast_gets_next_to_nothing_once_it_is_ejected() {
    let topology = five_nodes();
    for selection in Selection::ALL {
        let site = site(&topology, "cloud", Policy { selection, ..fixed(Centralized) });
        for seed in 0..10 {
            let mut scheduler = scheduler(&topology, seed);
            let fails = |id: &str| if id == "edge2" { Outcome::Failed } else { Outcome::Good };
            let before = run(&mut scheduler, &site, at(0.0), 1000, fails);
            let after = run(&mut scheduler, &site, at(10.0), 2000, fails);
            let got = after.get("edge2").copied().unwrap_or_default();
            assert!(got <= 20, "{selection:?}, seed {seed}: {got} of 2000 after {before:?}");
            let found = run(&mut scheduler, &site, at(90.0), 4000, |_| Outcome::Good);
            let dull = matches!(selection, Selection::Predictive);
            assert!(dull || found["edge2"] > 40, "{selection:?}, seed {seed}: {found:?}");
        }
    }
}

#[test]
fn a_function_that_fails_everywhere_ejects_nobody_for_long_and_never_more_than_half() {
    let topology = five_nodes();
    let policy = Policy { selection: Selection::Random, ..fixed(Centralized) };
    let site = site(&topology, "cloud", policy);
    for seed in 0..10 {
        let mut scheduler = scheduler(&topology, seed);
        for step in 0..400 {
            let now = at(0.0) + Duration::from_millis(50) * step;
            let _ = run(&mut scheduler, &site, now, 5, |_| Outcome::Failed);
            let views = scheduler.view_nodes(&site, now + Duration::from_millis(50));
            let away = views.iter().filter(|view| view.unreachable).count();
            assert!(away <= 2, "seed {seed}: {away} of 5");
        }
        assert!(scheduler.ejections()[Cause::Failing as usize] < 40, "seed {seed}");
    }
}

#[test]
fn a_lost_node_is_found_by_a_probe_and_tried_by_one_invocation() {
    let topology = five_nodes();
    let site = site(&topology, "edge2", fixed(Centralized));
    let cloud = topology.index_of("cloud").unwrap();
    let slot = topology.node(cloud).slot;
    let mut scheduler = scheduler(&topology, 1);
    scheduler.keep_health(HealthRule { probes: true, ..steady() });
    let step = |scheduler: &mut Scheduler<Pcg64>, now| {
        let decision = scheduler.decide(&site, &entering(), 0.0, at(now));
        (short(&topology, decision.step), decision.ticket.unwrap())
    };
    assert_eq!(scheduler.next_probe(&topology, at(0.0)), None);
    let (_, ticket) = step(&mut scheduler, 1.0);
    scheduler.record(ticket, Outcome::Unreachable, None, at(1.0));
    assert_eq!(scheduler.next_probe(&topology, at(1.2)), None, "its time is not over");
    assert!(scheduler.awaits_probes());
    assert_eq!(scheduler.next_probe(&topology, at(1.5)), Some(cloud));
    assert_eq!(scheduler.next_probe(&topology, at(1.5)), None, "it is being probed");
    scheduler.probed(slot, false, at(1.5), at(1.6));
    assert_eq!(scheduler.next_probe(&topology, at(2.5)), None, "it is left alone longer");
    assert_eq!(step(&mut scheduler, 2.9).0, "@edge1", "no invocation tries it before");
    assert_eq!(scheduler.next_probe(&topology, at(3.0)), Some(cloud));
    scheduler.probed(slot, true, at(3.0), at(3.1));
    let (to, ticket) = step(&mut scheduler, 3.2);
    assert_eq!(to, "@cloud");
    assert_eq!(step(&mut scheduler, 3.3).0, "@edge1", "one at a time");
    scheduler.record(ticket, Outcome::Good, None, at(3.4));
    assert_eq!(step(&mut scheduler, 3.5).0, "@cloud");
    assert_eq!(scheduler.next_probe(&topology, at(9.0)), None);
    assert!(!scheduler.awaits_probes());
}

#[test]
fn nobody_probes_this_nodes_own_gateway() {
    let topology = five_nodes();
    let site = site(&topology, "edge2", fixed(Architecture::Decentralized));
    let mut scheduler = scheduler(&topology, 1);
    scheduler.keep_health(HealthRule { probes: true, ..steady() });
    let decision = scheduler.decide(&site, &entering(), 0.0, at(1.0));
    assert_eq!(decision.step, Step::RunHere);
    scheduler.record(decision.ticket.unwrap(), Outcome::Unreachable, None, at(1.0));
    assert_eq!(scheduler.next_probe(&topology, at(9.0)), None);
    let decision = scheduler.decide(&site, &entering(), 0.0, at(9.0));
    assert_eq!(decision.step, Step::RunHere, "an invocation tries it");
}

#[test]
fn a_node_without_a_function_is_not_asked_for_it_for_a_while() {
    let topology = five_nodes();
    for selection in Selection::ALL {
        let site = site(&topology, "cloud", Policy { selection, ..fixed(Centralized) });
        let lacks = |id: &str| match id {
            "edge2" | "cloud" => Outcome::Absent,
            _ => Outcome::Good,
        };
        for seed in 0..5 {
            let mut scheduler = scheduler(&topology, seed);
            let sent = run(&mut scheduler, &site, at(1.0), 900, lacks);
            for id in ["edge2", "cloud"] {
                let asked = sent.get(id).copied().unwrap_or_default();
                assert!(asked <= 1, "{selection:?}, seed {seed}: {id} in {sent:?}");
            }
            let views = scheduler.view_nodes(&site, at(10.0));
            assert!(views.iter().all(|view| !view.unreachable), "{selection:?}, seed {seed}");
            let other = Invocation { function: function("g"), ..entering() };
            let mut scheduler = scheduler_that_lacks(&topology, &site, seed);
            let decision = scheduler.decide(&site, &other, 0.0, at(1.1));
            assert!(decision.ticket.is_some());
        }
    }
}

/// A scheduler that knows that nobody has the function `f`.
fn scheduler_that_lacks(topology: &Topology, site: &Site, seed: u64) -> Scheduler<Pcg64> {
    let mut scheduler = scheduler(topology, seed);
    for node in topology.nodes() {
        scheduler.note_absent(function("f"), node.slot, at(1.0));
    }
    let decision = scheduler.decide(site, &entering(), 0.0, at(1.0));
    assert_eq!((decision.step, decision.why), (Step::RunHere, Why::LastResort));
    scheduler
}

#[test]
fn further_attempts_are_paid_for_and_the_last_one_that_ran_nothing_is_made_here() {
    let topology = five_nodes();
    let site = site(&topology, "edge2", fixed(Centralized));
    let cloud = [topology.index_of("cloud").unwrap()];
    let mut scheduler = scheduler(&topology, 1);
    let again = |again| Invocation { avoid: &cloud, again, ..entering() };
    // Ten per second are there in any case.
    for _ in 0..10 {
        let decision = scheduler.decide(&site, &again(Again::MayHaveRun), 0.0, at(1.0));
        assert_eq!(short(&topology, decision.step), "@edge1");
    }
    let decision = scheduler.decide(&site, &again(Again::NothingRan), 0.0, at(1.0));
    assert_eq!((decision.step, decision.why), (Step::RunHere, Why::RetriesSpent));
    let decision = scheduler.decide(&site, &again(Again::MayHaveRun), 0.0, at(1.0));
    assert_eq!(decision.step, Step::Refuse(Refusal::RetriesSpent));
    let decision = scheduler.decide(&site, &again(Again::No), 0.0, at(1.0));
    assert_eq!(short(&topology, decision.step), "@edge1", "who found no room pays nothing");
    for _ in 0..5 {
        let _ = scheduler.decide(&site, &entering(), 0.0, at(1.0));
    }
    let decision = scheduler.decide(&site, &again(Again::MayHaveRun), 0.0, at(1.0));
    assert_eq!(short(&topology, decision.step), "@edge1", "five invocations pay for one");
}

#[test]
fn waiting_before_the_same_node_is_asked_again_doubles_and_varies() {
    let topology = five_nodes();
    let site = site(&topology, "edge2", fixed(Centralized));
    let mut scheduler = scheduler(&topology, 1);
    for (failures, longest_ms) in [(1, 50), (2, 100), (3, 200)] {
        let waits: Vec<u128> =
            (0..200).map(|_| scheduler.wait_again(&site, failures).as_millis()).collect();
        assert!(waits.iter().all(|wait| *wait < longest_ms), "{failures}: {waits:?}");
        assert!(waits.iter().any(|wait| *wait > longest_ms * 3 / 4), "{failures}: {waits:?}");
    }
}

#[test]
fn a_node_that_ended_a_connection_is_probed_and_lost_only_if_it_is_not_there() {
    let topology = five_nodes();
    let site = site(&topology, "edge2", fixed(Centralized));
    let cloud = topology.index_of("cloud").unwrap();
    let slot = topology.node(cloud).slot;
    let mut scheduler = scheduler(&topology, 1);
    scheduler.keep_health(HealthRule { probes: true, ..steady() });
    let to = |scheduler: &mut Scheduler<Pcg64>, now| {
        let decision = scheduler.decide(&site, &entering(), 0.0, at(now));
        short(&topology, decision.step)
    };
    scheduler.doubt(slot);
    assert!(scheduler.awaits_probes());
    assert_eq!(to(&mut scheduler, 1.0), "@cloud", "a doubt alone keeps nobody away");
    assert_eq!(scheduler.next_probe(&topology, at(1.0)), Some(cloud));
    scheduler.doubt(slot);
    assert_eq!(scheduler.next_probe(&topology, at(1.0)), None, "it is being probed");
    scheduler.probed(slot, true, at(1.0), at(1.1));
    assert_eq!(to(&mut scheduler, 1.2), "@cloud");
    assert_eq!(scheduler.next_probe(&topology, at(1.2)), None);
    assert_eq!(scheduler.ejections()[Cause::Lost as usize], 0);

    scheduler.doubt(slot);
    assert_eq!(scheduler.next_probe(&topology, at(2.0)), Some(cloud));
    scheduler.probed(slot, false, at(2.0), at(2.1));
    assert_eq!(to(&mut scheduler, 2.2), "@edge1");
    assert_eq!(scheduler.ejections()[Cause::Lost as usize], 1);
    scheduler.doubt(slot);
    assert_eq!(scheduler.next_probe(&topology, at(2.2)), None, "its time is not over");
    assert_eq!(scheduler.next_probe(&topology, at(2.8)), Some(cloud));

    scheduler.keep_health(HealthRule { probes: false, ..steady() });
    let edge1 = topology.index_of("edge1").unwrap();
    scheduler.doubt(topology.node(edge1).slot);
    assert_eq!(scheduler.next_probe(&topology, at(2.9)), None, "nobody asked for probes");
}
