//! Two copies of one invocation: the first that answers is the answer.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use crate::metrics::Metrics;
use crate::scheduling::route::{Outcome, Stage};
use crate::topology::NodeIndex;

use super::dispatch::{Attempt, Placing};
use super::failure::Failure;
use super::request_body::Replay;
use super::saved::Saved;
use super::upstream::{Answered, Outbound};

/// What it takes to send a request once more while it is still under way.
pub(super) struct Spare {
    /// When it takes long.
    late_at: Instant,
    saved: Rc<Saved>,
    sent: Option<Rc<Replay>>,
}

impl Spare {
    /// That of `outbound`, which takes long at `late_at`.
    pub(super) fn of(outbound: &mut Outbound, late_at: Instant) -> Self {
        let Outbound { head, expects_continue, idempotent, .. } = &*outbound;
        let saved = Saved::of(head, *expects_continue, *idempotent);
        // Whoever sends it keeps the same.
        outbound.saved = Some(Rc::clone(&saved));
        Self { late_at, saved, sent: outbound.body.replay() }
    }
}

/// What came of a request that was watched.
pub(super) struct Watched {
    sent: Sent,
    /// The second copy, where that was answered, and how the first had ended by then, if it had.
    second: Option<Box<(Attempt, Option<Outcome>)>>,
}

impl Watched {
    /// What came of the first copy.
    pub(super) fn first(sent: Sent) -> Self {
        Self { sent, second: None }
    }

    fn second(sent: Sent, second: Attempt, first: Option<Outcome>) -> Self {
        Self { sent, second: Some(Box::new((second, first))) }
    }

    /// The copy that counts, where `first` is the first, with what came of it. The other is dropped:
    /// its outcome is recorded as cancelled, unless it had one.
    pub(super) fn settle(self, mut first: Attempt) -> (Attempt, Sent) {
        let Some(second) = self.second else { return (first, self.sent) };
        let (second, outcome) = *second;
        if let Some(outcome) = outcome {
            first.pending.settle(outcome);
        }
        (second, self.sent)
    }
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

    /// Waits for what is `sent` for `first`, and sends another copy if there is no answer in time.
    /// Tells of the copy that was answered, or what became of the first.
    pub(super) async fn watch(
        &self,
        first: &Attempt,
        mut sent: Pin<&mut impl Future<Output = Sent>>,
        spare: Spare,
        avoid: &[NodeIndex],
    ) -> Watched {
        tokio::select! {
            biased;
            settled = &mut sent => return Watched::first(settled),
            () = sleep_until(spare.late_at.into()) => {}
        }
        match self.second(first, spare, avoid) {
            // On the heap: almost nobody waits for two answers.
            Some(second) => Box::pin(self.race(first, sent, second)).await,
            None => Watched::first(sent.await),
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

    /// Waits for either copy. The other is dropped: its connection closes, which cancels it there.
    async fn race(
        &self,
        first: &Attempt,
        mut sent: impl Future<Output = Sent> + Unpin,
        (second, outbound, left): (Attempt, Box<Outbound>, Option<Duration>),
    ) -> Watched {
        let mut tally = Tally { metrics: &self.context.state.metrics, won: false };
        let destination = second.destination.clone();
        let snapshot = &self.call.snapshot;
        let mark = self.mark(&second);
        let mut other = pin!(self.context.send(snapshot, &destination, outbound, left, mark));
        tokio::select! {
            biased;
            settled = &mut sent => {
                if self.is_answer(first, &settled) {
                    return Watched::first(settled);
                }
                let other = other.await;
                if self.is_answer(&second, &other) {
                    tally.won = true;
                    return Watched::second(other, second, Some(outcome(&settled)));
                }
                second.fail(&other);
                Watched::first(settled)
            }
            other = &mut other => {
                if self.is_answer(&second, &other) {
                    tally.won = true;
                    return Watched::second(other, second, None);
                }
                second.fail(&other);
                Watched::first(sent.await)
            }
        }
    }

    /// Whether somebody ran it and answered.
    fn is_answer(&self, attempt: &Attempt, sent: &Sent) -> bool {
        let local = attempt.target == self.call.snapshot.site.here;
        sent.as_ref().is_ok_and(|answered| answered.word(self.call.platform, local).is_none())
    }
}

impl Attempt {
    /// Settles what is owed for an attempt that brought no answer.
    fn fail(mut self, sent: &Sent) {
        self.pending.settle(outcome(sent));
    }
}

/// The outcome of an attempt that brought no answer.
fn outcome(sent: &Sent) -> Outcome {
    sent.as_ref().err().map_or(Outcome::Unreachable, Failure::outcome)
}
