//! Policies are compared under the same chances: the same arrivals, entries, functions and demands
//! under one seed, whoever decides.

use super::*;

/// Function, demand and entry of one invocation.
type Drawn = (u16, u64, MachineId);

/// What was drawn for each invocation, as they came, and when they came.
fn drawn(scenario: &Scenario, contender: Contender, seed: u64) -> (Vec<Drawn>, Vec<Nanos>) {
    let mut world = World::new(trial(scenario, contender, seed));
    let (mut drawn, mut times) = (Vec::new(), Vec::new());
    run_until(&mut world, 10, |world, event| {
        if matches!(event, Event::Arrival | Event::Issue { .. }) {
            let newest = world.calls.iter().max_by_key(|call| call.serial).unwrap();
            assert_eq!(newest.issued, world.queue.now(), "it cannot have ended at once");
            drawn.push((newest.function, newest.demand_s.to_bits(), newest.entry));
            times.push(newest.issued);
        }
    });
    (drawn, times)
}

#[test]
fn everyone_is_given_the_same_arrivals_and_demands() {
    let scenario = scenario(&[(0, 30.0), (5, 60.0)]);
    let expected = drawn(&scenario, Contender::Clairvoyant, 1);
    assert!(expected.0.len() > 300);
    for contender in Contender::all() {
        assert!(drawn(&scenario, contender, 1) == expected, "{contender}");
    }
    let other = drawn(&scenario, Contender::Clairvoyant, 2);
    assert!(other.0[0] != expected.0[0] && other.1 != expected.1);
}

/// Who waits for an answer calls again when it comes, so times differ; what is drawn does not.
#[test]
fn clients_who_wait_are_given_the_same_in_the_same_order() {
    let mut scenario = scenario(&[]);
    let phases = vec![(Duration::ZERO, 10)];
    scenario.loads[0].kind = LoadKind::Closed { phases, think: Duration::ZERO };
    // Whoever has failed waits before the next call, and so is passed by others.
    scenario.cells[0].functions.iter_mut().for_each(|function| function.deadline = None);
    let (expected, times) = drawn(&scenario, Contender::Clairvoyant, 1);
    for contender in Contender::all().into_iter().skip(1) {
        let (others, other_times) = drawn(&scenario, contender, 1);
        let shared = expected.len().min(others.len());
        assert!(shared > 100, "{contender}: {shared}");
        assert!(expected[..shared] == others[..shared], "{contender}");
        assert!(times[..shared] != other_times[..shared], "{contender}: the same trial");
    }
}
