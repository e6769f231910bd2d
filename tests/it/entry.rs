//! `/entry` and `/schedule`, field by field.

use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};

use crate::support::{Node, ask, gateway, get, post, send, worker};

const FIELDS: [&str; 8] = [
    "architecture",
    "architecture_time",
    "execution_location",
    "hop",
    "resp",
    "status",
    "target_node",
    "total_time",
];

fn keys(document: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn an_invocation_that_runs_here_answers_every_field() {
    let node = Node::start(&worker(gateway()), None);
    for port in node.ports() {
        let answer = post(port, "/entry", r#"{"fn_name": "echo", "payload": "hello"}"#);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-call-id"), Some("call-1"));
        assert_eq!(answer.header("hopwise-node"), None, "a stranger did not ask for it");
        let document = answer.json();
        assert_eq!(keys(&document), FIELDS);
        assert_eq!(document["resp"], "hello");
        assert_eq!(document["status"], "success");
        assert_eq!(document["target_node"], "edge1");
        assert_eq!(document["execution_location"], "local");
        assert_eq!(document["hop"], 0);
        assert_eq!(document["architecture"], "decentralized");
        let (total, inner) = (&document["total_time"], &document["architecture_time"]);
        let (total, inner) = (total.as_f64().unwrap(), inner.as_f64().unwrap());
        assert!(0.0 < inner && inner <= total, "{inner} {total}");
    }
}

#[test]
fn the_tag_comes_back() {
    let node = Node::start(&worker(gateway()), None);
    let body = r#"{"fn_name": "echo", "tag": "run 7 ü", "hop": 2, "deadline": 4e9, "more": {}}"#;
    let document = post(node.data, "/entry", body).json();
    assert_eq!(document["tag"], "run 7 ü");
    assert_eq!(document["resp"], "");
    assert_eq!(document["hop"], 2);
}

#[test]
fn the_function_gets_the_payload_as_written() {
    let node = Node::start(&worker(gateway()), None);
    let fields = "X-Call-Id: mine\r\nAccept-Encoding: gzip\r\nContent-Type: application/x\r\n\
                  Hopwise-Call: hop=7\r\nhopwise_call: x\r\nRange: bytes=0-1\r\nX-Mine: 1\r\n";
    for (payload, body, content_type) in [
        (r#""a\nü""#, "a\nü", Some("text/plain; charset=utf-8")),
        (r#"{"b": 1,  "a": 1.10}"#, r#"{"b": 1,  "a": 1.10}"#, Some("application/json")),
        ("[12345678901234567890]", "[12345678901234567890]", Some("application/json")),
        ("null", "", None),
    ] {
        let asked = format!(r#"{{"fn_name": "describe", "payload": {payload}}}"#);
        let answer = ask(node.data, "POST", "/entry?x=1", fields, &asked);
        let resp = answer.json()["resp"].as_str().unwrap().to_owned();
        let seen: Value = serde_json::from_str(&resp).unwrap();
        assert_eq!(seen["method"], "POST");
        assert_eq!(seen["target"], "/function/describe");
        assert_eq!(seen["body"], body);
        let got = &seen["fields"];
        assert_eq!(got["content-type"].as_str(), content_type, "{payload}");
        assert_eq!(got["content-length"], body.len().to_string());
        assert_eq!(got["x-call-id"], "mine");
        assert_eq!(got["x-mine"], "1");
        assert_eq!(got["host"], "localhost");
        assert_eq!(got["x-forwarded-for"], "127.0.0.1");
        for gone in ["accept-encoding", "range", "hopwise-call", "hopwise_call", "connection"] {
            assert!(got.get(gone).is_none(), "{gone}: {got}");
        }
    }
}

#[test]
fn the_status_of_the_function_is_kept() {
    let node = Node::start(&worker(gateway()), None);
    for (function, code, status, resp) in [
        ("broken", 500, "failed", "it broke"),
        ("teapot", 418, "failed", "short and stout"),
        ("missing", 404, "failed", "no /function/missing"),
        // 204 has no body, and the document is one.
        ("nothing", 200, "success", ""),
        ("binary", 200, "success", "a\u{fffd}b"),
    ] {
        let answer = post(node.data, "/entry", &json!({ "fn_name": function }).to_string());
        assert_eq!(answer.status, code, "{answer:?}");
        let document = answer.json();
        assert_eq!((&document["status"], &document["resp"]), (&json!(status), &json!(resp)));
    }
}

#[test]
fn malformed_invocations_are_answered_with_what_to_mend() {
    let node = Node::start(&worker(gateway()), None);
    for port in node.ports() {
        for (body, named) in [
            ("", "the body: is empty"),
            ("[]", "is no JSON object"),
            ("{}", "fn_name: is missing"),
            (r#"{"fn_name": "../system/functions"}"#, "fn_name = \"../system/functions\""),
            (r#"{"fn_name": "echo", "arch": "central"}"#, "arch = \"central\""),
            (r#"{"fn_name": "echo", "hop": -1}"#, "hop = -1"),
            (r#"{"fn_name": "echo", "hop": NaN}"#, "no valid JSON"),
            (r#"{"fn_name": "echo", "deadline": "now"}"#, "deadline = \"now\""),
        ] {
            post(port, "/entry", body).assert_refused(400, "bad_request", named);
        }
        let past = r#"{"fn_name": "echo", "deadline": 1.5}"#;
        post(port, "/entry", past).assert_refused(504, "deadline_passed", "nothing was run");
        let answer = get(port, "/entry");
        answer.assert_refused(405, "method_not_allowed", "use POST");
        assert_eq!(answer.header("allow"), Some("POST"));
    }
}

#[test]
fn bodies_are_bounded_in_size_and_time() {
    let yaml = worker(gateway())
        + "limits: { entry_body_bytes: 1000 }\ntimeouts: { request_header_ms: 300 }\n";
    let node = Node::start(&yaml, None);
    let head = "POST /entry HTTP/1.1\r\nHost: h\r\nConnection: close\r\n";
    let announced = format!("{head}Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n");
    let refused = send(node.data, announced.as_bytes(), false);
    refused.assert_refused(413, "body_too_large", "1000 bytes");
    let chunk = "x".repeat(1001);
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n3e9\r\n{chunk}\r\n0\r\n\r\n");
    let refused = send(node.data, chunked.as_bytes(), false);
    refused.assert_refused(413, "body_too_large", "limits.entry_body_bytes");
    let half = format!("{head}Content-Length: 10\r\n\r\n{{");
    let refused = send(node.data, half.as_bytes(), false);
    refused.assert_refused(408, "request_timeout", "300ms");
    let cut = send(node.data, half.as_bytes(), true);
    cut.assert_refused(400, "client_aborted", "broke off");
    let large = post(node.data, "/entry", r#"{"fn_name": "large"}"#);
    large.assert_refused(502, "answer_too_large", "1000 bytes");
}

#[test]
fn an_answer_that_does_not_end_is_bounded_by_the_deadline() {
    let node = Node::start(&worker(gateway()), None);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let deadline = now.as_secs_f64() + 0.5;
    let body = json!({ "fn_name": "endless", "deadline": deadline }).to_string();
    post(node.data, "/entry", &body).assert_refused(504, "gateway_timeout", "did not end");
}

#[test]
fn a_gateway_that_is_down_is_named() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let node = Node::start(&worker(nobody), None);
    let answer = post(node.data, "/entry", r#"{"fn_name": "echo"}"#);
    answer.assert_refused(502, "gateway_unreachable", &nobody.to_string());
}

/// A node of a topology in which callers from this host are peers; edge2 serves at port `edge2`.
fn pair(id: &str, gateway: SocketAddr, edge2: u16) -> String {
    format!(
        "architecture: decentralized
node: {{ id: {id} }}
topology:
  - {{ id: edge1, role: worker, zone: a, address: 127.0.0.1, port: 1 }}
  - {{ id: edge2, role: edge-controller, zone: a, address: 127.0.0.1, port: {edge2} }}
  - {{ id: cloud, role: cloud-controller, zone: c, address: 127.0.0.1, port: 3 }}
listen: {{ data: '127.0.0.1:0', admin: '127.0.0.1:0' }}
gateway: '{gateway}'
workers: 1
"
    )
}

#[test]
fn an_invocation_that_runs_elsewhere_says_where() {
    let gateway = gateway();
    let controller = Node::start(&pair("edge2", gateway, 2), None);
    let edge = Node::start(&pair("edge1", gateway, controller.data.port()), None);
    // One hop behind it, the second takes it to the controller, which must then run it.
    let body = r#"{"fn_name": "echo", "payload": "hello", "arch": "federated", "hop": 1}"#;
    let answer = post(edge.data, "/entry", body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let document = answer.json();
    assert_eq!(document["resp"], "hello");
    assert_eq!(document["target_node"], "edge2");
    assert_eq!(document["execution_location"], "remote");
    assert_eq!(document["hop"], 2);
    assert_eq!(document["architecture"], "federated");
    assert_eq!(document["message"], "Offloaded to node edge2");
}

#[test]
fn only_controllers_schedule() {
    let gateway = gateway();
    let edge = Node::start(&pair("edge1", gateway, 2), None);
    let controller = Node::start(&pair("edge2", gateway, 2), None);
    // At the hop limit, so that it runs where it is.
    let body = r#"{"fn_name": "echo", "payload": "hello", "arch": "federated", "hop": 2}"#;
    for port in edge.ports() {
        post(port, "/schedule", body).assert_refused(403, "not_a_controller", "edge1 is a worker");
    }
    for port in controller.ports() {
        let document = post(port, "/schedule", body).json();
        assert_eq!(keys(&document), FIELDS, "{document}");
        assert_eq!((&document["target_node"], &document["hop"]), (&json!("edge2"), &json!(2)));
        assert_eq!(document["architecture"], "federated");
        post(port, "/schedule", "{}").assert_refused(400, "bad_request", "fn_name: is missing");
    }
}

#[test]
fn a_peer_that_sends_an_invocation_in_a_circle_is_told() {
    let node = Node::start(&pair("edge2", gateway(), 2), None);
    let fields = "Hopwise-Call: hop=1, via=edge1 edge2\r\n";
    let answer = ask(node.data, "POST", "/schedule", fields, r#"{"fn_name": "echo"}"#);
    answer.assert_refused(508, "loop", "has passed edge2 before");
}
