//! What is to happen, by time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Nanoseconds of virtual time.
pub(super) type Nanos = u64;

/// Events in order of time, and of arrival where times are equal.
#[derive(Debug)]
pub(super) struct Queue<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    sequence: u64,
    now: Nanos,
}

#[derive(Debug)]
struct Entry<E> {
    at: Nanos,
    sequence: u64,
    event: E,
}

impl<E> Queue<E> {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new(), sequence: 0, now: 0 }
    }

    /// The time of the last event taken out.
    pub(super) fn now(&self) -> Nanos {
        self.now
    }

    pub(super) fn push_after(&mut self, delay: Nanos, event: E) {
        self.sequence += 1;
        let at = self.now.saturating_add(delay);
        self.heap.push(Reverse(Entry { at, sequence: self.sequence, event }));
    }

    pub(super) fn pop(&mut self) -> Option<E> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}

impl<E> Entry<E> {
    fn key(&self) -> (Nanos, u64) {
        (self.at, self.sequence)
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_as_they_went_in() {
        let mut queue = Queue::new();
        for (delay, name) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b')] {
            queue.push_after(delay, name);
        }
        let order: String = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!((order.as_str(), queue.now()), ("abcd", 5));
    }
}
