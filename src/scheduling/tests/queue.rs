//! Turns: who waits for whom, who goes, and what a wait says of a node.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use super::*;
use crate::scheduling::queue::{Admission, Bounds, Caller, Place, Queue, QueueRule, Turn};

const TWO: Bounds = Bounds { running: 2, waiting: 3 };

/// A queue where `a` and `b` run.
fn busy() -> Queue<&'static str> {
    let mut queue = Queue::default();
    for who in ["a", "b"] {
        assert_eq!(queue.enter(TWO, Caller::default(), at(1.0), who), Admission::Runs(who));
    }
    queue
}

fn wait(queue: &mut Queue<&'static str>, start_by_s: f64, who: &'static str) -> Place {
    match queue.enter(TWO, Caller::default(), at(start_by_s), who) {
        Admission::Waits(place, None) => place,
        other => panic!("{who}: {other:?}"),
    }
}

/// Who runs next as one after the other ends.
fn turns(queue: &mut Queue<&'static str>, now_s: f64) -> Vec<Turn<&'static str>> {
    let mut turns = Vec::new();
    while queue.running() > 0 {
        queue.end();
        turns.extend(std::iter::from_fn(|| queue.next(TWO, at(now_s))));
    }
    turns
}

#[test]
fn whoever_can_wait_least_comes_first_and_equals_in_their_order() {
    let mut queue = busy();
    for (start_by_s, who) in [(5.0, "late"), (2.0, "first"), (2.0, "second")] {
        wait(&mut queue, start_by_s, who);
    }
    assert_eq!(queue.next(TWO, at(1.0)), None, "both are still running");
    assert_eq!(turns(&mut queue, 1.0), ["first", "second", "late"].map(Turn::Runs));
}

#[test]
fn the_one_that_could_have_waited_longest_goes() {
    let mut queue = busy();
    for (start_by_s, who) in [(5.0, "five"), (2.0, "two"), (3.0, "three")] {
        wait(&mut queue, start_by_s, who);
    }
    assert_eq!(
        queue.enter(TWO, Caller::default(), at(5.0), "six"),
        Admission::Full("six"),
        "it came after an equal"
    );
    let urgent = queue.enter(TWO, Caller::default(), at(1.5), "urgent");
    assert!(matches!(urgent, Admission::Waits(_, Some("five"))), "{urgent:?}");
    assert_eq!(turns(&mut queue, 1.0), ["urgent", "two", "three"].map(Turn::Runs));
}

#[test]
fn who_does_not_wait_takes_nobodys_place() {
    let mut queue = busy();
    wait(&mut queue, 9.0, "waits");
    assert!(!queue.enter_at_once(TWO), "both cores are in use");
    queue.end();
    assert!(!queue.enter_at_once(TWO), "it is the turn of another");
    assert_eq!(
        queue.enter(Bounds { waiting: 0, ..TWO }, Caller::default(), at(1.0), "x"),
        Admission::Full("x")
    );
    assert_eq!(queue.next(TWO, at(1.0)), Some(Turn::Runs("waits")));
    queue.end();
    assert!(queue.enter_at_once(TWO));
}

#[test]
fn it_is_too_late_for_some() {
    let mut queue = busy();
    wait(&mut queue, 2.0, "two");
    wait(&mut queue, 4.0, "four");
    assert_eq!(turns(&mut queue, 3.0), [Turn::Expired("two"), Turn::Runs("four")]);
}

#[test]
fn one_that_went_away_gets_no_turn() {
    let mut queue = busy();
    let place = wait(&mut queue, 2.0, "gone");
    wait(&mut queue, 3.0, "stays");
    assert_eq!((queue.leave(place), queue.leave(place)), (Some("gone"), None));
    assert_eq!(turns(&mut queue, 1.0), [Turn::Runs("stays")]);
}

#[test]
fn new_bounds_hold_from_then_on() {
    let mut queue = busy();
    for (start_by_s, who) in [(2.0, "c"), (3.0, "d"), (4.0, "e")] {
        wait(&mut queue, start_by_s, who);
    }
    let more = Bounds { running: 3, waiting: 0 };
    assert_eq!(queue.next(more, at(1.0)), Some(Turn::Runs("c")));
    assert_eq!(queue.next(more, at(1.0)), None);
    let off = QueueRule::default().bounds(2);
    let rest: Vec<_> = std::iter::from_fn(|| queue.next(off, at(1.0))).collect();
    assert_eq!(rest, ["d", "e"].map(Turn::Runs), "without a rule nobody waits");
}

#[test]
fn a_node_runs_as_many_as_it_has_cores_unless_told() {
    let rule = QueueRule { enabled: true, ..QueueRule::default() };
    assert_eq!(rule.bounds(4), Bounds { running: 4, waiting: QueueRule::WAITING_MAX });
    let told = QueueRule { running_max: NonZeroU32::new(7), waiting_max: 0, ..rule };
    assert_eq!(told.bounds(4), Bounds { running: 7, waiting: 0 });
}

/// Runs `f` here for `millis`.
fn run_here(scheduler: &mut Scheduler<Pcg64>, site: &Site, start: Time, millis: u64) {
    let ticket = issue(scheduler, site, start);
    scheduler.record(ticket, Outcome::Good, None, start + Duration::from_millis(millis));
}

fn issue(scheduler: &mut Scheduler<Pcg64>, site: &Site, now: Time) -> Ticket {
    scheduler.issue_ticket(site, &entering(), Architecture::Federated, Step::RunHere, now).unwrap()
}

#[test]
fn a_deadline_leaves_time_for_the_function() {
    let topology = five_nodes();
    let site = site(&topology, "edge2", Policy::new(Mode::Dynamic));
    let mut scheduler = scheduler(&topology, 1);
    let rule = QueueRule::default();
    let start_by = |scheduler: &Scheduler<Pcg64>, deadline| {
        let start_by = scheduler.start_by(&rule, function("f"), deadline, at(10.0));
        start_by.since(Time::ZERO).as_secs_f64()
    };
    assert_eq!(start_by(&scheduler, None), 20.0, "the longest wait");
    assert_eq!(start_by(&scheduler, Some(at(11.0))), 11.0, "nothing is known of it");
    run_here(&mut scheduler, &site, at(1.0), 300);
    let known = start_by(&scheduler, Some(at(11.0)));
    assert!((known - 10.7).abs() < 1e-6, "{known}");
    assert_eq!(start_by(&scheduler, Some(at(0.1))), 0.0, "it is not before the origin");
}

#[test]
fn waiting_takes_nothing_from_those_that_run_and_is_no_service() {
    let topology = five_nodes();
    let site = site(&topology, "edge2", Policy::new(Mode::Dynamic));
    let mut scheduler = scheduler(&topology, 1).with_cores(1);
    let slot = site.node().slot;
    let first = issue(&mut scheduler, &site, at(0.0));
    let mut second = issue(&mut scheduler, &site, at(0.0));
    let mut third = issue(&mut scheduler, &site, at(0.0));
    scheduler.hold(&mut second, at(0.0));
    scheduler.hold(&mut third, at(0.0));
    assert_eq!(scheduler.in_flight(slot), 3, "those that wait count for whoever places");
    let service_s = |scheduler: &mut Scheduler<Pcg64>, ticket: &Ticket, now| {
        scheduler.report(slot, Some(ticket), now).service.map(|service| service.as_secs_f64())
    };
    assert_eq!(service_s(&mut scheduler, &first, at(0.5)), Some(0.5), "alone on its core");
    assert_eq!(service_s(&mut scheduler, &second, at(0.5)), None, "it has received nothing yet");
    scheduler.record(first, Outcome::Good, None, at(0.5));
    scheduler.record(third, Outcome::Cancelled, None, at(0.5));
    scheduler.resume(&mut second, at(0.5));
    assert_eq!(service_s(&mut scheduler, &second, at(0.8)), Some(0.3));
    scheduler.record(second, Outcome::Good, None, at(0.8));
    assert_eq!((scheduler.in_flight(slot), scheduler.held), (0, 0));
}

/// The queue beside a list that is searched from end to end.
struct Model {
    queue: Queue<u64>,
    bounds: Bounds,
    now_s: u64,
    entered: u64,
    running: VecDeque<u64>,
    waiting: Vec<(u64, u64, Place)>,
}

impl Model {
    fn enter(&mut self, start_by_s: u64) {
        let who = self.entered;
        self.entered += 1;
        let time = at(start_by_s as f64);
        let least = |waiting: &[(u64, u64, Place)]| waiting.iter().map(|w| (w.0, w.1)).max();
        match self.queue.enter(self.bounds, Caller::default(), time, who) {
            Admission::Runs(_) => {
                assert!(self.running.len() < self.bounds.running as usize);
                assert!(self.waiting.is_empty(), "nobody is overtaken");
                self.running.push_back(who);
            }
            Admission::Full(_) => {
                assert!(self.waiting.len() >= self.bounds.waiting as usize);
                let patient = least(&self.waiting).is_none_or(|last| last < (start_by_s, who));
                assert!(patient || self.bounds.waiting == 0);
            }
            Admission::Waits(place, out) => {
                if let Some(out) = out {
                    assert_eq!(least(&self.waiting).map(|last| last.1), Some(out));
                    self.waiting.retain(|w| w.1 != out);
                }
                self.waiting.push((start_by_s, who, place));
            }
        }
    }

    fn advance(&mut self) {
        while let Some(turn) = self.queue.next(self.bounds, at(self.now_s as f64)) {
            let first = self.waiting.iter().map(|w| (w.0, w.1)).min().unwrap();
            let (Turn::Runs(who) | Turn::Expired(who)) = turn;
            assert_eq!(first.1, who, "the one in the greatest hurry is next");
            self.waiting.retain(|w| w.1 != who);
            match turn {
                Turn::Runs(_) => self.running.push_back(who),
                Turn::Expired(_) => assert!(first.0 < self.now_s),
            }
        }
    }

    /// Something that may happen, at random.
    fn step(&mut self, rng: &mut Pcg64) {
        match rng.random_range(0..11) {
            0..4 => self.enter(self.now_s + rng.random_range(0..30)),
            4..7 => {
                if self.running.pop_front().is_some() {
                    self.queue.end();
                }
            }
            7 if !self.waiting.is_empty() => {
                let gone = rng.random_range(0..self.waiting.len());
                let (_, who, place) = self.waiting.remove(gone);
                assert_eq!(self.queue.leave(place), Some(who));
            }
            8 => {
                let (running, waiting) = (rng.random_range(1..4), rng.random_range(0..6));
                self.bounds = Bounds { running, waiting };
            }
            _ => self.now_s += rng.random_range(0..5),
        }
        self.advance();
        assert_eq!(self.queue.running() as usize, self.running.len());
        assert_eq!(self.queue.waiting(), self.waiting.len());
        let room = self.running.len() < self.bounds.running as usize;
        assert!(!room || self.waiting.is_empty(), "no core is idle while somebody waits");
    }
}

#[test]
fn turns_are_those_of_a_sorted_list() {
    for seed in 0..200 {
        let mut rng = Pcg64::seed_from_u64(seed);
        let mut model = Model {
            queue: Queue::default(),
            bounds: TWO,
            now_s: 0,
            entered: 0,
            running: VecDeque::new(),
            waiting: Vec::new(),
        };
        for _ in 0..200 {
            model.step(&mut rng);
        }
    }
}

#[test]
fn one_caller_cannot_have_all_places() {
    let enter = |queue: &mut Queue<&'static str>, caller, start_by_s, who| {
        queue.enter(TWO, Caller(caller), at(start_by_s), who)
    };
    let mut queue = busy();
    for (start_by_s, who) in [(2.0, "greedy two"), (3.0, "greedy three"), (4.0, "greedy four")] {
        assert!(matches!(enter(&mut queue, 1, start_by_s, who), Admission::Waits(_, None)));
    }
    let first = enter(&mut queue, 2, 9.0, "modest");
    assert!(matches!(first, Admission::Waits(_, Some("greedy four"))), "{first:?}");
    let second = enter(&mut queue, 2, 9.5, "modest again");
    assert_eq!(second, Admission::Full("modest again"), "two and one are as fair as three can be");
    let urgent = enter(&mut queue, 1, 1.5, "greedy urgent");
    assert!(matches!(urgent, Admission::Waits(_, Some("greedy three"))), "its own: {urgent:?}");
    let third = enter(&mut queue, 3, 9.9, "newcomer");
    assert!(matches!(third, Admission::Waits(_, Some("greedy two"))), "{third:?}");
    assert_eq!(turns(&mut queue, 1.0), ["greedy urgent", "modest", "newcomer"].map(Turn::Runs));
}

#[test]
fn places_are_given_up_until_all_have_alike() {
    let bounds = Bounds { running: 0, waiting: 12 };
    let mut queue = Queue::default();
    for caller in 0..4 {
        for n in 0..50 {
            // Each who comes is in a greater hurry than all before.
            queue.enter(bounds, Caller(caller), at(f64::from(1000 - n)), caller);
        }
    }
    let runs = Bounds { running: 12, ..bounds };
    let mut who: Vec<u64> = std::iter::from_fn(|| queue.next(runs, at(0.0)))
        .map(|turn| match turn {
            Turn::Runs(caller) | Turn::Expired(caller) => caller,
        })
        .collect();
    who.sort_unstable();
    assert_eq!(who, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
}
