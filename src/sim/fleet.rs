//! The nodes of a simulated fleet: their schedulers, their machines, and what ails them.

use std::sync::Arc;
use std::time::Duration;

use rand_pcg::Pcg64;

use super::call::{CallId, MachineId};
use super::contender::Contender;
use super::machine::Processor;
use super::queue::Nanos;
use super::scenario::{Cell, Scenario};
use crate::config::{Change, Snapshot};
use crate::scheduling::estimate::LoadReport;
use crate::scheduling::health::HealthRule;
use crate::scheduling::policy::{DynamicRule, OffloadRule, Policy, Selection};
use crate::scheduling::queue::Queue as Turns;
use crate::scheduling::route::{Decision, Invocation, Invoked, Ticket};
use crate::scheduling::{Scheduler, Site, Time};
use crate::topology::{NodeIndex, Slot};

/// Load above which the earlier scheduler offloads, in processes that run or wait.
const REFERENCE_LOAD_THRESH: f64 = 2.0;
/// Time constant of its load average.
const LOAD_AVERAGE_S: f64 = 60.0;
/// How often a live sidecar samples its host.
const HOST_SAMPLE: Nanos = 1_000_000_000;

/// One node.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) site: Site,
    /// Who is who in the topology of that site.
    roster: Arc<Roster>,
    pub(super) scheduler: Scheduler<Pcg64>,
    pub(super) processor: Processor,
    pub(super) ails: Ails,
    /// Requests that are to run there, on their way or still waiting; only a clairvoyant sees them.
    pub(super) coming: u32,
    /// Who runs there, and who waits, where turns are taken.
    pub(super) turns: Turns<CallId>,
    /// Whether it will look for lost nodes.
    pub(super) probes: bool,
    /// When it last stopped.
    pub(super) lost_at: Option<Nanos>,
    load: LoadMeter,
}

/// Which machine has which position in a topology.
#[derive(Debug)]
struct Roster {
    index_of: Vec<Option<NodeIndex>>,
    machine_of: Vec<MachineId>,
}

/// What is wrong with a node.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ails {
    pub(super) stopped: bool,
    pub(super) cut_off: bool,
    pub(super) partitioned: bool,
    pub(super) left: bool,
    pub(super) silent: f64,
    pub(super) failing: f64,
}

/// Load of the host as a live node would see it: too late, and averaged.
#[derive(Debug, Clone, Copy, Default)]
struct LoadMeter {
    updated: Nanos,
    average: f64,
    busy_core_ns: f64,
    sampled: Nanos,
    cpu_share: f64,
}

impl Member {
    /// Notes how many run here since the last change, before it changes.
    pub(super) fn meter(&mut self, now: Nanos) {
        let running = self.processor.running() as f64;
        let meter = &mut self.load;
        let elapsed = (now - meter.updated) as f64;
        let decay = (-elapsed * 1e-9 / LOAD_AVERAGE_S).exp();
        meter.average = running + (meter.average - running) * decay;
        meter.busy_core_ns += elapsed * running.min(f64::from(self.processor.cores()));
        meter.updated = now;
        if now - meter.sampled >= HOST_SAMPLE {
            let whole = (now - meter.sampled) as f64 * f64::from(self.processor.cores());
            meter.cpu_share = meter.busy_core_ns / whole.max(1.0);
            meter.busy_core_ns = 0.0;
            meter.sampled = now;
        }
    }

    /// What its scheduler is told of its host.
    pub(super) fn cpu_share(&self, contender: Contender) -> f64 {
        match contender {
            Contender::Reference(_) => self.load.average,
            _ => self.load.cpu_share,
        }
    }
}

impl Roster {
    /// As many of `machines` as are in it and find room in `known`.
    fn translated<'k>(
        &self,
        machines: &[MachineId],
        known: &'k mut [NodeIndex],
    ) -> &'k [NodeIndex] {
        let mut count = 0;
        let indices = machines.iter().filter_map(|machine| self.index_of[*machine as usize]);
        for (place, index) in known.iter_mut().zip(indices) {
            *place = index;
            count += 1;
        }
        &known[..count]
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) members: Vec<Member>,
    snapshot: Snapshot,
}

impl Fleet {
    pub(super) fn new(scenario: &Scenario, cell: &Cell, contender: Contender, seed: u64) -> Self {
        let mut snapshot = scenario.snapshot.clone();
        snapshot.site.policy = policy_of(contender, snapshot.site.policy);
        let topology = Arc::clone(&snapshot.site.topology);
        let roster = Arc::new(Roster {
            index_of: topology.everyone().iter().copied().map(Some).collect(),
            machine_of: (0..topology.nodes().len() as u32).collect(),
        });
        let members = topology.everyone().iter().zip(&scenario.machines).enumerate();
        let members = members.map(|(i, (&here, &machine))| {
            let rng = Pcg64::new(u128::from(seed) << 64 | i as u128, 0x5eed);
            let mut scheduler =
                Scheduler::new(snapshot.limits.functions, rng).with_cores(machine.cores);
            scheduler.adopt(&topology);
            scheduler.keep_health(snapshot.site.policy.health);
            Member {
                site: Site { here, ..snapshot.site.clone() },
                roster: Arc::clone(&roster),
                scheduler,
                processor: Processor::new(machine, cell.functions.len()),
                ails: Ails::default(),
                coming: 0,
                turns: Turns::default(),
                probes: false,
                lost_at: None,
                load: LoadMeter::default(),
            }
        });
        Self { members: members.collect(), snapshot }
    }

