//! Families with a function's or a node's name among the labels.

use std::borrow::Cow;

use super::Metrics;
use super::family::{Family, Kind, Label, Value};
use super::functions::{Function, OTHER};
use super::gather::push_histogram;
use super::labels::{OUTCOMES, STATUS_CLASSES};
use super::nodes::Node;
use crate::scheduling::FunctionName;
use crate::scheduling::policy::Architecture;
use crate::topology::NodeId;

/// What the scheduler knows of a function that has metrics of its own.
#[derive(Debug, Clone)]
pub struct FunctionShown {
    /// Its name.
    pub name: FunctionName,
    /// P95/P50 of the last minute, by [`Architecture::index`].
    pub tail_ratios: [Option<f64>; 3],
    /// Its shares of the architectures, by the same.
    pub shares: [f64; 3],
    /// How often another architecture took over.
    pub switches: u64,
}

/// What the scheduler knows of a node that has metrics of its own.
#[derive(Debug, Clone)]
pub struct NodeShown {
    /// Its name.
    pub id: NodeId,
    /// Invocations it has from this node.
    pub in_flight: u32,
    /// Whether it is left alone.
    pub ejected: bool,
    /// Seconds on the way there and back.
    pub network_s: Option<f64>,
    /// Share of its recent answers that were good.
    pub success: f64,
}

/// What is shown beside the numbers of [`Metrics`].
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// Of functions.
    pub functions: Vec<FunctionShown>,
    /// Of nodes.
    pub nodes: Vec<NodeShown>,
}

impl Shown {
    pub(super) fn families(&self) -> Vec<Family> {
        let mut families = shown_of_functions(&self.functions);
        families.extend(shown_of_nodes(&self.nodes));
        families
    }
}

impl Metrics {
    pub(super) fn of_functions(&self) -> Vec<Family> {
        use Kind::{Counter, Gauge, Histogram, Unknown};
        let mut total = Family::new(
            Histogram,
            "faas_invoke_duration_seconds",
            "From an invocation that came in here to the end of its answer",
        );
        let mut alias =
            Family::new(Histogram, "gateway_functions_seconds", "faas_invoke_duration_seconds");
        let mut first_byte = Family::new(
            Histogram,
            "hopwise_function_first_byte_seconds",
            "From an invocation that came in here to the head of its answer",
        );
        let mut execution = Family::new(
            Histogram,
            "hopwise_function_execution_seconds",
            "What the function itself took, by its field X-Duration-Seconds",
        );
        let mut invocations =
            Family::new(Counter, "faas_invocations", "Invocations that came in here and ended");
        let mut errors =
            Family::new(Counter, "faas_errors", "Those of them that ended with a status of 5xx");
        let mut in_flight =
            Family::new(Gauge, "hopwise_function_in_flight", "Those that have not ended");
        let mut started = Family::new(
            Unknown,
            "gateway_function_invocation_started",
            "Invocations that came in here",
        );
        let mut codes = Family::new(
            Counter,
            "gateway_function_invocation",
            "Invocations that came in here and ended, by status code",
        );
        for (name, function) in self.functions.all() {
            let Function { total: took, .. } = &*function;
            let begun = function.started.get();
            if name.is_none() && begun == 0 {
                continue;
            }
            let name = || function_label(name.as_ref());
            let (ended, failed) = function.ended();
            total.push(vec![name()], took.take());
            alias.push(vec![name()], Value::Classic(Box::new(took.take())));
            push_histogram(&mut first_byte, vec![name()], &function.first_byte);
            push_histogram(&mut execution, vec![name()], &function.execution);
            invocations.push(vec![name()], ended);
            errors.push(vec![name()], failed);
            in_flight.push(vec![name()], begun.saturating_sub(ended));
            started.push(vec![name()], begun);
            for (code, count) in function.codes() {
                codes.push(vec![name(), ("code", code)], count);
            }
        }
        vec![total, first_byte, execution, invocations, errors, in_flight, codes, alias, started]
    }

