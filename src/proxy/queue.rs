//! Waiting for one's turn at this node's gateway.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use crate::scheduling::queue::Place;
use crate::scheduling::route::Stage;
use crate::state::State;
use crate::turns::Asked;

use super::dispatch::{Attempt, Placing};
use super::load_field;
use super::peer;
use super::upstream::{Answered, Failure, QUEUE_FULL};

/// The turn of one that runs; the next begins when it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Arc<State>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.end_turn();
    }
}

/// Why somebody does not run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoTurn {
    /// Too many run and wait.
    Full,
    /// It could no longer be answered in time.
    Late,
}

/// One that waits; whoever goes away takes it along.
struct Waiting<'a> {
    state: &'a Arc<State>,
    place: Place,
    word: oneshot::Receiver<()>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.state.turns.leave(self.place, &mut self.word) {
            self.state.end_turn();
        }
    }
}

impl Placing<'_> {
    /// Waits until `attempt` may run, if it is this node that is to run it. Nobody waits twice, so
    /// the `last` attempt runs at once or not at all.
    pub(super) async fn take_turn(&self, attempt: &mut Attempt, last: bool) -> Result<(), NoTurn> {
        let snapshot = &self.call.snapshot;
        let here = attempt.target == snapshot.site.here;
        if !snapshot.site.policy.queue.enabled || !here || self.call.asynchronous {
            return Ok(());
        }
        if last && self.call.stage != Stage::Execute {
            let runs = self.takes_turn_at_once(attempt);
            return if runs { Ok(()) } else { Err(self.refuse_turn(NoTurn::Full)) };
        }
        let state = &self.context.state;
        let (asked, start_by) = state.ask_turn(snapshot, self.call.function, self.call.deadline);
        match asked {
            Asked::Runs => {}
            Asked::Full => return Err(self.refuse_turn(NoTurn::Full)),
            Asked::Waits(place, word) => {
                let mut waiting = Waiting { state, place, word };
                attempt.pending.hold();
                match timeout_at(start_by.into(), &mut waiting.word).await {
                    Ok(Ok(())) => attempt.pending.resume(),
                    // Too late, or gone for somebody in a greater hurry.
                    _ if self.call.deadline.is_some() && Instant::now() >= start_by => {
                        return Err(self.refuse_turn(NoTurn::Late));
                    }
                    _ => return Err(self.refuse_turn(NoTurn::Full)),
                }
            }
        }
        attempt.pending.turn = Some(Turn(Arc::clone(state)));
        Ok(())
    }

    /// Whether `attempt` may run without waiting, if it is this node that is to run it.
    pub(super) fn takes_turn_at_once(&self, attempt: &mut Attempt) -> bool {
        let snapshot = &self.call.snapshot;
        let here = attempt.target == snapshot.site.here;
        if !snapshot.site.policy.queue.enabled || !here {
            return true;
        }
        let state = &self.context.state;
        let runs = state.ask_turn_at_once(snapshot);
        attempt.pending.turn = runs.then(|| Turn(Arc::clone(state)));
        runs
    }

    /// What to make of an answer by which a peer says that somebody else should be asked.
    pub(super) fn moved_on(
        &self,
        attempt: &mut Attempt,
        answered: Answered,
        refusal: &'static str,
    ) -> Failure {
        if refusal == QUEUE_FULL {
            let load = answered.response.headers().get(peer::LOAD).and_then(load_field::read);
            let slot = self.call.snapshot.site.topology.node(attempt.target).slot;
            attempt.pending.observed = load.map(|load| (slot, load));
            return Failure::Full(answered.again());
        }
        if refusal == "peer_rejected" {
            let to = &attempt.destination.authority;
            tracing::warn!(%to, "does not take our signature: compare peers.key_file");
        }
        Failure::NothingRan(std::io::Error::other(refusal), answered.again())
    }

    fn refuse_turn(&self, why: NoTurn) -> NoTurn {
        self.context.state.metrics.count_queue_refusal(why == NoTurn::Late);
        why
    }
}
