//! The pure core: a decision is a value computed from the facts of an invocation, a topology, a
//! policy, what was measured, a load sample, a time and a random generator.
//!
//! A shell (the live proxy, the simulator) calls [`Scheduler::decide`], carries the decision out,
//! and hands its ticket back to [`Scheduler::record`] with the outcome. Nothing here can fail at
//! run time, waits, or reads a clock.

mod absent;
pub mod adaptive;
mod deadline;
mod drained;
pub mod estimate;
mod estimates;
pub mod explanation;
pub mod function;
mod functions;
pub mod health;
pub mod hedge;
mod holders;
mod learn;
pub mod limit;
mod load;
mod placing;
pub mod policy;
mod predict;
mod probing;
pub mod prospects;
pub mod queue;
pub mod retry;
pub mod route;
mod soonest;
mod speed;
pub mod tail_ratio;
pub mod target;
mod time;
pub mod view;
mod warmth;
pub mod window;

use std::num::NonZeroUsize;
use std::sync::Arc;

use rand::{Rng, RngExt};

use crate::topology::{Node, NodeIndex, Slot, Topology};

use adaptive::Adaptive;
use estimate::{LoadReport, NodeEstimate};
use estimates::Estimates;
use explanation::Explanation;
pub use function::{FunctionName, FunctionNameError, FunctionRecord};
use functions::Functions;
use health::{HealthRule, Tally};
use hedge::Tokens;
use policy::{Architecture, DynamicRule, Mode, Policy};
use retry::{Again, Budget};
use route::{Decision, Invocation, Invoked, Outcome, Refusal, Run, Stage, Step, Ticket, Why};
use soonest::Gaps;
use speed::{Meter, Pace};
pub use time::Time;

/// Where a decision is made: which node this is, among whom, by which rules.
#[derive(Debug, Clone)]
pub struct Site {
    /// Everyone.
    pub topology: Arc<Topology>,
    /// This node.
    pub here: NodeIndex,
    /// The rules.
    pub policy: Policy,
}

impl Site {
    /// This node.
    pub fn node(&self) -> &Node {
        self.topology.node(self.here)
    }
}

/// Decides for one node and learns from what comes of it.
#[derive(Debug)]
pub struct Scheduler<R> {
    rng: R,
    estimates: Estimates,
    functions: Functions,
    meter: Meter,
    held: u32,
    pace: Pace,
    adaptive: Adaptive,
    contested: bool,
    gaps: Gaps,
    tickets: u64,
    hedges: Tokens,
    health: HealthRule,
    fleet: Tally,
    /// Nodes of the topology.
    members: u32,
    ejections: [u64; 2],
    awaits_probes: bool,
    retries: Budget,
    /// Until when some function may be known not to be somewhere.
    absent_until: Time,
    /// What is noted of the decision under way, where somebody asked.
    explaining: Option<Box<Explanation>>,
}

impl<R: Rng> Scheduler<R> {
    /// A scheduler that has seen nothing and remembers at most `functions_max` functions.
    pub fn new(functions_max: NonZeroUsize, rng: R) -> Self {
        Self {
            rng,
            estimates: Estimates::default(),
            functions: Functions::new(functions_max),
            meter: Meter::new(1),
            held: 0,
            pace: Pace::default(),
            adaptive: Adaptive::default(),
            contested: false,
            gaps: Gaps::default(),
            tickets: 0,
            hedges: Tokens::default(),
            health: HealthRule::default(),
            fleet: Tally::default(),
            members: 0,
            ejections: [0; 2],
            awaits_probes: false,
            retries: Budget::default(),
            absent_until: Time::ZERO,
            explaining: None,
        }
    }

    /// The same, on a machine with this many cores.
    pub fn with_cores(self, cores: u16) -> Self {
        Self { meter: Meter::new(cores), ..self }
    }

    /// Makes room for the nodes of `topology`; what is known of those that stay is kept.
    pub fn adopt(&mut self, topology: &Topology) {
        self.estimates.adopt(topology);
        self.members = topology.nodes().len() as u32;
    }

