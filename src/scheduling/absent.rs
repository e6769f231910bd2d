//! Where a function is not.
//!
//! Not every node has every function. Nobody says so in advance: a node that has not answers that
//! it does not know it, in no time. It is then not asked for that function for a while, and what it
//! is asked for otherwise goes on.

use rand::Rng;

use super::{FunctionName, Scheduler, Time};
use crate::topology::Slot;

/// Nodes remembered for each function; the one that counts least long goes.
const PLACES_MAX: usize = 1024;

/// Nodes without one function, in the order of their slots.
#[derive(Debug, Clone, Default)]
pub(super) struct Absent(Vec<(Slot, Time)>);

impl Absent {
    /// Whether the node of `slot` need not be asked at `now`.
    pub(super) fn is_at(&self, slot: Slot, now: Time) -> bool {
        self.find(slot).is_ok_and(|place| now < self.0[place].1)
    }

    /// Notes that the node of `slot` does not have it, which counts up to `until`.
    fn note(&mut self, slot: Slot, until: Time) {
        match self.find(slot) {
            Ok(place) => self.0[place].1 = until,
            Err(place) if self.0.len() < PLACES_MAX => self.0.insert(place, (slot, until)),
            Err(_) => {
                let first = self.0.iter().enumerate().min_by_key(|(_, (_, until))| *until);
                if let Some((oldest, _)) = first {
                    self.0.remove(oldest);
                }
                self.note(slot, until);
            }
        }
    }

    /// Notes that the node of `slot` has it.
    pub(super) fn clear(&mut self, slot: Slot) {
        if let Ok(place) = self.find(slot) {
            self.0.remove(place);
        }
    }

    /// Drops what no longer counts.
    pub(super) fn expire(&mut self, now: Time) {
        self.0.retain(|(_, until)| now < *until);
    }

    fn find(&self, slot: Slot) -> Result<usize, usize> {
        let key = |slot: Slot| (slot.index, slot.since);
        self.0.binary_search_by_key(&key(slot), |(slot, _)| key(*slot))
    }
}

impl<R: Rng> Scheduler<R> {
    /// Whether the node of `slot` is known not to have `function`.
    pub(super) fn is_absent(&self, function: FunctionName, slot: Slot, now: Time) -> bool {
        // Looked for only where anything may be found.
        now < self.absent_until
            && self.functions.peek(&function).is_some_and(|record| record.absent.is_at(slot, now))
    }

    pub(super) fn note_absent(&mut self, function: FunctionName, slot: Slot, now: Time) {
        let until = now + self.health.absent;
        self.absent_until = self.absent_until.max(until);
        self.function_mut(function, now).absent.note(slot, until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(index: u32) -> Slot {
        Slot { index, since: 1 }
    }

    #[test]
    fn it_counts_for_a_while_for_the_node_it_was_said_of() {
        let mut absent = Absent::default();
        let secs = Time::from_secs_f64;
        absent.note(slot(7), secs(10.0));
        absent.note(slot(3), secs(20.0));
        for (index, now, expected) in
            [(7, 9.9, true), (7, 10.0, false), (3, 10.0, true), (5, 0.0, false)]
        {
            assert_eq!(absent.is_at(slot(index), secs(now)), expected, "{index} at {now}");
        }
        assert!(!absent.is_at(Slot { index: 7, since: 2 }, secs(9.0)), "a later owner");
        absent.clear(slot(3));
        assert!(!absent.is_at(slot(3), secs(10.0)));
        absent.expire(secs(10.0));
        assert!(absent.0.is_empty());
    }

    #[test]
    fn of_too_many_the_one_that_counts_least_long_goes() {
        let mut absent = Absent::default();
        for index in 0..=PLACES_MAX as u32 {
            absent.note(slot(index), Time::from_secs_f64(1.0 + f64::from(index)));
        }
        assert_eq!(absent.0.len(), PLACES_MAX);
        assert!(!absent.is_at(slot(0), Time::ZERO) && absent.is_at(slot(1), Time::ZERO));
        assert!(absent.is_at(slot(PLACES_MAX as u32), Time::ZERO));
    }
}
