//! What client connections and streams wait for, and the end of those that wait too long.
//!
//! Whoever moves something leaves a mark, which is a plain store. A sweep compares the marks with
//! those it saw before, and keeps the time: so no timer is set, moved or taken back on the way of a
//! request.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use crate::config::Timeouts;
use crate::metrics::Metrics;

pub(super) use crate::metrics::Wait;

/// How often a worker looks through its connections: how much later than its bound a wait may end.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_millis(250);

/// How long a connection must have been idle to make room for another.
const ROOM_AGE_MIN: Duration = Duration::from_secs(1);

/// The marks of a client connection, or of one stream of an HTTP/2 connection.
///
/// One thread writes and reads them; they are atomic because hyper wants to be able to move what
/// holds them.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// Requests so far.
    calls: AtomicU32,
    /// Requests in progress.
    busy: AtomicU32,
    /// Parts that have moved, of answers or through a tunnel.
    moves: AtomicU32,
    /// Part of a request's head is here.
    begun: AtomicBool,
    /// What is sent cannot be sent now.
    blocked: AtomicBool,
    /// An answer streams through,
    streaming: AtomicBool,
    /// and the next part of it is not here yet.
    starving: AtomicBool,
    /// It carries streams, and bytes that belong to none of them.
    multiplexed: AtomicBool,
    /// It speaks another protocol now.
    tunnel: AtomicBool,
    /// What it was ended for.
    ended: OnceLock<Wait>,
}

impl Watched {
    /// The marks of one stream, which carries one request.
    pub(super) fn stream() -> Arc<Self> {
        let watched = Self::default();
        watched.begin_call();
        Arc::new(watched)
    }

    pub(super) fn begin_call(&self) {
        add(&self.calls, 1);
        add(&self.busy, 1);
        set(&self.begun, false);
    }

    pub(super) fn end_call(&self) {
        add(&self.busy, u32::MAX);
    }

    pub(super) fn set_multiplexed(&self) {
        set(&self.multiplexed, true);
    }

    pub(super) fn note_read(&self) {
        if is(&self.tunnel) {
            add(&self.moves, 1);
        } else if self.busy.load(Ordering::Relaxed) == 0 {
            set(&self.begun, true);
        }
    }

    /// Notes what became of sending: whether anything could be sent.
    pub(super) fn note_write(&self, sent: bool) {
        set(&self.blocked, !sent);
        if sent {
            add(&self.moves, 1);
        }
    }

    /// Notes that an answer streams, and whether its next part is there.
    pub(super) fn note_part(&self, is_there: bool) {
        set(&self.streaming, true);
        set(&self.starving, !is_there);
        if is_there {
            add(&self.moves, 1);
        }
    }

    pub(super) fn end_stream(&self) {
        set(&self.streaming, false);
        set(&self.starving, false);
    }

    /// What it was ended for, if this side ended it.
    pub(super) fn overdue(&self) -> Option<Wait> {
        self.ended.get().copied()
    }

    pub(super) fn become_tunnel(&self) {
        set(&self.tunnel, true);
    }

    /// What it waits for, and the mark that changes when it waits no longer.
    fn waits(&self) -> (Option<Wait>, u32) {
        let [calls, busy, moves] =
            [&self.calls, &self.busy, &self.moves].map(|mark| mark.load(Ordering::Relaxed));
        let idle = busy == 0;
        if is(&self.tunnel) {
            (Some(Wait::Tunnel), moves)
        } else if is(&self.starving) {
            (Some(Wait::AnswerBody), moves)
        } else if is(&self.blocked) || is(&self.streaming) {
            (Some(Wait::ClientRead), moves)
        } else if !idle {
            // The exchange upstream has bounds of its own.
            (None, calls)
        } else if calls == 0 || is(&self.begun) && !is(&self.multiplexed) {
            (Some(Wait::RequestHeader), calls)
        } else {
            (Some(Wait::KeepAlive), calls)
        }
    }
}

fn is(mark: &AtomicBool) -> bool {
    mark.load(Ordering::Relaxed)
}

fn set(mark: &AtomicBool, value: bool) {
    mark.store(value, Ordering::Relaxed);
}

