//! Little's law for the whole fleet: the mean number on the way is the rate of arrivals times the
//! mean time from each to its answer. The first is counted in the world, event by event; the others
//! are what is told of it.

use super::*;

/// Mean number on the way, and the number of samples times their mean time over the whole time.
fn both_sides(contender: Contender) -> (f64, f64) {
    const SECONDS: u64 = 300;
    let mut scenario = scenario(&[(0, 40.0)]);
    // A client that gives up is answered before its call is gone, and a second copy is no client's.
    scenario.cells[0].functions.truncate(1);
    let mut world = World::new(trial(&scenario, contender, 1));
    let (mut before, mut area, mut there) = (0, 0.0, 0);
    run_until(&mut world, SECONDS, |world, _| {
        area += (world.queue.now() - before) as f64 * 1e-9 * f64::from(there);
        before = world.queue.now();
        there = world.calls.iter().count() as u32;
    });
    let told: f64 = world.samples.iter().map(|sample| sample.took.as_secs_f64()).sum();
    (area / SECONDS as f64, told / SECONDS as f64)
}

#[test]
fn as_many_are_on_the_way_as_arrive_in_the_time_that_one_takes() {
    for name in
        ["clairvoyant", "centralized+weighted", "federated+predictive", "decentralized+random"]
    {
        let (counted, told) = both_sides(named(name));
        // 40 per second of at least 100 ms; what is on its way at the end is not told yet.
        assert!(counted > 4.0, "{name}: {counted}");
        assert!((0.99..=1.0).contains(&(told / counted)), "{name}: {counted} {told}");
    }
}
