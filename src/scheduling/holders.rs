//! Who holds how many places in a queue, so that one caller cannot have them all.

use std::collections::{BTreeMap, BTreeSet};

use super::queue::{Caller, Place};

/// The places of each caller; everything costs O(log n) of those that wait.
#[derive(Debug, Default)]
pub(super) struct Holders {
    places: BTreeMap<Caller, BTreeSet<Place>>,
    /// Callers by the number of their places.
    by_count: BTreeSet<(usize, Caller)>,
}

impl Holders {
    pub(super) fn add(&mut self, place: Place) {
        self.change(place.caller, |places| places.insert(place));
    }

    pub(super) fn remove(&mut self, place: Place) {
        self.change(place.caller, |places| places.remove(&place));
    }

    /// The place that goes for one that `place` asks for, where all are taken; `last` is the one that
    /// could wait longest.
    ///
    /// Whoever has two more places than the one that asks gives one up, whatever the hurry. Among
    /// those who have alike, the one that could wait longest goes, if it is not the one that asks.
    pub(super) fn to_give_up(&self, place: Place, last: Place) -> Option<Place> {
        let own = self.count(place.caller);
        let &(most, greediest) = self.by_count.last()?;
        if most > own + 1 {
            return self.last_of(greediest);
        }
        let others = last.caller == place.caller || self.count(last.caller) > own;
        let goes = if others { Some(last) } else { self.last_of(place.caller) };
        goes.filter(|goes| *goes > place)
    }

    fn count(&self, caller: Caller) -> usize {
        self.places.get(&caller).map_or(0, BTreeSet::len)
    }

    fn last_of(&self, caller: Caller) -> Option<Place> {
        self.places.get(&caller)?.last().copied()
    }

    fn change(&mut self, caller: Caller, change: impl FnOnce(&mut BTreeSet<Place>) -> bool) {
        let places = self.places.entry(caller).or_default();
        let before = places.len();
        change(places);
        let after = places.len();
        if after == 0 {
            self.places.remove(&caller);
        }
        self.by_count.remove(&(before, caller));
        if after > 0 {
            self.by_count.insert((after, caller));
        }
    }
}
