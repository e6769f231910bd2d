//! Time that runs out.

use std::net::SocketAddr;

use crate::scripted::{Does, Scripted};
use crate::support::{Node, gateway, is_broken_off, post, wait_until, worker};

/// Edge1 before a `gateway`, and edge2 at port `edge2`.
fn yaml(id: &str, gateway: SocketAddr, edge2: u16, more: &str) -> String {
    format!(
        "architecture: decentralized
node: {{ id: {id} }}
topology:
  - {{ id: edge1, role: worker, zone: a, address: 127.0.0.1, port: 1 }}
  - {{ id: edge2, role: edge-controller, zone: a, address: 127.0.0.1, port: {edge2} }}
listen: {{ data: '127.0.0.1:0', admin: '127.0.0.1:0' }}
gateway: '{gateway}'
workers: 1
{more}
"
    )
}

const NOT_THERE: Does = Does::Answers(503, "X-OpenFaaS-Internal: proxy\r\n", "No endpoints");

#[test]
fn what_takes_longer_than_anything_may_is_cancelled_at_the_function() {
    let deadline =
        "timeouts: { deadline_ms: 300 }\nfunctions: { urgent: { deadline_ms: 60000 } }\n";
    let node = Node::start(&(worker(gateway()) + deadline), None);
    let late = post(node.data, "/function/held", "total: late");
    late.assert_refused(504, "gateway_timeout", "deadline");
    wait_until("it is broken off", || is_broken_off("total: late"));
    let answer = post(node.data, "/function/echo", "in time");
    assert_eq!((answer.status, answer.text()), (200, "in time"));
    let data = node.data;
    let longer = std::thread::spawn(move || post(data, "/function/urgent", "total: own bound"));
    let again = post(node.data, "/function/held", "total: late again");
    again.assert_refused(504, "gateway_timeout", "deadline");
    crate::support::let_go("total: own bound");
    assert_eq!(longer.join().unwrap().status, 200, "what is said of a function comes first");
}

#[test]
fn a_peer_is_told_what_is_left_and_no_more_is_waited_for() {
    let (here, there) = (Scripted::start(NOT_THERE), Scripted::start(Does::Answers(200, "", "ok")));
    let deadline = "timeouts: { deadline_ms: 5000 }";
    let node = Node::start(&yaml("edge1", here.address, there.address.port(), deadline), None);
    assert_eq!(post(node.data, "/function/f", "body").status, 200);
    let said = there.field("hopwise-call").unwrap();
    let left = said.split(", ").find_map(|part| part.strip_prefix("deadline-ms="));
    let left: u32 = left.unwrap().parse().unwrap();
    assert!((1..=5000).contains(&left), "{left}");
    assert_eq!(here.field("hopwise-call"), None, "the gateway is told nothing");
}

#[test]
fn what_runs_at_a_peer_is_cancelled_there() {
    let here = Scripted::start(NOT_THERE);
    let other = Node::start(&yaml("edge2", gateway(), 2, ""), None);
    let deadline = "timeouts: { deadline_ms: 500 }";
    let node = Node::start(&yaml("edge1", here.address, other.data.port(), deadline), None);
    let late = post(node.data, "/function/held", "at a peer: late");
    late.assert_refused(504, "gateway_timeout", "deadline");
    wait_until("it is broken off", || is_broken_off("at a peer: late"));
}

#[test]
fn what_cannot_be_in_time_is_refused_at_once_and_not_run() {
    let slow = std::time::Duration::from_millis(30);
    let gateway = Scripted::start(Does::AnswersAfter(slow, "slow"));
    let node = Node::start(&worker(gateway.address), None);
    for _ in 0..30 {
        assert_eq!(post(node.data, "/function/f", "body").status, 200);
    }
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let enter = || {
        let deadline = now().as_secs_f64() + 0.02;
        let body = serde_json::json!({ "fn_name": "f", "deadline": deadline }).to_string();
        post(node.data, "/entry", &body)
    };
    let mut refused = 0;
    for _ in 0..20 {
        let answer = enter();
        assert_eq!(answer.status, 504, "{answer:?}");
        refused += usize::from(answer.json()["error"] == "deadline_passed");
    }
    let run = gateway.begun() - 30;
    assert!(refused >= 15 && refused + run <= 20, "{refused} refused, {run} run");
}