fn add(mark: &AtomicU32, value: u32) {
    mark.store(mark.load(Ordering::Relaxed).wrapping_add(value), Ordering::Relaxed);
}

/// All that one worker watches.
#[derive(Debug, Default)]
pub(super) struct Watch(RefCell<Vec<Entry>>);

/// One connection or stream, and what the last sweep saw of it.
#[derive(Debug)]
struct Entry {
    watched: Arc<Watched>,
    task: AbortHandle,
    seen: (Option<Wait>, u32),
    seen_since: Instant,
    call: u32,
    call_since: Instant,
}

impl Watch {
    /// Watches `task`, which leaves its marks in `watched`.
    pub(super) fn add(&self, watched: Arc<Watched>, task: AbortHandle) {
        let now = Instant::now();
        let (seen, call) = (watched.waits(), watched.calls.load(Ordering::Relaxed));
        self.0.borrow_mut().push(Entry {
            watched,
            task,
            seen,
            seen_since: now,
            call,
            call_since: now,
        });
    }

    /// Ends what has waited too long, and forgets what has ended.
    pub(super) fn sweep(&self, timeouts: &Timeouts, metrics: &Metrics, now: Instant) {
        self.0.borrow_mut().retain_mut(|entry| {
            if entry.task.is_finished() {
                return false;
            }
            let Some(overdue) = entry.look(timeouts, now) else { return true };
            metrics.count_timeout(overdue);
            let _ = entry.watched.ended.set(overdue);
            entry.task.abort();
            false
        });
    }

    /// Ends up to `count` connections that are between two requests, or have begun none: first those
    /// that have waited longest.
    pub(super) fn make_room(&self, count: usize, metrics: &Metrics, now: Instant) {
        let entries = self.0.borrow();
        let mut idle: Vec<&Entry> = entries.iter().filter(|entry| entry.is_idle(now)).collect();
        idle.sort_unstable_by_key(|entry| entry.seen_since);
        for entry in idle.into_iter().take(count) {
            metrics.count_timeout(Wait::Crowded);
            entry.task.abort();
        }
    }
}

impl Entry {
    /// What it has waited for too long.
    fn look(&mut self, timeouts: &Timeouts, now: Instant) -> Option<Wait> {
        let seen = self.watched.waits();
        if seen != self.seen {
            (self.seen, self.seen_since) = (seen, now);
        }
        let call = self.watched.calls.load(Ordering::Relaxed);
        let busy = self.watched.busy.load(Ordering::Relaxed) > 0;
        if call != self.call || !busy {
            (self.call, self.call_since) = (call, now);
        }
        let waited = now.saturating_duration_since(self.seen_since);
        let overdue = seen.0.filter(|wait| waited >= bound(*wait, timeouts));
        let busy_for = now.saturating_duration_since(self.call_since);
        let endless = busy_for >= timeouts.total && seen.0 != Some(Wait::Tunnel);
        overdue.or(endless.then_some(Wait::Total))
    }

    fn is_idle(&self, now: Instant) -> bool {
        matches!(self.seen.0, Some(Wait::KeepAlive | Wait::RequestHeader))
            && self.watched.waits() == self.seen
            && now.saturating_duration_since(self.seen_since) >= ROOM_AGE_MIN
    }
}

