//! Dynamic mode from calls to shares, through the public interface only.

use super::*;
use Architecture::{Centralized, Decentralized, Federated};

/// One entry node in dynamic mode, and a clock.
struct Bench {
    site: Site,
    scheduler: Scheduler<Pcg64>,
    now: Time,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let topology = five_nodes();
        Self {
            site: site(&topology, "edge2", documented(Mode::Dynamic)),
            scheduler: scheduler(&topology, seed),
            now: at(100.0),
        }
    }

    /// `count` calls under `architecture` over `over`, every fifth of which takes `tail_ms`
    /// instead of 100 ms; none of them asks for the shares.
    fn feed(&mut self, architecture: Architecture, count: u32, over: Duration, tail_ms: u64) {
        for i in 0..count {
            let call = Invocation { architecture: Some(architecture), ..entering() };
            let decision = self.scheduler.decide(&self.site, &call, 0.0, self.now);
            assert_eq!(decision.architecture, architecture);
            let took = Duration::from_millis(if i % 5 == 4 { tail_ms } else { 100 });
            let ticket = decision.ticket.unwrap();
            self.scheduler.record(ticket, Outcome::Good, None, self.now + took);
            self.now = self.now + over / count;
        }
    }

    /// Lets one call draw its architecture, which follows the rule when that is due.
    fn draw(&mut self) -> Architecture {
        let decision = self.scheduler.decide(&self.site, &entering(), 0.0, self.now);
        let ticket = decision.ticket.unwrap();
        self.scheduler.record(ticket, Outcome::Cancelled, None, self.now);
        decision.architecture
    }

    fn shares(&mut self) -> [f64; 3] {
        let shares = self.scheduler.view_functions(self.now)[0].shares;
        Architecture::ALL.map(|architecture| shares.of(architecture))
    }

    fn rate(&mut self) -> f64 {
        self.scheduler.view_functions(self.now)[0].rate
    }
}

fn assert_shares(actual: [f64; 3], expected: [f64; 3]) {
    for (a, e) in actual.iter().zip(expected) {
        // Quantiles are off by up to 0.8 %, so ratios and what follows from them are too.
        assert!((a - e).abs() < 0.02, "{actual:?} is not near {expected:?}");
    }
}

const TEN_SECONDS: Duration = Duration::from_secs(10);

#[test]
fn a_calm_function_stays_where_it_is() {
    let mut bench = Bench::new(1);
    bench.feed(Decentralized, 100, TEN_SECONDS, 140);
    assert_eq!(bench.draw(), Decentralized);
    assert_shares(bench.shares(), [0.0, 0.0, 1.0]);
}

#[test]
fn shares_move_by_the_documented_rule() {
    let mut bench = Bench::new(1);
    // r = 2.0 is half way from 1.5 to 2.5, and the first evaluation counts in full.
    bench.feed(Decentralized, 100, TEN_SECONDS, 200);
    bench.draw();
    assert_shares(bench.shares(), [0.0, 0.5, 0.5]);

    // Federated at r = 2.2 is half way from 1.7 to 2.7: half of what left goes on to the cloud.
    let before = bench.rate();
    bench.feed(Federated, 100, TEN_SECONDS, 220);
    bench.draw();
    let change = (bench.rate() - before).abs();
    let a = 0.1 + 0.8 / (1.0 + (-0.5 * (change - 5.0)).exp());
    assert_shares(bench.shares(), [a * 0.25, (1.0 - a) * 0.5 + a * 0.25, 0.5]);
}

#[test]
fn a_burst_moves_them_faster_than_a_steady_stream() {
    let moved = |calls| {
        let mut bench = Bench::new(1);
        bench.feed(Decentralized, 100, TEN_SECONDS, 100);
        bench.draw();
        bench.feed(Decentralized, calls, TEN_SECONDS, 900);
        bench.draw();
        bench.shares()[Federated.index()]
    };
    let (steady, burst) = (moved(100), moved(1000));
    // The rate stays at 10/s: a = 0.161. It rises from 10/s to 55/s: a = 0.9.
    assert!((steady - 0.161).abs() < 0.01, "{steady}");
    assert!((burst - 0.9).abs() < 0.01, "{burst}");
}

#[test]
fn evaluations_keep_their_distance() {
    let mut bench = Bench::new(1);
    bench.feed(Decentralized, 100, TEN_SECONDS, 100);
    bench.draw();
    bench.feed(Decentralized, 100, Duration::from_millis(1900), 900);
    bench.draw();
    assert_shares(bench.shares(), [0.0, 0.0, 1.0]);
    bench.now = bench.now + Duration::from_millis(100);
    bench.draw();
    assert!(bench.shares()[Federated.index()] > 0.1);
}

