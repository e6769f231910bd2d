//! Prometheus families in one table. Counters a request touches are found at start, so counting
//! is one atomic addition.

mod labels;

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::scheduling::health::Cause;
use crate::scheduling::policy::Architecture;
use crate::scheduling::route::Outcome;

use labels::{
    ArchitectureLabel, CauseLabel, HedgeLabel, OutcomeLabel, ProbeLabel, ReasonLabel, StatusLabel,
    StepLabel, WAITS,
};
pub use labels::{Refusals, StepKind, Wait};

/// A counter.
pub type Count = Counter<u64, AtomicU64>;
type Level = Gauge<i64, AtomicI64>;

/// Every family, with the ones counted per request at hand.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    answers: [Count; 6],
    steps: [Count; 4],
    architectures: [Count; 3],
    outcomes: [Count; 6],
    fallbacks: [Count; 3],
    hedges: [Count; 2],
    queue_refusals: [Count; 2],
    timeouts: [Count; 8],
    /// Connections and requests refused for want of room.
    pub refusals: Refusals,
    probes: [Count; 2],
    ejections: [Count; 2],
    /// Client connections open now.
    pub connections: Level,
    /// Client connections accepted.
    pub connections_accepted: Count,
    /// Upstream connections made.
    pub upstream_connects: Count,
    /// Upstream connections that could not be made.
    pub upstream_connect_failures: Count,
    /// Further attempts at an invocation, after one that failed.
    pub retries: Count,
    /// Further attempts that could not be paid for.
    pub retries_refused: Count,
    /// Requests that found too many under way to the same peer.
    pub breaker_refusals: Count,
    /// Requests whose client went away or broke off its body.
    pub client_aborts: Count,
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

const STATUS_CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];
const STEPS: [StepKind; 4] =
    [StepKind::RunHere, StepKind::Offload, StepKind::Delegate, StepKind::Refuse];
const QUEUE_REFUSALS: [&str; 2] = ["full", "late"];
const HEDGES: [&str; 2] = ["won", "lost"];
const OUTCOMES: [&str; 6] = ["good", "failed", "unreachable", "cancelled", "lost", "absent"];
const PROBES: [&str; 2] = ["found", "missed"];

