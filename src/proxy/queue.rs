//! Waiting for one's turn at this node's gateway.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use crate::clients;
use crate::scheduling::FunctionName;
use crate::scheduling::queue::{Caller, Place};
use crate::scheduling::route::Stage;
use crate::state::State;
use crate::turns::{Asked, Started};

use super::call::Call;
use super::dispatch::{Attempt, Placing};
use super::pending::is_good;
use super::report::Told;
use super::upstream::{Answered, QUEUE_FULL};

/// The turn of one that runs; the next begins when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    state: Arc<State>,
    function: FunctionName,
    started: Started,
    /// How the invocation ended, where that says anything of the gateway.
    pub(super) verdict: Option<Verdict>,
}

/// What the end of an invocation says of the gateway that ran it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// How long it takes.
    Timed,
    /// That it has too much to do.
    Shed,
}

impl Verdict {
    pub(super) fn of(status: StatusCode) -> Option<Self> {
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Some(Self::Shed),
            status => is_good(status).then_some(Self::Timed),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let of = |verdict| self.started.sample(self.function, verdict == Verdict::Shed);
        self.state.end_turn(self.verdict.map(of));
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
    word: oneshot::Receiver<Started>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.state.turns.leave(self.place, &mut self.word) {
            self.state.end_turn(None);
        }
    }
}

impl Placing<'_> {
    /// Whether `attempt` may run without waiting; see [`Self::take_turn`], which is for all others.
    pub(super) fn takes_turn_unasked(&self, attempt: &mut Attempt, last: bool) -> bool {
        let queue = &self.call.snapshot.site.policy.queue;
        let here = attempt.target == self.call.snapshot.site.here;
        if !queue.enabled || !here || self.call.asynchronous {
            return true;
        }
        let runs = self.takes_turn_at_once(attempt);
        if runs && !(last && self.call.stage != Stage::Execute) {
            self.context.state.metrics.queue_wait.record(Duration::ZERO);
        }
        runs
    }

    /// Waits until `attempt` may run, if it is this node that is to run it. Nobody waits twice, so
    /// the `last` attempt runs at once or not at all.
    pub(super) async fn take_turn(&self, attempt: &mut Attempt, last: bool) -> Result<(), NoTurn> {
        let snapshot = &self.call.snapshot;
        if last && self.call.stage != Stage::Execute {
            let runs = self.takes_turn_at_once(attempt);
            return if runs { Ok(()) } else { Err(self.refuse_turn(NoTurn::Full)) };
        }
        let state = &self.context.state;
        let Call { function, deadline, client, .. } = self.call;
        let caller = Caller(clients::key_of(client.address.ip()));
        let (asked, start_by) = state.ask_turn(snapshot, *function, caller, *deadline);
        let started = match asked {
            Asked::Runs(started) => {
                state.metrics.queue_wait.record(Duration::ZERO);
                started
            }
            Asked::Full => return Err(self.refuse_turn(NoTurn::Full)),
            Asked::Waits(place, word) => {
                let mut waiting = Waiting { state, place, word };
                let since = Instant::now();
                attempt.pending.hold();
                let word = timeout_at(start_by.into(), &mut waiting.word).await;
                self.mark(attempt).queued(Some(since));
                match word {
                    Ok(Ok(started)) => {
                        attempt.pending.resume();
                        state.metrics.queue_wait.record(since.elapsed());
                        started
                    }
                    // Too late, or gone for somebody in a greater hurry.
                    _ if self.call.deadline.is_some() && Instant::now() >= start_by => {
                        return Err(self.refuse_turn(NoTurn::Late));
                    }
                    _ => return Err(self.refuse_turn(NoTurn::Full)),
                }
            }
        };
        attempt.pending.turn = Some(self.turn(started));
        Ok(())
    }

    /// Whether `attempt` may run without waiting, if it is this node that is to run it.
    pub(super) fn takes_turn_at_once(&self, attempt: &mut Attempt) -> bool {
        let snapshot = &self.call.snapshot;
        let here = attempt.target == snapshot.site.here;
        if !snapshot.site.policy.queue.enabled || !here {
            return true;
        }
        let started = self.context.state.ask_turn_at_once(snapshot);
        attempt.pending.turn = started.map(|started| self.turn(started));
        started.is_some()
    }

    fn turn(&self, started: Started) -> Turn {
        let (state, function) = (Arc::clone(&self.context.state), self.call.function);
        Turn { state, function, started, verdict: None }
    }

    /// Takes in what comes with the refusal of a peer.
    pub(super) fn note_refusal(&self, attempt: &mut Attempt, answered: &Answered, refusal: &str) {
        if refusal == QUEUE_FULL {
            let load = Told::of(answered.response.headers()).load();
            let slot = self.call.snapshot.site.topology.node(attempt.target).slot;
            attempt.pending.observed = load.map(|load| (slot, load));
        }
        if refusal == "peer_rejected" {
            let to = &attempt.destination.authority;
            tracing::warn!(%to, "does not take our signature: compare peers.key_file");
        }
    }

    fn refuse_turn(&self, why: NoTurn) -> NoTurn {
        self.context.state.metrics.count_queue_refusal(why == NoTurn::Late);
        why
    }
}