fn bound(wait: Wait, timeouts: &Timeouts) -> Duration {
    match wait {
        Wait::RequestHeader => timeouts.request_header,
        Wait::RequestBody => timeouts.request_body,
        Wait::KeepAlive => timeouts.keep_alive,
        Wait::AnswerBody => timeouts.answer_body,
        Wait::ClientRead => timeouts.client_read,
        Wait::Total => timeouts.total,
        Wait::Tunnel => timeouts.tunnel,
        Wait::Crowded => Duration::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Bounds that differ from each other, so that each ends at its own.
    fn timeouts() -> Timeouts {
        Timeouts {
            request_header: 2 * SECOND,
            keep_alive: 3 * SECOND,
            answer_body: 4 * SECOND,
            client_read: 5 * SECOND,
            tunnel: 6 * SECOND,
            total: 20 * SECOND,
            ..Timeouts::DEFAULT
        }
    }

    /// For what and after how many seconds somebody is ended who does `each_second`.
    fn ended(watched: &Arc<Watched>, each_second: impl Fn(&Watched)) -> Option<(Wait, u32)> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let task = runtime.spawn(std::future::pending::<()>()).abort_handle();
        let watch = Watch::default();
        watch.add(Arc::clone(watched), task);
        let mut entries = watch.0.borrow_mut();
        let begun = entries[0].seen_since;
        (0..30).find_map(|second| {
            each_second(watched);
            let overdue = entries[0].look(&timeouts(), begun + SECOND * second);
            overdue.map(|wait| (wait, second))
        })
    }

    fn served() -> Arc<Watched> {
        let watched = Arc::<Watched>::default();
        watched.begin_call();
        watched.end_call();
        watched
    }

    #[test]
    fn every_wait_ends_at_its_own_bound() {
        let nothing = |_: &Watched| {};
        assert_eq!(ended(&Arc::default(), nothing), Some((Wait::RequestHeader, 2)));
        assert_eq!(ended(&served(), nothing), Some((Wait::KeepAlive, 3)));
        let streams = |is_there| {
            let watched = Arc::<Watched>::default();
            watched.begin_call();
            watched.note_part(is_there);
            watched
        };
        assert_eq!(ended(&streams(false), nothing), Some((Wait::AnswerBody, 4)));
        assert_eq!(ended(&streams(true), nothing), Some((Wait::ClientRead, 5)));
        let full = served();
        full.note_write(false);
        assert_eq!(ended(&full, nothing), Some((Wait::ClientRead, 5)));
        let tunnel = served();
        tunnel.become_tunnel();
        assert_eq!(ended(&tunnel, nothing), Some((Wait::Tunnel, 6)));
        assert_eq!(ended(&Watched::stream(), nothing), Some((Wait::Total, 20)));
    }

    #[test]
    fn a_head_that_comes_bit_by_bit_gains_no_time() {
        let watched = served();
        assert_eq!(ended(&watched, Watched::note_read), Some((Wait::RequestHeader, 2)));
    }

    #[test]
    fn frames_that_carry_no_request_keep_no_connection() {
        let watched = served();
        watched.set_multiplexed();
        assert_eq!(ended(&watched, Watched::note_read), Some((Wait::KeepAlive, 3)));
    }

    #[test]
    fn what_moves_goes_on_until_all_of_it_takes_too_long() {
        let watched = Watched::stream();
        let moves = |watched: &Watched| {
            watched.note_part(true);
            watched.note_part(false);
        };
        assert_eq!(ended(&watched, moves), Some((Wait::Total, 20)));
        let tunnel = Arc::<Watched>::default();
        tunnel.become_tunnel();
        assert_eq!(ended(&tunnel, Watched::note_read), None);
        let busy = Arc::<Watched>::default();
        let calls = |watched: &Watched| {
            watched.begin_call();
            watched.end_call();
        };
        assert_eq!(ended(&busy, calls), None);
    }

    #[test]
    fn those_that_have_been_idle_longest_make_room() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let tasks: Vec<_> = (0..4).map(|_| runtime.spawn(std::future::pending::<()>())).collect();
        let watch = Watch::default();
        for task in &tasks {
            watch.add(served(), task.abort_handle());
        }
        let now = Instant::now() + 10 * SECOND;
        {
            let mut entries = watch.0.borrow_mut();
            for (entry, age) in entries.iter_mut().zip([3, 0, 9, 5]) {
                entry.seen_since = now - SECOND * age;
            }
            entries[3].watched.begin_call();
        }
        let metrics = Metrics::new(0);
        watch.make_room(1, &metrics, now);
        runtime.block_on(tokio::task::yield_now());
        let ended: Vec<bool> = tasks.iter().map(tokio::task::JoinHandle::is_finished).collect();
        assert_eq!(ended, [false, false, true, false]);
        watch.make_room(9, &metrics, now);
        runtime.block_on(tokio::task::yield_now());
        let ended: Vec<bool> = tasks.iter().map(tokio::task::JoinHandle::is_finished).collect();
        assert_eq!(ended, [true, false, true, false], "neither the busy one nor the young one");
    }
}
