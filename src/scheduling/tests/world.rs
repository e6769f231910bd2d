//! A long random history around one scheduler: topology, policy, calls, outcomes, reloads.

use super::*;
use crate::scheduling::policy::{HopLimit, OffloadRule, Selection};

pub(super) struct World {
    pub(super) rng: Pcg64,
    pub(super) scheduler: Scheduler<Pcg64>,
    pub(super) site: Site,
    pub(super) now: Time,
    pub(super) pending: Vec<Ticket>,
    /// Nodes that were not to be used when the last decision was made.
    pub(super) down: Vec<NodeIndex>,
    newcomers: usize,
}

/// The facts of one random call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) function: FunctionName,
    pub(super) hop: u8,
    pub(super) stage: Stage,
    pub(super) architecture: Option<Architecture>,
    pub(super) path: Vec<NodeIndex>,
    pub(super) passed_here: bool,
    pub(super) avoid: Vec<NodeIndex>,
    pub(super) again: Again,
    pub(super) timed: bool,
    pub(super) cpu_share: f64,
}

impl Call {
    pub(super) fn invocation(&self) -> Invocation<'_> {
        Invocation {
            function: self.function,
            hop: self.hop,
            stage: self.stage,
            architecture: self.architecture,
            path: &self.path,
            passed_here: self.passed_here,
            avoid: &self.avoid,
            again: self.again,
            timed: self.timed,
        }
    }
}

impl World {
    /// A world whose events follow from `seed`, and whose decisions follow from `decisions` too.
    pub(super) fn new(seed: u64, decisions: u64) -> Self {
        let mut rng = Pcg64::seed_from_u64(seed);
        // Some have more nodes than are looked at one by one.
        let nodes = rng.random_range(1..=if seed.is_multiple_of(4) { 80 } else { 8 });
        let specs = (0..nodes).map(|i| random_spec(i, &mut rng)).collect();
        let topology = Arc::new(Topology::new(specs, None).unwrap());
        let policy = random_policy(&mut rng);
        let here = topology.everyone()[rng.random_range(0..nodes)];
        Self {
            scheduler: scheduler(&topology, decisions),
            site: Site { topology, here, policy },
            now: Time::ZERO,
            pending: Vec::new(),
            down: Vec::new(),
            newcomers: nodes,
            rng,
        }
    }

    /// One thing happens; a decision is handed to `check` before its ticket is put aside.
    pub(super) fn step(&mut self, mut check: impl FnMut(&Self, &Call, &Decision)) {
        match self.rng.random_range(0..100) {
            0..50 => {
                let call = self.random_call();
                let mut decision = self.decide(&call);
                check(self, &call, &decision);
                self.pending.extend(decision.ticket.take());
            }
            50..55 => {
                let ticket = self.rng.random::<u32>();
                self.hold_or_resume(ticket as usize);
            }
            55..85 => self.settle_one(),
            85..95 => self.now = self.now + Duration::from_millis(self.rng.random_range(0..3000)),
            95..97 => self.scheduler.tick(self.now),
            97 => self.reload(),
            98 => self.scheduler.forget(random_function(&mut self.rng)),
            _ => self.now = self.now + Duration::from_secs(self.rng.random_range(0..100)),
        }
    }

    pub(super) fn decide(&mut self, call: &Call) -> Decision {
        let topology = &self.site.topology;
        let down = |node: &NodeIndex| {
            let estimate = self.scheduler.estimate(topology.node(*node).slot);
            estimate.is_some_and(|estimate| estimate.is_ejected(self.now))
        };
        self.down = topology.everyone().iter().copied().filter(down).collect();
        self.scheduler.decide(&self.site, &call.invocation(), call.cpu_share, self.now)
    }

    /// The call of a ticket under way, if it runs here, waits for its turn from now on, or no longer.
    pub(super) fn hold_or_resume(&mut self, ticket: usize) {
        let Some(ticket) = ticket.checked_rem(self.pending.len()) else { return };
        let ticket = &mut self.pending[ticket];
        match ticket.run {
            Run::Held => self.scheduler.resume(ticket, self.now),
            Run::Here(_) | Run::Elsewhere => self.scheduler.hold(ticket, self.now),
        }
    }

