//! What is sent again, where to, and what is not.

use std::net::SocketAddr;

use crate::scripted::{Does, Scripted};
use crate::support::{Answer, Node, ask, get, post, wait_until};

/// Node `id` before `gateway`, of two; edge1 decides for itself, and edge2 serves at port `edge2`.
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
functions: {{ twice: {{ idempotent: true }} }}
{more}
"
    )
}

/// Two nodes before gateways that do as told. Invocations come in at the first.
struct Pair {
    gateways: [Scripted; 2],
    entry: Node,
    _other: Node,
}

impl Pair {
    fn start(first: Does, second: Does, more: &str) -> Self {
        let gateways = [Scripted::start(first), Scripted::start(second)];
        let other = Node::start(&yaml("edge2", gateways[1].address, 2, more), None);
        let edge2 = other.data.port();
        let entry = Node::start(&yaml("edge1", gateways[0].address, edge2, more), None);
        Self { gateways, entry, _other: other }
    }

    fn begun(&self) -> [usize; 2] {
        [self.gateways[0].begun(), self.gateways[1].begun()]
    }

    fn post(&self, function: &str) -> Answer {
        post(self.entry.data, &format!("/function/{function}"), "body")
    }
}

fn metric(node: &Node, name: &str) -> u64 {
    let text = get(node.admin, "/metrics").text().to_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("hopwise_{name} ")));
    line.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
}

const GOOD: Does = Does::Answers(200, "", "good");
const NOT_THERE: Does =
    Does::Answers(503, "X-OpenFaaS-Internal: proxy\r\n", "No endpoints available for: once.");
const UNKNOWN: Does = Does::Answers(404, "", "error finding function once.openfaas-fn: not found");
const BUSY: Does =
    Does::Answers(429, "X-OpenFaaS-Internal: faas-middleware\r\n", "Concurrent request limit");

#[test]
fn a_function_that_is_not_here_is_called_elsewhere_and_not_asked_for_here_again() {
    for absent in [NOT_THERE, UNKNOWN] {
        let pair = Pair::start(absent, GOOD, "");
        for _ in 0..20 {
            let answer = pair.post("once");
            assert_eq!((answer.status, answer.text()), (200, "good"), "{absent:?}");
        }
        assert_eq!(pair.begun(), [1, 20], "{absent:?}");
        assert_eq!(metric(&pair.entry, "outcomes_total{outcome=\"absent\"}"), 1);
        assert_eq!(metric(&pair.entry, "retries_total"), 1);
    }
}

#[test]
fn what_nobody_has_is_answered_as_the_platform_does() {
    for absent in [NOT_THERE, UNKNOWN, BUSY] {
        let Does::Answers(status, _, body) = absent else { unreachable!() };
        let pair = Pair::start(absent, absent, "");
        for i in 0..3 {
            let answer = pair.post("once");
            assert_eq!((answer.status, answer.text()), (status, body), "{absent:?}, {i}");
            assert_eq!(answer.header("hopwise-refusal"), None);
        }
        assert!(pair.begun().iter().sum::<usize>() <= 9, "{:?}", pair.begun());
    }
}

#[test]
fn one_that_is_too_busy_says_so_and_another_is_asked() {
    let pair = Pair::start(BUSY, GOOD, "");
    let answer = pair.post("once");
    assert_eq!((answer.status, answer.text()), (200, "good"));
    assert_eq!(pair.begun(), [1, 1]);
}

#[test]
fn the_functions_own_answer_is_passed_on_as_it_is() {
    const TIMED: &str = "X-Duration-Seconds: 0.1\r\n";
    const WATCHDOG: &str = "X-OpenFaaS-Internal: of-watchdog\r\n";
    for (status, fields) in
        [(500, ""), (503, ""), (404, ""), (404, TIMED), (429, TIMED), (502, ""), (500, WATCHDOG)]
    {
        let says = Does::Answers(status, fields, "error finding functionality");
        let says = if status == 404 && fields.is_empty() {
            Does::Answers(404, "", "no such user")
        } else {
            says
        };
        for function in ["once", "twice"] {
            let pair = Pair::start(says, GOOD, "");
            assert_eq!(pair.post(function).status, status, "{function} {fields}");
            assert_eq!(pair.begun(), [1, 0], "{function} {status} {fields}");
        }
    }
}

