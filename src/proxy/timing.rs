//! How long invocations take that came in here, from the head of the request to the end of the answer.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::metrics::{CLIENT_GONE, Exemplar, Invoked};
use crate::scheduling::route::Ticket;
use crate::state::State;

use super::headers::find;
use super::pending::{Pending, is_good};
use super::response_body::ResponseBody;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const CALL_ID: HeaderName = HeaderName::from_static("x-call-id");
const DURATION_SECONDS: HeaderName = HeaderName::from_static("x-duration-seconds");

/// Most characters of a call's id in an exemplar, which OpenMetrics bounds to 128 with its label.
const CALL_ID_MAX: usize = 64;

/// An invocation that has not been answered; if it never is, its caller went away.
pub(super) struct Timing<'a> {
    state: &'a Arc<State>,
    invoked: &'a RefCell<Option<Invoked>>,
}

impl<'a> Timing<'a> {
    /// That of `invoked`, which came in with the fields `headers`.
    pub(super) fn of(
        state: &'a Arc<State>,
        invoked: &'a RefCell<Option<Invoked>>,
        headers: &HeaderMap,
    ) -> Self {
        if let Some(invoked) = &mut *invoked.borrow_mut()
            && invoked.wants_exemplar()
            && let Some(traceparent) = find(headers, &TRACEPARENT).map(HeaderValue::as_bytes)
            && let Some(trace_id) = trace_id(traceparent).filter(|_| is_sampled(traceparent))
        {
            invoked.exemplify(Exemplar::new("trace_id", trace_id));
        }
        Self { state, invoked }
    }

    /// Its answer, which goes on to time it as long as it streams.
    pub(super) fn answered(
        &mut self,
        mut response: Response<ResponseBody>,
    ) -> Response<ResponseBody> {
        if let Some(invoked) = self.invoked.take() {
            let (state, status) = (Arc::clone(self.state), response.status());
            response.body_mut().time(Timed { state, status, invoked: Some(invoked) });
        }
        response
    }
}

impl Drop for Timing<'_> {
    fn drop(&mut self) {
        if let Some(invoked) = self.invoked.take() {
            let now = self.state.now();
            invoked.end(&self.state.metrics.functions, CLIENT_GONE, false, now);
        }
    }
}

/// An invocation that is being answered; it ends when this is dropped, if not before.
#[derive(Debug)]
pub(super) struct Timed {
    state: Arc<State>,
    status: StatusCode,
    invoked: Option<Invoked>,
}

impl Timed {
    /// It ended at `now`.
    pub(super) fn end_at(&mut self, now: Instant) {
        if let Some(invoked) = self.invoked.take() {
            let (now, good) = (self.state.time_of(now), is_good(self.status));
            invoked.end(&self.state.metrics.functions, self.status.as_u16(), good, now);
        }
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        if self.invoked.is_some() {
            self.end_at(Instant::now());
        }
    }
}

/// Takes what the head of an answer says of `invoked`.
pub(super) fn hear<B>(invoked: &RefCell<Option<Invoked>>, pending: &Pending, answer: &Response<B>) {
    let Some(invoked) = &mut *invoked.borrow_mut() else { return };
    if !pending.ticket().is_some_and(Ticket::is_timed) {
        invoked.discard_time();
        return;
    }
    let headers = answer.headers();
    let heard = pending.ticket().and_then(Ticket::heard_at);
    let execution = find(headers, &DURATION_SECONDS).and_then(|value| value.to_str().ok());
    let execution = execution.and_then(|text| text.parse().ok());
    let execution = execution.and_then(|secs| Duration::try_from_secs_f64(secs).ok());
    invoked.hear(heard, execution);
    if invoked.wants_exemplar()
        && let Some(id) = find(headers, &CALL_ID).and_then(|value| value.to_str().ok())
        && (1..=CALL_ID_MAX).contains(&id.len())
    {
        invoked.exemplify(Exemplar::new("call_id", id));
    }
}

/// Digits of a trace id.
pub(super) const TRACE_ID_LENGTH: usize = 32;

/// The trace id of a `traceparent` (W3C Trace Context, 3.2), if it has one.
pub(super) fn trace_id(traceparent: &[u8]) -> Option<&str> {
    let (version, rest) = traceparent.split_first_chunk::<3>()?;
    let (id, rest) = rest.split_at_checked(TRACE_ID_LENGTH)?;
    // Without an early end, so that many bytes are looked at together.
    let is_hex = id.iter().fold(true, |hex, byte| hex & matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_id = is_hex && id.iter().any(|byte| *byte != b'0');
    let apart = version[2] == b'-'
        && !version[..2].contains(&b'-')
        && rest.first().is_none_or(|b| *b == b'-');
    let whole = std::str::from_utf8(&version[..2]).is_ok() && std::str::from_utf8(rest).is_ok();
    let known = is_id && apart && whole && version != b"ff-";
    known.then(|| std::str::from_utf8(id).ok()).flatten()
}

/// Whether whoever wrote `traceparent`, which has a trace id, may have kept the trace. To name one
/// that nobody has would be of no use.
fn is_sampled(traceparent: &[u8]) -> bool {
    const FLAGS_AT: usize = "00-".len() + TRACE_ID_LENGTH + "-00f067aa0ba902b7-".len();
    let digit = traceparent.get(FLAGS_AT + 1).and_then(|digit| char::from(*digit).to_digit(16));
    digit.is_some_and(|flags| flags & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_that_nobody_keeps_is_known() {
        let flagged = |flags| {
            let text = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7{flags}");
            is_sampled(text.as_bytes())
        };
        for kept in ["-01", "-03", "-01-more", "-ff"] {
            assert!(flagged(kept), "{kept}");
        }
        for dropped in ["-00", "-02", "-0", "", "-0x"] {
            assert!(!flagged(dropped), "{dropped}");
        }
    }

    #[test]
    fn a_trace_is_known_by_its_id() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let good = format!("00-{id}-00f067aa0ba902b7-01");
        assert_eq!(trace_id(good.as_bytes()), Some(id));
        for bad in [
            "",
            "00",
            &format!("ff-{id}-00f067aa0ba902b7-01"),
            &format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{}-00f067aa0ba902b7-01", &id[1..]),
            &format!("00-{id}0-00f067aa0ba902b7-01"),
            &format!("0-{id}-00f067aa0ba902b7-01"),
            &format!("00_{id}-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(trace_id(bad.as_bytes()), None, "{bad}");
        }
    }
}
