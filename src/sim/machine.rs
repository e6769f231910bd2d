//! A machine: processor sharing, and which functions are warm.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::queue::Nanos;
use super::scenario::{ColdStart, Machine};

/// Processor sharing in virtual time: each invocation ends when the service that every one of them
/// has received since the start reaches what it was at its arrival, plus its demand. A change of
/// the number or of the speed then costs O(log n), not O(n).
#[derive(Debug)]
pub(super) struct Processor {
    machine: Machine,
    slowed: f64,
    attained: f64,
    /// Seconds of demand served to all of them.
    pub(super) served_s: f64,
    updated: Nanos,
    running: BinaryHeap<Reverse<(Demand, u32)>>,
    /// Counts changes, so that an end foreseen before the last one is known to be void.
    pub(super) epoch: u32,
    warm: Vec<Warmth>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Demand(f64);

impl PartialOrd for Demand {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Demand {}

impl Ord for Demand {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Whether a function can run at once.
#[derive(Debug, Clone, Copy, Default)]
struct Warmth {
    /// From when on it is started; none while it never was.
    ready: Option<Nanos>,
    running: u32,
    last_end: Nanos,
}

impl Processor {
    pub(super) fn new(machine: Machine, functions: usize) -> Self {
        Self {
            machine,
            slowed: 1.0,
            attained: 0.0,
            served_s: 0.0,
            updated: 0,
            running: BinaryHeap::new(),
            epoch: 0,
            warm: vec![Warmth::default(); functions],
        }
    }

