//! The scheduler with a record of all that is asked of it, so that what a live node decided can be
//! looked into afterwards, decision by decision.
//!
//! The scheduler is inside, so there is no way to ask it past the record. Calls are noted in the
//! order in which they take turns, and written by a thread of their own; without a record the cost
//! is a branch.

mod call;
mod replay;
mod writer;

use std::time::Duration;

use rand_pcg::Pcg64;

use crate::config::{Change, Snapshot};
use crate::scheduling::estimate::LoadReport;
use crate::scheduling::explanation::Explanation;
use crate::scheduling::policy::Architecture;
use crate::scheduling::prospects::Prospect;
use crate::scheduling::queue::QueueRule;
use crate::scheduling::route::{Decision, Invocation, Invoked, Outcome, Ticket};
use crate::scheduling::view::{FunctionGlance, FunctionView, NodeGlance, NodeView};
use crate::scheduling::{FunctionName, Scheduler, Site, Time};
use crate::topology::{NodeIndex, Slot};

pub use call::Header;
use call::{Call, ChangeLine, Facts, Moment, Place, Said, Verdict};
pub use replay::{Difference, Replayed, replay};
pub use writer::{RECORD_BYTES_MAX, Recorder};

/// The scheduler as the live proxy runs it.
#[derive(Debug)]
pub struct Core {
    scheduler: Scheduler<Pcg64>,
    recorder: Option<Recorder>,
}

impl Core {
    /// The core of a node that starts with `snapshot` on a machine with `cores`.
    pub fn new(snapshot: &Snapshot, cores: u16, rng: Pcg64) -> Self {
        let mut scheduler = Scheduler::new(snapshot.limits.functions, rng).with_cores(cores);
        scheduler.adopt(&snapshot.site.topology);
        scheduler.keep_health(snapshot.site.policy.health);
        Self { scheduler, recorder: None }
    }

