//! What a node decided can be decided again.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hopwise::config::{Change, Snapshot, ThresholdsPatch};
use hopwise::record::{Difference, Header, Recorder, Replayed, replay};
use hopwise::scheduling::estimate::LoadReport;
use hopwise::scheduling::policy::{Architecture, Mode};
use hopwise::scheduling::retry::Again;
use hopwise::scheduling::route::{Invocation, Outcome, Stage, Ticket};
use hopwise::scheduling::{FunctionName, Time};
use hopwise::state::State;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::support::{Node, TempFile, gateway, get, post, worker};

fn again(record: &str) -> Replayed {
    replay(record.as_bytes()).unwrap_or_else(|error| panic!("{error:#}"))
}

fn configuration(nodes: usize, selection: &str) -> String {
    let row = |i: usize| {
        let role = ["cloud-controller", "edge-controller", "worker", "worker"][i.min(2 + i % 2)];
        format!("  - {{ id: n{i}, role: {role}, zone: z{}, address: 192.0.2.{i} }}\n", i % 2)
    };
    let rows: String = (0..nodes).map(row).collect();
    format!(
        "architecture: dynamic\nselection: {selection}\nnode: {{ id: n1 }}\n\
         limits: {{ functions: 3 }}\ntopology:\n{rows}"
    )
}

fn recorder(file: &TempFile, configuration: &str, seed: u64) -> Recorder {
    let header = Header {
        seed,
        cores: Snapshot::from_yaml(configuration, None).unwrap().cores.get(),
        node: None,
        configuration: configuration.to_owned(),
    };
    Recorder::start(&file.0, &header).unwrap()
}

/// Calls a node at random, as requests, answers and operators would.
struct Caller {
    state: State,
    /// Not the node's own clock: what grows old after a minute has to.
    now: Time,
    rng: Pcg64,
    tickets: Vec<Ticket>,
    /// A configuration some invocations still run by after a reload.
    kept: std::sync::Arc<Snapshot>,
}

impl Caller {
    fn report(&mut self) -> LoadReport {
        let millis = self.rng.random_range(1..300);
        LoadReport {
            in_flight: self.rng.random_range(0..9),
            cores: 2,
            execution: Some(Duration::from_micros(millis * 1003)),
            service: self.rng.random_bool(0.7).then(|| Duration::from_micros(millis * 700)),
            pace_milli: if self.rng.random_bool(0.2) { 900 } else { 0 },
        }
    }

    fn decide(&mut self) {
        let snapshot =
            if self.rng.random_bool(0.3) { self.kept.clone() } else { self.state.snapshot() };
        let everyone = snapshot.site.topology.everyone();
        let some = |rng: &mut Pcg64| -> Vec<_> {
            everyone.iter().copied().filter(|_| rng.random_bool(0.1)).take(3).collect()
        };
        let (path, avoid) = (some(&mut self.rng), some(&mut self.rng));
        let tried = if avoid.is_empty() { 0 } else { self.rng.random_range(0..3) };
        let stages = [Stage::Entry, Stage::Entry, Stage::Entry, Stage::Schedule, Stage::Execute];
        let named = self.rng.random_bool(0.3);
        let invocation = Invocation {
            function: FunctionName::new(&format!("f{}", self.rng.random_range(0..5))).unwrap(),
            hop: self.rng.random_range(0..4),
            stage: stages[self.rng.random_range(0..stages.len())],
            architecture: named.then(|| Architecture::ALL[self.rng.random_range(0..3)]),
            path: &path,
            passed_here: self.rng.random_bool(0.02),
            avoid: &avoid,
            again: [Again::No, Again::NothingRan, Again::MayHaveRun][tried],
            timed: self.rng.random_bool(0.9),
        };
        let cpu_share = self.rng.random();
        let decision = self.state.scheduler().decide(&snapshot, &invocation, cpu_share, self.now);
        self.tickets.extend(decision.ticket);
    }

