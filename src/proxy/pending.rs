//! Outcomes still to be recorded.

use std::sync::Arc;
use std::time::Instant;

use http::{Response, StatusCode};

use crate::scheduling::Time;
use crate::scheduling::estimate::LoadReport;
use crate::scheduling::route::{Invoked, Outcome, Ticket};
use crate::state::State;
use crate::topology::Slot;

use super::headers::find;
use super::queue::{Turn, Verdict};

/// A step whose outcome is still to be recorded; a caller who goes away cancels it.
#[derive(Debug)]
pub(crate) struct Pending {
    state: Arc<State>,
    ticket: Option<Ticket>,
    pub(super) report: Option<LoadReport>,
    pub(super) observed: Option<(Slot, LoadReport)>,
    pub(super) turn: Option<Turn>,
    pub(super) outcome: Outcome,
    /// Of its answer, or 0 as long as there is none.
    status: u16,
}

impl Pending {
    pub(super) fn new(state: &Arc<State>, ticket: Option<Ticket>) -> Self {
        Self {
            state: Arc::clone(state),
            ticket,
            report: None,
            observed: None,
            turn: None,
            outcome: Outcome::Good,
            status: 0,
        }
    }

    pub(super) fn ticket(&self) -> Option<&Ticket> {
        self.ticket.as_ref()
    }

    /// The invocation that it answers.
    pub(super) fn invoked(&self) -> Option<Invoked> {
        self.ticket.as_ref().map(Ticket::invoked)
    }

    /// It waits for its turn here.
    pub(super) fn hold(&mut self) {
        if let Some(ticket) = &mut self.ticket {
            self.state.hold(ticket);
        }
    }

    /// Its turn has come.
    pub(super) fn resume(&mut self) {
        if let Some(ticket) = &mut self.ticket {
            self.state.resume(ticket);
        }
    }

    /// Takes from the head of an answer whether it is good, and whether its end means anything. The
    /// request went out at `sent`, where a connection was opened for it first.
    pub(super) fn note<B>(&mut self, response: &Response<B>, sent: Option<Time>) {
        let now = self.state.now();
        if let Some(ticket) = &mut self.ticket {
            ticket.note_heard(now);
            if let Some(sent) = sent {
                ticket.note_sent(sent);
            }
        }
        self.status = response.status().as_u16();
        if let Some(turn) = &mut self.turn {
            turn.verdict = Verdict::of(response.status());
        }
        if !is_good(response.status()) {
            self.outcome = Outcome::Failed;
        }
        let content_type = find(response.headers(), &http::header::CONTENT_TYPE);
        if content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream")) {
            self.discard_time();
        }
    }

    /// Leaves the time this takes out of what is learned.
    pub(super) fn discard_time(&mut self) {
        if let Some(ticket) = &mut self.ticket {
            ticket.discard_time();
        }
    }

    /// The answer is through.
    pub(super) fn finish(self: Box<Self>) {
        self.finish_at(Instant::now());
    }

    /// The answer was through at `now`.
    pub(super) fn finish_at(mut self: Box<Self>, now: Instant) {
        let outcome = self.outcome;
        self.record(outcome, now);
    }

    /// The answer broke off upstream.
    pub(super) fn fail(mut self: Box<Self>) {
        self.record(Outcome::Lost, Instant::now());
    }

    /// It has ended like this; what comes after it is not counted.
    pub(super) fn settle(&mut self, outcome: Outcome) {
        self.record(outcome, Instant::now());
    }

    fn record(&mut self, outcome: Outcome, now: Instant) {
        if let Some(ticket) = self.ticket.take() {
            let observed = self.observed.take();
            let now = self.state.time_of(now);
            self.state.record(ticket, outcome, self.report, observed, self.status, now);
        }
        if outcome != Outcome::Good
            && let Some(turn) = &mut self.turn
        {
            // Whoever breaks off says nothing of how long it would have taken.
            turn.verdict = turn.verdict.filter(|verdict| *verdict == Verdict::Shed);
        }
        // The next one runs only when this one no longer counts.
        self.turn = None;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.ticket.is_some() || self.turn.is_some() {
            self.record(Outcome::Cancelled, Instant::now());
        }
    }
}

/// Whether a status speaks for the node that gave it. A node without the function answers 404 in
/// no time, and one that sheds load 429: neither is an answer to be preferred for its speed.
pub(super) fn is_good(status: StatusCode) -> bool {
    !status.is_server_error()
        && !matches!(
            status,
            StatusCode::NOT_FOUND | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        )
}
