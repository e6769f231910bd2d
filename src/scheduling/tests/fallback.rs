//! What happens when nodes cannot be reached, and how they come back.

use super::*;
use crate::scheduling::policy::Selection;
use Architecture::{Centralized, Decentralized, Federated};

/// Makes `scheduler` find every node of `down` unreachable at `now`.
fn cut_off(scheduler: &mut Scheduler<Pcg64>, site: &Site, down: &[&str], now: Time) {
    for id in down {
        let node = site.topology.index_of(id).unwrap();
        let step = if node == site.here { Step::RunHere } else { Step::Offload(node) };
        let ticket = scheduler.issue_ticket(site, &entering(), Centralized, step, now);
        scheduler.record(ticket.unwrap(), Outcome::Unreachable, None, now);
    }
}

/// here, wanted, who is down -> step, architecture, why; calm unless `here` is down.
const CHAIN: [(&str, Architecture, &str, &str, Architecture, Why); 11] = [
    ("edge2", Centralized, "cloud", "@edge1", Federated, Why::Handed),
    ("edge2", Centralized, "cloud edge1", "here", Decentralized, Why::Room),
    ("edge2", Centralized, "edge1", "@cloud", Centralized, Why::Handed),
    ("edge2", Federated, "edge1", "here", Decentralized, Why::Room),
    ("edge2", Federated, "edge1 edge2 edge3 edge4", ">cloud", Decentralized, Why::Picked),
    ("edge1", Centralized, "cloud edge2", "here", Federated, Why::Picked),
    ("edge1", Centralized, "cloud edge1", ">edge2", Federated, Why::Picked),
    ("edge1", Federated, "cloud edge1 edge2 edge3", ">edge4", Decentralized, Why::Picked),
    ("cloud", Centralized, "edge1 edge2 edge3 edge4", "here", Centralized, Why::Picked),
    ("cloud", Centralized, "cloud edge1 edge2 edge3 edge4", "here", Decentralized, Why::LastResort),
    (
        "edge4",
        Decentralized,
        "cloud edge1 edge2 edge3 edge4",
        "here",
        Decentralized,
        Why::LastResort,
    ),
];

#[test]
fn a_decider_that_cannot_be_reached_is_a_fallback() {
    let topology = five_nodes();
    for (here, wanted, down, step, architecture, why) in CHAIN {
        for seed in 0..50 {
            let site = site(&topology, here, fixed(wanted));
            let mut scheduler = scheduler(&topology, seed);
            let down: Vec<&str> = down.split(' ').collect();
            cut_off(&mut scheduler, &site, &down, Time::ZERO);
            let decision = scheduler.decide(&site, &entering(), 0.0, Time::ZERO);
            let context = format!("seed {seed}, {here}, {wanted}, down {down:?}");
            assert_eq!(short(&topology, decision.step), step, "{context}");
            assert_eq!((decision.architecture, decision.why), (architecture, why), "{context}");
            let fallback_from = (architecture != wanted).then_some(wanted);
            assert_eq!(decision.fallback_from, fallback_from, "{context}");
        }
    }
}

#[test]
fn an_answer_forgives_an_unreachable_node_and_a_lost_one_does_not() {
    let topology = five_nodes();
    let site = site(&topology, "edge2", fixed(Centralized));
    let cloud = Step::Offload(topology.index_of("cloud").unwrap());
    for (outcome, step) in
        [(Outcome::Good, "@cloud"), (Outcome::Failed, "@cloud"), (Outcome::Lost, "@edge1")]
    {
        let mut scheduler = scheduler(&topology, 1);
        let ticket = scheduler.issue_ticket(&site, &entering(), Centralized, cloud, Time::ZERO);
        cut_off(&mut scheduler, &site, &["cloud"], Time::ZERO);
        scheduler.record(ticket.unwrap(), outcome, None, Time::ZERO);
        let decision = scheduler.decide(&site, &entering(), 0.0, Time::ZERO);
        assert_eq!(short(&topology, decision.step), step, "{outcome:?}");
    }
}

#[test]
fn failed_attempts_of_one_call_lead_down_the_same_chain() {
    let topology = five_nodes();
    let index = |id| topology.index_of(id).unwrap();
    let site = site(&topology, "edge2", fixed(Centralized));
    let mut avoid = Vec::new();
    for (step, fallback_from, failed) in [
        ("@cloud", None, "cloud"),
        ("@edge1", Some(Centralized), "edge1"),
        ("here", Some(Centralized), "edge2"),
    ] {
        for seed in 0..50 {
            let retried = Invocation { avoid: &avoid, ..entering() };
            let decision = scheduler(&topology, seed).decide(&site, &retried, 0.0, Time::ZERO);
            assert_eq!(short(&topology, decision.step), step, "seed {seed}");
            assert_eq!(decision.fallback_from, fallback_from, "seed {seed}");
        }
        avoid.push(index(failed));
    }
}

/// A call entered at a worker, its controller was asked, and picks that worker to run it.
#[test]
fn a_decider_may_send_a_call_back_to_where_it_came_from() {
    let topology = five_nodes();
    let site = site(&topology, "edge1", fixed(Federated));
    let path = [topology.index_of("edge2").unwrap()];
    let handed = Invocation { stage: Stage::Schedule, hop: 1, path: &path, ..entering() };
    let back = (0..200)
        .filter(|&seed| {
            let decision = scheduler(&topology, seed).decide(&site, &handed, 0.0, Time::ZERO);
            decision.step == Step::Offload(path[0])
        })
        .count();
    assert!((70..130).contains(&back), "{back} of 200");
}

