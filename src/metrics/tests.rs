use std::time::Duration;

use super::*;
use crate::scheduling::{FunctionName, Time};

fn text_of(metrics: &Metrics, shown: &Shown) -> String {
    String::from_utf8(metrics.render(shown, Format::Text)).unwrap()
}

fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|l| l == *line), "{line} is not in\n{text}");
    }
}

#[test]
fn what_is_counted_is_rendered() {
    let metrics = Metrics::new(8);
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
    metrics.upstream_open.inc();
    metrics.upstream_open.inc();
    metrics.upstream_active.inc();
    metrics.time_connect(true, Duration::from_millis(2));
    metrics.time_request(204, Duration::from_millis(2));
    assert_lines(
        &text_of(&metrics, &Shown::default()),
        &[
            "hopwise_answers_total{status_class=\"2xx\"} 1",
            "hopwise_answers_total{status_class=\"other\"} 1",
            "hopwise_steps_total{step=\"offload\"} 1",
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
            "http_client_open_connections{http_connection_state=\"idle\"} 1",
            "hopwise_upstream_connect_seconds_count{upstream=\"sidecar\"} 1",
            "http_server_request_duration_seconds_bucket{status_class=\"2xx\",le=\"0.005\"} 1",
        ],
    );
}

#[test]
fn functions_are_rendered_under_our_names_and_those_of_openfaas() {
    let metrics = Metrics::new(8);
    let now = Time::from_secs_f64(1.0);
    let echo = FunctionName::new("echo").unwrap();
    for (name, status) in [("echo", 200), ("echo", 502), ("made-up", 404)] {
        let mut invoked = metrics.functions.begin(FunctionName::new(name).unwrap(), now);
        invoked.hear(Some(now), Some(Duration::from_millis(3)));
        invoked.end(&metrics.functions, status, status == 200, now + Duration::from_millis(30));
    }
    let _running = metrics.functions.begin(echo, now);
    let function = FunctionShown {
        name: echo,
        tail_ratios: [None, Some(1.5), None],
        shares: [0.25, 0.0, 0.75],
        switches: 2,
    };
    let shown = Shown { functions: vec![function], nodes: Vec::new() };
    assert_lines(
        &text_of(&metrics, &shown),
        &[
            "faas_invocations_total{function_name=\"echo\"} 2",
            "faas_errors_total{function_name=\"echo\"} 1",
            "faas_invoke_duration_seconds_count{function_name=\"echo\"} 2",
            "faas_invoke_duration_seconds_count{function_name=\"_other\"} 1",
            "gateway_function_invocation_total{function_name=\"echo\",code=\"200\"} 1",
            "gateway_function_invocation_total{function_name=\"_other\",code=\"404\"} 1",
            "gateway_functions_seconds_bucket{function_name=\"echo\",le=\"0.05\"} 2",
            "gateway_function_invocation_started{function_name=\"echo\"} 3",
            "hopwise_function_in_flight{function_name=\"echo\"} 1",
            "hopwise_function_tail_ratio{function_name=\"echo\",architecture=\"federated\"} 1.5",
            "hopwise_function_architecture_switches_total{function_name=\"echo\"} 2",
        ],
    );
}

/// Words of `text` that look like names of metrics, without what a histogram adds to them.
fn named_in(text: &str) -> std::collections::BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts = ["hopwise_", "http_server_", "http_client_", "faas_", "gateway_function"];
    let words = text.split(|c| !is_part(c));
    let names = words.filter(|word| starts.iter().any(|start| word.starts_with(start)));
    let plain = |name: &str| {
        let of_histogram = ["_bucket", "_sum", "_count"];
        let base = of_histogram.iter().find_map(|suffix| name.strip_suffix(suffix));
        base.unwrap_or(name).to_owned()
    };
    names.map(plain).collect()
}

#[test]
fn what_is_written_of_metrics_names_those_there_are() {
    let families = Metrics::new(0).gather(&Shown::default());
    let exposed: std::collections::BTreeSet<String> =
        families.iter().map(|family| format!("{}{}", family.name, family.suffix())).collect();
    let told = named_in(include_str!("../../config/prometheus/README.md"));
    assert_eq!(told, exposed, "config/prometheus/README.md");
    for (file, text) in [
        ("alerts.yaml", include_str!("../../config/prometheus/alerts.yaml")),
        ("hopwise.json", include_str!("../../config/grafana/hopwise.json")),
    ] {
        let named = named_in(text);
        assert!(named.len() > 5, "{file} names {named:?}");
        let unknown: Vec<_> = named.difference(&exposed).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}, which is not exposed");
    }
}
