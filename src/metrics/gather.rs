//! Every family in one place, as a scrape sees it. What each means, in which unit and by which labels,
//! is told in `config/prometheus/README.md`.

use super::family::{Family, Kind, Label};
use super::labels::{
    HEDGES, OUTCOMES, PROBES, QUEUE_REFUSALS, STATUS_CLASSES, STEPS, UPSTREAMS, WAITS,
};
use super::named::Shown;
use super::{Histogram, Metrics};
use crate::scheduling::health::Cause;
use crate::scheduling::policy::Architecture;

impl Metrics {
    pub(super) fn gather(&self, shown: &Shown) -> Vec<Family> {
        let mut families = self.requests();
        families.extend(self.waits());
        families.extend(self.decisions());
        families.extend(self.connections());
        families.extend(self.changes());
        families.extend(self.of_functions());
        families.extend(self.of_nodes());
        families.extend(shown.families());
        families
    }

    fn requests(&self) -> Vec<Family> {
        use Kind::{Counter, Histogram};
        let mut durations = Family::new(
            Histogram,
            "http_server_request_duration_seconds",
            "From a request of the data port to the end of its answer",
        );
        for (class, took) in STATUS_CLASSES.into_iter().zip(&self.requests) {
            push_histogram(&mut durations, vec![("status_class", class.into())], took);
        }
        vec![
            durations,
            Family::by(
                Counter,
                "hopwise_answers",
                "Answers given to callers, by class of status",
                "status_class",
                STATUS_CLASSES.into_iter().zip(&self.answers),
            ),
            Family::by(
                Counter,
                "hopwise_refusals",
                "Connections and requests refused for want of room",
                "reason",
                self.refusals.named(),
            ),
            Family::by(
                Counter,
                "hopwise_timeouts",
                "Client connections and streams ended because something took too long",
                "reason",
                WAITS.into_iter().zip(&self.timeouts),
            ),
            Family::of(
                Counter,
                "hopwise_client_aborts",
                "Requests whose client went away or broke off its body",
                self.client_aborts.get(),
            ),
            Family::of(
                Counter,
                "hopwise_access_log_dropped",
                "Lines of the access log that could not be written",
                self.access_log_dropped.get(),
            ),
            Family::of(
                Counter,
                "hopwise_stripped_requests",
                "Requests from which internal headers of a stranger were removed",
                self.stripped.get(),
            ),
            Family::of(
                Counter,
                "hopwise_peer_rejections",
                "Calls of those who said that they were a peer, and could not prove it",
                self.peer_rejections.get(),
            ),
        ]
    }

    fn waits(&self) -> Vec<Family> {
        use Kind::{Counter, Gauge, Histogram};
        let mut running_max = Family::new(
            Gauge,
            "hopwise_running_max",
            "Invocations that may run here at once, where there is a queue",
        );
        // Without a queue there is no bound, and no number for that.
        if self.running_max.get() < i64::from(u32::MAX) {
            running_max.push(vec![], self.running_max.get());
        }
        vec![
            Family::of(Gauge, "hopwise_in_flight", "Invocations running here, or waiting", {
                self.in_flight.get()
            }),
            Family::of(Gauge, "hopwise_queued", "Invocations waiting for their turn here", {
                self.queued.get()
            }),
            running_max,
            Family::of(
                Histogram,
                "hopwise_queue_wait_seconds",
                "How long invocations waited for their turn here, where there is a queue",
                self.queue_wait.take(),
            ),
            Family::by(
                Counter,
                "hopwise_queue_refusals",
                "Invocations that did not get their turn here, by whether it was too late for them",
                "reason",
                QUEUE_REFUSALS.into_iter().zip(&self.queue_refusals),
            ),
        ]
    }

