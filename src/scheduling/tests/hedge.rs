//! When there is a second copy, where it goes, and what is learned from it.

use super::*;
use crate::scheduling::hedge::BURST;
use crate::scheduling::policy::HedgeRule;
use Architecture::{Centralized, Decentralized, Federated};

fn hedging(mode: Mode) -> Policy {
    let hedge = HedgeRule { enabled: true, ..HedgeRule::default() };
    Policy { hedge, ..Policy::new(mode) }
}

fn at_edge2(policy: Policy) -> (Site, Scheduler<Pcg64>) {
    let topology = five_nodes();
    (site(&topology, "edge2", policy), scheduler(&topology, 1))
}

/// `count` answers of `f` that took `millis` each, under `architecture`.
fn answer(
    scheduler: &mut Scheduler<Pcg64>,
    site: &Site,
    architecture: Architecture,
    count: usize,
    millis: u64,
) {
    for _ in 0..count {
        let step = Step::RunHere;
        let ticket = scheduler.issue_ticket(site, &entering(), architecture, step, Time::ZERO);
        let end = Time::ZERO + Duration::from_millis(millis);
        scheduler.record(ticket.unwrap(), Outcome::Good, None, end);
    }
}

#[test]
fn an_invocation_takes_long_after_the_quantile_of_the_fullest_window() {
    let (site, mut scheduler) = at_edge2(hedging(Mode::Dynamic));
    let after = |scheduler: &mut Scheduler<Pcg64>| {
        let after = scheduler.hedge_after(&site, function("f"), at(1.0));
        after.map(|after| after.as_secs_f64())
    };
    assert_eq!(after(&mut scheduler), None, "nothing is known");
    answer(&mut scheduler, &site, Federated, 19, 100);
    assert_eq!(after(&mut scheduler), None, "too little is known");
    answer(&mut scheduler, &site, Centralized, 5, 900);
    answer(&mut scheduler, &site, Federated, 1, 100);
    let known = after(&mut scheduler).unwrap();
    assert!((0.1..0.103).contains(&known), "not before what it always takes: {known}");
    answer(&mut scheduler, &site, Federated, 2, 400);
    let known = after(&mut scheduler).unwrap();
    assert!((0.4..0.412).contains(&known), "{known}");
    assert_eq!(scheduler.hedge_after(&site, function("f"), at(70.0)), None, "all is forgotten");
}

#[test]
fn nothing_is_sent_twice_unless_configured() {
    let mut no_offload = hedging(Mode::Dynamic);
    no_offload.offload.enabled = false;
    for policy in [Policy::new(Mode::Dynamic), no_offload] {
        let (site, mut scheduler) = at_edge2(policy);
        answer(&mut scheduler, &site, Federated, 100, 100);
        for _ in 0..100 {
            assert_eq!(scheduler.hedge_after(&site, function("f"), at(1.0)), None);
        }
        assert!(!scheduler.may_hedge());
    }
}

#[test]
fn copies_stay_within_the_budget_over_any_sequence() {
    for seed in 0..50 {
        let mut rng = Pcg64::seed_from_u64(seed);
        let mut policy = hedging(Mode::Dynamic);
        policy.hedge.budget = rng.random_range(0.0..0.5);
        let (site, mut scheduler) = at_edge2(policy);
        answer(&mut scheduler, &site, Federated, 20, 100);
        let (mut invocations, mut copies) = (0, 0);
        // What was sent since a point in time, whatever came before: the least of all such points.
        let (mut excess, mut least) = (0.0_f64, 0.0_f64);
        for _ in 0..5000 {
            if rng.random_bool(0.5) {
                invocations += 1;
                excess -= policy.hedge.budget;
                assert!(scheduler.hedge_after(&site, function("f"), at(1.0)).is_some());
            } else if scheduler.may_hedge() {
                copies += 1;
                excess += 1.0;
            }
            least = least.min(excess);
            assert!(excess - least <= BURST + 1e-6, "seed {seed}: {excess} above {least}");
        }
        let allowed = policy.hedge.budget * f64::from(invocations);
        assert!(f64::from(copies) <= allowed + 1e-6, "seed {seed}: {copies} of {allowed}");
        assert!(f64::from(copies) > allowed - BURST - 1.0, "seed {seed}: {copies} of {allowed}");
    }
}

