//! Waiting for an answer for as long as something moves.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::config::Timeouts;

use super::request_body::Replay;

/// How often a body that is on its way is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Why an answer is waited for no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The client sent nothing more of its body.
    RequestBody,
    /// Nothing came from upstream.
    Answer,
}

/// The timer of one upstream connection, for all requests that are sent over it.
///
/// To set a timer for each request and to take it back when the answer comes, in less than a
/// millisecond mostly, would cost more than all else that waiting takes. So it stays set for the
/// first time at which it may be wanted; where that turns out too early, it is set once more.
#[derive(Debug)]
pub(super) struct Patience(Pin<Box<Sleep>>);

impl Patience {
    /// The timer of a connection on which answers are waited for `within` a time.
    pub(super) fn new(within: Duration) -> Self {
        Self(Box::pin(sleep(within)))
    }

    /// Waits for `answer`, for as long as something moves, the body that is `sent` included: a large
    /// upload may take its time.
    pub(super) async fn wait_for<F: Future>(
        &mut self,
        mut answer: Pin<&mut F>,
        timeouts: &Timeouts,
        sent: Option<&Replay>,
    ) -> Result<F::Output, Overdue> {
        let mut frames = sent.map(Replay::frames);
        let mut moved = Instant::now();
        let until = look_at(moved, moved, timeouts, sent);
        if until < self.0.deadline() {
            self.0.as_mut().reset(until);
        }
        poll_fn(|cx| {
            if let Poll::Ready(settled) = answer.as_mut().poll(cx) {
                return Poll::Ready(Ok(settled));
            }
            while self.0.as_mut().poll(cx).is_ready() {
                let now = Instant::now();
                let seen = sent.map(Replay::frames);
                if seen != frames {
                    (frames, moved) = (seen, now);
                }
                if let Some(overdue) = overdue(now - moved, timeouts, sent) {
                    return Poll::Ready(Err(overdue));
                }
                self.0.as_mut().reset(look_at(now, moved, timeouts, sent));
            }
            Poll::Pending
        })
        .await
    }
}

/// When to look again. A body on its way is looked at now and then, to tell who lets it stall.
fn look_at(now: Instant, moved: Instant, timeouts: &Timeouts, sent: Option<&Replay>) -> Instant {
    let last = moved + timeouts.answer;
    match sent {
        Some(sent) if !sent.is_complete() => last.min(now + LOOK_INTERVAL),
        _ => last,
    }
}

/// Whoever is waited for is to blame: the client for its body, or upstream for taking it.
fn overdue(waited: Duration, timeouts: &Timeouts, sent: Option<&Replay>) -> Option<Overdue> {
    if sent.is_some_and(Replay::awaits_client) && waited >= timeouts.request_body {
        return Some(Overdue::RequestBody);
    }
    (waited >= timeouts.answer).then_some(Overdue::Answer)
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    fn within(answer: Duration) -> Timeouts {
        Timeouts { answer, ..Timeouts::DEFAULT }
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_after_its_time_however_often_it_is_used() {
        let mut patience = Patience::new(WITHIN);
        for pause in [Duration::ZERO, WITHIN / 2, WITHIN * 3] {
            tokio::time::sleep(pause).await;
            let began = Instant::now();
            let answer = patience.wait_for(pin!(pending::<()>()), &within(WITHIN), None).await;
            assert_eq!(answer, Err(Overdue::Answer));
            assert!(began.elapsed() >= WITHIN && began.elapsed() < WITHIN * 11 / 10);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_time_is_the_answer() {
        let mut patience = Patience::new(WITHIN);
        for _ in 0..5 {
            let late = async {
                tokio::time::sleep(WITHIN * 9 / 10).await;
                7
            };
            assert_eq!(patience.wait_for(pin!(late), &within(WITHIN), None).await, Ok(7));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_time_holds_at_once() {
        let mut patience = Patience::new(WITHIN);
        let began = Instant::now();
        let answer = patience.wait_for(pin!(pending::<()>()), &within(WITHIN / 10), None).await;
        assert_eq!(answer, Err(Overdue::Answer));
        assert!(began.elapsed() < WITHIN / 5);
    }
}
