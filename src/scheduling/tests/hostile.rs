//! Nodes out of their mind, clocks that run anywhere, shares of a CPU that are no number: nothing
//! panics, no choice is one that may not be made, and what is believed stays a number.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::properties::{check_beliefs, check_decision};
use super::world::{Call, World};
use super::*;
use crate::scheduling::predict::{Completion, Outlook};

/// What happens to a scheduler. Numbers choose among as many nodes or tickets as there are.
#[derive(Debug, Clone)]
enum Happening {
    Decides { cpu_share: f64 },
    Ends { ticket: usize, outcome: Outcome, said: Option<LoadReport>, ran: Option<Word> },
    Hears(Word),
    Observes(Word),
    Hedges { cpu_share: f64 },
    HoldsOrResumes { ticket: usize },
    Reports { ticket: usize },
    Ticks,
}

/// What a node is said to have said.
type Word = (usize, LoadReport);

/// Any time at all: now and then the first or the last there is, or one of the first minutes.
fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        8 => (0..120_000_u64).prop_map(Duration::from_millis),
        2 => any::<u64>().prop_map(Duration::from_nanos),
        1 => Just(Duration::ZERO),
        1 => Just(Duration::MAX),
    ]
}

fn report() -> impl Strategy<Value = LoadReport> {
    let count = prop_oneof![0..9_u32, any::<u32>(), Just(u32::MAX)];
    let cores = prop_oneof![0..9_u16, any::<u16>()];
    let times = (prop::option::of(time()), prop::option::of(time()));
    (count, cores, times, any::<u16>()).prop_map(
        |(in_flight, cores, (execution, service), pace_milli)| LoadReport {
            in_flight,
            cores,
            execution,
            service,
            pace_milli,
        },
    )
}

fn happening() -> impl Strategy<Value = Happening> {
    let outcome = prop::sample::select(vec![
        Outcome::Good,
        Outcome::Good,
        Outcome::Failed,
        Outcome::Lost,
        Outcome::Unreachable,
        Outcome::Cancelled,
    ]);
    let share = || prop_oneof![prop::num::f64::ANY, 0.0..1.8];
    let word = || (any::<usize>(), report());
    let (said, ran) = (prop::option::of(report()), prop::option::weighted(0.2, word()));
    prop_oneof![
        8 => share().prop_map(|cpu_share| Happening::Decides { cpu_share }),
        6 => (any::<usize>(), outcome, said, ran)
            .prop_map(|(ticket, outcome, said, ran)| Happening::Ends { ticket, outcome, said, ran }),
        2 => word().prop_map(Happening::Hears),
        2 => word().prop_map(Happening::Observes),
        1 => share().prop_map(|cpu_share| Happening::Hedges { cpu_share }),
        1 => any::<usize>().prop_map(|ticket| Happening::HoldsOrResumes { ticket }),
        1 => any::<usize>().prop_map(|ticket| Happening::Reports { ticket }),
        1 => Just(Happening::Ticks),
    ]
}

/// Makes it happen at `world.now`.
fn happen(world: &mut World, happening: Happening) {
    let slot = |world: &World, node: usize| {
        let nodes = world.site.topology.nodes();
        nodes[node % nodes.len()].slot
    };
    let now = world.now;
    match happening {
        Happening::Decides { cpu_share } => decide(world, cpu_share),
        Happening::Ends { ticket, outcome, said, ran } => {
            if let Some(ticket) = ticket.checked_rem(world.pending.len()) {
                let ticket = world.pending.swap_remove(ticket);
                let ran = ran.map(|(node, report)| (slot(world, node), report));
                world.scheduler.record_placed(ticket, outcome, said, ran, now);
            }
        }
        Happening::Hears((node, report)) => world.scheduler.hear(slot(world, node), report, now),
        Happening::Observes((node, report)) => {
            world.scheduler.observe(slot(world, node), report, now);
        }
        Happening::Hedges { cpu_share } => hedge(world, cpu_share),
        Happening::HoldsOrResumes { ticket } => world.hold_or_resume(ticket),
        Happening::Reports { ticket } => {
            let ticket = ticket.checked_rem(world.pending.len()).map(|i| &world.pending[i]);
            let report = world.scheduler.report(world.site.node().slot, ticket, now);
            assert!(report.cores > 0, "{report:?}");
        }
        Happening::Ticks => world.scheduler.tick(now),
    }
}

fn decide(world: &mut World, cpu_share: f64) {
    let call = Call { cpu_share, ..world.random_call() };
    let mut decision = world.decide(&call);
    check_decision(world, &call, &decision);
    if decision.step == Step::RunHere && matches!(decision.why, Why::Room | Why::Picked) {
        let here = world.site.here;
        assert!(!call.avoid.contains(&here) && !world.down.contains(&here), "not worth a try");
    }
    world.pending.extend(decision.ticket.take());
}

fn hedge(world: &mut World, cpu_share: f64) {
    let (site, now) = (world.site.clone(), world.now);
    let call = Call { cpu_share, ..world.random_call() };
    if let Some(after) = world.scheduler.hedge_after(&site, call.function, now) {
        assert!(after <= Duration::MAX / 2, "{after:?}");
    }
    let first = Invoked { since: now, under: Architecture::Decentralized };
    let invocation = call.invocation();
    let Some(decision) = world.scheduler.hedge(&site, &invocation, first, cpu_share, now) else {
        return;
    };
    match decision.step {
        Step::RunHere => assert!(!call.avoid.contains(&site.here), "the first is there"),
        Step::Offload(node) | Step::Delegate(node) => assert!(!call.avoid.contains(&node)),
        Step::Refuse(refusal) => panic!("{refusal:?} is no second copy"),
    }
    world.pending.extend(decision.ticket);
}

/// Whatever was heard, of each function at each node there is a time by which it would be answered.
fn check_predictions(world: &World) {
    let Scheduler { functions, estimates, .. } = &world.scheduler;
    for (name, record) in functions.iter() {
        let service_s = record.service.mean_s().unwrap_or(0.1);
        let outlook =
            Outlook { service_s, slow_life_s: 6.0, now: world.now, warmth: record.warmth };
        for node in world.site.topology.nodes() {
            let estimate = estimates.get(node.slot).unwrap();
            for local in [false, true] {
                let takes = outlook.completion(node.slot, estimate, local, f64::INFINITY);
                let Completion { total_s, price_s, .. } =
                    takes.expect("nothing takes longer than for ever");
                assert!(total_s.is_finite() && total_s > 0.0, "{name} at {}: {total_s}", node.id);
                assert!(price_s.is_finite() && price_s >= total_s, "{name}: {price_s}");
            }
            assert!(estimate.peak_cost() >= 0.0 && estimate.busy(world.now) >= 0.0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_that_is_said_and_no_clock_leads_astray(
        seed: u64,
        happenings in prop::collection::vec((time(), happening()), 0..300),
    ) {
        let mut world = World::new(seed, seed);
        world.site.policy.hedge.enabled = true;
        world.site.policy.hedge.samples_min = 1;
        for (at, happening) in happenings {
            world.now = Time::after_origin(at);
            happen(&mut world, happening);
        }
        check_beliefs(&mut world);
        check_predictions(&world);
    }
}
