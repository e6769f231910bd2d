//! What one invocation costs the core: `decide`, `report` and `record_placed`.
//!
//! `cargo bench --bench decide` measures time. With `instructions SCENARIO COUNT` the same program
//! handles COUNT invocations and ends, for a tool that counts instructions from outside; with
//! `scenarios` it lists what there is. See `bench/decide_instructions.sh`.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up has to say so")]
#![allow(missing_docs, reason = "nobody links to a benchmark")]

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use hopwise::scheduling::estimate::LoadReport;
use hopwise::scheduling::policy::{Architecture, DynamicRule, Mode, Policy, Selection};
use hopwise::scheduling::retry::Again;
use hopwise::scheduling::route::{Decision, Invocation, Outcome, Stage, Step, Ticket};
use hopwise::scheduling::window::WINDOW;
use hopwise::scheduling::{FunctionName, Scheduler, Site, Time};
use hopwise::topology::{Address, NodeId, NodeIndex, NodeSpec, Role, Topology, Zone};
use rand::SeedableRng;
use rand_pcg::Pcg64;

const NODES: [usize; 4] = [5, 100, 1_000, 10_000];
const SAMPLES: [u32; 2] = [1_000, 60_000];
/// Invocations under way at this node all the time: more than it has cores, and than the offload
/// rule lets pass, so that every decision has to look elsewhere.
const UNDER_WAY_HERE: usize = 3;
/// Invocations under way at other nodes all the time.
const UNDER_WAY_ELSEWHERE: usize = 3;
/// From a decision to its answer: less than the gap at 60 000 samples a minute.
const TOOK: Duration = Duration::from_micros(800);
/// Nodes in a zone, where there are enough of them.
const ZONE: usize = 10;
/// Functions called in turn, so that their table is not one entry.
const FUNCTIONS: usize = 16;

/// The rules under test, with their names.
fn policies() -> [(&'static str, Policy); 3] {
    let decentralized = Policy::new(Mode::Fixed(Architecture::Decentralized));
    let dynamic = Policy::new(Mode::Dynamic);
    let predictive = Selection::Predictive;
    let (adaptive, tail_ratio) = (DynamicRule::Adaptive, DynamicRule::TailRatio);
    [
        ("decentralized_predictive", Policy { selection: predictive, ..decentralized }),
        ("adaptive_predictive", Policy { selection: predictive, rule: adaptive, ..dynamic }),
        (
            "tail_ratio_weighted",
            Policy { selection: Selection::Weighted, rule: tail_ratio, ..dynamic },
        ),
    ]
}

/// A cloud controller, and zones of an edge controller and workers.
fn topology(nodes: usize) -> Topology {
    let zone_size = if nodes > 2 * ZONE { ZONE } else { 2 };
    let spec = |i: usize| {
        let (role, zone) = match i.checked_sub(1) {
            None => (Role::CloudController, "cloud".to_owned()),
            Some(i) if i % zone_size == 0 => (Role::EdgeController, format!("z{}", i / zone_size)),
            Some(i) => (Role::Worker, format!("z{}", i / zone_size)),
        };
        let address = Address { host: format!("n{i}").into(), port: 1, gateway_port: 2 };
        let id = NodeId::new(&format!("n{i}")).unwrap();
        NodeSpec { id, role, zone: Zone::new(&zone).unwrap(), address }
    };
    Topology::new((0..nodes).map(spec).collect(), None).unwrap()
}

/// A scheduler that has been at work for a while, and the world around it.
struct Bench {
    scheduler: Scheduler<Pcg64>,
    site: Site,
    functions: Vec<FunctionName>,
    /// Tickets whose answers never come.
    under_way: Vec<Ticket>,
    now: Time,
    /// Time between two invocations, by which the windows hold as many samples as are wanted.
    gap: Duration,
    count: usize,
    steps: [usize; 3],
}

impl Bench {
    fn warm(nodes: usize, policy: Policy, samples: u32) -> Self {
        let topology = Arc::new(topology(nodes));
        // A zone's controller: it chooses nodes itself under every architecture but one.
        let here = topology.index_of("n1").unwrap();
        let rng = Pcg64::seed_from_u64(1);
        let mut scheduler = Scheduler::new(NonZeroUsize::new(1000).unwrap(), rng).with_cores(2);
        scheduler.adopt(&topology);
        let function = |i| FunctionName::new(&format!("function-{i}")).unwrap();
        let functions = (0..FUNCTIONS).map(function).collect();
        let mut bench = Self {
            scheduler,
            site: Site { topology, here, policy },
            functions,
            under_way: Vec::new(),
            now: Time::from_secs_f64(1.0),
            gap: WINDOW / samples,
            count: 0,
            steps: [0; 3],
        };
        bench.meet_everyone();
        bench.keep_busy();
        for _ in 0..samples {
            bench.invoke();
        }
        bench.steps = [0; 3];
        bench
    }

    /// Runs something on every node, in a topology of it and this one, so that its network, its
    /// load and its speed are known.
    fn meet_everyone(&mut self) {
        let full = Arc::clone(&self.site.topology);
        let spec = |node: NodeIndex| {
            let node = full.node(node).clone();
            NodeSpec { id: node.id, role: node.role, zone: node.zone, address: node.address }
        };
        let policy = Policy::new(Mode::Fixed(Architecture::Decentralized));
        for &node in full.everyone().iter().filter(|node| **node != self.site.here) {
            let pair = Topology::new(vec![spec(self.site.here), spec(node)], Some(&full)).unwrap();
            let here = pair.index_of(self.site.node().id.as_str()).unwrap();
            let site = Site { topology: Arc::new(pair), here, policy };
            let invocation = Invocation { avoid: &[here], ..entering(self.functions[0]) };
            for _ in 0..2 {
                let sent = self.now;
                let decision = self.scheduler.decide(&site, &invocation, 0.0, sent);
                assert!(matches!(decision.step, Step::Offload(_)), "{decision:?}");
                self.now = self.now + way(node) + Duration::from_millis(5);
                let report = answer_of(node, sent, self.now);
                let ticket = decision.ticket.unwrap();
                self.scheduler.record(ticket, Outcome::Good, Some(report), self.now);
            }
        }
    }

    fn keep_busy(&mut self) {
        let entering = entering(self.functions[0]);
        let ordered = Invocation { stage: Stage::Execute, ..entering };
        let elsewhere = Invocation { avoid: &[self.site.here], ..entering };
        let wanted = [(ordered, UNDER_WAY_HERE), (elsewhere, UNDER_WAY_ELSEWHERE)];
        for (invocation, count) in wanted {
            for _ in 0..count {
                let decision = self.scheduler.decide(&self.site, &invocation, 0.2, self.now);
                self.under_way.extend(decision.ticket);
            }
        }
    }

    /// One invocation is decided, sent on its way, and answered.
    fn invoke(&mut self) {
        self.now = self.now + self.gap;
        self.count += 1;
        let invocation = entering(self.functions[self.count % FUNCTIONS]);
        let decision = self.scheduler.decide(&self.site, &invocation, 0.2, self.now);
        let Decision { step, ticket, .. } = black_box(decision);
        self.end(step, ticket.unwrap(), self.now + TOOK);
    }

    fn end(&mut self, step: Step, ticket: Ticket, now: Time) {
        let (here, sent) = (self.site.here, ticket.started());
        let slot = self.site.topology.node(here).slot;
        let own = black_box(self.scheduler.report(slot, Some(&ticket), now));
        let (kind, report, ran) = match step {
            Step::RunHere | Step::Refuse(_) => (0, Some(own), None),
            Step::Offload(node) => (1, Some(answer_of(node, sent, now)), None),
            Step::Delegate(_) => {
                let runner = self.site.topology.everyone()[self.count % 5];
                // The way by a controller is long enough that it is not always taken.
                let execution = Some(TOOK / 2);
                let report = LoadReport { execution, ..answer_of(runner, sent, now) };
                (2, None, Some((runner, report)))
            }
        };
        self.steps[kind] += 1;
        let ran = ran.map(|(runner, said)| (self.site.topology.node(runner).slot, said));
        self.scheduler.record_placed(ticket, Outcome::Good, report, ran, now);
    }
}

/// A call that has just come in from a client.
fn entering(function: FunctionName) -> Invocation<'static> {
    Invocation {
        function,
        hop: 0,
        stage: Stage::Entry,
        architecture: None,
        path: &[],
        passed_here: false,
        avoid: &[],
        again: Again::No,
        timed: true,
    }
}

