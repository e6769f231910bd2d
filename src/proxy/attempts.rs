//! One invocation, from one attempt to the next.

use std::pin::pin;
use std::time::Duration;

use http::Response;
use hyper::upgrade::OnUpgrade;

use crate::config::Platform;
use crate::scheduling::policy::Architecture;
use crate::scheduling::retry::Again;
use crate::scheduling::route::{Decision, Invocation, Refusal, Stage};
use crate::topology::NodeIndex;

use super::answer::Refused;
use super::dispatch::{Attempt, Placing};
use super::explain::{deadline_passed, explain_refusal};
use super::failure::Failure;
use super::hedge::{Spare, Watched};
use super::platform::Word;
use super::queue::NoTurn;
use super::request_body::drain;
use super::response_body::ResponseBody;
use super::upstream::{Answered, Outbound};

/// What has been tried for an invocation.
#[derive(Default)]
struct Tried {
    /// Nodes that did not answer it well.
    avoid: Vec<NodeIndex>,
    /// What may have come of the last attempt.
    again: Again,
    /// Attempts after which a node needs a moment.
    faults: u32,
    /// What came of the last attempt: the answer, if there is no other.
    last: Option<Last>,
}

/// What came of an attempt after which there was another.
enum Last {
    /// An answer of the platform there.
    Answer(Box<(Answered, Attempt)>),
    /// None.
    Refused(Refused),
}

type Answer = Result<Response<ResponseBody>, Refused>;