    pub(super) fn cores(&self) -> u16 {
        self.machine.cores
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    pub(super) fn speed(&self) -> f64 {
        self.machine.speed / self.slowed
    }

    /// Seconds of demand each invocation is served per second.
    fn rate(&self) -> f64 {
        let running = self.running.len().max(1) as f64;
        self.speed() * (f64::from(self.machine.cores) / running).min(1.0)
    }

    fn advance(&mut self, now: Nanos) {
        let attained = (now - self.updated) as f64 * 1e-9 * self.rate();
        self.attained += attained;
        self.served_s += attained * self.running.len() as f64;
        self.updated = now;
        self.epoch = self.epoch.wrapping_add(1);
    }

    pub(super) fn slow_down(&mut self, factor: f64, now: Nanos) {
        self.advance(now);
        self.slowed = factor;
    }

    pub(super) fn start(&mut self, call: u32, demand_s: f64, now: Nanos) {
        self.advance(now);
        self.running.push(Reverse((Demand(self.attained + demand_s), call)));
    }

    /// How long until the next invocation ends if nothing changes.
    pub(super) fn next_end(&self) -> Option<Nanos> {
        let Reverse((Demand(end), _)) = self.running.peek()?;
        Some((((end - self.attained) / self.rate()).max(0.0) * 1e9).ceil() as Nanos)
    }

    /// The invocation that ends now.
    pub(super) fn finish(&mut self, now: Nanos) -> Option<u32> {
        self.advance(now);
        self.running.pop().map(|Reverse((_, call))| call)
    }

    /// Takes out one invocation before its end.
    pub(super) fn cancel(&mut self, call: u32, now: Nanos) -> bool {
        self.advance(now);
        let before = self.running.len();
        self.running.retain(|Reverse((_, other))| *other != call);
        self.running.len() < before
    }

    /// Takes out everything, in the order in which it would have ended.
    pub(super) fn stop(&mut self, now: Nanos) -> Vec<u32> {
        self.advance(now);
        self.warm.fill(Warmth::default());
        std::iter::from_fn(|| self.running.pop()).map(|Reverse((_, call))| call).collect()
    }

    /// How long an invocation of `function` that arrives now waits for it to be started.
    pub(super) fn wait_for_start(
        &mut self,
        function: usize,
        cold_start: Option<ColdStart>,
        now: Nanos,
    ) -> Nanos {
        let wait = self.would_wait(function, cold_start, now);
        let warmth = &mut self.warm[function];
        warmth.ready = Some(now + wait);
        warmth.running += 1;
        wait
    }

    /// What [`Self::wait_for_start`] would answer.
    pub(super) fn would_wait(
        &self,
        function: usize,
        cold_start: Option<ColdStart>,
        now: Nanos,
    ) -> Nanos {
        let Some(ColdStart { takes, keep_warm }) = cold_start else { return 0 };
        let warmth = self.warm[function];
        let idle = now - warmth.last_end > keep_warm.as_nanos() as Nanos;
        match warmth.ready {
            Some(ready) if warmth.running > 0 || !idle => ready.saturating_sub(now),
            _ => takes.as_nanos() as Nanos,
        }
    }

    /// Notes that an invocation of `function` has left.
    pub(super) fn leave(&mut self, function: usize, now: Nanos) {
        let warmth = &mut self.warm[function];
        warmth.running = warmth.running.saturating_sub(1);
        warmth.last_end = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn run_out(processor: &mut Processor, mut now: Nanos) -> Vec<(u32, Nanos)> {
        let mut ends = Vec::new();
        while let Some(delay) = processor.next_end() {
            now += delay;
            ends.push((processor.finish(now).unwrap(), now));
        }
        ends
    }

    fn near(actual: &[(u32, Nanos)], expected: &[(u32, f64)]) {
        assert_eq!(actual.len(), expected.len(), "{actual:?}");
        for ((call, at), (wanted, secs)) in actual.iter().zip(expected) {
            assert_eq!(call, wanted, "{actual:?}");
            assert!((*at as f64 * 1e-9 - secs).abs() < 1e-6, "{actual:?}");
        }
    }

    /// Two cores: three invocations of 1 s share them. Each gets 2/3 until the first ends.
    #[test]
    fn more_invocations_than_cores_share_them_evenly() {
        let mut processor = Processor::new(Machine { cores: 2, speed: 1.0 }, 1);
        for (call, demand) in [(1, 1.0), (2, 2.0), (3, 1.0)] {
            processor.start(call, demand, 0);
        }
        near(&run_out(&mut processor, 0), &[(1, 1.5), (3, 1.5), (2, 2.5)]);
    }

    #[test]
    fn a_slowed_machine_takes_as_many_times_as_long() {
        let mut processor = Processor::new(Machine { cores: 1, speed: 2.0 }, 1);
        processor.start(1, 2.0, 0);
        processor.slow_down(4.0, SECOND / 2);
        near(&run_out(&mut processor, SECOND / 2), &[(1, 2.5)]);
    }

    #[test]
    fn what_is_cancelled_takes_no_more_time() {
        let mut processor = Processor::new(Machine { cores: 1, speed: 1.0 }, 1);
        processor.start(1, 1.0, 0);
        processor.start(2, 1.0, 0);
        assert!(processor.cancel(1, SECOND) && !processor.cancel(1, SECOND));
        near(&run_out(&mut processor, SECOND), &[(2, 1.5)]);
    }

    #[test]
    fn a_function_is_cold_at_first_and_after_its_time() {
        let mut processor = Processor::new(Machine { cores: 1, speed: 1.0 }, 1);
        let cold =
            Some(ColdStart { takes: Duration::from_secs(2), keep_warm: Duration::from_secs(10) });
        assert_eq!(processor.wait_for_start(0, cold, 0), 2 * SECOND);
        assert_eq!(processor.wait_for_start(0, cold, SECOND), SECOND, "it is being started");
        processor.leave(0, 3 * SECOND);
        processor.leave(0, 4 * SECOND);
        assert_eq!(processor.wait_for_start(0, cold, 14 * SECOND), 0, "still warm");
        processor.leave(0, 15 * SECOND);
        assert_eq!(processor.wait_for_start(0, cold, 25 * SECOND + 1), 2 * SECOND);
        assert_eq!(processor.wait_for_start(0, None, 99 * SECOND), 0);
    }
}