    fn end(&mut self) {
        if self.tickets.is_empty() {
            return;
        }
        let mut ticket = self.tickets.swap_remove(self.rng.random_range(0..self.tickets.len()));
        if self.rng.random_bool(0.1) {
            ticket.discard_time();
        }
        if self.rng.random_bool(0.2) {
            ticket.note_sent(self.now);
        }
        if self.rng.random_bool(0.5) {
            ticket.note_heard(self.now);
        }
        let outcomes = [Outcome::Failed, Outcome::Lost, Outcome::Unreachable, Outcome::Cancelled];
        let good = self.rng.random_bool(0.7);
        let outcome = if good { Outcome::Good } else { outcomes[self.rng.random_range(0..4)] };
        let report = self.rng.random_bool(0.8).then(|| self.report());
        let everyone = self.state.snapshot();
        let everyone = everyone.site.topology.nodes();
        let runner = everyone[self.rng.random_range(0..everyone.len())].slot;
        let ran = self.rng.random_bool(0.2).then(|| (runner, self.report()));
        self.state.scheduler().record_placed(ticket, outcome, report, ran, self.now);
    }

    fn operate(&mut self, nodes: usize) {
        let change = match self.rng.random_range(0..4) {
            0 => Change::Text(configuration(
                self.rng.random_range(3..=nodes),
                ["weighted", "predictive"][self.rng.random_range(0..2)],
            )),
            1 => Change::Mode(Mode::ALL[self.rng.random_range(0..4)]),
            // Three nodes are always there.
            2 => Change::Drain(
                format!("n{}", self.rng.random_range(0..3)).into(),
                self.rng.random_bool(0.7),
            ),
            _ => Change::Thresholds(ThresholdsPatch {
                hard_d2f: Some(self.rng.random_range(2.0..3.0)),
                ..ThresholdsPatch::default()
            }),
        };
        self.state.apply(&change).unwrap();
        if self.rng.random_bool(0.5) {
            self.kept = self.state.snapshot();
        }
    }

    fn tell(&mut self) {
        let snapshot = self.state.snapshot();
        let nodes = snapshot.site.topology.nodes();
        let slot = nodes[self.rng.random_range(0..nodes.len())].slot;
        let (report, now) = (self.report(), self.now);
        let own = snapshot.site.node().slot;
        let mut core = self.state.scheduler();
        match self.rng.random_range(0..7) {
            0 => core.observe(slot, report, now),
            1 => core.hear(slot, report, now),
            2 => core.tick(now),
            3 => core.forget(FunctionName::new("f1").unwrap()),
            4 => drop((core.view_functions(now), core.view_nodes(&snapshot.site, now))),
            5 => drop(core.view_durations(None, 5, now)),
            _ => drop(core.report(own, self.tickets.last(), now)),
        }
    }
}

/// The record of a node that was called at random.
fn recorded(seed: u64, calls: usize) -> String {
    let (nodes, text) = (60, configuration(60, "predictive"));
    let file = TempFile::new("");
    let snapshot = Snapshot::from_yaml(&text, None)
        .unwrap_or_else(|problems| panic!("{}", hopwise::config::render(&problems, "yaml")));
    let state = State::new(snapshot, None, Pcg64::seed_from_u64(seed));
    state.record_with(recorder(&file, &text, seed));
    let (rng, kept) = (Pcg64::seed_from_u64(seed + 1), state.snapshot());
    let mut caller = Caller { state, now: Time::ZERO, rng, tickets: Vec::new(), kept };
    for _ in 0..calls {
        let pause = if caller.rng.random_bool(0.01) { 40_000_000 } else { 50_000 };
        caller.now = caller.now + Duration::from_micros(caller.rng.random_range(0..pause));
        match caller.rng.random_range(0..100) {
            0..45 => caller.decide(),
            45..85 => caller.end(),
            85..98 => caller.tell(),
            _ => caller.operate(nodes),
        }
    }
    caller.state.end_record();
    std::fs::read_to_string(&file.0).unwrap()
}

