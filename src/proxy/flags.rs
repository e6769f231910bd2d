//! What became of a request, in the words that Envoy has for it.

use std::borrow::Cow;

use http::HeaderValue;

use crate::scheduling::route::{Refusal, Step};

use super::failure::Fault;
use super::trail::{End, Notes};
use super::watch::Wait;

/// No flag.
pub(super) const NONE: &str = "-";
/// The flag of what was tried as often as it may be.
const TRIED_ENOUGH: &str = "URX";

/// Flags and details by the code of a refusal. Where Envoy has no word, the code is the detail.
const OF_REFUSALS: [(&str, &str, &str); 21] = [
    ("queue_full", "UO", "overflow"),
    ("too_many_requests", "OM", "overload"),
    ("client_share", "RL", "request_rate_limited"),
    ("gateway_unreachable", "UF", "upstream_reset_before_response_started{connection_failure}"),
    ("bad_gateway", "UC", "upstream_reset_before_response_started{connection_termination}"),
    ("gateway_timeout", "UT", "upstream_response_timeout"),
    ("deadline_passed", "DT", "deadline_passed"),
    ("retries_spent", TRIED_ENOUGH, "retries_spent"),
    ("loop", "NR", "loop"),
    ("not_a_controller", "NR", "not_a_controller"),
    ("not_found", "NR", "route_not_found"),
    ("no_route", "NR", "route_not_found"),
    ("client_aborted", "DC", "downstream_remote_disconnect"),
    ("request_timeout", "SI", "stream_idle_timeout"),
    ("bad_request", "DPE", "bad_request"),
    ("transfer_coding", "DPE", "transfer_coding"),
    ("body_too_large", NONE, "request_payload_too_large"),
    ("method_not_allowed", NONE, "method_not_allowed"),
    ("peer_rejected", "UAEX", "peer_rejected"),
    ("forbidden", "UAEX", "forbidden"),
    ("cross_origin", "UAEX", "cross_origin"),
];

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Became {
    /// Joined by commas; [`NONE`] for none.
    pub(super) flags: Cow<'static, str>,
    pub(super) details: &'static str,
}

impl Became {
    /// What became of the request of `notes`.
    pub(super) fn of(notes: &Notes) -> Self {
        match notes.end {
            End::Gone => gone(notes.overdue),
            End::Broken => {
                new("UC", "upstream_reset_after_response_started{connection_termination}")
            }
            End::Through => match &notes.refusal {
                Some(code) => refused(code, notes),
                None if notes.answered.is_some() => new(NONE, "via_upstream"),
                None => new(NONE, "direct_response"),
            },
        }
    }
}

fn new(flag: &'static str, details: &'static str) -> Became {
    Became { flags: flag.into(), details }
}

/// Nobody took the answer to its end, or it took too long.
fn gone(overdue: Option<Wait>) -> Became {
    match overdue {
        Some(Wait::Total) => new("DT", "max_duration_timeout"),
        Some(Wait::Crowded) => new("OM", "overload"),
        Some(_) => new("SI", "stream_idle_timeout"),
        None => new("DC", "downstream_remote_disconnect"),
    }
}

fn refused(code: &HeaderValue, notes: &Notes) -> Became {
    let known = OF_REFUSALS.iter().find(|(known, ..)| code == known);
    let (mut flag, mut details) =
        known.map_or((NONE, "direct_response"), |&(_, flag, details)| (flag, details));
    if notes.answered.is_some() {
        // A peer's refusal, passed on: its own log says more.
        return new(flag, "via_upstream");
    }
    if code == "client_aborted" && notes.body.as_ref().is_some_and(|body| body.is_malformed()) {
        (flag, details) = ("DPE", "http1.codec_error");
    }
    // What is said of an upstream depends on how the last of them failed.
    let unanswered = matches!(code.as_bytes(), b"gateway_unreachable" | b"bad_gateway");
    let last = notes.legs.iter().rev().find_map(|leg| leg.fault);
    if let Some(fault) = last.filter(|_| unanswered) {
        (flag, details) = of_fault(fault);
    }
    if flag == NONE || flag == TRIED_ENOUGH || !is_spent(notes) {
        return new(flag, details);
    }
    Became { flags: format!("{flag},{TRIED_ENOUGH}").into(), details }
}

fn of_fault(fault: Fault) -> (&'static str, &'static str) {
    match fault {
        Fault::Connect => ("UF", "upstream_reset_before_response_started{connection_failure}"),
        Fault::ConnectTimeout => {
            ("UF", "upstream_reset_before_response_started{connection_timeout}")
        }
        Fault::Broken => ("UC", "upstream_reset_before_response_started{connection_termination}"),
        Fault::Malformed => ("UPE", "upstream_reset_before_response_started{protocol_error}"),
        Fault::Overflow => ("UO", "overflow"),
        // Whoever does not have the function says so, and that is the answer.
        Fault::Absent => (NONE, "via_upstream"),
        Fault::TimedOut => ("UT", "upstream_response_timeout"),
        Fault::Client => ("DC", "downstream_remote_disconnect"),
    }
}

/// Whether there were further attempts, and none was left.
fn is_spent(notes: &Notes) -> bool {
    let refused = notes.legs.last().and_then(|leg| leg.decided);
    let refused = refused.is_some_and(|last| last.step == Step::Refuse(Refusal::RetriesSpent));
    let tried = notes.legs.iter().filter(|leg| leg.fault.is_some() && !leg.hedge).count();
    let attempts = notes.snapshot.as_ref().map(|s| s.site.policy.retries.attempts as usize);
    tried > 1 && attempts.is_some_and(|attempts| tried >= attempts) || refused && tried > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_flag() {
        let through = || Notes { end: End::Through, status: 200, ..Notes::default() };
        let refused = |code| Notes {
            refusal: Some(HeaderValue::from_static(code)),
            status: 503,
            ..through()
        };
        let overdue = |wait| Notes { overdue: Some(wait), ..Notes::default() };
        for (notes, flags, details) in [
            (through(), "-", "direct_response"),
            (Notes { answered: Some(0), ..through() }, "-", "via_upstream"),
            (Notes::default(), "DC", "downstream_remote_disconnect"),
            (overdue(Wait::Total), "DT", "max_duration_timeout"),
            (overdue(Wait::AnswerBody), "SI", "stream_idle_timeout"),
            (refused("queue_full"), "UO", "overflow"),
            (Notes { answered: Some(0), ..refused("queue_full") }, "UO", "via_upstream"),
            (refused("gateway_unreachable"), "UF", OF_REFUSALS[3].2),
            (refused("no_route"), "NR", "route_not_found"),
            (refused("something new"), "-", "direct_response"),
        ] {
            assert_eq!(Became::of(&notes), new(flags, details), "{notes:?}");
        }
        let broken = Notes { end: End::Broken, ..through() };
        assert_eq!(Became::of(&broken).flags, "UC");
    }
}