impl Metrics {
    /// All families at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("hopwise");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "What this binary is", build);
        let to = &mut registry;
        let metrics = Self {
            answers: STATUS_CLASSES.map(|_| Count::default()),
            steps: STEPS.map(|_| Count::default()),
            architectures: Architecture::ALL.map(|_| Count::default()),
            outcomes: OUTCOMES.map(|_| Count::default()),
            fallbacks: Architecture::ALL.map(|_| Count::default()),
            hedges: HEDGES.map(|_| Count::default()),
            queue_refusals: QUEUE_REFUSALS.map(|_| Count::default()),
            timeouts: WAITS.map(|_| Count::default()),
            refusals: Refusals::default(),
            probes: PROBES.map(|_| Count::default()),
            ejections: Cause::ALL.map(|_| Count::default()),
            connections: registered(to, "connections", "Client connections open now"),
            connections_accepted: registered(to, "connections_accepted", "Connections accepted"),
            upstream_connects: registered(to, "upstream_connects", "Upstream connections made"),
            upstream_connect_failures: registered(
                to,
                "upstream_connect_failures",
                "Upstream connections that could not be made",
            ),
            retries: registered(to, "retries", "Further attempts after one that failed"),
            retries_refused: registered(to, "retries_refused", "Further attempts not paid for"),
            breaker_refusals: registered(to, "breaker_refusals", "Requests too many for a peer"),
            client_aborts: registered(
                to,
                "client_aborts",
                "Requests whose client went away or broke off its body",
            ),
            stripped: registered(
                to,
                "stripped_requests",
                "Requests from which internal headers of a stranger were removed",
            ),
            peer_rejections: registered(
                to,
                "peer_rejections",
                "Calls of those who said that they were a peer, and could not prove it",
            ),
            tls_handshake_failures: registered(
                to,
                "tls_handshake_failures",
                "Encrypted connections to this node that came to nothing",
            ),
            config_reloads: registered(to, "config_reloads", "Accepted changes of configuration"),
            config_reload_failures: registered(to, "config_reload_failures", "Refused changes"),
            config_last_reload_successful: registered(
                to,
                "config_last_reload_successful",
                "1 if the last change of configuration was accepted, 0 if it was refused",
            ),
            config_generation: registered(to, "config_generation", "Generation in force"),
            in_flight: registered(to, "in_flight", "Invocations running here, or waiting"),
            queued: registered(to, "queued", "Invocations waiting for their turn here"),
            running_max: registered(
                to,
                "running_max",
                "Invocations that may run here at once, where there is a queue",
            ),
            registry: Registry::default(),
        };
        metrics.config_last_reload_successful.set(1);
        metrics.config_generation.set(1);
        metrics.with_families(registry)
    }

    /// Registers the labelled families, whose members are the arrays kept at hand.
    fn with_families(self, mut registry: Registry) -> Self {
        let answers = Family::<StatusLabel, Count>::default();
        let steps = Family::<StepLabel, Count>::default();
        let architectures = Family::<ArchitectureLabel, Count>::default();
        let outcomes = Family::<OutcomeLabel, Count>::default();
        let fallbacks = Family::<ArchitectureLabel, Count>::default();
        let hedges = Family::<HedgeLabel, Count>::default();
        let refusals = Family::<ReasonLabel, Count>::default();
        let timeouts = Family::<ReasonLabel, Count>::default();
        let probes = Family::<ProbeLabel, Count>::default();
        let ejections = Family::<CauseLabel, Count>::default();
        let at_hand = Self {
            answers: STATUS_CLASSES
                .map(|status_class| answers.get_or_create(&StatusLabel { status_class }).clone()),
            steps: STEPS.map(|step| steps.get_or_create(&StepLabel { step }).clone()),
            architectures: Architecture::ALL.map(|a| member(&architectures, a)),
            outcomes: OUTCOMES
                .map(|outcome| outcomes.get_or_create(&OutcomeLabel { outcome }).clone()),
            fallbacks: Architecture::ALL.map(|a| member(&fallbacks, a)),
            hedges: HEDGES.map(|result| hedges.get_or_create(&HedgeLabel { result }).clone()),
            queue_refusals: QUEUE_REFUSALS
                .map(|reason| refusals.get_or_create(&ReasonLabel { reason }).clone()),
            timeouts: WAITS.map(|reason| timeouts.get_or_create(&ReasonLabel { reason }).clone()),
            refusals: Refusals::registered(&mut registry),
            probes: PROBES.map(|result| probes.get_or_create(&ProbeLabel { result }).clone()),
            ejections: Cause::ALL.map(|cause| {
                let cause = cause.as_str();
                ejections.get_or_create(&CauseLabel { cause }).clone()
            }),
            ..self
        };
        registry.register("answers", "Answers given to callers, by class of status", answers);
        registry.register("steps", "What was done with invocations", steps);
        registry.register(
            "decisions",
            "Decisions, by the architecture that made them",
            architectures,
        );
        registry.register("outcomes", "How steps ended", outcomes);
        registry.register(
            "fallbacks",
            "Decisions made by another architecture, by the one whose decider was out of reach",
            fallbacks,
        );
        registry.register("hedges", "Second copies, by whether theirs was the answer", hedges);
        registry.register(
            "queue_refusals",
            "Invocations that did not get their turn here, by whether it was too late for them",
            refusals,
        );
        registry.register(
            "timeouts",
            "Client connections and streams ended because something took too long",
            timeouts,
        );
        registry.register("probes", "Probes of lost nodes, by what came of them", probes);
        registry.register("ejections", "Times a node was left alone, by why", ejections);
        Self { registry, ..at_hand }
    }

    /// Counts an answer of this status.
    pub fn count_answer(&self, status: u16) {
        let class = usize::from(status / 100).wrapping_sub(1).min(STATUS_CLASSES.len() - 1);
        self.answers[class].inc();
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
        let index = match outcome {
            Outcome::Good => 0,
            Outcome::Failed => 1,
            Outcome::Unreachable => 2,
            Outcome::Cancelled => 3,
            Outcome::Lost => 4,
            Outcome::Absent => 5,
        };
        self.outcomes[index].inc();
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

    /// All families in the Prometheus text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Refusals {
    fn registered(registry: &mut Registry) -> Self {
        let family = Family::<ReasonLabel, Count>::default();
        let of = |reason| family.get_or_create(&ReasonLabel { reason }).clone();
        let refusals = Self {
            connections: of("connections"),
            client_connections: of("client_connections"),
            no_descriptors: of("no_descriptors"),
            in_flight: of("in_flight"),
            client_in_flight: of("client_in_flight"),
        };
        registry.register("refusals", "Connections and requests refused for want of room", family);
        refusals
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn member(family: &Family<ArchitectureLabel, Count>, architecture: Architecture) -> Count {
    family.get_or_create(&ArchitectureLabel { architecture: architecture.as_str() }).clone()
}

fn registered<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: prometheus_client::registry::Metric + Clone + Default,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered() {
        let metrics = Metrics::new();
        metrics.count_answer(204);
        metrics.count_answer(999);
        metrics.count_decision(
            StepKind::Offload,
            Architecture::Federated,
            Some(Architecture::Centralized),
        );
        metrics.count_outcome(Outcome::Cancelled);
        metrics.client_aborts.inc();
        metrics.count_hedge(true);
        metrics.count_queue_refusal(true);
        metrics.count_timeout(Wait::Crowded);
        metrics.refusals.in_flight.inc();
        metrics.count_probe(false);
        metrics.follow_ejections([2, 0]);
        metrics.follow_ejections([3, 0]);
        let text = metrics.render();
        for line in [
            "hopwise_answers_total{status_class=\"2xx\"} 1",
            "hopwise_answers_total{status_class=\"other\"} 1",
            "hopwise_steps_total{step=\"Offload\"} 1",
            "hopwise_decisions_total{architecture=\"federated\"} 1",
            "hopwise_fallbacks_total{architecture=\"centralized\"} 1",
            "hopwise_outcomes_total{outcome=\"cancelled\"} 1",
            "hopwise_client_aborts_total 1",
            "hopwise_hedges_total{result=\"won\"} 1",
            "hopwise_hedges_total{result=\"lost\"} 0",
            "hopwise_queue_refusals_total{reason=\"late\"} 1",
            "hopwise_timeouts_total{reason=\"crowded\"} 1",
            "hopwise_refusals_total{reason=\"in_flight\"} 1",
            "hopwise_probes_total{result=\"missed\"} 1",
            "hopwise_ejections_total{cause=\"lost\"} 3",
            "hopwise_config_last_reload_successful 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