impl Placing<'_> {
    pub(super) async fn run(
        &self,
        mut outbound: Box<Outbound>,
        upgrade: &mut Option<OnUpgrade>,
    ) -> Answer {
        let late_at = if upgrade.is_none() { self.late_at() } else { None };
        let mut tried = Tried::default();
        let mut architecture = self.call.architecture;
        loop {
            let mut left = match self.time_left() {
                Ok(left) => left,
                Err(refused) => return Err(refused_over(outbound, refused).await),
            };
            let decision = self.decide(architecture, &tried);
            // Drawn once: further attempts fall back from it instead of drawing again.
            architecture = Some(decision.fallback_from.unwrap_or(decision.architecture));
            let mut attempt = match self.begin(decision, &mut outbound, left) {
                Ok(attempt) => attempt,
                Err(refusal) => {
                    return Box::pin(self.give_up(refusal, outbound, tried, upgrade)).await;
                }
            };
            // What was sent here to run has nowhere else to go from here.
            let ordered = self.call.stage == Stage::Execute;
            let attempts = self.call.snapshot.site.policy.retries.attempts as usize;
            let last = ordered || tried.avoid.len() + 1 >= attempts;
            let once_more = tried.avoid.contains(&attempt.target);
            if once_more && tried.faults > 0 {
                let waited = Box::pin(self.wait_again(tried.faults)).await;
                left = left.map(|left| left.saturating_sub(waited));
            }
            let turn = match self.takes_turn_unasked(&mut attempt, last || once_more) {
                true => Ok(()),
                // On the heap, as all that almost nobody does: it would make every invocation larger.
                false => Box::pin(self.take_turn(&mut attempt, last || once_more)).await,
            };
            let (attempt, sent) = match turn {
                Ok(()) => {
                    let spare = late_at.map(|late_at| Spare::of(&mut outbound, late_at));
                    let watched = {
                        let (snapshot, to) = (&self.call.snapshot, &attempt.destination);
                        let mark = self.mark(&attempt);
                        let mut sent = pin!(self.context.send(snapshot, to, outbound, left, mark));
                        match spare {
                            None => Watched::first(sent.await),
                            Some(spare) => {
                                self.watch(&attempt, sent.as_mut(), spare, &tried.avoid).await
                            }
                        }
                    };
                    watched.settle(attempt)
                }
                Err(NoTurn::Full) => (attempt, Err(Failure::Full(Some(outbound)))),
                Err(NoTurn::Late) => return Err(refused_over(outbound, deadline_passed()).await),
            };
            // The rest is rare, and so on the heap.
            let settled = match sent {
                Ok(answered) if answered.response.status().is_success() => {
                    return Ok(self.answer(answered, attempt, upgrade));
                }
                sent => Box::pin(self.settle(attempt, sent, last, &mut tried, upgrade)).await,
            };
            match settled {
                Ok(again) => outbound = again,
                Err(answer) => return answer,
            }
        }
    }

    /// Makes of what came of an attempt the request of another, or the answer.
    async fn settle(
        &self,
        attempt: Attempt,
        sent: Result<Answered, Failure>,
        last: bool,
        tried: &mut Tried,
        upgrade: &mut Option<OnUpgrade>,
    ) -> Result<Box<Outbound>, Answer> {
        match self.heard(attempt, sent).await {
            Ok((attempt, answered)) => Err(Ok(self.answer(answered, attempt, upgrade))),
            Err(failed) => self.fail(failed, last, tried, upgrade).await,
        }
    }

    fn decide(&self, architecture: Option<Architecture>, tried: &Tried) -> Decision {
        let invocation = self.invocation(architecture, &tried.avoid);
        let invocation = Invocation { again: tried.again, ..invocation };
        let (snapshot, asked) = (&self.call.snapshot, self.call.wants_decision);
        let since = self.call.trail.now();
        let (decision, explained) =
            self.context.state.decide_and_explain(snapshot, &invocation, asked);
        self.call.trail.decided(since, &decision, false);
        if asked {
            *self.call.explained.borrow_mut() = explained;
        }
        decision
    }

    /// Gives a node that has failed a moment, and tells how long that was.
    async fn wait_again(&self, faults: u32) -> Duration {
        let wait = self.context.state.wait_again(&self.call.snapshot, faults);
        tokio::time::sleep(wait).await;
        wait
    }

    /// Tells an answer from one after which somebody else should be asked.
    async fn heard(
        &self,
        attempt: Attempt,
        sent: Result<Answered, Failure>,
    ) -> Result<(Attempt, Answered), (Attempt, Option<Answered>, Failure)> {
        let mut answered = match sent {
            Ok(answered) => answered,
            Err(failure) => return Err((attempt, None, failure)),
        };
        let local = attempt.target == self.call.snapshot.site.here;
        let platform = self.call.platform;
        let mut word = answered.word(platform, local);
        if word.is_none() && platform == Platform::OpenFaas && answered.may_be_unknown() {
            word = answered.unknown().await;
        }
        match word {
            None => Ok((attempt, answered)),
            Some(word) => Err(self.moved_on(attempt, answered, word)),
        }
    }

    /// What to make of an answer that says that somebody else should be asked.
    fn moved_on(
        &self,
        mut attempt: Attempt,
        answered: Answered,
        word: Word,
    ) -> (Attempt, Option<Answered>, Failure) {
        let failure = answered.failure(word);
        match word {
            Word::Refused(code) => {
                self.note_refusal(&mut attempt, &answered, code);
                (attempt, None, failure)
            }
            // It is the answer of the platform, and of this invocation if there is no other.
            Word::Turned(_) | Word::Broken => (attempt, Some(answered), failure),
        }
    }

    /// Settles an attempt that failed. The request, where there is another attempt; the answer, where
    /// this was the last.
    async fn fail(
        &self,
        failed: (Attempt, Option<Answered>, Failure),
        last: bool,
        tried: &mut Tried,
        upgrade: &mut Option<OnUpgrade>,
    ) -> Result<Box<Outbound>, Answer> {
        let (mut attempt, answered, failure) = failed;
        let state = &self.context.state;
        let refused = match &answered {
            None => Some(self.context.explain_failure(&attempt.destination, &failure)),
            Some(_) => None,
        };
        attempt.pending.settle(failure.outcome());
        tried.faults += u32::from(failure.is_fault());
        let ran_nothing = failure.ran_nothing();
        let why = tracing::enabled!(tracing::Level::DEBUG).then(|| format!("{failure:?}"));
        let again = failure.into_again();
        let target = attempt.target;
        let to = attempt.destination.clone();
        let came = match answered {
            Some(answered) => Some(Last::Answer(Box::new((answered, attempt)))),
            None => refused.map(Last::Refused),
        };
        // That nobody has it says more than that somebody else could not be asked.
        let keeps = ran_nothing && matches!(tried.last, Some(Last::Answer(_)));
        if !keeps || matches!(came, Some(Last::Answer(_))) {
            tried.last = came;
        }
        match again {
            Ok((again, what)) if !last => {
                tracing::debug!(to = %to.authority, why, "sent elsewhere");
                if what != Again::No {
                    state.metrics.retries.inc();
                }
                tried.again = what;
                tried.avoid.push(target);
                Ok(again)
            }
            Ok((unsent, _)) => {
                drain(unsent.body).await;
                Err(self.last_word(std::mem::take(tried), upgrade))
            }
            Err(_) => Err(self.last_word(std::mem::take(tried), upgrade)),
        }
    }

    /// The answer of an invocation that is not tried any more.
    fn last_word(&self, tried: Tried, upgrade: &mut Option<OnUpgrade>) -> Answer {
        match tried.last {
            Some(Last::Answer(kept)) => {
                let (answered, attempt) = *kept;
                Ok(self.answer(answered, attempt, upgrade))
            }
            Some(Last::Refused(refused)) => Err(refused),
            None => Err(explain_refusal(Refusal::RetriesSpent, &self.call.snapshot)),
        }
    }

    /// The answer where it was decided that there is no attempt.
    async fn give_up(
        &self,
        refusal: Refusal,
        outbound: Box<Outbound>,
        tried: Tried,
        upgrade: &mut Option<OnUpgrade>,
    ) -> Answer {
        drain(outbound.body).await;
        match refusal {
            Refusal::RetriesSpent => self.last_word(tried, upgrade),
            Refusal::Loop | Refusal::NotAController => {
                Err(explain_refusal(refusal, &self.call.snapshot))
            }
        }
    }
}

/// `refused`, once the body that nobody wants has been read.
async fn refused_over(unsent: Box<Outbound>, refused: Refused) -> Refused {
    drain(unsent.body).await;
    refused
}
