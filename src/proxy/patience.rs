//! Waiting for an answer for as long as something moves.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::request_body::Replay;

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

    /// Waits for `answer`, unless for as long as `within` nothing moves, the body that is `sent`
    /// included: a large upload may take its time.
    pub(super) async fn wait_for<F: Future>(
        &mut self,
        mut answer: Pin<&mut F>,
        within: Duration,
        sent: Option<&Replay>,
    ) -> Option<F::Output> {
        let mut moved = sent.map(Replay::frames);
        let mut until = Instant::now() + within;
        if until < self.0.deadline() {
            self.0.as_mut().reset(until);
        }
        poll_fn(|cx| {
            if let Poll::Ready(settled) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(settled));
            }
            while self.0.as_mut().poll(cx).is_ready() {
                let now = Instant::now();
                if now >= until {
                    let frames = sent.map(Replay::frames);
                    if frames == moved {
                        return Poll::Ready(None);
                    }
                    moved = frames;
                    until = now + within;
                }
                self.0.as_mut().reset(until);
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn it_ends_after_its_time_however_often_it_is_used() {
        let mut patience = Patience::new(WITHIN);
        for pause in [Duration::ZERO, WITHIN / 2, WITHIN * 3] {
            tokio::time::sleep(pause).await;
            let began = Instant::now();
            let answer = patience.wait_for(pin!(pending::<()>()), WITHIN, None).await;
            assert_eq!(answer, None);
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
            assert_eq!(patience.wait_for(pin!(late), WITHIN, None).await, Some(7));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_time_holds_at_once() {
        let mut patience = Patience::new(WITHIN);
        let began = Instant::now();
        assert_eq!(patience.wait_for(pin!(pending::<()>()), WITHIN / 10, None).await, None);
        assert!(began.elapsed() < WITHIN / 5);
    }
}