/// There and back.
fn way(node: NodeIndex) -> Duration {
    Duration::from_micros(100 + 4 * (node.as_usize() as u64 % 50))
}

/// What a node says of itself: each is differently busy, and some are slow.
fn answer_of(node: NodeIndex, sent: Time, now: Time) -> LoadReport {
    let node_number = node.as_usize();
    let execution = now.since(sent).saturating_sub(way(node));
    LoadReport {
        in_flight: 1 + (node_number % 4) as u32,
        cores: 2,
        execution: Some(execution),
        service: Some(execution.mul_f64(0.9)),
        pace_milli: if node_number % 10 == 7 { 500 } else { 0 },
    }
}

/// Every scenario: its name, its number of nodes and of samples, and its rules.
fn scenarios() -> impl Iterator<Item = (String, usize, u32, Policy)> {
    policies().into_iter().flat_map(|(name, policy)| {
        NODES.into_iter().flat_map(move |nodes| {
            SAMPLES.map(|samples| (format!("{name}/{nodes}/{samples}"), nodes, samples, policy))
        })
    })
}

fn measure() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for (name, nodes, samples, policy) in scenarios() {
        let mut bench = None;
        criterion.bench_function(&name, |bencher| {
            let bench = bench.get_or_insert_with(|| Bench::warm(nodes, policy, samples));
            bencher.iter(|| bench.invoke());
        });
    }
    criterion.final_summary();
}

fn count_instructions(name: &str, count: u64) -> ExitCode {
    let Some((_, nodes, samples, policy)) = scenarios().find(|(n, ..)| n == name) else {
        eprintln!("there is no scenario {name}");
        return ExitCode::FAILURE;
    };
    let mut bench = Bench::warm(nodes, policy, samples);
    for _ in 0..count {
        bench.invoke();
    }
    let [here, offloaded, delegated] = bench.steps;
    println!("{here} here, {offloaded} offloaded, {delegated} delegated");
    ExitCode::SUCCESS
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["scenarios"] => scenarios().for_each(|(name, ..)| println!("{name}")),
        ["instructions", name, count] => {
            return count_instructions(name, count.parse().unwrap_or(1000));
        }
        _ => measure(),
    }
    ExitCode::SUCCESS
}