#[test]
fn shares_come_back_when_what_moved_them_has_left_the_window() {
    let mut bench = Bench::new(1);
    bench.feed(Decentralized, 100, TEN_SECONDS, 900);
    bench.draw();
    assert_shares(bench.shares(), [0.0, 1.0, 0.0]);
    bench.now = bench.now + Duration::from_secs(61);
    for _ in 0..60 {
        bench.feed(Federated, 20, Duration::from_secs(2), 100);
        bench.draw();
    }
    assert_shares(bench.shares(), [0.0, 0.0, 1.0]);
}

#[test]
fn a_rare_call_does_not_move_them() {
    let mut bench = Bench::new(1);
    bench.feed(Decentralized, 24, Duration::from_secs(60), 900);
    bench.draw();
    assert_shares(bench.shares(), [0.0, 0.0, 1.0]);
}

#[test]
fn architectures_are_drawn_by_their_shares() {
    for seed in 0..5 {
        let mut bench = Bench::new(seed);
        bench.feed(Decentralized, 100, TEN_SECONDS, 200);
        bench.feed(Federated, 100, TEN_SECONDS, 220);
        bench.draw();
        assert_shares(bench.shares(), [0.25, 0.25, 0.5]);
        let mut counts = [0.0; 3];
        for _ in 0..4000 {
            counts[bench.draw().index()] += 1.0 / 4000.0;
        }
        for (count, share) in counts.iter().zip(bench.shares()) {
            assert!((count - share).abs() < 0.03, "seed {seed}: {counts:?}");
        }
    }
}

#[test]
fn functions_are_judged_one_by_one() {
    let mut bench = Bench::new(1);
    bench.feed(Decentralized, 100, TEN_SECONDS, 900);
    bench.draw();
    let other = Invocation { function: function("other"), ..entering() };
    for _ in 0..100 {
        let decision = bench.scheduler.decide(&bench.site, &other, 0.0, bench.now);
        assert_eq!(decision.architecture, Decentralized);
        bench.scheduler.record(decision.ticket.unwrap(), Outcome::Good, None, bench.now);
    }
    assert_shares(bench.shares(), [0.0, 1.0, 0.0]);
}

/// What is queued is answered at once, what failed or was given up says nothing, and what only
/// passes through was timed where it entered.
#[test]
fn only_good_timed_calls_that_entered_here_are_samples() {
    let handed = Invocation { stage: Stage::Execute, ..entering() };
    let queued = Invocation { timed: false, ..entering() };
    for (invocation, outcome, at_node) in [
        (queued, Outcome::Good, 0),
        (handed, Outcome::Good, 1),
        (entering(), Outcome::Failed, 0),
        (entering(), Outcome::Cancelled, 0),
        (entering(), Outcome::Unreachable, 0),
    ] {
        let mut bench = Bench::new(1);
        let decision = bench.scheduler.decide(&bench.site, &invocation, 0.0, bench.now);
        assert_eq!(decision.step, Step::RunHere);
        let slot = bench.site.node().slot;
        assert_eq!(bench.scheduler.in_flight(slot), 1);
        let end = bench.now + Duration::from_millis(5);
        bench.scheduler.record(decision.ticket.unwrap(), outcome, None, end);
        assert_eq!(bench.scheduler.in_flight(slot), 0, "{outcome:?}");
        let durations = bench.scheduler.view_durations(None, 10, end);
        assert!(durations.iter().all(|(_, windows)| windows.iter().all(Vec::is_empty)));
        let executed = bench.scheduler.view_nodes(&bench.site, end)[2].executed;
        assert_eq!(executed.map_or(0, |summary| summary.count), at_node, "{outcome:?}");
    }
}

#[test]
fn samples_count_for_the_architecture_that_decided() {
    let mut bench = Bench::new(1);
    bench.feed(Centralized, 3, TEN_SECONDS, 100);
    let cloud = bench.site.topology.index_of("cloud").unwrap();
    let avoid = [cloud];
    let call = Invocation { architecture: Some(Centralized), avoid: &avoid, ..entering() };
    let decision = bench.scheduler.decide(&bench.site, &call, 0.0, bench.now);
    assert_eq!(decision.fallback_from, Some(Centralized));
    bench.scheduler.record(decision.ticket.unwrap(), Outcome::Good, None, bench.now);
    let [(_, windows)] = &bench.scheduler.view_durations(None, 10, bench.now)[..] else {
        panic!("one function was called");
    };
    let counts: Vec<usize> = windows.iter().map(Vec::len).collect();
    assert_eq!(counts, [3, 1, 0]);
}