#[test]
fn what_was_recorded_is_decided_again() {
    for seed in 0..10 {
        let record = recorded(seed, 1000);
        let replayed = again(&record);
        assert_eq!(replayed.difference, None, "seed {seed}");
        let decisions = record.lines().filter(|line| line.contains(r#""call":"decide""#)).count();
        assert_eq!(replayed.decisions, decisions as u64);
        assert!(decisions > 300 && record.contains(r#""call":"follow""#));
    }
}

#[test]
fn a_record_that_was_tampered_with_differs() {
    let record = recorded(3, 3000);
    let lines: Vec<&str> = record.lines().collect();
    let taken = |line: &&str| line.contains("decide") && line.contains(r#""step":"run_here""#);
    let tampered = lines.iter().skip(100).position(taken).unwrap() + 100;
    let changed = lines[tampered].replace(r#""step":"run_here""#, r#""step":{"offload":0}"#);
    let mut with = lines.clone();
    with[tampered] = &changed;
    let difference = again(&(with.join("\n") + "\n")).difference.unwrap();
    assert_eq!(difference.line, tampered as u64 + 1);
    assert!(difference.recorded.contains("Offload(0)"), "{difference}");
    assert!(difference.replayed.contains("RunHere"), "{difference}");
    // Another seed draws other numbers, and a lost line is missed sooner or later.
    let other = record.replacen(r#""seed":3"#, r#""seed":4"#, 1);
    assert!(matches!(again(&other).difference, Some(Difference { .. })));
    let tick = lines.iter().position(taken).unwrap();
    let without: Vec<&str> =
        lines.iter().enumerate().filter(|(i, _)| *i != tick).map(|(_, line)| *line).collect();
    let missed = replay((without.join("\n") + "\n").as_bytes());
    assert!(missed.is_err() || missed.unwrap().difference.is_some());
}

#[test]
fn a_record_may_break_off_but_must_be_one() {
    let record = recorded(5, 200);
    let cut = again(&record[..record.len() - 7]);
    assert!(cut.broken_off && cut.difference.is_none());
    for bad in ["", "{}\n", "not a record\n"] {
        assert!(replay(bad.as_bytes()).is_err(), "{bad}");
    }
    let stranger = format!("{record}{{\"call\":\"dance\"}}\n");
    let error = replay(stranger.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("is not a call"), "{error:#}");
}

#[test]
fn a_record_is_bounded() {
    let file = TempFile::new("");
    let text = configuration(3, "weighted");
    let header = Header { seed: 1, cores: 2, node: None, configuration: text.clone() };
    let bytes_max = 4096;
    let recorder = Recorder::start_bounded(&file.0, &header, bytes_max).unwrap();
    let snapshot = Snapshot::from_yaml(&text, None).unwrap();
    let state = State::new(snapshot, None, Pcg64::seed_from_u64(1));
    state.record_with(recorder);
    for _ in 0..2000 {
        state.scheduler().tick(state.now());
    }
    state.end_record();
    let written = std::fs::metadata(&file.0).unwrap().len();
    assert!((bytes_max..bytes_max + 100).contains(&written), "{written}");
    assert_eq!(again(&std::fs::read_to_string(&file.0).unwrap()).difference, None);
}

/// A sidecar with real sockets, whose threads take turns.
#[test]
fn what_a_sidecar_decided_is_decided_again() {
    let record = TempFile::new("");
    let text = worker(gateway());
    let source = TempFile::new(&text);
    let node = Node::start_recorded(&text, Some(&source.0), recorder(&record, &text, 1));
    let data = node.data;
    let calls = |path: &'static str| {
        std::thread::spawn(move || {
            for _ in 0..30 {
                assert!(post(data, path, "x").status < 600);
            }
        })
    };
    let threads = ["/function/echo", "/function/broken", "/function/nothing"].map(calls);
    operate(node.admin, &source.0, &text);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    node.sidecar.state.end_record();
    let replayed = again(&std::fs::read_to_string(&record.0).unwrap());
    assert_eq!(replayed.difference, None);
    assert!(replayed.decisions >= 90, "{replayed:?}");
}

fn operate(admin: SocketAddr, source: &Path, text: &str) {
    assert_eq!(get(admin, "/arch_metrics").status, 200);
    assert_eq!(get(admin, "/durations").status, 200);
    std::fs::write(source, text.replace("decentralized", "dynamic")).unwrap();
    assert_eq!(post(admin, "/reload", "").status, 200);
    assert_eq!(post(admin, "/reload", r#"{"architecture": "federated"}"#).status, 200);
    assert_eq!(post(admin, "/update_threshold", r#"{"hard_d2f": 2.4}"#).status, 200);
    assert_eq!(get(admin, "/arch_metrics").status, 200);
}
