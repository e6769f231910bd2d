//! Who runs next at a node that runs only so many at once: whoever can wait least.
//!
//! Invocations wait in the order of the time by which they must start. For one with a deadline that
//! is the deadline less what its function usually takes; for one without, the longest wait there
//! is. So those in a hurry go first, and nobody is passed over for ever: whoever has waited long
//! enough is in the greatest hurry of all. When there are too many, whoever has most of the places
//! gives one up, so that one caller cannot keep out the others.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use rand::Rng;

use super::holders::Holders;
use super::limit::LimitRule;
use super::{FunctionName, Scheduler, Time};

/// How many may run and wait, and how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueueRule {
    /// Whether anybody waits; otherwise everything runs at once.
    pub enabled: bool,
    /// Invocations that run at once; none: as many as the node has cores.
    pub running_max: Option<NonZeroU32>,
    /// Invocations that wait.
    pub waiting_max: u32,
    /// Longest wait of an invocation without a deadline.
    pub wait_max: Duration,
    /// Whether and how the number of those that run is learned; it starts from `running_max`.
    pub limit: LimitRule,
}

impl QueueRule {
    /// Invocations that wait, by default: what a node of two cores works off in ten seconds if each
    /// takes 200 ms.
    pub const WAITING_MAX: u32 = 100;
    /// Longest wait by default.
    pub const WAIT_MAX: Duration = Duration::from_secs(10);

    /// What holds at a node with `cores`.
    pub fn bounds(&self, cores: u16) -> Bounds {
        if !self.enabled {
            return Bounds { running: u32::MAX, waiting: 0 };
        }
        let running = self.running_max.map_or(u32::from(cores.max(1)), NonZeroU32::get);
        Bounds { running, waiting: self.waiting_max }
    }
}

impl Default for QueueRule {
    fn default() -> Self {
        Self {
            enabled: false,
            running_max: None,
            waiting_max: Self::WAITING_MAX,
            wait_max: Self::WAIT_MAX,
            limit: LimitRule::default(),
        }
    }
}

/// How many may run and wait at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Invocations that run at once.
    pub running: u32,
    /// Invocations that wait.
    pub waiting: u32,
}

/// The invocations that run or wait at one node. Entering, leaving and taking turns cost
/// O(log n) of those that wait.
#[derive(Debug)]
pub struct Queue<T> {
    running: u32,
    waiting: BTreeMap<Place, T>,
    holders: Holders,
    entered: u64,
}

/// A place in the queue, in the order of turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    start_by: Time,
    serial: u64,
    pub(super) caller: Caller,
}

/// Whoever places in the queue are shared between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Caller(pub u64);

/// What becomes of one who comes.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission<T> {
    /// It runs.
    Runs(T),
    /// It waits, and another who could have waited longer must go if there were too many.
    Waits(Place, Option<T>),
    /// Too many wait already, and all of them are in a greater hurry.
    Full(T),
}

/// Who leaves the queue.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<T> {
    /// It runs.
    Runs(T),
    /// It is too late for it.
    Expired(T),
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { running: 0, waiting: BTreeMap::new(), holders: Holders::default(), entered: 0 }
    }
}

impl<T> Queue<T> {
    /// Those that run.
    pub fn running(&self) -> u32 {
        self.running
    }

    /// Those that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether somebody who does not wait may run; if so, it does.
    pub fn enter_at_once(&mut self, bounds: Bounds) -> bool {
        let runs = self.running < bounds.running && self.waiting.is_empty();
        self.running += u32::from(runs);
        runs
    }

    /// Lets `who` run, or wait to start by `start_by`. Nobody who comes overtakes those that wait:
    /// where somebody waits, all cores are in use or about to be.
    pub fn enter(
        &mut self,
        bounds: Bounds,
        caller: Caller,
        start_by: Time,
        who: T,
    ) -> Admission<T> {
        if self.enter_at_once(bounds) {
            return Admission::Runs(who);
        }
        let place = Place { start_by, serial: self.entered, caller };
        let full = self.waiting.len() >= bounds.waiting as usize;
        let mut out = None;
        if full {
            let last = self.waiting.last_key_value().map(|(last, _)| *last);
            let goes = last.and_then(|last| self.holders.to_give_up(place, last));
            out = goes.filter(|_| bounds.waiting > 0).and_then(|goes| self.leave(goes));
            if out.is_none() {
                return Admission::Full(who);
            }
        }
        self.entered += 1;
        self.holders.add(place);
        self.waiting.insert(place, who);
        Admission::Waits(place, out)
    }

    /// Takes out one that waits no longer; none if its turn has come or it had to go.
    pub fn leave(&mut self, place: Place) -> Option<T> {
        let who = self.waiting.remove(&place)?;
        self.holders.remove(place);
        Some(who)
    }

    /// Notes that one of those that ran has ended.
    pub fn end(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// The next who may start or for whom it is too late, if there is one; to be asked until there
    /// is none, after each end and each change of bounds.
    pub fn next(&mut self, bounds: Bounds, now: Time) -> Option<Turn<T>> {
        let (place, _) = self.waiting.first_key_value()?;
        let expired = place.start_by < now;
        if !expired && self.running >= bounds.running {
            return None;
        }
        let place = *place;
        let who = self.leave(place)?;
        if expired {
            return Some(Turn::Expired(who));
        }
        self.running += 1;
        Some(Turn::Runs(who))
    }
}

impl<R: Rng> Scheduler<R> {
    /// The time by which an invocation of `function` must start here.
    pub fn start_by(
        &self,
        rule: &QueueRule,
        function: FunctionName,
        deadline: Option<Time>,
        now: Time,
    ) -> Time {
        let Some(deadline) = deadline else { return now + rule.wait_max };
        let usual_s = self.functions.peek(&function).and_then(|record| record.own.mean_s());
        let paced = (f64::from(self.pace.milli(now)) * 1e-3).exp();
        let service_s = usual_s.unwrap_or_default() * paced;
        deadline.before(Duration::try_from_secs_f64(service_s).unwrap_or(Duration::MAX))
    }
}
