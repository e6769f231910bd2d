//! Whatever goes wrong, every invocation ends once, and a fleet that nobody calls any more is as
//! empty as it was.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::super::super::contender::Extras;
use super::super::super::scenario::{Fault, FaultKind};
use super::*;

/// When the last invocation comes, and when all have long ended: the last fault is over, whoever
/// was cut off has given up, and what has piled up at a slow machine is worked off.
const LAST_ARRIVAL_S: u64 = 15;
const END_S: u64 = 300;

fn fault() -> impl Strategy<Value = (usize, FaultKind, u64, u64, bool)> {
    let kind = prop_oneof![
        (1.0..20.0).prop_map(FaultKind::Slowed),
        Just(FaultKind::Stopped),
        Just(FaultKind::CutOff),
        Just(FaultKind::Partitioned),
        Just(FaultKind::Left),
        (0.0..1.0).prop_map(FaultKind::Silent),
        (0.0..1.0).prop_map(FaultKind::Failing),
    ];
    // The cloud stays, or there would be nobody left to tell the others of a change.
    (1..NODES.len(), kind, 0..14_000_u64, 1..14_000_u64, any::<bool>())
}

fn contender() -> impl Strategy<Value = Contender> {
    let extras = (any::<bool>(), any::<bool>());
    (0..Contender::all().len(), extras).prop_map(|(i, (hedge, queue))| match Contender::all()[i] {
        Contender::Hopwise(mode, rule, selection, _) => {
            Contender::Hopwise(mode, rule, selection, Extras { hedge, queue })
        }
        other => other,
    })
}

/// What is left in `world` of invocations that have come to it.
fn left_behind(world: &mut World<'_>) -> Vec<String> {
    let now = Fleet::now(world.queue.now());
    let mut left: Vec<String> = world.calls.iter().map(|call| format!("{call:?}")).collect();
    for member in &mut world.fleet.members {
        let id = member.site.node().id.clone();
        let views = member.scheduler.view_nodes(&member.site, now);
        let outstanding: u32 = views.iter().map(|view| view.outstanding).sum();
        let turns = (member.turns.running(), member.turns.waiting());
        let told = (member.processor.running(), member.coming, turns, outstanding);
        if told != (0, 0, (0, 0), 0) {
            left.push(format!("{id}: running, coming, turns, outstanding = {told:?}"));
        }
    }
    left
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_invocation_ends_once_and_nothing_is_left(
        contender in contender(),
        faults in prop::collection::vec(fault(), 0..5),
        rate in 20.0..90.0,
        seed: u64,
    ) {
        let mut scenario = scenario(&[(0, rate), (LAST_ARRIVAL_S, 0.0)]);
        let nodes = scenario.snapshot.site.topology.everyone();
        scenario.cells[0].faults = faults
            .into_iter()
            .map(|(node, kind, at_ms, lasts_ms, again)| Fault {
                node: nodes[node],
                kind,
                at: Duration::from_millis(at_ms),
                lasts: Duration::from_millis(lasts_ms),
                every: again.then_some(Duration::from_secs(15)),
            })
            .collect();
        let mut world = World::new(trial(&scenario, contender, seed));
        let mut came = Vec::new();
        run_until(&mut world, END_S, |world, event| {
            if matches!(event, Event::Arrival) {
                came.push(Duration::from_nanos(world.queue.now()));
            }
        });
        let mut ended: Vec<Duration> = world.samples.iter().map(|s| s.issued).collect();
        ended.sort_unstable();
        prop_assert!(came.len() > 200, "{} came", came.len());
        prop_assert_eq!(&ended, &came);
        prop_assert_eq!(left_behind(&mut world), Vec::<String>::new());

        let mut again = World::new(trial(&scenario, contender, seed));
        run_until(&mut again, END_S, |_, _| {});
        prop_assert_eq!(again.trace.hash(), world.trace.hash());
    }
}
