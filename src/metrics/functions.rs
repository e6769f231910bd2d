//! What is counted per function, of invocations that came in here.
//!
//! A function has a place of its own from its first good answer on, so that names nobody serves take
//! none. Where all places are taken, the one that was called longest ago makes room, if that is a
//! while; until then newcomers are counted together, under [`OTHER`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

use super::Count;
use super::histogram::{Exemplar, Histogram};
use crate::scheduling::{FunctionName, Time};

/// The name under which those without a place of their own are counted.
pub const OTHER: &str = "_other";

/// After how long without an invocation a function makes room for another.
const IDLE_S: u64 = 600;

/// Status codes that are counted one by one; of others their class is. 499: the caller went away.
pub(super) const CODES: [u16; 27] = [
    200, 201, 202, 204, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 408, 409, 413, 422,
    429, 499, 500, 501, 502, 503, 504, 508,
];
/// The classes of codes that are not in [`CODES`], by their first digit less one.
pub(super) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// The status of an invocation whose caller went away before its answer.
pub const CLIENT_GONE: u16 = 499;

/// The numbers of one function.
#[derive(Debug, Default)]
pub(super) struct Function {
    /// Invocations that have come in.
    pub started: Count,
    codes: [Count; CODES.len() + CLASSES.len()],
    /// From the head of the request to the end of the answer.
    pub total: Histogram,
    /// From there to the head of the answer.
    pub first_byte: Histogram,
    /// What the function itself says that it took.
    pub execution: Histogram,
    used_s: AtomicU64,
}

impl Function {
    fn count(&self, code: u16) {
        let index = match CODES.binary_search(&code) {
            Ok(index) => index,
            Err(_) => {
                let class = usize::from(code / 100).clamp(1, CLASSES.len());
                CODES.len() + class - 1
            }
        };
        self.codes[index].inc();
    }

    /// Answers by code, without those that there are none of.
    pub(super) fn codes(&self) -> impl Iterator<Item = (std::borrow::Cow<'static, str>, u64)> {
        self.codes.iter().enumerate().filter(|(_, count)| count.get() > 0).map(|(index, count)| {
            let code = match CODES.get(index) {
                Some(code) => code.to_string().into(),
                None => CLASSES[index - CODES.len()].into(),
            };
            (code, count.get())
        })
    }

    /// Invocations that have ended, and those of them that ended in an error.
    pub(super) fn ended(&self) -> (u64, u64) {
        let is_error = |index: usize| match CODES.get(index) {
            Some(code) => *code >= 500,
            None => index + 1 == self.codes.len(),
        };
        self.codes.iter().enumerate().fold((0, 0), |(all, errors), (index, count)| {
            let count = count.get();
            (all + count, errors + if is_error(index) { count } else { 0 })
        })
    }
}

/// The functions that have a place of their own.
pub(super) type Places = HashMap<FunctionName, Arc<Function>, RandomState>;

/// All functions.
#[derive(Debug)]
pub struct Functions {
    /// As many as may have a place of their own.
    places_max: AtomicU64,
    places: ArcSwap<Places>,
    others: Arc<Function>,
    changing: Mutex<()>,
    /// The second from which on it is looked again for a place that has become free.
    look_from_s: AtomicU64,
}

impl Functions {
    pub(super) fn new(places_max: usize) -> Self {
        Self {
            places_max: AtomicU64::new(places_max as u64),
            places: ArcSwap::default(),
            others: Arc::default(),
            changing: Mutex::default(),
            look_from_s: AtomicU64::new(0),
        }
    }

    /// Changes how many may have a place; if there are too many, those called longest ago lose theirs.
    pub(super) fn bound(&self, places_max: usize) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.places_max.store(places_max as u64, Relaxed);
        let mut kept: Vec<_> =
            self.places.load().iter().map(|(name, own)| (*name, Arc::clone(own))).collect();
        kept.sort_by_key(|(_, own)| std::cmp::Reverse(own.used_s.load(Relaxed)));
        kept.truncate(places_max);
        self.places.store(Arc::new(kept.into_iter().collect()));
        self.look_from_s.store(0, Relaxed);
    }

    /// Notes that an invocation of `function` has come in.
    pub fn begin(&self, function: FunctionName, now: Time) -> Invoked {
        let own = self.places.load().get(&function).cloned();
        if let Some(own) = &own {
            own.started.inc();
        }
        Invoked {
            function,
            own,
            begun: now,
            timed: true,
            first_byte: None,
            execution: None,
            exemplar: None,
        }
    }

    /// Those with a place of their own, in the order of their names, and then all others.
    pub(super) fn all(&self) -> Vec<(Option<FunctionName>, Arc<Function>)> {
        let places = self.places.load();
        let mut all: Vec<_> =
            places.iter().map(|(name, own)| (Some(*name), Arc::clone(own))).collect();
        all.sort_by_key(|(name, _)| *name);
        all.push((None, Arc::clone(&self.others)));
        all
    }

    /// The names of those with a place of their own.
    pub fn names(&self) -> Vec<FunctionName> {
        self.places.load().keys().copied().collect()
    }

    /// A place for `function`, if there is one for it.
    fn admit(&self, function: FunctionName, now_s: u64) -> Option<Arc<Function>> {
        if now_s < self.look_from_s.load(Relaxed) {
            return None;
        }
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let places = self.places.load_full();
        if let Some(own) = places.get(&function) {
            return Some(Arc::clone(own));
        }
        let full = places.len() as u64 >= self.places_max.load(Relaxed);
        let used_s = |own: &Function| own.used_s.load(Relaxed);
        let idle = places.iter().min_by_key(|(_, own)| used_s(own));
        let idle = idle.filter(|(_, own)| used_s(own) + IDLE_S <= now_s).map(|(name, _)| *name);
        if full && idle.is_none() {
            self.look_from_s.store(now_s + 1, Relaxed);
            return None;
        }
        let mut next = Places::clone(&places);
        if let Some(idle) = idle.filter(|_| full) {
            next.remove(&idle);
        }
        let own = Arc::<Function>::default();
        next.insert(function, Arc::clone(&own));
        self.places.store(Arc::new(next));
        Some(own)
    }
}