    /// The machine that `by` knows by this position. One that has left goes by the topology in which
    /// it still was, and what it holds has to be placed all the same.
    pub(super) fn machine_of(&self, by: MachineId, index: NodeIndex) -> MachineId {
        self.members[by as usize].roster.machine_of[index.as_usize()]
    }

    pub(super) fn member(&mut self, machine: MachineId) -> &mut Member {
        &mut self.members[machine as usize]
    }

    /// Where `by` keeps what it knows of `machine`.
    pub(super) fn slot_of(&self, by: MachineId, machine: MachineId) -> Option<Slot> {
        let Member { roster, site, .. } = &self.members[by as usize];
        let index = roster.index_of[machine as usize]?;
        Some(site.topology.node(index).slot)
    }

    /// This machine, or the next one whose node clients can reach.
    pub(super) fn next_in_service(&self, machine: MachineId) -> MachineId {
        let count = self.members.len() as u32;
        let up = |id: &MachineId| {
            let Ails { stopped, left, .. } = self.members[*id as usize].ails;
            !stopped && !left
        };
        (0..count).map(|step| (machine + step) % count).find(up).unwrap_or(machine)
    }

    /// `path` and `avoid` as positions in the topology that `by` goes by.
    pub(super) fn translate<'k>(
        &self,
        by: MachineId,
        path: &[MachineId],
        avoid: &[MachineId],
        known: &'k mut [NodeIndex],
    ) -> (&'k [NodeIndex], &'k [NodeIndex]) {
        let (first, second) = known.split_at_mut(known.len() / 2);
        let roster = &self.members[by as usize].roster;
        (roster.translated(path, first), roster.translated(avoid, second))
    }

    pub(super) fn decide(
        &mut self,
        machine: MachineId,
        invocation: &Invocation<'_>,
        contender: Contender,
        now: Nanos,
    ) -> Decision {
        let member = self.member(machine);
        member.meter(now);
        let cpu_share = member.cpu_share(contender);
        member.scheduler.decide(&member.site, invocation, cpu_share, Self::now(now))
    }

    /// Where the second copy of `first` goes, if there is one.
    pub(super) fn hedge(
        &mut self,
        machine: MachineId,
        invocation: &Invocation<'_>,
        first: Invoked,
        contender: Contender,
        now: Nanos,
    ) -> Option<Decision> {
        let member = self.member(machine);
        member.meter(now);
        let cpu_share = member.cpu_share(contender);
        member.scheduler.hedge(&member.site, invocation, first, cpu_share, Self::now(now))
    }

    /// What a node says of itself, for an invocation that runs there.
    pub(super) fn report(
        &mut self,
        machine: MachineId,
        ticket: Option<&Ticket>,
        now: Nanos,
    ) -> LoadReport {
        let member = self.member(machine);
        member.scheduler.report(member.site.node().slot, ticket, Self::now(now))
    }

    /// What the sender of a request says of itself reaches `machine` with it.
    pub(super) fn hear(
        &mut self,
        machine: MachineId,
        from: MachineId,
        word: LoadReport,
        now: Nanos,
    ) {
        let Some(slot) = self.slot_of(machine, from) else { return };
        self.member(machine).scheduler.hear(slot, word, Self::now(now));
    }

    /// Reads the configuration again at every node, without those that have left.
    pub(super) fn reconfigure(&mut self, scenario: &Scenario) {
        let left = |machine: usize| self.members[machine].ails.left;
        let there: Vec<usize> = (0..self.members.len()).filter(|m| !left(*m)).collect();
        let change = Change::Text(scenario.text.of(&there));
        let Ok(mut next) = self.snapshot.with(&change) else { return };
        next.site.policy = self.snapshot.site.policy;
        let mut index_of = vec![None; self.members.len()];
        for (&index, &machine) in next.site.topology.everyone().iter().zip(&there) {
            index_of[machine] = Some(index);
        }
        let machine_of = there.iter().map(|machine| *machine as MachineId).collect();
        let roster = Arc::new(Roster { index_of, machine_of });
        for (&index, &machine) in next.site.topology.everyone().iter().zip(&there) {
            let member = &mut self.members[machine];
            member.site = Site { here: index, ..next.site.clone() };
            member.roster = Arc::clone(&roster);
            member.scheduler.adopt(&next.site.topology);
        }
        self.snapshot = next;
    }

    pub(super) fn now(now: Nanos) -> Time {
        Time::after_origin(Duration::from_nanos(now))
    }
}

/// The rules that a contender follows, in place of those of the scenario.
fn policy_of(contender: Contender, policy: Policy) -> Policy {
    match contender {
        Contender::Clairvoyant => policy,
        Contender::Hopwise(mode, rule, selection, extras) => {
            let mut policy = Policy { mode, rule, selection, ..policy };
            policy.hedge.enabled |= extras.hedge;
            policy.queue.enabled |= extras.queue;
            policy
        }
        Contender::Reference(mode) => Policy {
            offload: OffloadRule {
                enabled: true,
                cpu_thresh: REFERENCE_LOAD_THRESH,
                load_thresh: f64::INFINITY,
            },
            selection: Selection::Weighted,
            rule: DynamicRule::TailRatio,
            // It left nobody alone for failing, and probed nobody.
            health: HealthRule {
                failures: u32::MAX,
                answers_min: u32::MAX,
                probes: false,
                ..HealthRule::default()
            },
            ..Policy::new(mode)
        },
    }
}
