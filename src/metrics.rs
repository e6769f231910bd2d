//! What is counted and timed, in numbers that any thread may change by relaxed atomic operations;
//! what a scrape makes of them is told in `gather`.

mod family;
mod functions;
mod gather;
mod histogram;
mod labels;
mod named;
mod negotiate;
mod nodes;
mod protobuf;
mod text;
mod value;

use crate::scheduling::health::Cause;
use crate::scheduling::policy::Architecture;
use crate::scheduling::route::Outcome;
use crate::topology::Topology;

use labels::{HEDGES, OUTCOMES, PROBES, QUEUE_REFUSALS, STATUS_CLASSES, STEPS, UPSTREAMS, WAITS};

pub use functions::{CLIENT_GONE, Functions, Invoked, OTHER};
pub use histogram::{Exemplar, Histogram};
pub use labels::{Refusals, StepKind, Wait};
pub use named::{FunctionShown, NodeShown, Shown};
pub use negotiate::Format;
pub use nodes::Nodes;
pub use value::{Count, Level};

/// Every number there is.
#[derive(Debug)]
pub struct Metrics {
    answers: [Count; STATUS_CLASSES.len()],
    requests: [Histogram; STATUS_CLASSES.len()],
    steps: [Count; STEPS.len()],
    architectures: [Count; 3],
    outcomes: [Count; OUTCOMES.len()],
    fallbacks: [Count; 3],
    hedges: [Count; HEDGES.len()],
    queue_refusals: [Count; QUEUE_REFUSALS.len()],
    timeouts: [Count; WAITS.len()],
    probes: [Count; PROBES.len()],
    ejections: [Count; Cause::ALL.len()],
    connects: [Histogram; UPSTREAMS.len()],
    /// Connections and requests refused for want of room.
    pub refusals: Refusals,
    /// What is counted per function.
    pub functions: Functions,
    /// What is counted per node.
    pub nodes: Nodes,
    /// How long invocations waited for their turn here, where there is a queue.
    pub queue_wait: Histogram,
    /// Client connections open now.
    pub connections: Level,
    /// Client connections accepted.
    pub connections_accepted: Count,
    /// Upstream connections made.
    pub upstream_connects: Count,
    /// Upstream connections that could not be made.
    pub upstream_connect_failures: Count,
    /// Upstream connections in use.
    pub upstream_active: Level,
    /// Upstream connections that are open, in use or kept for the next request.
    pub upstream_open: Level,
    /// Further attempts at an invocation, after one that failed.
    pub retries: Count,
    /// Further attempts that could not be paid for.
    pub retries_refused: Count,
    /// Requests that found too many under way to the same peer.
    pub breaker_refusals: Count,
    /// Requests whose client went away or broke off its body.
    pub client_aborts: Count,
    /// Lines of the access log that could not be written; brought up to date before rendering.
    pub access_log_dropped: Count,
    /// Requests from which internal headers of a stranger were removed.
    pub stripped: Count,
    /// Calls of those who said that they were a peer, and could not prove it.
    pub peer_rejections: Count,
    /// Encrypted connections that came to nothing.
    pub tls_handshake_failures: Count,
    /// Accepted changes of configuration.
    pub config_reloads: Count,
    /// Refused changes of configuration.
    pub config_reload_failures: Count,
    /// 1 if the last change was accepted, 0 if it was refused.
    pub config_last_reload_successful: Level,
    /// Generation of the configuration in force.
    pub config_generation: Level,
    /// Invocations running at this node's gateway; brought up to date before rendering.
    pub in_flight: Level,
    /// Invocations that wait for their turn here; brought up to date before rendering.
    pub queued: Level,
    /// Invocations that may run here at once; brought up to date before rendering.
    pub running_max: Level,
}

