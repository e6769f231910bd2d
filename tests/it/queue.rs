//! Invocations that wait for their turn at a node.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use crate::support::{
    Answer, Node, TempFile, gateway, get, is_held, let_go, post, wait_until, worker,
};

/// A node that runs one invocation at a time and lets `waiting` wait.
fn one_at_a_time(gateway: SocketAddr, waiting: u32, urgent_ms: u32) -> String {
    format!(
        "{}queue: {{enabled: true, running: 1, waiting: {waiting}}}
functions: {{urgent: {{deadline_ms: {urgent_ms}}}}}
",
        worker(gateway)
    )
}

/// Calls `function` with `body` from a client of its own.
fn call(node: &Node, function: &str, body: &str) -> JoinHandle<Answer> {
    let (data, path, body) = (node.data, format!("/function/{function}"), body.to_owned());
    std::thread::spawn(move || post(data, &path, &body))
}

fn metric(node: &Node, name: &str) -> u64 {
    let text = get(node.admin, "/metrics").text().to_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("hopwise_{name} ")));
    line.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
}

fn wait_for_queue(node: &Node, length: u64) {
    wait_until(&format!("{length} wait"), || metric(node, "queued") == length);
}

fn ends_well(call: JoinHandle<Answer>, body: &str) {
    let answer = call.join().unwrap();
    assert_eq!((answer.status, answer.text()), (200, body));
}

#[test]
fn whoever_can_wait_least_runs_next() {
    let node = Node::start(&one_at_a_time(gateway(), 10, 9_000), None);
    let first = call(&node, "held", "order: first");
    wait_until("it runs", || is_held("order: first"));
    let patient = call(&node, "held", "order: patient");
    wait_for_queue(&node, 1);
    let urgent = call(&node, "urgent", "order: urgent");
    wait_for_queue(&node, 2);
    assert_eq!(metric(&node, "in_flight"), 3, "those that wait are in flight too");
    let_go("order: first");
    wait_until("the urgent one runs", || is_held("order: urgent"));
    assert!(!is_held("order: patient"));
    let_go("order: urgent");
    let_go("order: patient");
    ends_well(first, "order: first");
    ends_well(urgent, "order: urgent");
    ends_well(patient, "order: patient");
    assert_eq!((metric(&node, "queued"), metric(&node, "in_flight")), (0, 0));
}

#[test]
fn a_full_queue_is_told_and_the_most_patient_goes_for_one_in_a_hurry() {
    let node = Node::start(&one_at_a_time(gateway(), 1, 9_000), None);
    let first = call(&node, "held", "full: first");
    wait_until("it runs", || is_held("full: first"));
    let patient = call(&node, "held", "full: patient");
    wait_for_queue(&node, 1);
    let refused = post(node.data, "/function/held", "full: one too many");
    refused.assert_refused(503, "queue_full", "queue.waiting");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let urgent = call(&node, "urgent", "full: urgent");
    patient.join().unwrap().assert_refused(503, "queue_full", "queue.waiting");
    let_go("full: first");
    let_go("full: urgent");
    ends_well(first, "full: first");
    ends_well(urgent, "full: urgent");
    assert!(metric(&node, "queue_refusals_total{reason=\"full\"}") >= 2);
    assert!(!is_held("full: one too many") && !is_held("full: patient"));
}

#[test]
fn what_can_no_longer_be_answered_in_time_is_not_run() {
    let node = Node::start(&one_at_a_time(gateway(), 10, 150), None);
    let first = call(&node, "held", "late: first");
    wait_until("it runs", || is_held("late: first"));
    let late = post(node.data, "/function/urgent", "late: urgent");
    late.assert_refused(504, "deadline_passed", "nothing was run");
    let_go("late: first");
    ends_well(first, "late: first");
    assert!(!is_held("late: urgent"));
    assert_eq!(metric(&node, "queue_refusals_total{reason=\"late\"}"), 1);
}

#[test]
fn what_runs_longer_than_its_deadline_is_given_up() {
    let node = Node::start(&one_at_a_time(gateway(), 10, 150), None);
    let late = post(node.data, "/function/urgent", "long: urgent");
    late.assert_refused(504, "gateway_timeout", "deadline");
    assert!(is_held("long: urgent"), "it did run");
    let next = call(&node, "held", "long: next");
    let_go("long: next");
    ends_well(next, "long: next");
}

#[test]
fn a_client_that_goes_away_leaves_its_place() {
    use std::io::Write;
    let node = Node::start(&one_at_a_time(gateway(), 10, 9_000), None);
    let first = call(&node, "held", "gone: first");
    wait_until("it runs", || is_held("gone: first"));
    let mut gone = std::net::TcpStream::connect(node.data).unwrap();
    gone.write_all(b"POST /function/held HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\ngone")
        .unwrap();
    wait_for_queue(&node, 1);
    drop(gone);
    wait_for_queue(&node, 0);
    assert_eq!(metric(&node, "in_flight"), 1);
    let next = call(&node, "held", "gone: next");
    wait_for_queue(&node, 1);
    let_go("gone: first");
    let_go("gone: next");
    ends_well(first, "gone: first");
    ends_well(next, "gone: next");
    assert!(!is_held("gone"));
}

#[test]
fn a_new_configuration_holds_for_those_that_wait() {
    let gateway = gateway();
    let file = TempFile::new(&one_at_a_time(gateway, 10, 9_000));
    let node = Node::start(&one_at_a_time(gateway, 10, 9_000), Some(&file.0));
    let bodies = ["reload: 1", "reload: 2", "reload: 3"];
    let calls = bodies.map(|body| call(&node, "held", body));
    wait_for_queue(&node, 2);
    file.write(&worker(gateway));
    assert_eq!(post(node.admin, "/reload", "").status, 200);
    for body in bodies {
        wait_until("it runs beside the others", || is_held(body));
    }
    bodies.into_iter().for_each(let_go);
    for (call, body) in calls.into_iter().zip(bodies) {
        ends_well(call, body);
    }
}

#[test]
fn what_finds_a_peer_full_runs_elsewhere() {
    let topology = |id: &str, gateway, edge2: u16, more: &str| {
        format!(
            "architecture: decentralized
selection: weighted
node: {{ id: {id} }}
topology:
  - {{ id: edge1, role: worker, zone: a, address: 127.0.0.1, port: 1, offload: {{load_thresh: 0, cpu_thresh: 0}} }}
  - {{ id: edge2, role: edge-controller, zone: a, address: 127.0.0.1, port: {edge2} }}
listen: {{ data: '127.0.0.1:0', admin: '127.0.0.1:0' }}
gateway: '{gateway}'
workers: 1
{more}
"
        )
    };
    let gateway = gateway();
    let full = "queue: {enabled: true, running: 1, waiting: 0}";
    let peer = Node::start(&topology("edge2", gateway, 2, full), None);
    let entry = Node::start(&topology("edge1", gateway, peer.data.port(), ""), None);
    let first = call(&peer, "held", "peer: first");
    wait_until("it runs", || is_held("peer: first"));
    let second = call(&entry, "held", "peer: second");
    wait_until("it runs at its entry", || is_held("peer: second"));
    assert_eq!(metric(&peer, "queue_refusals_total{reason=\"full\"}"), 1);
    assert_eq!((metric(&peer, "in_flight"), metric(&entry, "in_flight")), (1, 1));
    assert_eq!(metric(&entry, "outcomes_total{outcome=\"unreachable\"}"), 0, "busy is no fault");
    let_go("peer: first");
    let_go("peer: second");
    ends_well(first, "peer: first");
    ends_well(second, "peer: second");
}