/// A scheduler with one copy to spend, and the first one on its way to `first`.
fn underway(policy: Policy, first: Step) -> (Site, Scheduler<Pcg64>, Ticket) {
    let (site, mut scheduler) = at_edge2(policy);
    scheduler.hedges.earn(1.0);
    let ticket = scheduler.issue_ticket(&site, &entering(), Centralized, first, at(1.0)).unwrap();
    (site, scheduler, ticket)
}

#[test]
fn the_second_goes_elsewhere_and_answers_for_the_invocation() {
    let mut policy = hedging(Mode::Dynamic);
    policy.selection = Selection::Random;
    let (site, mut scheduler, first) = underway(policy, Step::RunHere);
    let avoid = [site.here];
    let call = Invocation { avoid: &avoid, ..entering() };
    let second = scheduler.hedge(&site, &call, first.invoked(), 0.0, at(2.0)).unwrap();
    let Step::Offload(node) = second.step else { panic!("{second:?}") };
    let slot = site.topology.node(node).slot;
    assert!(!scheduler.may_hedge(), "it is paid for");
    scheduler.record(second.ticket.unwrap(), Outcome::Good, None, at(2.5));
    scheduler.record(first, Outcome::Cancelled, None, at(2.5));
    let windows = &scheduler.function_mut(function("f"), at(3.0)).windows;
    assert_eq!(windows[Decentralized.index()].len(), 0);
    let seen: Vec<Duration> = windows[Centralized.index()].recent(9).collect();
    assert_eq!(seen, [Duration::from_millis(1500)], "from the invocation to the first answer");
    let executed = &scheduler.estimate(slot).unwrap().history().executed;
    assert_eq!(executed.mean(), Some(Duration::from_millis(500)), "the node took no longer");
    assert_eq!(scheduler.in_flight(site.node().slot), 0);
}

#[test]
fn there_is_no_second_where_there_is_nowhere_else() {
    let mut policy = hedging(Mode::Dynamic);
    for hop_limit in [0, 2] {
        policy.hop_limit.0 = hop_limit;
        let (site, mut scheduler, first) = underway(policy, Step::RunHere);
        let everyone: Vec<NodeIndex> = site.topology.everyone().to_vec();
        let avoid = if hop_limit == 0 { &[site.here][..] } else { &everyone };
        let call = Invocation { avoid, ..entering() };
        assert!(scheduler.hedge(&site, &call, first.invoked(), 0.0, at(2.0)).is_none());
        assert_eq!(scheduler.in_flight(site.node().slot), 1, "only the first");
        assert!(scheduler.may_hedge(), "it is not paid for");
        scheduler.record(first, Outcome::Good, None, at(3.0));
    }
}

#[test]
fn what_is_broken_off_late_says_that_its_node_is_slow_and_early_nothing() {
    for (broken_off, slower) in [(0.05, false), (2.0, true)] {
        let (site, mut scheduler) = at_edge2(hedging(Mode::Dynamic));
        let mut now = 0.0;
        let mut run = |outcome, takes| {
            let step = Step::RunHere;
            let ticket = scheduler.issue_ticket(&site, &entering(), Decentralized, step, at(now));
            now += takes;
            scheduler.record(ticket.unwrap(), outcome, None, at(now));
        };
        (0..20).for_each(|_| run(Outcome::Good, 0.1));
        (0..3).for_each(|_| run(Outcome::Cancelled, broken_off));
        let told = scheduler.report(site.node().slot, None, at(now)).pace_milli;
        assert_eq!(told > 0, slower, "broken off after {broken_off} s: {told}");
    }
}
