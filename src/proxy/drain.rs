//! How the connections of a worker end without losing a request.
//!
//! From the beginning of the drain each answer says `Connection: close`, so a client that goes on
//! asking goes elsewhere by itself. One that is idle is not closed at once, since its next request
//! may be on its way, and nobody could tell it that nothing ran; its connection goes after a while.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Response, StatusCode, Version};
use tokio::sync::Notify;

/// How far a worker is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// No more connections are taken, and answers tell clients to go.
    Draining,
    /// Connections that nobody uses are closed.
    Closing,
}

/// The way out for the connections of one worker.
#[derive(Debug)]
pub(super) struct Exit(Rc<Way>);

/// What all connections of a worker know of the way out.
///
/// tokio's channels could tell them, but each of them would be asked, with a lock, whenever anything
/// happens on its connection. Here nobody but the worker's own thread ever looks.
#[derive(Debug)]
struct Way {
    phase: Cell<Phase>,
    /// Connections that have not ended.
    open: Cell<usize>,
    all_ended: Notify,
    /// Whom to wake at the next phase, by the place of their connection.
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

/// What a connection knows of the way out; the worker waits until it is dropped.
#[derive(Debug)]
pub(super) struct Leaving {
    way: Rc<Way>,
    /// Its place, once it waits.
    place: Option<usize>,
}

impl Exit {
    /// Nobody leaves yet.
    pub(super) fn new() -> Self {
        let (open, all_ended, wakers, free) = Default::default();
        Self(Rc::new(Way { phase: Cell::new(Phase::Serving), open, all_ended, wakers, free }))
    }

    /// For a new connection.
    pub(super) fn leaving(&self) -> Leaving {
        self.0.open.set(self.0.open.get() + 1);
        Leaving { way: Rc::clone(&self.0), place: None }
    }

    /// Begins to drain, closes after `idle_for` what nobody uses, and waits for what is in use.
    pub(super) async fn drain(self, idle_for: Duration) {
        self.0.enter(Phase::Draining);
        tokio::select! {
            () = self.0.ended() => {}
            () = tokio::time::sleep(idle_for) => {
                self.0.enter(Phase::Closing);
                self.0.ended().await;
            }
        }
    }
}

impl Way {
    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.wakers.borrow().iter().flatten().for_each(Waker::wake_by_ref);
    }

    async fn ended(&self) {
        while self.open.get() > 0 {
            self.all_ended.notified().await;
        }
    }
}

impl Leaving {
    /// What `future` comes to, unless connections that nobody uses are closed before.
    pub(super) async fn before_closing<F: Future>(&mut self, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = self.reached(Phase::Closing) => None,
        }
    }

    /// Runs `connection` of `version` to its end, which `finish` brings about once nothing is in
    /// progress. HTTP/2 has a word for "no more requests", so it says it at once; HTTP/1 has it in
    /// answers only.
    pub(super) async fn watch<C: Future>(
        mut self,
        connection: C,
        version: Version,
        finish: fn(Pin<&mut C>),
    ) -> C::Output {
        let last = if version == Version::HTTP_2 { Phase::Draining } else { Phase::Closing };
        let mut connection = pin!(connection);
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = self.reached(last) => finish(connection.as_mut()),
        }
        connection.await
    }

    /// Waits for `phase`.
    async fn reached(&mut self, phase: Phase) {
        poll_fn(|cx| {
            if self.way.phase.get() >= phase {
                return Poll::Ready(());
            }
            self.register(cx.waker());
            Poll::Pending
        })
        .await;
    }

    /// Has `waker` woken at the next phase.
    fn register(&mut self, waker: &Waker) {
        let mut wakers = self.way.wakers.borrow_mut();
        let place = *self.place.get_or_insert_with(|| {
            self.way.free.borrow_mut().pop().unwrap_or_else(|| {
                wakers.push(None);
                wakers.len() - 1
            })
        });
        // Almost always it is the same as before.
        if !wakers[place].as_ref().is_some_and(|known| known.will_wake(waker)) {
            wakers[place] = Some(waker.clone());
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.way.wakers.borrow_mut()[place] = None;
            self.way.free.borrow_mut().push(place);
        }
        self.way.open.set(self.way.open.get() - 1);
        if self.way.open.get() == 0 {
            self.way.all_ended.notify_one();
        }
    }
}

/// Makes `response`, to a request of `version`, the last one of its connection.
pub(super) fn make_last<B>(response: &mut Response<B>, version: Version) {
    if version < Version::HTTP_2 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use tokio::task::{LocalSet, spawn_local};
    use tokio::time::{Instant, sleep};

    use super::*;

    const IDLE_FOR: Duration = Duration::from_secs(3);

    /// Ends when it is told to, and not before.
    struct Connection(bool);

    impl Future for Connection {
        type Output = Instant;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Instant> {
            if self.0 { Poll::Ready(Instant::now()) } else { Poll::Pending }
        }
    }

    async fn end_of(leaving: Leaving, version: Version) -> Instant {
        leaving.watch(Connection(false), version, |mut connection| connection.0 = true).await
    }

    #[tokio::test(start_paused = true)]
    async fn http2_is_told_at_once_and_http1_after_a_while() {
        let exit = Exit::new();
        let work = async {
            let idle = spawn_local(end_of(exit.leaving(), Version::HTTP_11));
            let streams = spawn_local(end_of(exit.leaving(), Version::HTTP_2));
            let gone = spawn_local(end_of(exit.leaving(), Version::HTTP_11));
            sleep(IDLE_FOR).await;
            gone.abort();
            assert!(gone.await.is_err());
            // It takes the place of the one that is gone.
            let late = spawn_local(end_of(exit.leaving(), Version::HTTP_11));
            sleep(IDLE_FOR).await;
            assert_eq!(exit.0.wakers.borrow().len(), 3);
            let began = Instant::now();
            exit.drain(IDLE_FOR).await;
            assert_eq!(began.elapsed(), IDLE_FOR);
            let ends = [streams.await, idle.await, late.await].map(|end| end.unwrap() - began);
            assert_eq!(ends, [Duration::ZERO, IDLE_FOR, IDLE_FOR]);
        };
        LocalSet::new().run_until(work).await;
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_who_has_left() {
        let exit = Exit::new();
        let mut leaving = exit.leaving();
        let began = Instant::now();
        let use_it = async {
            leaving.before_closing(sleep(IDLE_FOR / 3)).await.unwrap();
            drop(leaving);
        };
        tokio::join!(use_it, exit.drain(IDLE_FOR));
        assert_eq!(began.elapsed(), IDLE_FOR / 3);
    }
}