#[test]
fn after_so_many_attempts_a_call_runs_here_whatever_was_wanted() {
    let topology = five_nodes();
    for (here, wanted) in topology
        .nodes()
        .iter()
        .flat_map(|node| Architecture::ALL.map(|architecture| (node.id.as_str(), architecture)))
    {
        let site = site(&topology, here, fixed(wanted));
        let others: Vec<NodeIndex> =
            topology.everyone().iter().copied().filter(|&node| node != site.here).collect();
        for seed in 0..20 {
            for tried in ATTEMPTS..=others.len() {
                let retried = Invocation { avoid: &others[..tried], ..entering() };
                let decision = scheduler(&topology, seed).decide(&site, &retried, 1.0, Time::ZERO);
                assert_eq!(decision.step, Step::RunHere, "seed {seed}, {here}, {wanted}");
                assert_eq!(decision.why, Why::LastResort, "seed {seed}, {here}, {wanted}");
            }
        }
    }
}

#[test]
fn a_call_counts_once_however_often_it_is_tried() {
    let topology = five_nodes();
    let site = site(&topology, "edge2", fixed(Centralized));
    let mut scheduler = scheduler(&topology, 1);
    let avoid = [topology.index_of("cloud").unwrap()];
    for invocation in [entering(), Invocation { avoid: &avoid, ..entering() }] {
        let _ = scheduler.decide(&site, &invocation, 0.0, Time::ZERO);
    }
    assert_eq!(scheduler.view_functions(at(0.5))[0].rate, 1.0);
}

#[test]
fn a_decider_is_asked_again_as_soon_as_its_pause_is_over() {
    let topology = five_nodes();
    let site = site(&topology, "edge2", fixed(Centralized));
    let mut scheduler = scheduler(&topology, 1);
    let mut pause = HealthRule::EJECTION;
    let mut now = Time::ZERO;
    for _ in 0..10 {
        cut_off(&mut scheduler, &site, &["cloud"], now);
        let last_moment = now + (pause - Duration::from_nanos(1));
        let decision = scheduler.decide(&site, &entering(), 0.0, last_moment);
        assert_eq!(short(&topology, decision.step), "@edge1", "{now:?}");
        now = now + pause;
        let decision = scheduler.decide(&site, &entering(), 0.0, now);
        assert_eq!(short(&topology, decision.step), "@cloud", "{now:?}");
        pause = (pause * 2).min(HealthRule::EJECTION_MAX);
    }
}

/// A node that failed so long that its weight is next to nothing is found again once its samples
/// have left the window.
#[test]
fn a_node_that_failed_is_found_again() {
    let topology = five_nodes();
    let site = site(&topology, "cloud", fixed(Centralized));
    let edge2 = topology.index_of("edge2").unwrap();
    for seed in 0..10 {
        let mut scheduler = scheduler(&topology, seed);
        let mut now = Time::ZERO;
        let mut found = 0;
        for i in 0..4000 {
            now = now + Duration::from_millis(50);
            scheduler.tick(now);
            let decision = scheduler.decide(&site, &entering(), 0.0, now);
            let is_edge2 = decision.step == Step::Offload(edge2);
            let ill = (200..1000).contains(&i);
            found += u32::from(is_edge2 && i >= 3000);
            let outcome = if ill && is_edge2 { Outcome::Failed } else { Outcome::Good };
            let end = now + Duration::from_millis(40);
            scheduler.record(decision.ticket.unwrap(), outcome, None, end);
        }
        assert!(found > 100, "seed {seed}: {found} of 1000, where a fifth would be fair");
    }
}

/// Under `least_request` a node that once said it was swamped is asked again in time.
#[test]
fn an_old_report_of_a_swamped_node_does_not_count_for_ever() {
    let topology = five_nodes();
    let policy = Policy { selection: Selection::LeastRequest, ..fixed(Centralized) };
    let site = site(&topology, "cloud", policy);
    let edge2 = topology.index_of("edge2").unwrap();
    let swamped = LoadReport { in_flight: 1000, cores: 2, ..LoadReport::default() };
    let share = |seed, wait| {
        let mut scheduler = scheduler(&topology, seed);
        scheduler.observe(topology.node(edge2).slot, swamped, Time::ZERO);
        let mut hits = 0;
        for _ in 0..1000 {
            let decision = scheduler.decide(&site, &entering(), 0.0, Time::ZERO + wait);
            hits += u32::from(decision.step == Step::Offload(edge2));
            let end = Time::ZERO + wait;
            scheduler.record(decision.ticket.unwrap(), Outcome::Cancelled, None, end);
        }
        hits
    };
    for seed in 0..5 {
        let fresh = share(seed, Duration::ZERO);
        assert!(fresh < 80, "seed {seed}: {fresh} of 1000 while the report is fresh");
        let aged = share(seed, Duration::from_secs(60));
        assert!((150..250).contains(&aged), "seed {seed}: {aged} of 1000 a minute later");
    }
}
