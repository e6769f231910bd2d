//! `predictive` and `adaptive` on five nodes, against what a person would do who knew as much.

use super::*;

const CORES: u16 = 2;

/// A scheduler at `here`, and what the world answers it.
struct Bench {
    site: Site,
    scheduler: Scheduler<Pcg64>,
    now: Time,
    /// Others' invocations at each node, its slowness, and the way there and back.
    others: [u32; 5],
    slowness: [f64; 5],
    ways_ms: [u64; 5],
}

impl Bench {
    fn new(here: &str, policy: Policy) -> Self {
        let topology = five_nodes();
        let scheduler = scheduler(&topology, 1).with_cores(CORES);
        let site = site(&topology, here, policy);
        // From edge2 as the testbed has it.
        let ways_ms = [120, 20, 0, 40, 40];
        Self { site, scheduler, now: at(1.0), others: [0; 5], slowness: [1.0; 5], ways_ms }
    }

    fn decide(&mut self) -> Decision {
        self.now = self.now + Duration::from_millis(10);
        self.scheduler.decide(&self.site, &entering(), 0.0, self.now)
    }

    /// Ends a step as the world has it: 100 ms of service.
    fn answer(&mut self, decision: Decision, outcome: Outcome) {
        let mut ticket = decision.ticket.unwrap();
        if outcome == Outcome::Cancelled {
            ticket.discard_time();
        }
        let (Step::Offload(node) | Step::Delegate(node)) = decision.step else {
            self.now = self.now.max(ticket.started() + Duration::from_millis(100));
            return self.scheduler.record(ticket, outcome, None, self.now);
        };
        let i = node.as_usize();
        let service = Duration::from_millis(100).mul_f64(self.slowness[i]);
        let report = LoadReport {
            in_flight: self.others[i] + 1,
            cores: CORES,
            execution: Some(service),
            service: Some(service),
            pace_milli: 0,
        };
        let end = ticket.started() + service + Duration::from_millis(self.ways_ms[i]);
        self.now = self.now.max(end);
        self.scheduler.record(ticket, outcome, Some(report), end);
    }

    /// Where invocations go while `holding` of them run here.
    fn targets(&mut self, holding: usize, count: usize, outcome: Outcome) -> Vec<String> {
        let held: Vec<Decision> = (0..holding).map(|_| self.decide()).collect();
        let steps = held.iter().map(|held| short(&self.site.topology, held.step));
        assert_eq!(steps.collect::<Vec<_>>(), vec!["here"; holding]);
        let targets = (0..count)
            .map(|_| {
                let decision = self.decide();
                let step = short(&self.site.topology, decision.step);
                self.answer(decision, outcome);
                step
            })
            .collect();
        // Those held were there for as long as it took, which says nothing of the function.
        held.into_iter().for_each(|decision| self.answer(decision, Outcome::Cancelled));
        targets
    }
}

fn share(targets: &[String], target: &str) -> f64 {
    targets.iter().filter(|t| *t == target).count() as f64 / targets.len() as f64
}

fn predictive(architecture: Architecture) -> Policy {
    Policy { selection: Selection::Predictive, ..fixed(architecture) }
}

fn adaptive() -> Policy {
    let (selection, rule) = (Selection::Predictive, DynamicRule::Adaptive);
    Policy { selection, rule, ..Policy::new(Mode::Dynamic) }
}

#[test]
fn an_idle_entry_runs_what_comes_in() {
    let mut bench = Bench::new("edge2", predictive(Architecture::Decentralized));
    assert_eq!(share(&bench.targets(0, 50, Outcome::Good), "here"), 1.0);
}

#[test]
fn a_busy_entry_finds_the_nearest_idle_node() {
    let mut bench = Bench::new("edge2", predictive(Architecture::Decentralized));
    bench.targets(2, 20, Outcome::Good);
    assert!(share(&bench.targets(2, 50, Outcome::Good), ">edge1") > 0.9);
    bench.others[1] = 6;
    bench.targets(2, 10, Outcome::Good);
    let targets = bench.targets(2, 50, Outcome::Good);
    assert!(share(&targets, ">edge1") < 0.1, "{targets:?}");
    assert!(share(&targets, ">cloud") < 0.1, "the cloud is far: {targets:?}");
}

