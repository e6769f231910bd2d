//! Turns at this node's gateway: the queue of the core, with somebody to wake for each who waits,
//! and what is learned of how many may run.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::scheduling::limit::{Limit, Sample};
use crate::scheduling::queue::{Admission, Bounds, Caller, Place, Queue, QueueRule, Turn};
use crate::scheduling::{FunctionName, Time};

/// Weight of a new interval between two ends in the mean.
const INTERVAL_WEIGHT: f64 = 0.1;

/// What callers are told at least and at most about when to try again.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Who runs at this node's gateway, and who waits for it.
#[derive(Debug)]
pub struct Turns {
    cores: u16,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: Queue<oneshot::Sender<Started>>,
    limit: Limit,
    /// When a turn ended last while somebody waited, and the mean seconds from one to the next.
    ended: Option<Time>,
    interval_s: f64,
}

/// A turn that has begun.
#[derive(Debug, Clone, Copy)]
pub struct Started {
    /// When.
    pub at: Time,
    /// How many ran then, this one included.
    pub running: u32,
}

/// The answer to somebody who would like to run.
#[derive(Debug)]
pub enum Asked {
    /// It runs, and ends with [`Turns::end`].
    Runs(Started),
    /// It waits until the receiver gets word, or hears that it has to go. Whoever goes away before
    /// that says so with [`Turns::leave`].
    Waits(Place, oneshot::Receiver<Started>),
    /// There is no room.
    Full,
}

impl Started {
    /// What the end of this turn tells, where its invocation ended well or was `shed`.
    pub fn sample(self, function: FunctionName, shed: bool) -> Sample {
        Sample { function, begun: self.at, running: self.running, shed }
    }
}

impl Turns {
    /// Nobody runs yet, at a node with `cores` that remembers this many functions.
    pub fn new(cores: u16, functions: NonZeroUsize) -> Self {
        let (queue, limit) = (Queue::default(), Limit::new(functions));
        Self { cores, inner: Mutex::new(Inner { queue, limit, ended: None, interval_s: 0.0 }) }
    }

    /// Lets somebody run, or wait to start by `start_by`.
    pub fn ask(&self, rule: &QueueRule, caller: Caller, start_by: Time, now: Time) -> Asked {
        let (turn, word) = oneshot::channel();
        let mut inner = self.inner();
        let bounds = inner.bounds(rule, self.cores);
        match inner.queue.enter(bounds, caller, start_by, turn) {
            Admission::Runs(_) => Asked::Runs(inner.started(now)),
            // Dropping the other end tells the one that has to go.
            Admission::Waits(place, _displaced) => Asked::Waits(place, word),
            Admission::Full(_) => Asked::Full,
        }
    }

    /// Lets somebody run if it need not wait.
    pub fn ask_at_once(&self, rule: &QueueRule, now: Time) -> Option<Started> {
        let mut inner = self.inner();
        let bounds = inner.bounds(rule, self.cores);
        inner.queue.enter_at_once(bounds).then(|| inner.started(now))
    }

    /// Ends the turn of one that ran, and learns from it.
    pub fn end(&self, rule: &QueueRule, sample: Option<Sample>, now: Time) {
        let mut inner = self.inner();
        let least = rule.bounds(self.cores).running;
        if let Some(sample) = sample.filter(|_| rule.enabled && rule.limit.enabled) {
            inner.limit.record(&rule.limit, least, sample, now);
        }
        inner.queue.end();
        inner.note_end(now);
        inner.advance(rule, self.cores, now);
    }

    /// Lets those run who may under a new `rule`.
    pub fn follow(&self, rule: &QueueRule, now: Time) {
        self.inner().advance(rule, self.cores, now);
    }

    /// Takes out one that goes away; whether its turn had come.
    pub fn leave(&self, place: Place, word: &mut oneshot::Receiver<Started>) -> bool {
        self.inner().queue.leave(place).is_none() && word.try_recv().is_ok()
    }

    /// How many run, and how many wait.
    pub fn counts(&self) -> (u32, usize) {
        let inner = self.inner();
        (inner.queue.running(), inner.queue.waiting())
    }

    /// How many may run now.
    pub fn running_max(&self, rule: &QueueRule) -> u32 {
        self.inner().bounds(rule, self.cores).running
    }

    /// When somebody who finds no room may find some: once those that wait now have had their turn.
    pub fn retry_after(&self) -> Duration {
        let inner = self.inner();
        let waiting = inner.queue.waiting() as f64;
        let wait = Duration::try_from_secs_f64(waiting * inner.interval_s);
        wait.unwrap_or(RETRY_AFTER_MAX).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn bounds(&self, rule: &QueueRule, cores: u16) -> Bounds {
        let bounds = rule.bounds(cores);
        if !rule.enabled || !rule.limit.enabled {
            return bounds;
        }
        Bounds { running: self.limit.current(&rule.limit, bounds.running), ..bounds }
    }

    fn started(&self, now: Time) -> Started {
        Started { at: now, running: self.queue.running() }
    }

    fn note_end(&mut self, now: Time) {
        if self.queue.waiting() == 0 {
            self.ended = None;
            return;
        }
        if let Some(before) = self.ended.replace(now) {
            let seconds = now.since(before).as_secs_f64();
            self.interval_s += INTERVAL_WEIGHT * (seconds - self.interval_s);
        }
    }

    fn advance(&mut self, rule: &QueueRule, cores: u16, now: Time) {
        let bounds = self.bounds(rule, cores);
        while let Some(turn) = self.queue.next(bounds, now) {
            let started = self.started(now);
            // Whoever went away this very moment leaves the turn to the next.
            if let Turn::Runs(who) = turn
                && who.send(started).is_err()
            {
                self.queue.end();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_to_come_back_when_those_that_wait_have_run() {
        let turns = Turns::new(1, NonZeroUsize::MIN);
        let rule = QueueRule { enabled: true, ..QueueRule::default() };
        let at = |ms| Time::after_origin(Duration::from_millis(ms));
        assert_eq!(turns.retry_after(), RETRY_AFTER_MIN);
        assert!(matches!(turns.ask(&rule, Caller(0), at(9_000), at(0)), Asked::Runs(_)));
        let waiting: Vec<Asked> =
            (0..100).map(|_| turns.ask(&rule, Caller(0), at(1_000_000), at(0))).collect();
        for n in 1..=80 {
            turns.end(&rule, None, at(n * 500));
        }
        assert_eq!(turns.counts(), (1, 20));
        let wait = turns.retry_after();
        assert!((9..=10).contains(&wait.as_secs()), "20 of them take half a second each: {wait:?}");
        drop(waiting);
    }
}
