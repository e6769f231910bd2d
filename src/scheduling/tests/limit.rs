//! What is learned of how many invocations a gateway runs well at once.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::*;
use crate::scheduling::limit::{Limit, LimitRule, Sample};

const RULE: LimitRule = LimitRule { enabled: true, max: 200, stretch_max: 2.0 };
const LEAST: u32 = 2;

/// A gateway with slots; what finds none free waits for one there.
struct Gateway {
    slots: usize,
    running: Vec<(u64, Sample)>,
    waiting: VecDeque<(u64, Sample)>,
    now_ms: u64,
    served: u32,
}

impl Gateway {
    fn new(slots: usize) -> Self {
        let (running, waiting) = Default::default();
        Self { slots, running, waiting, now_ms: 0, served: 0 }
    }

    fn now(&self) -> Time {
        Time::after_origin(Duration::from_millis(self.now_ms))
    }

    /// Lets as many in as `limit` learns while there is always somebody who would like to run, for
    /// this long; function `i` takes `services_ms[i]`.
    fn saturate(&mut self, limit: &mut Limit, services_ms: &[u64], for_ms: u64) {
        let until = self.now_ms + for_ms;
        let mut next = 0;
        while self.now_ms < until {
            while self.running.len() + self.waiting.len() < limit.current(&RULE, LEAST) as usize {
                next = (next + 1) % services_ms.len();
                let function = FunctionName::new(&format!("f{next}")).unwrap();
                let running = (self.running.len() + self.waiting.len() + 1) as u32;
                let sample = Sample { function, begun: self.now(), running, shed: false };
                self.waiting.push_back((services_ms[next], sample));
            }
            self.fill();
            self.now_ms = self.running.iter().map(|(end, _)| *end).min().unwrap();
            let now_ms = self.now_ms;
            let (ended, running) = self.running.drain(..).partition(|(end, _)| *end <= now_ms);
            self.running = running;
            for (_, sample) in ended {
                self.served += 1;
                limit.record(&RULE, LEAST, sample, self.now());
            }
            self.fill();
        }
    }

    fn fill(&mut self) {
        while self.running.len() < self.slots
            && let Some((service, sample)) = self.waiting.pop_front()
        {
            self.running.push((self.now_ms + service, sample));
        }
    }
}

fn limit() -> Limit {
    Limit::new(NonZeroUsize::new(100).unwrap())
}

#[test]
fn the_slots_of_a_gateway_are_found_and_kept_busy() {
    for slots in [1_usize, 4, 16, 60] {
        let (mut gateway, mut limit) = (Gateway::new(slots), limit());
        gateway.saturate(&mut limit, &[20], 20_000);
        gateway.served = 0;
        gateway.saturate(&mut limit, &[20], 20_000);
        let learned = limit.current(&RULE, LEAST) as usize;
        assert!((slots..=slots * 5 / 2 + 2).contains(&learned), "{learned} for {slots} slots");
        let most = slots as u32 * 1000;
        assert!(gateway.served >= most * 95 / 100, "{} of {most}", gateway.served);
    }
}

#[test]
fn a_gateway_that_never_slows_down_is_not_held_back() {
    let (mut gateway, mut limit) = (Gateway::new(10_000), limit());
    gateway.saturate(&mut limit, &[20, 500], 20_000);
    assert_eq!(limit.current(&RULE, LEAST), RULE.max);
}

#[test]
fn a_slow_function_among_fast_ones_is_no_overload() {
    let (mut gateway, mut limit) = (Gateway::new(40), limit());
    gateway.saturate(&mut limit, &[10, 10, 10, 1000], 60_000);
    let learned = limit.current(&RULE, LEAST);
    assert!(learned >= 40, "{learned}");
}

#[test]
fn a_gateway_that_loses_slots_gets_less_and_more_when_they_are_back() {
    let (mut gateway, mut limit) = (Gateway::new(40), limit());
    let mut learn = |slots| {
        gateway.slots = slots;
        gateway.saturate(&mut limit, &[20], 30_000);
        limit.current(&RULE, LEAST)
    };
    let (before, less, after) = (learn(40), learn(8), learn(40));
    assert!(before >= 40 && (8..=22).contains(&less) && after >= 40, "{before} {less} {after}");
}

#[test]
fn what_is_shed_counts_as_too_slow_and_nothing_goes_below_the_least() {
    let mut limit = limit();
    let function = FunctionName::new("f").unwrap();
    for n in 0..1000_u64 {
        let now = Time::after_origin(Duration::from_millis(20 * n));
        let sample = Sample { function, begun: now, running: 1, shed: true };
        limit.record(&RULE, LEAST, sample, now + Duration::from_millis(1));
    }
    assert_eq!(limit.current(&RULE, LEAST), LEAST);
}

#[test]
fn nothing_is_learned_where_nobody_needs_more() {
    let mut limit = limit();
    let function = FunctionName::new("f").unwrap();
    for n in 0..1000_u64 {
        let begun = Time::after_origin(Duration::from_millis(20 * n));
        let sample = Sample { function, begun, running: 1, shed: false };
        limit.record(&RULE, LEAST, sample, begun + Duration::from_millis(10));
    }
    assert_eq!(limit.current(&RULE, LEAST), LEAST);
}
