//! Processor sharing without a processor: who is there gets an even share of `cores`, at most one
//! core each, and is told when the demand it came with would have been served.
//!
//! In virtual time, as in `src/sim/machine.rs`: each ends when the service that everybody has had
//! since the start reaches what it was at its arrival plus its demand. Ends are reckoned where they
//! fall, not when the thread wakes up, so a late wake-up delays one answer and no other.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::oneshot;

use crate::lateness::Lateness;

/// When it ends: served seconds as bits, which sort as the numbers do, and a number of its own.
type Place = (u64, u64);

#[derive(Debug)]
struct State {
    cores: f64,
    /// How many times as long everything takes.
    slowed: f64,
    /// Seconds served to each of them since the start.
    attained: f64,
    updated: Instant,
    running: BTreeMap<Place, oneshot::Sender<()>>,
    number: u64,
    lateness: Lateness,
}

/// The cores of a node.
#[derive(Debug, Clone)]
pub(crate) struct Processor {
    shared: Arc<(Mutex<State>, Condvar)>,
}

/// Whoever goes away before its end takes no more part.
struct Turn {
    processor: Processor,
    place: Place,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.processor.lock();
        state.advance(Instant::now());
        if state.running.remove(&self.place).is_some() {
            self.processor.shared.1.notify_one();
        }
    }
}

impl Processor {
    /// Idle cores, and the thread that tells of ends.
    pub(crate) fn start(cores: u16) -> Self {
        let state = State {
            cores: f64::from(cores),
            slowed: 1.0,
            attained: 0.0,
            updated: Instant::now(),
            running: BTreeMap::new(),
            number: 0,
            lateness: Lateness::default(),
        };
        let processor = Self { shared: Arc::new((Mutex::new(state), Condvar::new())) };
        let same = processor.clone();
        thread::spawn(move || same.tell_ends());
        processor
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when so much has been served.
    pub(crate) async fn serve(&self, demand: Duration) {
        let (ended, end) = oneshot::channel();
        let turn = {
            let mut state = self.lock();
            state.advance(Instant::now());
            state.number += 1;
            let place = ((state.attained + demand.as_secs_f64()).to_bits(), state.number);
            state.running.insert(place, ended);
            self.shared.1.notify_one();
            Turn { processor: self.clone(), place }
        };
        let _ = end.await;
        drop(turn);
    }

    /// From now on everything takes so many times as long.
    pub(crate) fn slow_down(&self, factor: f64) {
        let mut state = self.lock();
        state.advance(Instant::now());
        state.slowed = factor.max(0.001);
        self.shared.1.notify_one();
    }

    /// How late ends were told.
    pub(crate) fn take_lateness(&self) -> Value {
        self.lock().lateness.take()
    }

    fn tell_ends(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            state.advance(now);
            state = match state.next_end() {
                None => self.shared.1.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(end) => {
                    let wait = end.saturating_duration_since(now);
                    match self.shared.1.wait_timeout(state, wait) {
                        Ok((state, _)) => state,
                        Err(poisoned) => poisoned.into_inner().0,
                    }
                }
            };
        }
    }
}

impl State {
    /// Seconds served to each per second.
    fn rate(&self) -> f64 {
        (self.cores / self.running.len().max(1) as f64).min(1.0) / self.slowed
    }

    fn next_end(&self) -> Option<Instant> {
        let (bits, _) = self.running.first_key_value()?.0;
        let left = (f64::from_bits(*bits) - self.attained).max(0.0) / self.rate();
        Some(self.updated + Duration::from_secs_f64(left))
    }

    /// Serves up to `now`, end by end.
    fn advance(&mut self, now: Instant) {
        while let Some(end) = self.next_end().filter(|end| *end <= now) {
            let Some(((bits, _), ended)) = self.running.pop_first() else { break };
            self.attained = self.attained.max(f64::from_bits(bits));
            self.updated = end;
            self.lateness.note(now - end);
            let _ = ended.send(());
        }
        let passed = now.saturating_duration_since(self.updated).as_secs_f64();
        self.attained += passed * self.rate();
        self.updated = self.updated.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends of three that come together and one that comes later, with two cores.
    fn ends(slowed_from_ms: Option<u64>, seen_at_ms: &[u64]) -> Vec<(u64, u64)> {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut state = State {
            cores: 2.0,
            slowed: 1.0,
            attained: 0.0,
            updated: start,
            running: BTreeMap::new(),
            number: 0,
            lateness: Lateness::default(),
        };
        let mut waiting = Vec::new();
        for number in 0..3 {
            let (ended, end) = oneshot::channel();
            state.running.insert((0.2_f64.to_bits(), number), ended);
            waiting.push((number, end));
        }
        let mut found = Vec::new();
        for seen in seen_at_ms {
            if let Some(from) = slowed_from_ms.filter(|from| from <= seen) {
                state.advance(at(from));
                state.slowed = 3.0;
            }
            state.advance(at(*seen));
            waiting.retain_mut(|(number, end)| {
                let ended = end.try_recv().is_ok();
                found.extend(ended.then_some((*number, *seen)));
                !ended
            });
        }
        found
    }

    #[test]
    fn three_on_two_cores_take_half_as_long_again() {
        assert_eq!(ends(None, &[299, 301]), [(0, 301), (1, 301), (2, 301)]);
    }

    #[test]
    fn what_is_left_takes_longer_once_it_is_slow() {
        // Half is done after 150 ms; the rest takes three times 150 ms.
        assert_eq!(ends(Some(150), &[150, 599, 601]).len(), 3);
        assert_eq!(ends(Some(150), &[150, 599]).len(), 0);
    }

    #[test]
    fn an_end_seen_late_counts_where_it_fell() {
        let start = Instant::now();
        let (ended, mut end) = oneshot::channel();
        let (later_ended, mut later) = oneshot::channel();
        let mut state = State {
            cores: 1.0,
            slowed: 1.0,
            attained: 0.0,
            updated: start,
            running: BTreeMap::from([
                ((0.1_f64.to_bits(), 0), ended),
                ((0.2_f64.to_bits(), 1), later_ended),
            ]),
            number: 2,
            lateness: Lateness::default(),
        };
        // Together until 0.2 s, then the second alone until 0.3 s; nobody looks before.
        state.advance(start + Duration::from_millis(301));
        assert!(end.try_recv().is_ok() && later.try_recv().is_ok());
    }
}
