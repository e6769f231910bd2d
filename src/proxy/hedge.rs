//! Two copies of one invocation: the first that answers is the answer.

use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use crate::metrics::Metrics;
use crate::scheduling::route::Stage;
use crate::topology::NodeIndex;

use super::dispatch::{Attempt, Placing};
use super::failure::Failure;
use super::request_body::Replay;
use super::saved::Saved;
use super::upstream::{Answered, Outbound};

/// What it takes to send a request once more while it is still under way.
struct Spare {
    saved: Saved,
    sent: Option<Rc<Replay>>,
}

/// Counts a second copy when it is settled, or when the caller goes away before that.
struct Tally<'a> {
    metrics: &'a Metrics,
    won: bool,
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.metrics.count_hedge(self.won);
    }
}

type Sent = Result<Answered, Failure>;

impl Placing<'_> {
    /// When this invocation takes long, if a second copy of it does no harm. What was handed on to
    /// this node is watched where it came in.
    pub(super) fn late_at(&self) -> Option<Instant> {
        let snapshot = &self.call.snapshot;
        let hedged = snapshot.site.policy.hedge.enabled
            && self.call.stage == Stage::Entry
            && !self.call.asynchronous
            && snapshot.function(self.call.function).idempotent;
        let after = hedged.then(|| self.context.state.hedge_after(snapshot, self.call.function))?;
        Instant::now().checked_add(after?)
    }

    /// Sends `first`, and another copy if there is no answer by `late_at`. Answers with the copy
    /// that was answered, or with what became of the first.
    pub(super) async fn send_watched(
        &self,
        first: Attempt,
        outbound: Box<Outbound>,
        left: Option<Duration>,
        late_at: Instant,
        avoid: &[NodeIndex],
    ) -> (Attempt, Sent) {
        let snapshot = &self.call.snapshot;
        let spare = Spare {
            saved: Saved::of(&outbound.head, outbound.expects_continue, outbound.idempotent),
            sent: outbound.body.replay(),
        };
        let destination = first.destination.clone();
        let mut sent =
            pin!(self.context.send(snapshot, &destination, outbound, left, self.mark(&first)));
        tokio::select! {
            biased;
            settled = &mut sent => return (first, settled),
            () = sleep_until(late_at.into()) => {}
        }
        match self.second(&first, spare, avoid) {
            Some((second, outbound, left)) => self.race(first, sent, second, outbound, left).await,
            None => (first, sent.await),
        }
    }

    /// The second copy, unless its body is not all here, or there is nobody to send it to.
    fn second(
        &self,
        first: &Attempt,
        spare: Spare,
        avoid: &[NodeIndex],
    ) -> Option<(Attempt, Box<Outbound>, Option<Duration>)> {
        let mut outbound = spare.saved.again(&spare.sent)?;
        let left = self.time_left().ok()?;
        let invoked = first.pending.invoked()?;
        let avoid = [avoid, &[first.target]].concat();
        let state = &self.context.state;
        let invocation = self.invocation(None, &avoid);
        let since = self.call.trail.now();
        let decision = state.hedge(&self.call.snapshot, &invocation, invoked)?;
        self.call.trail.decided(since, &decision, true);
        let mut second = self.begin(decision, &mut outbound, left).ok()?;
        if !self.takes_turn_at_once(&mut second) {
            return None;
        }
        tracing::debug!(to = %second.destination.authority, "second copy sent");
        Some((second, outbound, left))
    }

    /// Waits for either copy. The other is dropped: its connection closes, which cancels it there,
    /// and its outcome is recorded as cancelled here.
    async fn race(
        &self,
        first: Attempt,
        mut sent: impl Future<Output = Sent> + Unpin,
        second: Attempt,
        outbound: Box<Outbound>,
        left: Option<Duration>,
    ) -> (Attempt, Sent) {
        let mut tally = Tally { metrics: &self.context.state.metrics, won: false };
        let destination = second.destination.clone();
        let snapshot = &self.call.snapshot;
        let mark = self.mark(&second);
        let mut other = pin!(self.context.send(snapshot, &destination, outbound, left, mark));
        tokio::select! {
            biased;
            settled = &mut sent => {
                if self.is_answer(&first, &settled) {
                    return (first, settled);
                }
                let other = other.await;
                if self.is_answer(&second, &other) {
                    tally.won = true;
                    first.fail(&settled);
                    return (second, other);
                }
                second.fail(&other);
                (first, settled)
            }
            other = &mut other => {
                if self.is_answer(&second, &other) {
                    tally.won = true;
                    return (second, other);
                }
                second.fail(&other);
                (first, sent.await)
            }
        }
    }

    /// Whether somebody ran it and answered.
    fn is_answer(&self, attempt: &Attempt, sent: &Sent) -> bool {
        let local = attempt.target == self.call.snapshot.site.here;
        sent.as_ref().is_ok_and(|answered| answered.word(self.call.platform, local).is_none())
    }
}