    fn decisions(&self) -> Vec<Family> {
        use Kind::Counter;
        let architectures = || Architecture::ALL.into_iter().map(Architecture::as_str);
        vec![
            Family::by(
                Counter,
                "hopwise_steps",
                "What was done with invocations",
                "step",
                STEPS.into_iter().zip(&self.steps),
            ),
            Family::by(
                Counter,
                "hopwise_decisions",
                "Decisions, by the architecture that made them",
                "architecture",
                architectures().zip(&self.architectures),
            ),
            Family::by(
                Counter,
                "hopwise_fallbacks",
                "Decisions made by another architecture, by the one whose decider was out of reach",
                "architecture",
                architectures().zip(&self.fallbacks),
            ),
            Family::by(
                Counter,
                "hopwise_outcomes",
                "How steps ended",
                "outcome",
                OUTCOMES.into_iter().zip(&self.outcomes),
            ),
            Family::of(
                Counter,
                "hopwise_retries",
                "Further attempts after one that failed",
                self.retries.get(),
            ),
            Family::of(
                Counter,
                "hopwise_retries_refused",
                "Further attempts not paid for",
                self.retries_refused.get(),
            ),
            Family::by(
                Counter,
                "hopwise_hedges",
                "Second copies, by whether theirs was the answer",
                "result",
                HEDGES.into_iter().zip(&self.hedges),
            ),
            Family::by(
                Counter,
                "hopwise_ejections",
                "Times a node was left alone, by why",
                "cause",
                Cause::ALL.into_iter().map(Cause::as_str).zip(&self.ejections),
            ),
            Family::by(
                Counter,
                "hopwise_probes",
                "Probes of lost nodes, by what came of them",
                "result",
                PROBES.into_iter().zip(&self.probes),
            ),
        ]
    }

    fn connections(&self) -> Vec<Family> {
        use Kind::{Counter, Gauge, Histogram};
        let mut open = Family::new(Gauge, "http_client_open_connections", "Upstream connections");
        let active = self.upstream_active.get();
        // Never less than none, though the two are not read at the same moment.
        let idle = (self.upstream_open.get() - active).max(0);
        for (state, count) in [("active", active), ("idle", idle)] {
            open.push(vec![("http_connection_state", state.into())], count);
        }
        let mut connects = Family::new(
            Histogram,
            "hopwise_upstream_connect_seconds",
            "How long it took to connect upstream, greeting or TLS included",
        );
        for (upstream, took) in UPSTREAMS.into_iter().zip(&self.connects) {
            push_histogram(&mut connects, vec![("upstream", upstream.into())], took);
        }
        vec![
            Family::of(Gauge, "hopwise_connections", "Client connections open now", {
                self.connections.get()
            }),
            Family::of(Counter, "hopwise_connections_accepted", "Connections accepted", {
                self.connections_accepted.get()
            }),
            Family::of(
                Counter,
                "hopwise_tls_handshake_failures",
                "Encrypted connections to this node that came to nothing",
                self.tls_handshake_failures.get(),
            ),
            open,
            connects,
            Family::of(Counter, "hopwise_upstream_connects", "Upstream connections made", {
                self.upstream_connects.get()
            }),
            Family::of(
                Counter,
                "hopwise_upstream_connect_failures",
                "Upstream connections that could not be made",
                self.upstream_connect_failures.get(),
            ),
            Family::of(Counter, "hopwise_breaker_refusals", "Requests too many for a peer", {
                self.breaker_refusals.get()
            }),
        ]
    }

    fn changes(&self) -> Vec<Family> {
        use Kind::{Counter, Gauge, Info};
        let mut build = Family::new(Info, "hopwise_build", "What this binary is");
        build.push(vec![("version", env!("CARGO_PKG_VERSION").into())], 1.0);
        vec![
            build,
            Family::of(
                Counter,
                "hopwise_config_reloads",
                "Accepted changes of configuration",
                self.config_reloads.get(),
            ),
            Family::of(Counter, "hopwise_config_reload_failures", "Refused changes", {
                self.config_reload_failures.get()
            }),
            Family::of(
                Gauge,
                "hopwise_config_last_reload_successful",
                "1 if the last change of configuration was accepted, 0 if it was refused",
                self.config_last_reload_successful.get(),
            ),
            Family::of(Gauge, "hopwise_config_generation", "Generation in force", {
                self.config_generation.get()
            }),
        ]
    }
}

/// Adds a distribution, if there is anything in it.
pub(super) fn push_histogram(family: &mut Family, labels: Vec<Label>, histogram: &Histogram) {
    let taken = histogram.take();
    if !taken.is_empty() {
        family.push(labels, taken);
    }
}
