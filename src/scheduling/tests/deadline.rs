//! Invocations that cannot be answered in time.

use super::*;

/// A scheduler that knows how long `count` invocations of `f` took: 100 ms, and every tenth 20 ms.
fn experienced(count: u32) -> Scheduler<Pcg64> {
    let topology = five_nodes();
    let site = site(&topology, "edge2", fixed(Architecture::Decentralized));
    let mut scheduler = scheduler(&topology, 1);
    for i in 0..count {
        let now = at(1.0) + Duration::from_millis(u64::from(i));
        let decision = scheduler.decide(&site, &entering(), 0.0, now);
        let took = Duration::from_millis(if i % 10 == 0 { 20 } else { 100 });
        scheduler.record(decision.ticket.unwrap(), Outcome::Good, None, now + took);
    }
    scheduler
}

#[test]
fn what_is_sure_to_be_late_is_not_tried_but_for_one_now_and_then() {
    let mut scheduler = experienced(200);
    let ms = Duration::from_millis;
    let f = function("f");
    assert!(!scheduler.is_hopeless(f, ms(60), at(2.0)), "one in ten would be in time");
    assert!(!scheduler.is_hopeless(f, ms(10), at(2.0)), "one finds out");
    assert!(scheduler.is_hopeless(f, ms(10), at(2.5)));
    assert!(!scheduler.is_hopeless(f, ms(60), at(2.5)));
    assert!(!scheduler.is_hopeless(f, ms(10), at(3.0)), "and another a second later");
    assert!(scheduler.is_hopeless(f, ms(10), at(3.1)));
}

#[test]
fn of_what_little_is_known_nothing_is_hopeless() {
    for (mut scheduler, name) in [(experienced(200), "g"), (experienced(19), "f")] {
        for now in [2.0, 2.1] {
            assert!(!scheduler.is_hopeless(function(name), Duration::from_nanos(1), at(now)));
        }
    }
}