#[test]
fn what_may_have_run_is_run_again_only_where_that_does_no_harm() {
    let trouble =
        Does::Answers(500, "X-OpenFaaS-Internal: proxy\r\n", "Can't reach service for: f.");
    for (fails, status) in [(Does::DiesOverIt, 502), (trouble, 500)] {
        let pair = Pair::start(fails, GOOD, "");
        assert_eq!(pair.post("once").status, status, "{fails:?}");
        assert_eq!(pair.begun(), [1, 0], "{fails:?}");
        let answer = pair.post("twice");
        assert_eq!((answer.status, answer.text()), (200, "good"), "{fails:?}");
        assert_eq!(get(pair.entry.data, "/function/once").text(), "good", "{fails:?}: a GET");
        assert!(pair.begun()[1] >= 2, "{fails:?}");
        assert_eq!(pair.post("once").status, status, "{fails:?}");
    }
}

#[test]
fn a_peer_whose_gateway_breaks_off_is_no_reason_to_fail_what_may_run_twice() {
    let pair = Pair::start(NOT_THERE, Does::DiesOverIt, "");
    assert_eq!(pair.post("once").status, 502);
    assert_eq!(pair.post("twice").status, 503, "it is not run, as nobody else has it");
}

/// Such a server answers with a reset as well, though it has begun.
#[test]
fn a_server_that_dies_over_a_body_it_has_not_read_has_begun_all_the_same() {
    let pair = Pair::start(Does::DiesBeforeItHasReadTheBody, GOOD, "");
    let body = "x".repeat(20_000);
    let answer = post(pair.entry.data, "/function/once", &body);
    assert_eq!((answer.status, pair.begun()), (502, [1, 0]));
    let answer = post(pair.entry.data, "/function/twice", &body);
    assert_eq!((answer.status, pair.begun()[1]), (200, 1));
}

#[test]
fn there_are_no_more_attempts_than_configured_and_paid_for() {
    for (more, tries) in [("", 3), ("retries: { attempts: 1 }", 1), ("retries: { attempts: 2 }", 2)]
    {
        let pair = Pair::start(Does::DiesOverIt, Does::DiesOverIt, more);
        assert_eq!(pair.post("twice").status, 502);
        assert_eq!(pair.begun().iter().sum::<usize>(), tries, "{more}");
    }
    let none = "retries: { budget: 0, floor_per_s: 0 }";
    let pair = Pair::start(Does::DiesOverIt, GOOD, none);
    assert_eq!(pair.post("twice").status, 502);
    assert_eq!(pair.begun(), [1, 0]);
    assert_eq!(metric(&pair.entry, "retries_refused_total"), 1);
}

#[test]
fn a_lost_peer_is_probed_until_it_is_there_again() {
    let gateways = [Scripted::start(NOT_THERE), Scripted::start(GOOD)];
    let quick = "health: { ejection_ms: 20, ejection_max_ms: 50, probe_interval_ms: 10 }";
    let vacant = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let edge2 = vacant.local_addr().unwrap();
    drop(vacant);
    let entry = Node::start(&yaml("edge1", gateways[0].address, edge2.port(), quick), None);
    let call = || post(entry.data, "/function/once", "body");
    assert_eq!(call().status, 503, "nobody else can be asked");
    assert_eq!(metric(&entry, "ejections_total{cause=\"lost\"}"), 1);
    wait_until("it is probed", || metric(&entry, "probes_total{result=\"missed\"}") > 1);
    let calls = metric(&entry, "upstream_connect_failures_total");
    assert_eq!(call().status, 503);
    assert_eq!(metric(&entry, "upstream_connect_failures_total"), calls, "no invocation tries it");
    let text = yaml("edge2", gateways[1].address, edge2.port(), quick);
    let text = text.replace("data: '127.0.0.1:0'", &format!("data: '{edge2}'"));
    let _other = Node::start(&text, None);
    wait_until("it is found", || metric(&entry, "probes_total{result=\"found\"}") > 0);
    wait_until("it is asked again", || call().status == 200);
}

#[test]
fn no_more_is_sent_to_one_peer_at_once_than_allowed() {
    let gateways = [Scripted::start(NOT_THERE), Scripted::start(GOOD)];
    // A peer that takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let edge2 = silent.local_addr().unwrap().port();
    let narrow = "limits: { peer_requests: 2 }\ntimeouts: { answer_ms: 2000 }";
    let entry = Node::start(&yaml("edge1", gateways[0].address, edge2, narrow), None);
    let data = entry.data;
    let calls: Vec<_> = (0..5)
        .map(|_| std::thread::spawn(move || post(data, "/function/once", "body").status))
        .collect();
    let mut statuses: Vec<u16> = calls.into_iter().map(|call| call.join().unwrap()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [503, 503, 503, 504, 504], "two wait for the peer, three turn back");
    assert_eq!(metric(&entry, "breaker_refusals_total"), 3);
    let answer = ask(data, "GET", "/function/once", "", "");
    assert!(answer.status >= 500);
}
