//! Labels of the families, and the words in them.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};

use super::Count;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ArchitectureLabel {
    pub(super) architecture: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StepLabel {
    pub(super) step: StepKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabel {
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StatusLabel {
    pub(super) status_class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HedgeLabel {
    pub(super) result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabel {
    pub(super) reason: &'static str,
}

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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ProbeLabel {
    pub(super) result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CauseLabel {
    pub(super) cause: &'static str,
}

/// What was done with an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs, reason = "the names say it")]
pub enum StepKind {
    RunHere,
    Offload,
    Delegate,
    Refuse,
}