#[test]
fn a_node_that_fails_fast_does_not_win_the_traffic() {
    let mut bench = Bench::new("edge2", predictive(Architecture::Decentralized));
    bench.targets(2, 20, Outcome::Good);
    bench.slowness[1] = 0.01;
    let targets = bench.targets(2, 100, Outcome::Failed);
    let late = &targets[50..];
    assert!(share(late, ">edge1") < 0.6, "all fail here, so all are tried: {late:?}");
}

#[test]
fn a_slow_node_is_left_and_found_again() {
    let mut bench = Bench::new("edge2", predictive(Architecture::Decentralized));
    bench.targets(2, 50, Outcome::Good);
    bench.slowness[1] = 4.0;
    bench.targets(2, 50, Outcome::Good);
    // That this node is as fast as ever is to be seen only where something runs here.
    bench.targets(0, 10, Outcome::Good);
    bench.targets(2, 50, Outcome::Good);
    assert!(share(&bench.targets(2, 50, Outcome::Good), ">edge1") < 0.1);
}

#[test]
fn a_node_that_may_not_offload_keeps_its_own() {
    for architecture in [Architecture::Decentralized, Architecture::Federated] {
        let mut policy = predictive(architecture);
        policy.offload.enabled = false;
        let mut bench = Bench::new("edge1", policy);
        let targets = bench.targets(2, 50, Outcome::Good);
        let own = share(&targets, "here") + share(&targets, ">edge2");
        assert_eq!(own, 1.0, "{architecture}: {targets:?}");
    }
}

#[test]
fn a_zone_controller_sends_to_another_zone_when_its_own_is_full() {
    let mut bench = Bench::new("edge1", predictive(Architecture::Federated));
    bench.ways_ms = [120, 0, 20, 40, 40];
    bench.others[2] = 8;
    bench.targets(2, 30, Outcome::Good);
    let targets = bench.targets(2, 50, Outcome::Good);
    assert!(share(&targets, ">edge3") + share(&targets, ">edge4") > 0.9, "{targets:?}");
}

#[test]
fn adaptive_runs_what_finds_a_core_free_and_asks_the_controller_for_the_rest() {
    let mut bench = Bench::new("edge2", adaptive());
    assert_eq!(share(&bench.targets(0, 50, Outcome::Good), "here"), 1.0);
    bench.targets(2, 20, Outcome::Good);
    let targets = bench.targets(2, 400, Outcome::Good);
    assert!(share(&targets, "@edge1") > 0.95, "{targets:?}");
    assert!(share(&targets, "@cloud") <= 0.02, "trying is bounded");
}

#[test]
fn adaptive_leaves_a_controller_that_is_far_for_one_that_is_near() {
    let mut bench = Bench::new("edge2", adaptive());
    bench.ways_ms = [10, 200, 0, 200, 200];
    bench.targets(2, 50, Outcome::Good);
    let targets = bench.targets(2, 200, Outcome::Good);
    assert!(share(&targets, "@edge1") < 0.02, "{targets:?}");
}

#[test]
fn adaptive_asks_a_controller_next_door_even_with_a_core_free() {
    let mut bench = Bench::new("edge2", adaptive());
    bench.ways_ms = [1; 5];
    bench.targets(2, 20, Outcome::Good);
    assert!(share(&bench.targets(0, 50, Outcome::Good), "@cloud") > 0.9);
}

#[test]
fn without_controllers_adaptive_decides_at_the_entry() {
    let topology = Arc::new(topology_of(3));
    let site = site(&topology, "n1", adaptive());
    let mut scheduler = scheduler(&topology, 1).with_cores(CORES);
    for i in 0..50 {
        let decision = scheduler.decide(&site, &entering(), 0.0, at(1.0 + f64::from(i) * 0.01));
        assert_eq!(decision.architecture, Architecture::Decentralized);
        assert_eq!(decision.fallback_from, None);
        if i % 2 == 0 {
            let ticket = decision.ticket.unwrap();
            scheduler.record(ticket, Outcome::Good, None, at(1.0 + f64::from(i) * 0.01));
        }
    }
}
