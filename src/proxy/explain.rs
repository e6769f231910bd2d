//! What callers are told when an invocation is not answered.

use http::StatusCode;

use crate::clients::NoRoom;
use crate::config::Snapshot;
use crate::scheduling::route::Refusal;

use super::answer::Refused;
use super::connect::Destination;
use super::dispatch::Context;
use super::failure::Failure;
use super::upstream::QUEUE_FULL;
use super::watch::Wait;

impl Context {
    /// Why there is no answer, and how to mend it.
    pub(super) fn explain_failure(&self, to: &Destination, failure: &Failure) -> Refused {
        let to = &to.authority;
        match failure {
            Failure::NothingRan(error, _) => Refused::new(
                StatusCode::BAD_GATEWAY,
                "gateway_unreachable",
                format!("{to} cannot be reached ({error}); check that it runs and listens there"),
            ),
            Failure::Full(_) => {
                let message = "too many invocations run and wait already; try again later, or \
                     raise queue.waiting or queue.wait_ms";
                let refused = Refused::new(StatusCode::SERVICE_UNAVAILABLE, QUEUE_FULL, message);
                Refused { retry_after: Some(self.state.turns.retry_after()), ..refused }
            }
            Failure::Turned(..) | Failure::Unanswered(_) => Refused::new(
                StatusCode::BAD_GATEWAY,
                "bad_gateway",
                format!("{to} could not have it run; see its log"),
            ),
            Failure::Broken(error, _) | Failure::Stale(error, _) => Refused::new(
                StatusCode::BAD_GATEWAY,
                "bad_gateway",
                format!("{to} broke off before it answered ({error}); see its log"),
            ),
            Failure::TimedOut => Refused::new(
                StatusCode::GATEWAY_TIMEOUT,
                "gateway_timeout",
                format!("{to} did not answer in time; raise timeouts.answer_ms or the deadline"),
            ),
            Failure::ClientStalled => {
                self.state.metrics.count_timeout(Wait::RequestBody);
                let message = "nothing more came of the request's body; send it without pauses, or \
                     raise timeouts.request_body_ms";
                Refused::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", message)
            }
            Failure::ClientAborted => {
                self.state.metrics.client_aborts.inc();
                let message = "the request's body broke off; send all of it, well framed";
                Refused::new(StatusCode::BAD_REQUEST, "client_aborted", message)
            }
        }
    }
}

/// The refusal of what could no longer be answered in time.
pub(super) const DEADLINE_PASSED: &str = "deadline_passed";

/// 504: there is no time left.
pub(crate) fn deadline_passed() -> Refused {
    let message = "the deadline has passed; nothing was run";
    Refused::new(StatusCode::GATEWAY_TIMEOUT, DEADLINE_PASSED, message)
}

/// 503: too much is going on.
pub(super) fn no_room(why: NoRoom) -> Refused {
    let (error, message) = match why {
        NoRoom::All => (
            "too_many_requests",
            "too many requests are in progress here; try again later, or raise limits.in_flight",
        ),
        NoRoom::Client => (
            "client_share",
            "this client has its share of the requests in progress; send fewer at once, or raise \
             limits.in_flight or limits.client_share",
        ),
    };
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, error, message)
}

/// Why a decision was not to run it, and how to mend it.
pub(super) fn explain_refusal(refusal: Refusal, snapshot: &Snapshot) -> Refused {
    let node = snapshot.site.node();
    match refusal {
        Refusal::Loop => Refused::new(
            StatusCode::LOOP_DETECTED,
            "loop",
            format!("the invocation has passed {} before; compare the nodes' topologies", node.id),
        ),
        Refusal::NotAController => Refused::new(
            StatusCode::FORBIDDEN,
            "not_a_controller",
            format!("{} is a worker and places nothing for others; ask a controller", node.id),
        ),
        Refusal::RetriesSpent => Refused::new(
            StatusCode::BAD_GATEWAY,
            "retries_spent",
            "an attempt failed, and too many have of late; try again later, or raise retries.budget",
        ),
    }
}
