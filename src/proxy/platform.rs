//! Answers that are not the function's: what a gateway, or another sidecar, says in its place.
//!
//! OpenFaaS marks what its own parts answer with `X-OpenFaaS-Internal`, and its watchdogs mark what
//! a function answers with `X-Duration-Seconds`. Its gateway, asked for a function that it does not
//! know, does neither, and has to be known by its words.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderMap};
use http::{HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Limited};

use crate::scheduling::route::Outcome;

use super::failure::Failure;
use super::peer;
use super::upstream::{Answered, QUEUE_FULL};

/// Names the part of the platform that answers: `proxy`, `gateway`, `faas-middleware` and others.
const INTERNAL: HeaderName = HeaderName::from_static("x-openfaas-internal");
/// The value of the part that runs the function: where it answers, the function has been begun.
const WATCHDOG: &str = "of-watchdog";
/// How long the function took, by the part that runs it.
const DURATION: HeaderName = HeaderName::from_static("x-duration-seconds");

/// How the gateway begins where it does not know the function.
const UNKNOWN: [&[u8]; 2] = [b"error finding function", b"unable to find function"];
/// Most bytes of a body that may say so.
const UNKNOWN_BYTES_MAX: usize = 1024;
/// How long they may take to come.
const UNKNOWN_WAIT: Duration = Duration::from_millis(500);

/// Refusals of a sidecar that ran nothing, after which an invocation is sent elsewhere.
const MOVES_ON: [&str; 5] =
    ["loop", "not_a_controller", "peer_rejected", "gateway_unreachable", QUEUE_FULL];
/// The refusal of a sidecar whose gateway broke off: it may have run.
const BROKEN: &str = "bad_gateway";

/// Why somebody else should be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// A sidecar says that it ran nothing.
    Refused(&'static str),
    /// The platform says that nothing ran.
    Turned(Outcome),
    /// It may have run, and may run twice.
    Broken,
}

impl Answered {
    /// Why somebody else should be asked, if the head of this answer says so.
    pub(super) fn word(&self, local: bool) -> Option<Word> {
        let status = self.response.status();
        if !status.is_client_error() && !status.is_server_error() {
            return None;
        }
        let headers = self.response.headers();
        if let Some(refusal) = headers.get(peer::REFUSAL).filter(|_| !local) {
            let moves_on = MOVES_ON.into_iter().find(|code| refusal == code);
            let broken = refusal == BROKEN && self.is_idempotent();
            return moves_on.map(Word::Refused).or(broken.then_some(Word::Broken));
        }
        spoken(status, headers, self.is_idempotent())
    }

    /// The same for an answer by which only its body tells that the function is not there. What has
    /// been read of it is kept.
    pub(super) async fn unknown(&mut self) -> Option<Word> {
        let incoming = self.response.body_mut();
        let read = Limited::new(incoming, UNKNOWN_BYTES_MAX).collect();
        let body = tokio::time::timeout(UNKNOWN_WAIT, read).await.ok()?.ok()?.to_bytes();
        let unknown = UNKNOWN.iter().any(|words| body.starts_with(words));
        self.read = Some(Box::new(body));
        unknown.then_some(Word::Turned(Outcome::Absent))
    }

    /// Whether [`Self::unknown`] may have something to say.
    pub(super) fn may_be_unknown(&self) -> bool {
        let headers = self.response.headers();
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let length: Option<usize> = length.and_then(|length| length.parse().ok());
        self.response.status() == StatusCode::NOT_FOUND
            && !headers.contains_key(DURATION)
            && !headers.contains_key(peer::REFUSAL)
            && length.is_some_and(|length| length <= UNKNOWN_BYTES_MAX)
    }

    /// The failure that `word` makes of it.
    pub(super) fn failure(&self, word: Word) -> Failure {
        match word {
            Word::Refused(QUEUE_FULL) => Failure::Full(self.again()),
            Word::Refused(code) => Failure::NothingRan(std::io::Error::other(code), self.again()),
            Word::Turned(outcome) => Failure::Turned(outcome, self.again()),
            Word::Broken => Failure::Unanswered(self.again()),
        }
    }
}

/// What the platform says with `status` and `headers`, in place of the function.
fn spoken(status: StatusCode, headers: &HeaderMap, idempotent: bool) -> Option<Word> {
    let own = headers.get(INTERNAL).map(HeaderValue::as_bytes);
    let platform = own.is_some_and(|part| part != WATCHDOG.as_bytes());
    match status {
        // Whoever says so has not begun; but what a function says itself is its answer.
        StatusCode::TOO_MANY_REQUESTS if platform || !headers.contains_key(DURATION) => {
            Some(Word::Turned(Outcome::Failed))
        }
        StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE if platform => {
            Some(Word::Turned(Outcome::Absent))
        }
        // "Can't reach service": it is said when nobody listened, and when an answer broke off.
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY if platform && idempotent => {
            Some(Word::Broken)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_is_told_from_the_function() {
        const ABSENT: Option<Word> = Some(Word::Turned(Outcome::Absent));
        const BUSY: Option<Word> = Some(Word::Turned(Outcome::Failed));
        for (status, part, timed, idempotent, word) in [
            (503, Some("proxy"), false, false, ABSENT),
            (404, Some("gateway"), false, false, ABSENT),
            (503, None, false, false, None),
            (503, Some(WATCHDOG), false, true, None),
            (404, None, false, true, None),
            (429, Some("faas-middleware"), false, false, BUSY),
            (429, None, false, false, BUSY),
            (429, None, true, false, None),
            (429, Some("faas-middleware"), true, false, BUSY),
            (500, Some("proxy"), false, true, Some(Word::Broken)),
            (500, Some("proxy"), false, false, None),
            (500, Some(WATCHDOG), false, true, None),
            (500, None, false, true, None),
            (502, None, false, true, None),
            (504, Some("proxy"), false, true, None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(part) = part {
                headers.insert(INTERNAL, HeaderValue::from_static(part));
            }
            if timed {
                headers.insert(DURATION, HeaderValue::from_static("0.1"));
            }
            let status = StatusCode::from_u16(status).unwrap();
            let heard = spoken(status, &headers, idempotent);
            assert_eq!(heard, word, "{status} {part:?} {timed} {idempotent}");
        }
    }
}