    /// Notes everything from now on; to be called before anything was asked.
    pub fn record_with(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    /// Ends the record, if there is one; who drops it waits until it is written.
    pub fn take_recorder(&mut self) -> Option<Recorder> {
        self.recorder.take()
    }

    fn note(&mut self, call: impl FnOnce() -> Call) {
        if let Some(recorder) = &mut self.recorder
            && !recorder.note(call())
        {
            self.recorder = None;
        }
    }

    /// See [`Scheduler::decide`].
    pub fn decide(
        &mut self,
        snapshot: &Snapshot,
        invocation: &Invocation<'_>,
        cpu_share: f64,
        now: Time,
    ) -> Decision {
        let decision = self.scheduler.decide(&snapshot.site, invocation, cpu_share, now);
        self.note_decision(snapshot, invocation, cpu_share, now, &decision);
        decision
    }

    /// See [`Scheduler::decide_explained`], which decides no otherwise.
    pub fn decide_explained(
        &mut self,
        snapshot: &Snapshot,
        invocation: &Invocation<'_>,
        cpu_share: f64,
        now: Time,
    ) -> (Decision, Option<Box<Explanation>>) {
        let (decision, explanation) =
            self.scheduler.decide_explained(&snapshot.site, invocation, cpu_share, now);
        self.note_decision(snapshot, invocation, cpu_share, now, &decision);
        (decision, explanation)
    }

    fn note_decision(
        &mut self,
        snapshot: &Snapshot,
        invocation: &Invocation<'_>,
        cpu_share: f64,
        now: Time,
        decision: &Decision,
    ) {
        self.note(|| Call::Decide {
            generation: snapshot.generation,
            facts: Facts::of(invocation),
            cpu_share,
            now,
            verdict: Verdict::of(decision),
        });
    }

    /// See [`Scheduler::hedge_after`].
    pub fn hedge_after(
        &mut self,
        snapshot: &Snapshot,
        function: FunctionName,
        now: Time,
    ) -> Option<Duration> {
        let after = self.scheduler.hedge_after(&snapshot.site, function, now);
        let generation = snapshot.generation;
        self.note(|| Call::HedgeAfter { generation, function, now, after });
        after
    }

    /// See [`Scheduler::hedge`].
    pub fn hedge(
        &mut self,
        snapshot: &Snapshot,
        invocation: &Invocation<'_>,
        first: Invoked,
        cpu_share: f64,
        now: Time,
    ) -> Option<Decision> {
        let decision = self.scheduler.hedge(&snapshot.site, invocation, first, cpu_share, now);
        self.note(|| Call::Hedge {
            generation: snapshot.generation,
            facts: Facts::of(invocation),
            first,
            cpu_share,
            now,
            verdict: decision.as_ref().map(Verdict::of),
        });
        decision
    }

    /// See [`Scheduler::record_placed`].
    pub fn record_placed(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        report: Option<LoadReport>,
        ran: Option<(Slot, LoadReport)>,
        now: Time,
    ) {
        self.note(|| Call::Record {
            ticket: ticket.serial(),
            timed: ticket.is_timed(),
            sent: ticket.sent_at().map(Moment),
            heard: ticket.heard_at().map(Moment),
            outcome,
            report: report.map(Said),
            ran: ran.map(|(slot, report)| (Place(slot), Said(report))),
            now,
        });
        self.scheduler.record_placed(ticket, outcome, report, ran, now);
    }

    /// See [`Scheduler::record`].
    pub fn record(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        report: Option<LoadReport>,
        now: Time,
    ) {
        self.record_placed(ticket, outcome, report, None, now);
    }

    /// See [`Scheduler::hold`].
    pub fn hold(&mut self, ticket: &mut Ticket, now: Time) {
        self.note(|| Call::Hold { ticket: ticket.serial(), now });
        self.scheduler.hold(ticket, now);
    }

    /// See [`Scheduler::resume`].
    pub fn resume(&mut self, ticket: &mut Ticket, now: Time) {
        self.note(|| Call::Resume { ticket: ticket.serial(), now });
        self.scheduler.resume(ticket, now);
    }

    /// See [`Scheduler::start_by`]; it changes nothing.
    pub fn start_by(
        &self,
        rule: &QueueRule,
        function: FunctionName,
        deadline: Option<Time>,
        now: Time,
    ) -> Time {
        self.scheduler.start_by(rule, function, deadline, now)
    }

    /// See [`Scheduler::report`].
    pub fn report(&mut self, slot: Slot, ticket: Option<&Ticket>, now: Time) -> LoadReport {
        let said = self.scheduler.report(slot, ticket, now);
        self.note(|| Call::Report {
            slot,
            ticket: ticket.map(Ticket::serial),
            now,
            said: Said(said),
        });
        said
    }

    /// See [`Scheduler::observe`].
    pub fn observe(&mut self, slot: Slot, report: LoadReport, now: Time) {
        self.note(|| Call::Observe { slot, report, now });
        self.scheduler.observe(slot, report, now);
    }

    /// See [`Scheduler::hear`].
    pub fn hear(&mut self, slot: Slot, report: LoadReport, now: Time) {
        self.note(|| Call::Hear { slot, report, now });
        self.scheduler.hear(slot, report, now);
    }

    /// See [`Scheduler::tick`].
    pub fn tick(&mut self, now: Time) {
        self.note(|| Call::Tick { now });
        self.scheduler.tick(now);
    }

    /// See [`Scheduler::forget`].
    pub fn forget(&mut self, function: FunctionName) {
        self.note(|| Call::Forget { function });
        self.scheduler.forget(function);
    }

    /// Makes room for `next`, to which `change` has led.
    pub fn follow(&mut self, change: &Change, next: &Snapshot) {
        self.note(|| Call::Follow { change: ChangeLine::of(change), generation: next.generation });
        self.scheduler.adopt(&next.site.topology);
        self.scheduler.keep_drained(&next.site.topology, &next.drained);
        self.scheduler.keep_health(next.site.policy.health);
        self.scheduler.remember_functions(next.limits.functions);
    }

    /// See [`Scheduler::is_hopeless`].
    pub fn is_hopeless(&mut self, function: FunctionName, left: Duration, now: Time) -> bool {
        let hopeless = self.scheduler.is_hopeless(function, left, now);
        self.note(|| Call::IsHopeless { function, left, now, hopeless });
        hopeless
    }

    /// See [`Scheduler::wait_again`].
    pub fn wait_again(&mut self, snapshot: &Snapshot, failures: u32) -> Duration {
        let wait = self.scheduler.wait_again(&snapshot.site, failures);
        self.note(|| Call::WaitAgain { generation: snapshot.generation, failures, wait });
        wait
    }

    /// See [`Scheduler::next_probe`].
    pub fn next_probe(&mut self, snapshot: &Snapshot, now: Time) -> Option<NodeIndex> {
        if !self.scheduler.awaits_probes() {
            return None;
        }
        let node = self.scheduler.next_probe(&snapshot.site.topology, now);
        self.note(|| Call::NextProbe {
            generation: snapshot.generation,
            now,
            node: node.map(NodeIndex::as_usize),
        });
        node
    }

    /// See [`Scheduler::is_left_alone`]; it changes nothing.
    pub fn is_left_alone(&self, slot: Slot, now: Time) -> bool {
        self.scheduler.is_left_alone(slot, now)
    }

    /// See [`Scheduler::doubt`].
    pub fn doubt(&mut self, slot: Slot) {
        self.note(|| Call::Doubt { slot });
        self.scheduler.doubt(slot);
    }

    /// See [`Scheduler::probed`].
    pub fn probed(&mut self, slot: Slot, found: bool, started: Time, now: Time) {
        self.note(|| Call::Probed { slot, found, started, now });
        self.scheduler.probed(slot, found, started, now);
    }

    /// See [`Scheduler::ejections`]; it changes nothing.
    pub fn ejections(&self) -> [u64; 2] {
        self.scheduler.ejections()
    }

    /// See [`Scheduler::in_flight`]; it changes nothing.
    pub fn in_flight(&self, slot: Slot) -> u32 {
        self.scheduler.in_flight(slot)
    }

    /// See [`Scheduler::functions`]; it changes nothing.
    pub fn functions(&self) -> usize {
        self.scheduler.functions()
    }

    /// See [`Scheduler::prospects`]; it changes nothing.
    pub fn prospects(
        &self,
        site: &Site,
        function: Option<FunctionName>,
        now: Time,
    ) -> (Option<FunctionName>, Vec<Prospect>) {
        self.scheduler.prospects(site, function, now)
    }

    /// See [`Scheduler::peek_function`]; it changes nothing.
    pub fn peek_function(&self, name: FunctionName) -> Option<FunctionGlance> {
        self.scheduler.peek_function(name)
    }

    /// See [`Scheduler::peek_node`]; it changes nothing.
    pub fn peek_node(&self, slot: Slot, now: Time) -> Option<NodeGlance> {
        self.scheduler.peek_node(slot, now)
    }

    /// See [`Scheduler::view_functions`]. Whoever looks also lets old samples go.
    pub fn view_functions(&mut self, now: Time) -> Vec<FunctionView> {
        self.note(|| Call::View { now });
        self.scheduler.view_functions(now)
    }

    /// See [`Scheduler::view_nodes`].
    pub fn view_nodes(&mut self, site: &Site, now: Time) -> Vec<NodeView> {
        self.note(|| Call::Tick { now });
        self.scheduler.view_nodes(site, now)
    }

    /// See [`Scheduler::view_durations`].
    pub fn view_durations(
        &mut self,
        function: Option<FunctionName>,
        limit: usize,
        now: Time,
    ) -> Vec<(FunctionName, [Vec<Duration>; Architecture::ALL.len()])> {
        self.note(|| Call::Tick { now });
        self.scheduler.view_durations(function, limit, now)
    }
}
