//! The calls by which operators see and steer a node.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use serde_json::{Value, json};

use crate::support::{Answer, Node, TempFile, ask, gateway, get, post, worker};

fn assert_fields(document: &Value, fields: &[&str]) {
    let mut keys: Vec<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, fields, "{document}");
}

fn generation(port: SocketAddr) -> u64 {
    get(port, "/configuration").json()["generation"].as_u64().unwrap()
}

#[test]
fn load_has_every_field() {
    let node = Node::start(&worker(gateway()), None);
    for port in node.ports() {
        let document = get(port, "/load").json();
        let fields = [
            "cpu_normalized",
            "cpu_percent",
            "disk_free_gb",
            "disk_percent",
            "in_flight",
            "load_15min",
            "load_1min",
            "load_5min",
            "memory_available_gb",
            "memory_percent",
            "timestamp",
        ];
        assert_fields(&document, &fields);
        assert!(document.as_object().unwrap().values().all(Value::is_number), "{document}");
        assert_eq!(document["in_flight"], 0);
        assert!(document["timestamp"].as_f64().unwrap() > 1.7e9);
    }
}

#[test]
fn what_was_measured_is_shown() {
    let node = Node::start(&worker(gateway()), None);
    let empty = get(node.admin, "/arch_metrics").json();
    assert_eq!((&empty["mode"], &empty["functions"]), (&json!("decentralized"), &json!({})));
    assert_eq!(empty["nodes"]["edge2"]["mean_s"], Value::Null);
    assert_eq!(get(node.data, "/durations").json(), json!({}));

    for _ in 0..3 {
        assert_eq!(post(node.data, "/entry", r#"{"fn_name": "echo"}"#).status, 200);
    }
    assert_eq!(get(node.data, "/function/describe").status, 200);
    for port in node.ports() {
        let document = get(port, "/arch_metrics").json();
        assert_fields(&document, &["functions", "mode", "nodes"]);
        let echo = &document["functions"]["echo"];
        assert_fields(echo, &["architectures", "qps", "samples", "shares"]);
        let shares = json!({ "centralized": 0.0, "federated": 0.0, "decentralized": 1.0 });
        assert_eq!((&echo["samples"], &echo["shares"]), (&json!(3), &shares));
        assert_fields(&echo["architectures"], &["decentralized"]);
        let summary = &echo["architectures"]["decentralized"];
        assert_fields(summary, &["count", "mean_s", "p50_s", "p95_s", "tail_ratio"]);
        assert_eq!(summary["count"], 3);
        assert!(summary["tail_ratio"].as_f64().unwrap() >= 1.0, "{summary}");
        let edge1 = &document["nodes"]["edge1"];
        let fields = [
            "count",
            "in_flight",
            "mean_s",
            "network_delay_s",
            "outstanding",
            "p95_s",
            "success_share",
            "unreachable",
        ];
        assert_fields(edge1, &fields);
        assert_eq!((&edge1["in_flight"], &edge1["unreachable"]), (&json!(0), &json!(false)));
        assert_eq!(document["nodes"]["edge2"]["in_flight"], Value::Null);
        assert_durations(port);
    }
}

fn assert_durations(port: SocketAddr) {
    let all = get(port, "/durations").json();
    assert_fields(&all, &["describe", "echo"]);
    assert_fields(&all["echo"], &["centralized", "decentralized", "federated"]);
    assert_eq!(all["echo"]["decentralized"].as_array().unwrap().len(), 3);
    assert!(all["echo"]["decentralized"][0].as_f64().unwrap() > 0.0);
    assert_eq!(all["echo"]["federated"], json!([]));
    let one = get(port, "/durations?fn_name=echo").json();
    assert_fields(&one, &["echo"]);
    assert_eq!(get(port, "/durations?fn_name=unknown").json(), json!({}));
    let bad = get(port, "/durations?fn_name=..%2Fsystem");
    bad.assert_refused(400, "bad_request", "fn_name = ..%2Fsystem");
}

#[test]
fn the_configuration_is_shown_without_its_secrets() {
    let token = TempFile::new("a-token-for-operators\n");
    let key = TempFile::new("a-key-between-sidecars\n");
    let yaml = format!(
        "{}admin: {{ token_file: '{}' }}\npeers: {{ key_file: '{}' }}\n",
        worker(gateway()),
        token.0.display(),
        key.0.display()
    );
    let node = Node::start(&yaml, None);
    for port in node.ports() {
        let answer = get(port, "/configuration");
        for secret in ["a-token", "a-key", "Secret"] {
            assert!(!answer.text().contains(secret), "{}", answer.text());
        }
        let document = answer.json();
        let fields = [
            "generation",
            "hop_limit",
            "limits",
            "mode",
            "selection",
            "self",
            "thresholds",
            "timeouts",
            "topology",
        ];
        assert_fields(&document, &fields);
        assert_eq!((&document["generation"], &document["self"]), (&json!(1), &json!("edge1")));
        let edge2 = json!({
            "id": "edge2", "role": "edge-controller", "zone": "a",
            "address": "192.0.2.2", "port": 31113, "gateway_port": 31112,
        });
        assert_eq!(document["topology"][1], edge2);
        let thresholds =
            json!({ "soft_d2f": 1.5, "hard_d2f": 2.5, "soft_f2c": 1.7, "hard_f2c": 2.7 });
        assert_eq!(document["thresholds"], thresholds);
        assert_eq!(
            (&document["selection"], &document["hop_limit"]),
            (&json!("predictive"), &json!(2))
        );
        assert_eq!(document["limits"]["entry_body_bytes"], 16 << 20);
        assert_eq!(document["timeouts"]["request_header_ms"], 10_000);
    }
}

#[test]
fn a_reload_switches_the_mode() {
    let node = Node::start(&worker(gateway()), None);
    let switched = post(node.data, "/reload", r#"{"architecture": "federated"}"#);
    assert_eq!(switched.status, 200, "{switched:?}");
    let expected = json!({
        "generation": 2,
        "architecture": "federated",
        "changed": ["mode: decentralized -> federated"],
        "restart_needed": [],
    });
    assert_eq!(switched.json(), expected);
    let again = post(node.admin, "/reload", r#"{"architecture": "dynamic"}"#).json();
    assert_eq!(again["changed"], json!(["mode: federated -> dynamic"]));
    assert_eq!(get(node.data, "/configuration").json()["mode"], "dynamic");

    for (body, named) in [
        ("federated", "is no JSON object"),
        (r#"{"architecture": "federate"}"#, "architecture = \"federate\""),
        (r#"{"mode": "federated"}"#, "mode = \"federated\""),
    ] {
        post(node.data, "/reload", body).assert_refused(400, "bad_request", named);
    }
    post(node.data, "/reload", "").assert_refused(400, "configuration_refused", "from a file");
    assert_eq!(generation(node.data), 3, "a refused change is none");
}

#[test]
fn a_reload_without_body_follows_the_file() {
    let gateway = gateway();
    let yaml = worker(gateway);
    let file = TempFile::new(&yaml);
    let node = Node::start(&yaml, Some(&file.0));
    assert_eq!(post(node.data, "/reload", "{}").json()["changed"], json!([]));

    let more = yaml.replace("edge2, role", "edge3, role").replace("workers: 2", "workers: 3");
    file.write(&(more + "tail_scheduler: { soft_d2f_threshold: 1.25 }\n"));
    let document = post(node.admin, "/reload", "").json();
    assert_eq!(document["changed"], json!(["soft_d2f: 1.5 -> 1.25", "topology", "workers"]));
    assert_eq!(document["restart_needed"], json!(["workers"]));
    assert_eq!(document["generation"], 3);

    file.write(&(yaml.replace("role: worker", "role: boss") + "hop_limit: -1\n"));
    let refused = post(node.data, "/reload", "");
    refused.assert_refused(400, "configuration_refused", "boss");
    let problems = refused.json()["problems"].clone();
    assert_eq!(problems.as_array().unwrap().len(), 2, "{problems}");
    assert_fields(&problems[0], &["column", "fault", "key", "line", "remedy", "value"]);
    assert_eq!(
        (&problems[0]["key"], &problems[0]["line"]),
        (&json!("topology[0].role"), &json!(4))
    );
    assert_eq!(problems[1]["key"], "hop_limit");
    assert_eq!(generation(node.data), 3);
    assert_eq!(get(node.data, "/configuration").json()["topology"][1]["id"], "edge3");

    std::fs::remove_file(&file.0).unwrap();
    post(node.data, "/reload", "").assert_refused(400, "configuration_refused", "cannot be read");
    assert_eq!(post(node.data, "/entry", r#"{"fn_name": "echo"}"#).status, 200);
}

#[test]
fn thresholds_change_and_those_left_out_stay() {
    let node = Node::start(&worker(gateway()), None);
    let thresholds =
        |soft: f64| json!({ "soft_d2f": soft, "hard_d2f": 2.5, "soft_f2c": 1.7, "hard_f2c": 2.7 });
    // As curl -d sends it.
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let answer = ask(node.data, "POST", "/update_threshold", form, r#"{"soft_d2f": 1.2}"#);
    assert_eq!(answer.json(), json!({ "thresholds": thresholds(1.2), "generation": 2 }));
    for (body, error, named) in [
        ("", "bad_request", "the body: is empty"),
        ("{}", "bad_request", "names no threshold"),
        (r#"{"soft_d2f": 1.3, "hard_d2f": "3"}"#, "bad_request", "hard_d2f = \"3\": is no number"),
        (r#"{"soft": 1.3}"#, "bad_request", "there are soft_d2f, hard_d2f, soft_f2c, hard_f2c"),
        (r#"{"soft_d2f": 9}"#, "configuration_refused", "soft_d2f = 9"),
        (r#"{"soft_d2f": -1}"#, "configuration_refused", "soft_d2f = -1"),
    ] {
        for port in node.ports() {
            post(port, "/update_threshold", body).assert_refused(400, error, named);
        }
    }
    let document = get(node.admin, "/configuration").json();
    assert_eq!(document["thresholds"], thresholds(1.2), "what was refused changed nothing");
    assert_eq!(document["generation"], 2);
    let answer = post(node.admin, "/update_threshold", r#"{"soft_d2f": 1.5}"#);
    assert_eq!(answer.json()["thresholds"], thresholds(1.5));
}

#[test]
fn web_pages_change_nothing() {
    let node = Node::start(&worker(gateway()), None);
    let page = "Origin: http://example.org\r\n";
    for port in node.ports() {
        for (path, body) in [
            ("/reload", r#"{"architecture": "federated"}"#),
            ("/update_threshold", r#"{"soft_d2f": 1.2}"#),
        ] {
            let answer = ask(port, "POST", path, page, body);
            answer.assert_refused(403, "cross_origin", "without one");
        }
        assert_eq!(ask(port, "GET", "/load", page, "").status, 200);
        assert_eq!(ask(port, "POST", "/entry", page, r#"{"fn_name": "echo"}"#).status, 200);
    }
    assert_eq!(generation(node.data), 1);
}

/// An address of this host by which it counts as somebody else, where it has one.
fn outward_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Connecting a datagram socket sends nothing; it only picks a route.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[test]
fn callers_from_afar_show_the_token() {
    let Some(outward) = outward_address().filter(|ip| !ip.is_loopback()) else {
        println!("this host has no address but loopback; the access table is tested without it");
        return;
    };
    let token = TempFile::new("a-token-for-operators\n");
    let yaml = worker(gateway()).replace(
        "data: '127.0.0.1:0', admin: '127.0.0.1:0'",
        "data: '0.0.0.0:0', admin: '0.0.0.0:0'",
    ) + &format!("admin: {{ token_file: '{}' }}\n", token.0.display());
    let node = Node::start(&yaml, None);
    let [data, admin] = node.ports().map(|port| SocketAddr::new(outward, port.port()));
    let wrong = "Authorization: Bearer a-token-for-operator\r\n";
    let right = "Authorization: Bearer a-token-for-operators\r\n";
    for port in [data, admin] {
        for (method, path, body) in [
            ("GET", "/load", ""),
            ("GET", "/arch_metrics", ""),
            ("GET", "/durations", ""),
            ("GET", "/configuration", ""),
            ("POST", "/reload", r#"{"architecture": "dynamic"}"#),
            ("POST", "/update_threshold", r#"{"soft_d2f": 1.2}"#),
        ] {
            for fields in ["", wrong] {
                let answer = ask(port, method, path, fields, body);
                answer.assert_refused(403, "forbidden", "authorization: Bearer TOKEN");
            }
            assert_eq!(ask(port, method, path, right, body).status, 200, "{path}");
        }
    }
    let entry = r#"{"fn_name": "describe"}"#;
    post(admin, "/entry", entry).assert_refused(403, "forbidden", "/entry");
    assert_eq!(post(data, "/entry", entry).status, 200);
    let shown = ask(admin, "POST", "/entry", right, entry);
    assert_eq!(shown.status, 200);
    assert!(!shown.text().contains("a-token"), "functions do not see it: {}", shown.text());
    assert_eq!(get(admin, "/live").status, 200, "probes have no token");
    get(admin, "/metrics").assert_refused(403, "forbidden", "/metrics");
}

#[test]
fn methods_and_paths_that_are_not_ours_are_told() {
    let node = Node::start(&worker(gateway()), None);
    for (path, allow) in [
        ("/entry", "POST"),
        ("/schedule", "POST"),
        ("/load", "GET, HEAD"),
        ("/arch_metrics", "GET, HEAD"),
        ("/durations", "GET, HEAD"),
        ("/configuration", "GET, HEAD"),
        ("/reload", "POST"),
        ("/update_threshold", "POST"),
    ] {
        for port in node.ports() {
            let answer = ask(port, "DELETE", path, "", "");
            answer.assert_refused(405, "method_not_allowed", path);
            assert_eq!(answer.header("allow"), Some(allow));
        }
    }
    for path in ["/nothing", "/function/echo", "/load/"] {
        get(node.admin, path).assert_refused(404, "not_found", "/update_threshold");
    }
    assert_eq!(get(node.data, "/metrics").text(), "no /metrics", "the gateway's own path");
}

#[test]
fn head_is_get_without_a_body() {
    let node = Node::start(&worker(gateway()), None);
    for path in ["/configuration", "/live"] {
        let full = get(node.admin, path);
        let head = ask(node.admin, "HEAD", path, "", "");
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), Some(full.body.len().to_string().as_str()));
        assert_eq!(head.header("content-type"), full.header("content-type"));
    }
}

#[test]
fn probes_and_metrics_answer_on_the_admin_port() {
    let node = Node::start(&worker(gateway()), None);
    let probe = |path: &str| -> Answer { get(node.admin, path) };
    assert_eq!((probe("/live").status, probe("/live").text()), (200, "ok\n"));
    assert_eq!((probe("/ready").status, probe("/ready").text()), (200, "ok\n"));
    assert_eq!(post(node.data, "/entry", r#"{"fn_name": "echo"}"#).status, 200);
    for path in ["/metrics", "/stats/prometheus"] {
        let metrics = probe(path);
        let media_type = "text/plain; version=0.0.4; charset=utf-8";
        assert_eq!(metrics.header("content-type"), Some(media_type));
        for line in [
            "hopwise_in_flight 0",
            "hopwise_config_generation 1",
            "hopwise_steps_total{step=\"run_here\"} 1",
            "faas_invocations_total{function_name=\"echo\"} 1",
        ] {
            assert!(metrics.text().lines().any(|l| l == line), "{line}: {}", metrics.text());
        }
    }
    // Draining as such closes the port soon after; readiness goes first.
    node.sidecar.state.begin_draining();
    probe("/ready").assert_refused(503, "draining", "another node");
    assert_eq!(probe("/ready").header("retry-after"), Some("1"));
    assert_eq!(probe("/live").status, 200);
}