    /// Changes how many functions are remembered; the least recently used go.
    pub fn remember_functions(&mut self, functions_max: NonZeroUsize) {
        self.functions.resize(functions_max);
    }

    /// What to do with an invocation, at a node whose cores are in use by `cpu_share` (0 to 1).
    pub fn decide(
        &mut self,
        site: &Site,
        invocation: &Invocation<'_>,
        cpu_share: f64,
        now: Time,
    ) -> Decision {
        let wanted = self.architecture_for(site, invocation, now);
        let refused = |refusal, why| Decision {
            step: Step::Refuse(refusal),
            architecture: wanted,
            fallback_from: None,
            why,
            ticket: None,
        };
        if invocation.passed_here {
            return refused(Refusal::Loop, Why::Loop);
        }
        if invocation.stage == Stage::Schedule && !site.node().role.is_controller() {
            return refused(Refusal::NotAController, Why::Role);
        }
        let (architecture, step, why) = if invocation.stage == Stage::Execute {
            (wanted, Step::RunHere, Why::Ordered)
        } else if invocation.hop >= site.policy.hop_limit.0 {
            (wanted, Step::RunHere, Why::HopLimit)
        } else if self.pays_for(site, invocation, now) {
            self.place(site, invocation, wanted, cpu_share, now)
        } else if invocation.again == Again::NothingRan && !invocation.avoid.contains(&site.here) {
            // It costs nobody anything: it would have run here had there been nobody else.
            (Architecture::Decentralized, Step::RunHere, Why::RetriesSpent)
        } else {
            return refused(Refusal::RetriesSpent, Why::RetriesSpent);
        };
        Decision {
            step,
            architecture,
            fallback_from: (architecture != wanted).then_some(wanted),
            why,
            ticket: self.issue_ticket(site, invocation, architecture, step, now),
        }
    }

    /// Learns from how the step of `ticket` ended, and what the node asked said of itself.
    pub fn record(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        report: Option<LoadReport>,
        now: Time,
    ) {
        self.record_placed(ticket, outcome, report, None, now);
    }

    /// The same, with what the node that ran it said of itself, where that is not the one asked.
    pub fn record_placed(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        report: Option<LoadReport>,
        ran: Option<(Slot, LoadReport)>,
        now: Time,
    ) {
        let took = now.since(ticket.started);
        let said = report.map(|report| (ticket.slot, report)).or(ran);
        let sent = ticket.sent.unwrap_or(ticket.started);
        let heard = ticket.heard.unwrap_or(now).since(sent);
        self.learn_architecture(&ticket, outcome, said.map(|(_, report)| report), heard, now);
        if let Some((slot, report)) = ran {
            self.observe(slot, report, now);
        }
        self.leave_own(&ticket, outcome, now);
        self.learn_service(&ticket, outcome, said, now);
        if let Some(estimate) = self.estimate_mut(ticket.slot) {
            estimate.mark_ended(ticket.stage);
            match outcome {
                Outcome::Good | Outcome::Failed => {
                    let good = outcome == Outcome::Good;
                    estimate.mark_there(good, ticket.started);
                    estimate.mark_answered(report, heard, now);
                    estimate.mark_success(good);
                    if good && ticket.timed {
                        estimate.history_mut().record(ticket.stage, took, now);
                    }
                }
                Outcome::Lost => {
                    estimate.mark_success(false);
                    estimate.mark_untold(ticket.started);
                }
                Outcome::Unreachable => {}
                Outcome::Absent | Outcome::Cancelled => estimate.mark_untold(ticket.started),
            }
        }
        self.learn_health(&ticket, outcome, now);
        if outcome == Outcome::Absent {
            self.note_absent(ticket.function, ticket.slot, now);
        }
        if ticket.entry && ticket.timed && outcome == Outcome::Good {
            let record = self.function_mut(ticket.function, now);
            let Invoked { since, under } = ticket.invoked;
            record.windows[under.index()].record(now.since(since), now);
        }
    }