    /// What a node may say of itself, if it is out of its mind.
    fn random_report(&mut self, took: Duration) -> LoadReport {
        let time = |rng: &mut Pcg64| match rng.random_range(0..10) {
            0..4 => None,
            4..7 => Some(took / 2),
            7 => Some(Duration::ZERO),
            8 => Some(Duration::from_nanos(rng.random())),
            _ => Some(Duration::MAX),
        };
        let rng = &mut self.rng;
        LoadReport {
            in_flight: if rng.random() { rng.random() } else { rng.random_range(0..9) },
            cores: if rng.random() { rng.random() } else { rng.random_range(0..9) },
            execution: time(rng),
            service: time(rng),
            pace_milli: rng.random(),
        }
    }

    /// One call under way ends, somehow.
    pub(super) fn settle_one(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let ticket = self.pending.swap_remove(self.rng.random_range(0..self.pending.len()));
        let outcome = match self.rng.random_range(0..10) {
            0..6 => Outcome::Good,
            6 => Outcome::Failed,
            7 => Outcome::Lost,
            8 => Outcome::Unreachable,
            _ => Outcome::Cancelled,
        };
        let took = Duration::from_micros(self.rng.random_range(0..5_000_000));
        let said = self.random_report(took);
        let report = self.rng.random_bool(0.7).then_some(said);
        // Threads read the clock before they take their turn, so time may run back a little.
        let end = ticket.started() + took;
        self.now = self.now.max(end);
        self.scheduler.record(ticket, outcome, report, end);
    }

    /// Some nodes leave, some come, this one stays.
    fn reload(&mut self) {
        let here = self.site.node().id.clone();
        let mut specs: Vec<NodeSpec> = Vec::new();
        for node in self.site.topology.nodes() {
            if node.id == here || self.rng.random_bool(0.8) {
                let Node { id, role, zone, address, .. } = node.clone();
                specs.push(NodeSpec { id, role, zone, address });
            }
        }
        for _ in 0..self.rng.random_range(0..3) {
            specs.push(random_spec(self.newcomers, &mut self.rng));
            self.newcomers += 1;
        }
        let topology = Arc::new(Topology::new(specs, Some(&self.site.topology)).unwrap());
        self.scheduler.adopt(&topology);
        let here = topology.index_of(here.as_str()).unwrap();
        self.site = Site { here, topology, policy: random_policy(&mut self.rng) };
    }

    pub(super) fn random_call(&mut self) -> Call {
        let rng = &mut self.rng;
        let nodes = self.site.topology.everyone();
        let mut some = |share: f64| -> Vec<NodeIndex> {
            nodes.iter().copied().filter(|_| rng.random_bool(share)).collect()
        };
        let (path, mut avoid) = (some(0.1), some(0.1));
        avoid.truncate(rng.random_range(0..=ATTEMPTS + 1));
        Call {
            function: random_function(rng),
            hop: rng.random_range(0..4),
            stage: [Stage::Entry, Stage::Schedule, Stage::Execute][rng.random_range(0..3)],
            architecture: rng.random_bool(0.3).then(|| Architecture::ALL[rng.random_range(0..3)]),
            path,
            passed_here: rng.random_bool(0.05),
            avoid,
            again: [Again::No, Again::NothingRan, Again::MayHaveRun][rng.random_range(0..3)],
            timed: rng.random_bool(0.9),
            cpu_share: rng.random::<f64>() * 1.8,
        }
    }
}

fn random_spec(i: usize, rng: &mut Pcg64) -> NodeSpec {
    let zone = rng.random_range(0..5);
    spec(&format!("n{i}"), Role::ALL[rng.random_range(0..3)], &format!("z{zone}"))
}

fn random_function(rng: &mut Pcg64) -> FunctionName {
    function(&format!("f{}", rng.random_range(0..5)))
}

fn random_policy(rng: &mut Pcg64) -> Policy {
    let dynamic = rng.random_bool(0.5);
    let mode = if dynamic { Mode::Dynamic } else { Mode::ALL[rng.random_range(0..4)] };
    let mut policy = Policy::new(mode);
    policy.hop_limit = HopLimit(rng.random_range(0..4));
    policy.selection = Selection::ALL[rng.random_range(0..Selection::ALL.len())];
    policy.offload = OffloadRule { enabled: rng.random_bool(0.8), ..OffloadRule::default() };
    policy.tail_ratio.min_samples = rng.random_range(0..20);
    policy.tail_ratio.sample_interval = Duration::from_millis(rng.random_range(0..3000));
    policy
}
