//! What is accepted, and what it becomes.

use super::*;
use crate::scheduling::FunctionName;
use crate::scheduling::policy::{HopLimit, OffloadRule, Selection};
use crate::scheduling::queue::Bounds;

#[test]
fn what_is_left_out_takes_its_default() {
    let snapshot = based("").unwrap();
    assert_eq!(snapshot.generation, 1);
    assert_eq!(snapshot.site.node().id.as_str(), "edge1");
    assert_eq!(snapshot.site.policy, crate::scheduling::policy::Policy::new(Mode::Dynamic));
    assert_eq!(snapshot.gateway.to_string(), "127.0.0.1:31112");
    assert_eq!(snapshot.listen.data.to_string(), "0.0.0.0:31113");
    assert_eq!(snapshot.listen.admin.to_string(), "127.0.0.1:31114");
    assert_eq!((snapshot.limits, snapshot.timeouts), (Limits::DEFAULT, Timeouts::DEFAULT));
    assert_eq!(snapshot.limits.functions.get(), 1000);
    assert!(snapshot.workers.get() <= WORKERS_MAX);
    assert!(snapshot.peer_key.is_none() && snapshot.admin_token.is_none());
    assert!(snapshot.interception.is_none());
}

#[test]
fn sections_may_be_empty_or_null() {
    for more in ["listen:", "limits: {}", "dynamic: ~", "gateway:", "peers: {key_file: null}"] {
        based(more).unwrap_or_else(|problems| panic!("{more}: {problems:?}"));
    }
}

#[test]
fn the_defaults_of_addresses_follow_this_node() {
    let text = BASE.replace("10.0.2.100}", "10.0.2.100, port: 8000, gateway_port: 8080}");
    let snapshot = load(&text).unwrap();
    assert_eq!(snapshot.listen.data.to_string(), "0.0.0.0:8000");
    assert_eq!(snapshot.gateway.to_string(), "127.0.0.1:8080");
}

#[test]
fn every_key_is_taken_over() {
    let snapshot = based(
        "architecture: federated
selection: least_request
hop_limit: 3
workers: 2
gateway: http://gateway.openfaas:8080/
listen: {data: '127.0.0.1:0', admin: '[::1]:9'}
tail_scheduler: {soft_d2f_threshold: 1, hard_d2f_threshold: 1, sample_interval: 0.5, min_samples: 3}
dynamic: {rule: tail_ratio, min_rate_d2f: 1, smoothing_floor: 0.2, smoothing_range: 0.7}
limits: {entry_body_bytes: 1, replay_body_bytes: 0, headers: 16, idle_connections: 0}
handover: {socket: run/handover.sock}
timeouts: {connect_ms: 1, drain_ms: 0, drain_idle_ms: 7, silence_ms: 2, deadline_ms: 3}
retries: {attempts: 2, budget: 0.5, floor_per_s: 1, burst: 7, wait_ms: 0}
health: {failures: 3, failure_share: 0.1, answers_min: 9, window_s: 5, ejection_ms: 10,
         ejection_max_ms: 20, jitter: 0, ejected_share_max: 0.4, absent_ms: 0, probes: false}
hedge: {enabled: true, budget: 0.01}
queue: {enabled: true, running: 3, waiting: 0, wait_ms: 50}
functions: {a.b: {idempotent: true}, c: {}, d: {deadline_ms: 5}, e: ~, f: {idempotent: false}}
interception: {enabled: true, mark: 0xffffffff}
access_log: {format: json, path: src/access.log, sample: 0.5, slow_ms: 0}
",
    )
    .unwrap();
    let policy = snapshot.site.policy;
    assert_eq!(policy.mode.as_str(), "federated");
    assert_eq!((policy.selection, policy.hop_limit), (Selection::LeastRequest, HopLimit(3)));
    assert_eq!((policy.tail_ratio.thresholds.hard_d2f, policy.tail_ratio.min_samples), (1.0, 3));
    assert_eq!(policy.tail_ratio.sample_interval, Duration::from_millis(500));
    assert_eq!((policy.tail_ratio.min_rate_d2f, policy.tail_ratio.min_rate_f2c), (1.0, 1.2));
    assert_eq!((policy.hedge.enabled, policy.hedge.budget), (true, 0.01));
    let bounds = Bounds { running: 3, waiting: 0 };
    assert_eq!((policy.queue.bounds(8), policy.queue.wait_max.as_millis()), (bounds, 50));
    let retries = policy.retries;
    assert_eq!((retries.attempts, retries.budget, retries.floor_per_s), (2, 0.5, 1.0));
    assert_eq!((retries.burst, retries.wait), (7.0, Duration::ZERO));
    let health = policy.health;
    assert_eq!((health.failures, health.failure_share, health.answers_min), (3, 0.1, 9));
    assert_eq!((health.ejection.as_millis(), health.ejection_max.as_millis()), (10, 20));
    assert_eq!((health.window.as_secs(), health.absent), (5, Duration::ZERO));
    assert_eq!((health.jitter, health.ejected_share_max, health.probes), (0.0, 0.4, false));
    assert_eq!(snapshot.timeouts.silence, Duration::from_millis(2));
    assert_eq!(snapshot.timeouts.deadline, Some(Duration::from_millis(3)));
    let log = &snapshot.access_log;
    assert_eq!((log.format, log.sample, log.slow), (LogFormat::Json, 0.5, Duration::ZERO));
    assert_eq!(log.path.as_deref(), Some(std::path::Path::new("src/access.log")));
    let rule_of = |name| snapshot.function(FunctionName::new(name).unwrap());
    assert!(rule_of("a.b").idempotent && !rule_of("d").idempotent);
    assert_eq!(rule_of("d").deadline, Some(Duration::from_millis(5)));
    assert_eq!(snapshot.functions.len(), 2, "only those of which something is said");
    assert_eq!(snapshot.workers.get(), 2);
    assert_eq!(snapshot.gateway.to_string(), "gateway.openfaas:8080");
    assert_eq!(snapshot.listen.admin.to_string(), "[::1]:9");
    assert_eq!((snapshot.limits.entry_body_bytes, snapshot.limits.connections), (1, 10_000));
    assert_eq!(snapshot.handover.as_deref(), Some(std::path::Path::new("run/handover.sock")));
    let timeouts = snapshot.timeouts;
    assert_eq!((timeouts.drain, timeouts.drain_idle), (Duration::ZERO, Duration::from_millis(7)));
    assert_eq!(timeouts.drain_idle(), Duration::ZERO, "closed before all is broken off");
    assert_eq!(snapshot.interception, Some(Interception { mark: u32::MAX }));
}

