//! Clients: what they call, when, and what is noted when they have their answer.

use std::time::Duration;

use super::call::{Call, CallId, Ended, MachineId};
use super::contender::Contender;
use super::oracle;
use super::queue::Nanos;
use super::scenario::LoadKind;
use super::turns::Standing;
use super::world::{Event, World, nanos};
use super::{Sample, workload};
use crate::scheduling::route::{Outcome, Stage};

/// Before a client calls again after a failure.
const RETRY_PAUSE: Nanos = 100_000_000;

impl World<'_> {
    pub(super) fn start_clients(&mut self) {
        match &self.trial.load.kind {
            LoadKind::Closed { phases, .. } => {
                let mut client = 0;
                for (from, clients) in phases {
                    while client < *clients {
                        self.queue.push_after(nanos(*from), Event::Issue { client });
                        client += 1;
                    }
                }
            }
            LoadKind::Open(rate) => {
                if let Some(delay) = workload::next_arrival(rate, 0, &mut self.workload) {
                    self.queue.push_after(delay, Event::Arrival);
                }
            }
            LoadKind::Replay(arrivals) => {
                if let Some((first, _)) = arrivals.first() {
                    self.queue.push_after(nanos(*first), Event::Arrival);
                }
            }
        }
    }

    pub(super) fn handle_arrival(&mut self) {
        let now = self.queue.now();
        self.clients += 1;
        let client = self.clients;
        match &self.trial.load.kind {
            LoadKind::Open(rate) => {
                self.issue(client, None);
                if let Some(delay) = workload::next_arrival(rate, now, &mut self.workload) {
                    self.queue.push_after(delay, Event::Arrival);
                }
            }
            LoadKind::Replay(arrivals) => {
                let functions = self.trial.cell.functions.len();
                let function = arrivals[self.replayed].1 as usize % functions;
                self.issue(client, Some(function));
                self.replayed += 1;
                if let Some((next, _)) = arrivals.get(self.replayed) {
                    self.queue.push_after(nanos(*next).saturating_sub(now), Event::Arrival);
                }
            }
            LoadKind::Closed { .. } => {}
        }
    }

    /// Whether a closed load has so many clients now that this one goes on.
    fn client_stays(&self, client: u32) -> bool {
        let LoadKind::Closed { phases, .. } = &self.trial.load.kind else { return false };
        let now = self.queue.now();
        let begun = phases.iter().rev().find(|(from, _)| nanos(*from) <= now);
        begun.is_some_and(|(_, clients)| client < *clients)
    }

    pub(super) fn issue(&mut self, client: u32, function: Option<usize>) {
        let now = self.queue.now();
        let rng = &mut self.workload;
        let function = function.unwrap_or_else(|| workload::function(self.trial.cell, rng));
        let demand_s = workload::demand_s(self.trial.cell.functions[function].demand, rng);
        let deadline = self.trial.cell.functions[function].deadline;
        let entry = workload::entry(self.trial.entry, now, rng).as_usize() as MachineId;
        let entry = self.fleet.next_in_service(entry);
        let call = Call {
            function: function as u16,
            client,
            demand_s,
            issued: now,
            entry,
            architecture: None,
            frames: Vec::new(),
            path: Vec::new(),
            bound_for: (entry, Stage::Entry),
            ran: None,
            word: None,
            outcome: Outcome::Good,
            second: false,
            twin: None,
            deadline: deadline.map(|deadline| now + nanos(deadline)),
            turn: Standing::Outside,
            cancelled: 0,
            serial: 0,
        };
        let id = self.calls.insert(call);
        if let Some(deadline) = deadline {
            self.queue.push_after(nanos(deadline), Event::Deadline(id));
        }
        self.trace.note(&[1, now, u64::from(entry), demand_s.to_bits()]);
        if self.trial.contender == Contender::Clairvoyant {
            let target = oracle::target(self, entry, function);
            self.hold(id, entry, None);
            self.send(id, entry, target, Stage::Execute);
        } else {
            self.watch(id, entry, function);
            self.handle_request(id);
        }
    }

    /// The client has its answer, or none.
    pub(super) fn end(&mut self, id: CallId) {
        let Some(call) = self.calls.remove(id) else { return };
        if self.settle(&call) {
            self.tell(call.ended());
        }
    }

    /// Notes what came of a call, and lets its client go on.
    pub(super) fn tell(&mut self, call: Ended) {
        let now = self.queue.now();
        let at = |machine: MachineId| {
            self.trial.scenario.snapshot.site.topology.everyone()[machine as usize]
        };
        self.samples.push(Sample {
            issued: Duration::from_nanos(call.issued),
            took: Duration::from_nanos(now - call.issued),
            function: call.function,
            entry: at(call.entry),
            target: call.ran_at.map(at),
            architecture: call.architecture,
            good: call.outcome == Outcome::Good,
        });
        self.trace.note(&[4, now, call.issued, call.outcome as u64]);
        if let LoadKind::Closed { think, .. } = self.trial.load.kind
            && self.client_stays(call.client)
        {
            let mut pause = workload::exponential(think, &mut self.workload);
            if call.outcome != Outcome::Good {
                // Nobody calls again in no time what has just failed.
                pause += RETRY_PAUSE;
            }
            self.queue.push_after(pause, Event::Issue { client: call.client });
        }
    }
}
