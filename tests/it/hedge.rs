//! Second copies of invocations that take long.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::scripted::{Does, Scripted};
use crate::support::{BROKEN_OFF, Node, STALL, gateway, get, post};

/// A node that sends second copies; edge2 serves at port `edge2`.
fn hedging(id: &str, gateway: SocketAddr, edge2: u16, more: &str) -> String {
    format!(
        "architecture: decentralized
node: {{ id: {id} }}
topology:
  - {{ id: edge1, role: worker, zone: a, address: 127.0.0.1, port: 1 }}
  - {{ id: edge2, role: edge-controller, zone: a, address: 127.0.0.1, port: {edge2} }}
listen: {{ data: '127.0.0.1:0', admin: '127.0.0.1:0' }}
gateway: '{gateway}'
workers: 1
hedge: {{ enabled: true, budget: 1 }}
functions: {{ twice: {{ idempotent: true }} }}
{more}
"
    )
}

/// Two nodes in front of one gateway, of which the first knows how long both functions take.
fn pair(more: &str) -> (Node, Node) {
    let gateway = gateway();
    let other = Node::start(&hedging("edge2", gateway, 2, more), None);
    (entry(gateway, other.data.port(), more), other)
}

/// The first of two nodes, which knows how long both functions take.
fn entry(gateway: SocketAddr, edge2: u16, more: &str) -> Node {
    let entry = Node::start(&hedging("edge1", gateway, edge2, more), None);
    for function in ["twice", "once"] {
        for _ in 0..40 {
            assert_eq!(post(entry.data, &format!("/function/{function}"), "fast").status, 200);
        }
    }
    entry
}

/// Second copies so far: all of them, and those that won.
fn copies(node: &Node) -> (u64, u64) {
    let text = get(node.admin, "/metrics").text().to_owned();
    let count = |result: &str| -> u64 {
        let name = format!("hopwise_hedges_total{{result=\"{result}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
    };
    (count("won") + count("lost"), count("won"))
}

/// How long `function` takes to answer `body`.
fn time(node: &Node, function: &str, body: &str) -> Duration {
    let begun = Instant::now();
    let answer = post(node.data, &format!("/function/{function}"), body);
    assert_eq!((answer.status, answer.text()), (200, body));
    begun.elapsed()
}

#[test]
fn a_second_copy_answers_for_one_that_stalls_and_the_first_is_broken_off() {
    let (entry, other) = pair("");
    let (_, won) = copies(&entry);
    let broken_off = BROKEN_OFF.load(Ordering::SeqCst);
    let took = time(&entry, "twice", "slow and idempotent");
    assert!(took < STALL * 3 / 4, "{took:?}");
    assert_eq!(copies(&entry).1, won + 1);
    assert_eq!(copies(&other), (0, 0), "a node that is handed a copy sends no further one");
    let begun = Instant::now();
    while BROKEN_OFF.load(Ordering::SeqCst) == broken_off {
        assert!(begun.elapsed() < STALL * 3 / 4, "the first copy was not cancelled");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn only_what_may_run_twice_and_can_be_sent_again_is() {
    let (entry, _other) = pair("limits: { replay_body_bytes: 20 }");
    for (function, body) in
        [("once", "slow and once only"), ("twice", "slow with a body that is not kept")]
    {
        let before = copies(&entry);
        assert!(time(&entry, function, body) >= STALL, "{body}");
        assert_eq!(copies(&entry), before, "{body}");
    }
}

#[test]
fn a_second_copy_that_is_lost_leaves_the_answer_to_the_first() {
    // Which node gets the first copy is drawn; where it was the other, there was no second.
    assert!((0..5).any(|round| a_second_copy_was_lost(&format!("slow, for the {round}. time"))));
}

/// Whether a second copy was sent, to a node that dies over all it is sent.
fn a_second_copy_was_lost(body: &str) -> bool {
    // Slower than the gateway here, so that it seldom gets the first.
    let other = Scripted::start(Does::AnswersAfter(STALL / 4, "fast"));
    let entry = entry(gateway(), other.address.port(), "health: { probes: false }");
    other.turns_to(Does::DiesOverIt);
    let (before, won) = copies(&entry);
    assert!(time(&entry, "twice", body) >= STALL);
    let (after, won_after) = copies(&entry);
    assert_eq!(won_after, won);
    assert!(after <= before + 1);
    after > before
}