impl Metrics {
    /// Everything at zero; so many functions, and so many nodes, are counted by name.
    pub fn new(names_max: usize) -> Self {
        let metrics = Self {
            answers: Default::default(),
            requests: Default::default(),
            steps: Default::default(),
            architectures: Default::default(),
            outcomes: Default::default(),
            fallbacks: Default::default(),
            hedges: Default::default(),
            queue_refusals: Default::default(),
            timeouts: Default::default(),
            probes: Default::default(),
            ejections: Default::default(),
            connects: Default::default(),
            refusals: Refusals::default(),
            functions: Functions::new(names_max),
            nodes: Nodes::new(names_max),
            queue_wait: Histogram::default(),
            connections: Level::default(),
            connections_accepted: Count::default(),
            upstream_connects: Count::default(),
            upstream_connect_failures: Count::default(),
            upstream_active: Level::default(),
            upstream_open: Level::default(),
            retries: Count::default(),
            retries_refused: Count::default(),
            breaker_refusals: Count::default(),
            client_aborts: Count::default(),
            access_log_dropped: Count::default(),
            stripped: Count::default(),
            peer_rejections: Count::default(),
            tls_handshake_failures: Count::default(),
            config_reloads: Count::default(),
            config_reload_failures: Count::default(),
            config_last_reload_successful: Level::default(),
            config_generation: Level::default(),
            in_flight: Level::default(),
            queued: Level::default(),
            running_max: Level::default(),
        };
        metrics.config_last_reload_successful.set(1);
        metrics.config_generation.set(1);
        metrics
    }

    /// Follows a change of the topology, and of how many are counted by name.
    pub fn follow(&self, topology: &Topology, names_max: usize) {
        self.functions.bound(names_max);
        self.nodes.follow(topology, names_max);
    }

    /// Counts an answer of this status.
    pub fn count_answer(&self, status: u16) {
        self.answers[class_index(status)].inc();
    }

    /// Notes how long a request of the data port took, to the end of its answer of this status.
    pub fn time_request(&self, status: u16, took: std::time::Duration) {
        self.requests[class_index(status)].record(took);
    }

    /// Notes how long it took to connect to a sidecar, or to a gateway.
    pub fn time_connect(&self, to_sidecar: bool, took: std::time::Duration) {
        self.connects[usize::from(to_sidecar)].record(took);
    }

    /// Counts a decision.
    pub fn count_decision(
        &self,
        step: StepKind,
        architecture: Architecture,
        fallback_from: Option<Architecture>,
    ) {
        self.steps[step as usize].inc();
        self.architectures[architecture.index()].inc();
        if let Some(wanted) = fallback_from {
            self.fallbacks[wanted.index()].inc();
        }
    }

    /// Counts how a step ended.
    pub fn count_outcome(&self, outcome: Outcome) {
        self.outcomes[outcome_index(outcome)].inc();
    }

    /// Counts a second copy, by whether it answered first.
    pub fn count_hedge(&self, won: bool) {
        self.hedges[usize::from(!won)].inc();
    }

    /// Counts what was ended because something took too long.
    pub fn count_timeout(&self, wait: Wait) {
        self.timeouts[wait as usize].inc();
    }

    /// Counts an invocation that did not get its turn here.
    pub fn count_queue_refusal(&self, late: bool) {
        self.queue_refusals[usize::from(late)].inc();
    }

    /// Counts a probe, by whether the node was there.
    pub fn count_probe(&self, found: bool) {
        self.probes[usize::from(!found)].inc();
    }

    /// Brings the count of ejections up to `total`, by [`Cause::ALL`].
    pub fn follow_ejections(&self, total: [u64; 2]) {
        for (count, total) in self.ejections.iter().zip(total) {
            count.inc_by(total.saturating_sub(count.get()));
        }
    }

    /// Brings the count of lines that could not be written up to `total`.
    pub fn follow_access_log(&self, total: u64) {
        let count = &self.access_log_dropped;
        count.inc_by(total.saturating_sub(count.get()));
    }

    /// Everything as `format` has it, with what is `shown` of functions and nodes beside.
    pub fn render(&self, shown: &Shown, format: Format) -> Vec<u8> {
        let families = self.gather(shown);
        match format {
            Format::Text => text::encode(&families, text::Dialect::Prometheus).into_bytes(),
            Format::OpenMetrics => text::encode(&families, text::Dialect::OpenMetrics).into_bytes(),
            Format::Protobuf => protobuf::encode(&families),
        }
    }
}

/// The place of a status in [`STATUS_CLASSES`].
fn class_index(status: u16) -> usize {
    usize::from(status / 100).wrapping_sub(1).min(STATUS_CLASSES.len() - 1)
}

/// The place of an outcome in [`OUTCOMES`].
fn outcome_index(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Good => 0,
        Outcome::Failed => 1,
        Outcome::Unreachable => 2,
        Outcome::Cancelled => 3,
        Outcome::Lost => 4,
        Outcome::Absent => 5,
    }
}

#[cfg(test)]
mod tests;
