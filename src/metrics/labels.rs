//! The words in labels.

use super::Count;

/// What a connection or a stream was ended for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The head of a request did not come.
    RequestHeader,
    /// Nor the rest of its body.
    RequestBody,
    /// No other request came.
    KeepAlive,
    /// The rest of an answer did not come from upstream.
    AnswerBody,
    /// The client did not take what it was sent.
    ClientRead,
    /// All took too long.
    Total,
    /// Nothing moved through a tunnel.
    Tunnel,
    /// Others needed its room.
    Crowded,
}

pub(super) const WAITS: [&str; 8] = [
    "request_header",
    "request_body",
    "keep_alive",
    "answer_body",
    "client_read",
    "total",
    "tunnel",
    "crowded",
];

/// What was refused for want of room, by reason.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Refusals {
    pub connections: Count,
    pub client_connections: Count,
    pub no_descriptors: Count,
    pub in_flight: Count,
    pub client_in_flight: Count,
}

impl Refusals {
    pub(super) fn named(&self) -> [(&'static str, &Count); 5] {
        [
            ("connections", &self.connections),
            ("client_connections", &self.client_connections),
            ("no_descriptors", &self.no_descriptors),
            ("in_flight", &self.in_flight),
            ("client_in_flight", &self.client_in_flight),
        ]
    }
}

/// What was done with an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum StepKind {
    RunHere,
    Offload,
    Delegate,
    Refuse,
}

pub(super) const STEPS: [&str; 4] = ["run_here", "offload", "delegate", "refuse"];
pub(super) const STATUS_CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];
pub(super) const QUEUE_REFUSALS: [&str; 2] = ["full", "late"];
pub(super) const HEDGES: [&str; 2] = ["won", "lost"];
pub(super) const OUTCOMES: [&str; 6] =
    ["good", "failed", "unreachable", "cancelled", "lost", "absent"];
pub(super) const PROBES: [&str; 2] = ["found", "missed"];
/// Whom a connection was made to.
pub(super) const UPSTREAMS: [&str; 2] = ["gateway", "sidecar"];
