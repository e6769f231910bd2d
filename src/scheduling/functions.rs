//! The functions that are remembered: of too many the one that was called longest ago goes.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::Time;
use super::function::{FunctionName, FunctionRecord};

/// Records by name.
///
/// One invocation asks for the same record time after time, so the place of the last one is kept, and
/// asking for it again is one comparison. It was used last in any case, so nothing of the order is lost.
#[derive(Debug)]
pub(super) struct Functions {
    places: LruCache<FunctionName, usize>,
    records: Vec<FunctionRecord>,
    /// Places whose functions are forgotten.
    free: Vec<usize>,
    last: Option<(FunctionName, usize)>,
}

impl Functions {
    /// Room for so many.
    pub(super) fn new(most: NonZeroUsize) -> Self {
        // Room that is not taken yet takes no memory.
        let mut places = LruCache::unbounded();
        places.resize(most);
        Self { places, records: Vec::new(), free: Vec::new(), last: None }
    }

    /// Changes how many there is room for.
    pub(super) fn resize(&mut self, most: NonZeroUsize) {
        while self.places.len() > most.get() {
            self.drop_oldest();
        }
        self.places.resize(most);
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The record of `name`, which is the one of `new` where there was none.
    pub(super) fn get_or_insert_mut(
        &mut self,
        name: FunctionName,
        new: impl FnOnce() -> FunctionRecord,
    ) -> &mut FunctionRecord {
        let place = match self.place(&name) {
            Some(place) => place,
            None => self.insert(name, new()),
        };
        &mut self.records[place]
    }

    pub(super) fn get_mut(&mut self, name: &FunctionName) -> Option<&mut FunctionRecord> {
        let place = self.place(name)?;
        Some(&mut self.records[place])
    }

    /// The record of `name`, which counts as no use of it.
    pub(super) fn peek(&self, name: &FunctionName) -> Option<&FunctionRecord> {
        let last = self.last.filter(|(last, _)| last == name).map(|(_, place)| place);
        Some(&self.records[last.or_else(|| self.places.peek(name).copied())?])
    }

    /// Forgets `name`.
    pub(super) fn pop(&mut self, name: &FunctionName) {
        if let Some(place) = self.places.pop(name) {
            self.release(place);
        }
    }

    /// All, the one that was used last first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&FunctionName, &FunctionRecord)> {
        self.places.iter().map(|(name, place)| (name, &self.records[*place]))
    }

    /// All records, in no order.
    pub(super) fn records_mut(&mut self) -> impl Iterator<Item = &mut FunctionRecord> {
        self.records.iter_mut()
    }

    fn place(&mut self, name: &FunctionName) -> Option<usize> {
        if let Some((last, place)) = &self.last
            && last == name
        {
            return Some(*place);
        }
        let place = *self.places.get(name)?;
        self.last = Some((*name, place));
        Some(place)
    }

    fn insert(&mut self, name: FunctionName, record: FunctionRecord) -> usize {
        if self.places.len() == self.places.cap().get() {
            self.drop_oldest();
        }
        let place = match self.free.pop() {
            Some(place) => {
                self.records[place] = record;
                place
            }
            None => {
                self.records.push(record);
                self.records.len() - 1
            }
        };
        self.places.push(name, place);
        self.last = Some((name, place));
        place
    }

    fn drop_oldest(&mut self) {
        if let Some((_, place)) = self.places.pop_lru() {
            self.release(place);
        }
    }

    fn release(&mut self, place: usize) {
        // What it holds is given back now, and not when somebody else takes the place.
        self.records[place] = FunctionRecord::new(Time::ZERO);
        self.free.push(place);
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FunctionName {
        FunctionName::new(text).unwrap()
    }

    fn call(functions: &mut Functions, called: &str) -> u64 {
        let new = || FunctionRecord::new(Time::ZERO);
        let record = functions.get_or_insert_mut(name(called), new);
        record.switches += 1;
        record.switches
    }

    fn names(functions: &Functions) -> Vec<&str> {
        functions.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn the_one_called_longest_ago_goes() {
        let mut functions = Functions::new(NonZeroUsize::new(3).unwrap());
        for called in ["a", "b", "b", "c", "a", "d"] {
            call(&mut functions, called);
        }
        assert_eq!(names(&functions), ["d", "a", "c"]);
        assert_eq!(functions.records.len(), 3, "its place is used again");
        assert_eq!([call(&mut functions, "b"), call(&mut functions, "a")], [1, 3]);
        assert_eq!(names(&functions), ["a", "b", "d"]);
    }

    #[test]
    fn what_is_forgotten_or_finds_no_room_begins_anew() {
        let mut functions = Functions::new(NonZeroUsize::new(9).unwrap());
        for called in ["a", "b", "c", "c"] {
            call(&mut functions, called);
        }
        functions.pop(&name("c"));
        assert!(functions.get_mut(&name("c")).is_none() && functions.peek(&name("c")).is_none());
        assert_eq!(call(&mut functions, "c"), 1);
        functions.resize(NonZeroUsize::MIN);
        assert_eq!(names(&functions), ["c"]);
        assert_eq!((functions.len(), call(&mut functions, "b")), (1, 1));
        assert_eq!(functions.peek(&name("b")).unwrap().switches, 1);
    }
}