/// An invocation that has come in and not ended.
#[derive(Debug)]
pub struct Invoked {
    function: FunctionName,
    own: Option<Arc<Function>>,
    begun: Time,
    /// Whether its times say something of the function.
    timed: bool,
    first_byte: Option<Duration>,
    execution: Option<Duration>,
    exemplar: Option<Exemplar>,
}

impl Invoked {
    /// Leaves its times out.
    pub fn discard_time(&mut self) {
        self.timed = false;
    }

    /// Whether it should say by what it can be found.
    pub fn wants_exemplar(&self) -> bool {
        let wants = |own: &Arc<Function>| own.total.wants_exemplar(self.begun.as_secs());
        self.exemplar.is_none() && self.own.as_ref().is_some_and(wants)
    }

    /// Says by what it can be found.
    pub fn exemplify(&mut self, exemplar: Exemplar) {
        self.exemplar = Some(exemplar);
    }

    /// Notes when the head of its answer came, and what the function said that it took.
    pub fn hear(&mut self, heard: Option<Time>, execution: Option<Duration>) {
        self.first_byte = heard.map(|heard| heard.since(self.begun));
        self.execution = execution;
    }

    /// Notes that it has ended with this status. A `good` answer gives its function a place.
    pub fn end(mut self, functions: &Functions, status: u16, good: bool, now: Time) {
        let now_s = now.as_secs();
        if self.own.is_none() {
            self.own = good.then(|| functions.admit(self.function, now_s)).flatten();
            self.own.as_ref().unwrap_or(&functions.others).started.inc();
        }
        let to = self.own.as_ref().unwrap_or(&functions.others);
        to.count(status);
        if to.used_s.load(Relaxed) != now_s {
            to.used_s.store(now_s, Relaxed);
        }
        if self.timed {
            let took = now.since(self.begun);
            to.total.record(took);
            self.first_byte.iter().for_each(|took| to.first_byte.record(*took));
            self.execution.iter().for_each(|took| to.execution.record(*took));
            if let Some(exemplar) = self.exemplar.take() {
                to.total.exemplify(took, exemplar, now_s);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(functions: &Functions, name: &str, status: u16, secs: f64) {
        let now = Time::from_secs_f64(secs);
        let invoked = functions.begin(FunctionName::new(name).unwrap(), now);
        invoked.end(functions, status, status == 200, now + Duration::from_millis(20));
    }

    fn names(functions: &Functions) -> Vec<String> {
        let name = |name: Option<FunctionName>| name.map_or(OTHER.to_owned(), |n| n.to_string());
        functions.all().into_iter().map(|(own, _)| name(own)).collect()
    }

    #[test]
    fn names_that_nobody_serves_take_no_place() {
        let functions = Functions::new(2);
        for i in 0..1000 {
            call(&functions, &format!("made-up-{i}"), 404, 1.0);
        }
        call(&functions, "real", 200, 1.0);
        call(&functions, "real", 500, 1.0);
        assert_eq!(names(&functions), ["real", OTHER]);
        let all = functions.all();
        assert_eq!((all[0].1.ended(), all[0].1.started.get()), ((2, 1), 2));
        assert_eq!((all[1].1.ended(), all[1].1.started.get()), ((1000, 0), 1000));
        assert_eq!(all[0].1.codes().collect::<Vec<_>>(), [("200".into(), 1), ("500".into(), 1)]);
    }

    #[test]
    fn who_is_called_no_more_makes_room() {
        let functions = Functions::new(2);
        for (name, secs) in [("a", 1.0), ("b", 2.0), ("b", 300.0), ("c", 301.0)] {
            call(&functions, name, 200, secs);
        }
        assert_eq!(names(&functions), ["a", "b", OTHER], "nobody has been idle for long");
        call(&functions, "c", 200, 600.0);
        assert_eq!(names(&functions), ["a", "b", OTHER]);
        call(&functions, "c", 200, 601.0);
        assert_eq!(names(&functions), ["b", "c", OTHER]);
        functions.bound(1);
        assert_eq!(names(&functions), ["c", OTHER]);
        functions.bound(0);
        call(&functions, "c", 200, 2000.0);
        assert_eq!(names(&functions), [OTHER]);
    }

    #[test]
    fn codes_that_are_rare_are_counted_by_class() {
        let function = Function::default();
        for code in [99, 101, 200, 299, 418, 599, 999] {
            function.count(code);
        }
        let codes: Vec<_> =
            function.codes().map(|(code, count)| format!("{code}={count}")).collect();
        assert_eq!(codes, ["200=1", "1xx=2", "2xx=1", "4xx=1", "5xx=2"]);
        assert_eq!(function.ended(), (7, 2));
    }
}
