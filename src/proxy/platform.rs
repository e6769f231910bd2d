//! Answers that are not the function's: what a gateway, or another sidecar, says in its place.
//!
//! OpenFaaS marks what its own parts answer with `X-OpenFaaS-Internal`, and its watchdogs mark what
//! a function answers with `X-Duration-Seconds`. Its gateway, asked for a function that it does not
//! know, does neither, and has to be known by its words.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderMap, SERVER, USER_AGENT};
use http::{HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Limited};

use crate::config::Platform;
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

/// Envoy, and how long what is behind it took, in milliseconds.
const ENVOY: &str = "envoy";
const UPSTREAM_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// What marks requests that are not to be counted (knative.dev/networking, pkg/http/header).
const PROBES: [HeaderName; 3] = [
    HeaderName::from_static("k-network-probe"),
    HeaderName::from_static("k-kubelet-probe"),
    HeaderName::from_static("k-ignore-metrics"),
];
/// How those who probe call themselves.
const PROBERS: [&[u8]; 5] = [
    b"kube-probe/",
    b"Knative-Activator-Probe",
    b"Knative-Autoscaling-Probe",
    b"Knative-Ingress-Probe",
    b"Knative-Queue-Proxy-Probe",
];

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
    pub(super) fn word(&self, platform: Platform, local: bool) -> Option<Word> {
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
        match platform {
            Platform::OpenFaas => spoken(status, headers, self.is_idempotent()),
            Platform::Knative => spoken_by_envoy(status, headers, self.is_idempotent()),
            Platform::Http => overloaded(status, self.is_idempotent()),
        }
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

/// What Knative says: its ingress is Envoy, which tells how long the upstream took where there was
/// one, so that an answer without that is its own. It answers 404 for a host it does not know.
fn spoken_by_envoy(status: StatusCode, headers: &HeaderMap, idempotent: bool) -> Option<Word> {
    let envoy = headers.get(SERVER).is_some_and(|server| server == ENVOY);
    let own = envoy && !headers.contains_key(UPSTREAM_TIME);
    match status {
        StatusCode::NOT_FOUND if own => Some(Word::Turned(Outcome::Absent)),
        _ => overloaded(status, idempotent),
    }
}

/// What may be asked again elsewhere, since nothing tells whether it has begun.
fn overloaded(status: StatusCode, idempotent: bool) -> Option<Word> {
    let busy = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    (busy && idempotent).then_some(Word::Broken)
}

impl Platform {
    /// Whether a request with `headers` only asks whether something is there, as Kubernetes and the
    /// parts of Knative do.
    pub(super) fn probes(self, headers: &HeaderMap) -> bool {
        self != Self::OpenFaas
            && (PROBES.iter().any(|name| headers.contains_key(name))
                || headers.get(USER_AGENT).is_some_and(|agent| {
                    PROBERS.iter().any(|prober| agent.as_bytes().starts_with(prober))
                }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoy_is_told_from_what_is_behind_it() {
        const ABSENT: Option<Word> = Some(Word::Turned(Outcome::Absent));
        for (status, server, timed, idempotent, word) in [
            (404, Some("envoy"), false, false, ABSENT),
            (404, Some("envoy"), true, false, None),
            (404, Some("nginx"), false, true, None),
            (404, None, false, true, None),
            (503, Some("envoy"), false, true, Some(Word::Broken)),
            (503, Some("envoy"), true, true, Some(Word::Broken)),
            (503, Some("envoy"), false, false, None),
            (429, None, false, true, Some(Word::Broken)),
            (500, Some("envoy"), false, true, None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(server) = server {
                headers.insert(SERVER, HeaderValue::from_static(server));
            }
            if timed {
                headers.insert(UPSTREAM_TIME, HeaderValue::from_static("3"));
            }
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(spoken_by_envoy(status, &headers, idempotent), word, "{status} {server:?}");
        }
    }

    #[test]
    fn probes_are_known_where_there_may_be_any() {
        for (name, value, probes) in [
            ("user-agent", "kube-probe/1.31", true),
            ("user-agent", "Knative-Ingress-Probe", true),
            ("user-agent", "Knative-Activator-Probe", true),
            ("user-agent", "curl/8 kube-probe/1.31", false),
            ("k-network-probe", "queue", true),
            ("k-kubelet-probe", "queue", true),
            ("k-ignore-metrics", "true", true),
            ("k-network-hash", "override", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            assert_eq!(Platform::Knative.probes(&headers), probes, "{value}");
            assert_eq!(Platform::Http.probes(&headers), probes, "{value}");
            assert!(!Platform::OpenFaas.probes(&headers));
        }
    }

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