#[test]
fn the_offload_rule_is_that_of_this_node() {
    let text = BASE
        .replace("10.0.2.100}", "10.0.2.100, offload: {cpu_thresh: 0.5, load_thresh: 4}}")
        .replace("10.0.2.101}", "10.0.2.101, offload: {enabled: false}}");
    let rule = OffloadRule { enabled: true, cpu_thresh: 0.5, load_thresh: 4.0 };
    assert_eq!(load(&text).unwrap().site.policy.offload, rule);
    let edge2 = build::snapshot(&text, Some("edge2".into()), None, None).unwrap();
    assert!(!edge2.site.policy.offload.enabled);
}

#[test]
fn anchors_quotes_and_a_byte_order_mark_are_understood() {
    let text = BASE
        .replace("10.0.1.100}", "10.0.1.100, offload: &o {load_thresh: 7}}")
        .replace("10.0.2.100}", "10.0.2.100, offload: *o}")
        .replace("id: edge1", "\"id\": 'edge1'");
    let snapshot = load(&format!("\u{feff}{text}").replace('\n', "\r\n")).unwrap();
    assert_eq!(snapshot.site.policy.offload.load_thresh, 7.0);
}

#[test]
fn gateways_are_hosts_and_ports_with_or_without_scheme() {
    for (written, host, port) in [
        ("localhost:1", "localhost", 1),
        ("10.0.0.1:65535", "10.0.0.1", 65_535),
        ("http://[fd00::1]:8080", "fd00::1", 8080),
        ("http://my-gateway_1.svc:80/", "my-gateway_1.svc", 80),
    ] {
        let gateway = based(&format!("gateway: '{written}'")).unwrap().gateway;
        assert_eq!((&*gateway.host, gateway.port), (host, port), "{written}");
    }
}

#[test]
fn peers_are_known_by_ip_address_where_one_is_written() {
    let text =
        BASE.replace("10.0.1.100", "cloud.example").replace("10.0.2.101", "'::ffff:1.2.3.4'");
    let expected: [IpAddr; 2] = ["1.2.3.4", "10.0.2.100"].map(|ip| ip.parse().unwrap());
    assert_eq!(*load(&text).unwrap().peer_addresses, expected);
}

#[test]
fn secrets_come_from_files_and_the_environment_and_never_show() {
    let key = Scratch::new("key", b"\n 0123456789abcdef\xff \n");
    let token = Scratch::new("token", "file-token-0123456789\n");
    let files = format!(
        "{BASE}listen: {{admin: '0.0.0.0:31114'}}\npeers: {{key_file: {}}}\nadmin: {{token_file: {}}}",
        key.path(),
        token.path()
    );
    let variable = "env-token-0123456789";
    let both = build::snapshot(&files, None, Some(variable.into()), None).unwrap();
    assert_eq!(both.peer_key.as_ref().unwrap().as_bytes(), b"0123456789abcdef\xff");
    assert_eq!(both.admin_token.as_ref().unwrap().as_bytes(), b"file-token-0123456789");
    let shown = format!("{both:?}");
    assert!(shown.contains("Secret(…)") && !shown.contains("0123456789"), "{shown}");

    let wide = format!("{BASE}listen: {{admin: '0.0.0.0:31114'}}");
    let by_variable = build::snapshot(&wide, None, Some(variable.into()), None).unwrap();
    assert_eq!(by_variable.admin_token.unwrap().as_bytes(), variable.as_bytes());
}

#[test]
fn the_largest_topology_is_within_the_bounds_of_a_text() {
    let text = |nodes: usize| {
        let mut text = String::from("node: {id: n0}\ntopology:\n");
        for i in 0..nodes {
            let [_, a, b, c] = (i as u32).to_be_bytes();
            text += &format!("  - {{id: n{i}, role: worker, zone: z{c}, address: 10.{a}.{b}.{c}, ");
            text += "offload: {enabled: true, cpu_thresh: 0.9, load_thresh: 3.0}}\n";
        }
        text
    };
    let largest = text(crate::topology::Topology::NODES_MAX);
    assert!(largest.len() <= parse::TEXT_BYTES_MAX);
    assert!(lines::expanded_values(&largest).is_ok_and(|values| values <= parse::VALUES_MAX));
    assert_eq!(load(&text(1000)).unwrap().site.topology.nodes().len(), 1000);
}