    pub(super) fn of_nodes(&self) -> Vec<Family> {
        use Kind::{Counter, Histogram};
        let mut total = Family::new(
            Histogram,
            "http_client_request_duration_seconds",
            "From sending an invocation to a node to the end of its answer",
        );
        let mut first_byte = Family::new(
            Histogram,
            "hopwise_node_first_byte_seconds",
            "From sending an invocation to a node to the head of its answer",
        );
        let mut outcomes =
            Family::new(Counter, "hopwise_node_outcomes", "How steps ended, by node");
        let mut answers =
            Family::new(Counter, "hopwise_node_answers", "Answers of nodes, by class of status");
        for (id, node) in self.nodes.all() {
            let Node { outcomes: ended, answers: answered, .. } = &*node;
            if id.is_none() && ended.iter().all(|count| count.get() == 0) {
                continue;
            }
            let id = || node_label(id.as_ref());
            push_histogram(&mut total, vec![id()], &node.total);
            push_histogram(&mut first_byte, vec![id()], &node.first_byte);
            for (outcome, count) in OUTCOMES.into_iter().zip(ended) {
                outcomes.push(vec![id(), ("outcome", outcome.into())], count.get());
            }
            for (class, count) in STATUS_CLASSES.into_iter().zip(answered) {
                answers.push(vec![id(), ("status_class", class.into())], count.get());
            }
        }
        vec![total, first_byte, outcomes, answers]
    }
}

/// What the scheduler knows of functions.
fn shown_of_functions(functions: &[FunctionShown]) -> Vec<Family> {
    use Kind::{Counter, Gauge};
    let mut ratios = Family::new(
        Gauge,
        "hopwise_function_tail_ratio",
        "P95/P50 of the response times of the last minute",
    );
    let mut shares = Family::new(
        Gauge,
        "hopwise_function_architecture_share",
        "Share of the invocations of a function that an architecture decides, in dynamic mode",
    );
    let mut switches = Family::new(
        Counter,
        "hopwise_function_architecture_switches",
        "Times another architecture took over",
    );
    for function in functions {
        let name = || function_label(Some(&function.name));
        for architecture in Architecture::ALL {
            let index = architecture.index();
            let labels = || vec![name(), ("architecture", architecture.as_str().into())];
            if let Some(ratio) = function.tail_ratios[index] {
                ratios.push(labels(), ratio);
            }
            shares.push(labels(), function.shares[index]);
        }
        switches.push(vec![name()], function.switches);
    }
    vec![ratios, shares, switches]
}

/// What the scheduler knows of nodes.
fn shown_of_nodes(nodes: &[NodeShown]) -> Vec<Family> {
    use Kind::Gauge;
    let mut in_flight =
        Family::new(Gauge, "hopwise_node_in_flight", "Invocations that a node has from this one");
    let mut ejected =
        Family::new(Gauge, "hopwise_node_ejected", "1 if a node is left alone, 0 if it is not");
    let mut network = Family::new(
        Gauge,
        "hopwise_node_network_seconds",
        "The way to a node and back, as it is believed to be",
    );
    let mut success =
        Family::new(Gauge, "hopwise_node_success_ratio", "Share of recent answers that were good");
    for node in nodes {
        let id = || vec![node_label(Some(&node.id))];
        in_flight.push(id(), f64::from(node.in_flight));
        ejected.push(id(), f64::from(u8::from(node.ejected)));
        if let Some(network_s) = node.network_s {
            network.push(id(), network_s);
        }
        success.push(id(), node.success);
    }
    vec![in_flight, ejected, network, success]
}

fn function_label(name: Option<&FunctionName>) -> Label {
    ("function_name", name.map_or(Cow::Borrowed(OTHER), |name| name.as_str().to_owned().into()))
}

fn node_label(id: Option<&NodeId>) -> Label {
    ("node", id.map_or(Cow::Borrowed(OTHER), |id| id.as_str().to_owned().into()))
}