    /// Learns what a node said of itself through another, which says nothing of the way there.
    pub fn observe(&mut self, slot: Slot, report: LoadReport, now: Time) {
        if let Some(estimate) = self.estimate_mut(slot) {
            let report = LoadReport { in_flight: report.in_flight.saturating_sub(1), ..report };
            estimate.take_in(report, now);
        }
    }

    /// Learns what a node said of itself with a request.
    pub fn hear(&mut self, slot: Slot, report: LoadReport, now: Time) {
        if let Some(estimate) = self.estimate_mut(slot) {
            estimate.take_in(report, now);
        }
    }

    /// Drops what has become too old, for functions and nodes that are no longer called.
    pub fn tick(&mut self, now: Time) {
        self.functions.records_mut().for_each(|record| record.expire(now));
        for estimate in self.estimates.known_mut() {
            estimate.history_mut().expire(now);
        }
    }

    /// Drops all that is known of a function, as when it is removed.
    pub fn forget(&mut self, function: FunctionName) {
        self.functions.pop(&function);
    }

    /// Invocations running or held at the node of `slot` for all this node knows first hand.
    pub fn in_flight(&self, slot: Slot) -> u32 {
        self.estimate(slot).map_or(0, |estimate| estimate.outstanding)
    }

    fn architecture_for(
        &mut self,
        site: &Site,
        invocation: &Invocation<'_>,
        now: Time,
    ) -> Architecture {
        let first_attempt = invocation.stage == Stage::Entry && invocation.avoid.is_empty();
        if first_attempt {
            self.function_mut(invocation.function, now).rate.record(now);
        }
        match (invocation.architecture, site.policy.mode) {
            (Some(architecture), _) | (None, Mode::Fixed(architecture)) => architecture,
            (None, Mode::Dynamic) if site.policy.rule == DynamicRule::Adaptive => {
                self.adapt(site, invocation.function, now)
            }
            (None, Mode::Dynamic) => {
                let record = self.function_mut(invocation.function, now);
                record.evaluate(&site.policy.tail_ratio, now);
                let shares = record.shares;
                shares.pick(self.rng.random())
            }
        }
    }

    /// Whether there may be this attempt: the first ones earn what further ones cost.
    fn pays_for(&mut self, site: &Site, invocation: &Invocation<'_>, now: Time) -> bool {
        let rule = &site.policy.retries;
        match invocation.again {
            Again::No if invocation.avoid.is_empty() => self.retries.earn(rule),
            Again::No => {}
            Again::NothingRan | Again::MayHaveRun => return self.retries.spend(rule, now),
        }
        true
    }

    fn issue_ticket(
        &mut self,
        site: &Site,
        invocation: &Invocation<'_>,
        architecture: Architecture,
        step: Step,
        now: Time,
    ) -> Option<Ticket> {
        let (node, stage) = match step {
            Step::RunHere => (site.here, Stage::Execute),
            Step::Offload(node) => (node, Stage::Execute),
            Step::Delegate(node) => (node, Stage::Schedule),
            Step::Refuse(_) => return None,
        };
        let slot = site.topology.node(node).slot;
        let run = match node == site.here {
            true => Run::Here(self.advance_own(slot, now)),
            false => Run::Elsewhere,
        };
        if let Some(estimate) = self.estimate_mut(slot) {
            estimate.mark_sent(stage, now);
        }
        self.tickets += 1;
        Some(Ticket {
            serial: self.tickets,
            function: invocation.function,
            architecture,
            entry: invocation.stage == Stage::Entry,
            timed: invocation.timed,
            slot,
            stage,
            started: now,
            sent: None,
            heard: None,
            run,
            adaptive: self.contested,
            invoked: Invoked { since: now, under: architecture },
        })
    }

    fn estimate(&self, slot: Slot) -> Option<&NodeEstimate> {
        self.estimates.get(slot)
    }

    fn estimate_mut(&mut self, slot: Slot) -> Option<&mut NodeEstimate> {
        self.estimates.get_mut(slot)
    }

    fn function_mut(&mut self, function: FunctionName, now: Time) -> &mut FunctionRecord {
        self.functions.get_or_insert_mut(function, || FunctionRecord::new(now))
    }
}

#[cfg(test)]
mod tests;
