//! The simulated world: events, and what each does.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::call::{CallId, Calls, Frame, MachineId};
use super::connections::Connections;
use super::contender::Contender;
use super::fleet::Fleet;
use super::oracle;
use super::probes::Probe;
use super::queue::{Nanos, Queue};
use super::trace::Trace;
use super::{Run, Sample, Trial};
use crate::scheduling::estimate::LoadReport;
use crate::scheduling::policy::Architecture;
use crate::scheduling::retry::Again;
use crate::scheduling::route::{Invocation, Outcome, Stage, Step, Ticket};
use crate::topology::NodeIndex;

/// Bytes of a message beside its body.
const HEAD_BYTES: u32 = 500;
/// Nodes on a path at most: the entry, and one for each hop there may be.
pub(super) const PATH_MAX: usize = 10;

/// What happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// A client calls.
    Issue { client: u32 },
    /// The next arrival of an open load.
    Arrival,
    /// A request reaches the node it is bound for.
    Arrive(CallId),
    /// A function has been started for a request.
    Started(CallId, MachineId),
    /// The first invocation at a machine ends, if nothing has changed there.
    Finish { machine: MachineId, epoch: u32 },
    /// An answer reaches the sidecar that waits for it.
    Answered(CallId),
    /// The sidecar that waits learns that nothing ran.
    Refused(CallId),
    /// The sidecar that waits learns that the node has no room.
    Full(CallId),
    /// A call that waits for its turn can no longer start in time.
    WaitedOut(CallId),
    /// The client of a call gives up.
    Deadline(CallId),
    /// An invocation that is not answered by now takes long.
    Late(CallId),
    /// The node of this frame learns that nobody waits any more.
    Cancelled { id: CallId, frame: u8 },
    /// A machine looks for lost nodes to be probed.
    Probe { machine: MachineId },
    /// It learns what came of a probe.
    Probed { machine: MachineId, probe: Probe },
    /// A fault begins or ends.
    Fault { index: u32, begins: bool },
}

/// Everything there is in a trial.
pub(super) struct World<'a> {
    pub(super) trial: Trial<'a>,
    pub(super) fleet: Fleet,
    pub(super) calls: Calls,
    pub(super) queue: Queue<Event>,
    pub(super) workload: Pcg64,
    pub(super) chance: Pcg64,
    pub(super) trace: Trace,
    pub(super) hedges: [u64; 2],
    pub(super) samples: Vec<Sample>,
    pub(super) clients: u32,
    pub(super) replayed: usize,
    pub(super) connections: Connections,
    pub(super) connect_timeout: Nanos,
}

pub(super) fn nanos(duration: Duration) -> Nanos {
    duration.as_nanos() as Nanos
}

impl<'a> World<'a> {
    pub(super) fn new(trial: Trial<'a>) -> Self {
        let Trial { scenario, cell, contender, seed, .. } = trial;
        // Streams of their own, so that policies are compared under the same demands.
        let mut world = Self {
            trial,
            fleet: Fleet::new(scenario, cell, contender, seed),
            calls: Calls::default(),
            queue: Queue::new(),
            workload: Pcg64::seed_from_u64(seed),
            chance: Pcg64::seed_from_u64(!seed),
            trace: Trace::new(),
            hedges: [0; 2],
            samples: Vec::new(),
            clients: 0,
            replayed: 0,
            connections: Connections::new(cell.network.reconnect_after_idle.map(nanos)),
            connect_timeout: nanos(scenario.snapshot.timeouts.connect),
        };
        world.start_clients();
        for (index, fault) in cell.faults.iter().enumerate() {
            let index = index as u32;
            world.queue.push_after(nanos(fault.at), Event::Fault { index, begins: true });
        }
        world
    }

    /// Lets it run to its end.
    pub(super) fn run(mut self, progress: &mut dyn FnMut(u64, Duration)) -> Run {
        let length = self.trial.scenario.length;
        let mut heard = 0;
        while let Some(event) = self.queue.pop() {
            self.handle(event);
            let ended = self.samples.len() as u64;
            if ended >= heard + 1000 {
                heard = ended;
                progress(ended, Duration::from_nanos(self.queue.now()));
            }
            if ended >= length.invocations && self.queue.now() >= nanos(length.time) {
                break;
            }
        }
        let ends = self.samples.iter().map(|sample| sample.issued + sample.took);
        let total = ends.max().unwrap_or_default();
        let served_s = self.fleet.members.iter().map(|member| member.processor.served_s).sum();
        Run {
            samples: self.samples,
            total,
            hedges: self.hedges,
            served: Duration::from_secs_f64(served_s),
            trace_hash: self.trace.hash(),
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Issue { client } => self.issue(client, None),
            Event::Arrival => self.handle_arrival(),
            Event::Arrive(id) => self.handle_request(id),
            Event::Started(id, machine) => {
                self.fleet.member(machine).coming -= 1;
                self.execute(id);
            }
            Event::Finish { machine, epoch } => self.handle_finish(machine, epoch),
            Event::Answered(id) => self.handle_answer(id),
            Event::Refused(id) => self.move_on(id, Outcome::Unreachable),
            Event::Full(id) => self.move_on(id, Outcome::Cancelled),
            Event::WaitedOut(id) => self.handle_waited_out(id),
            Event::Deadline(id) => self.handle_deadline(id),
            Event::Late(id) => self.handle_late(id),
            Event::Cancelled { id, frame } => {
                self.cancel(id, usize::from(frame), Outcome::Cancelled)
            }
            Event::Probe { machine } => self.handle_probe(machine),
            Event::Probed { machine, probe } => self.handle_probed(machine, probe),
            Event::Fault { index, begins } => self.handle_fault(index, begins),
        }
    }

    /// A request has reached the node it is bound for.
    pub(super) fn handle_request(&mut self, id: CallId) {
        let Some(call) = self.calls.get(id) else { return };
        let (node, stage) = call.bound_for;
        let remote = !call.frames.is_empty();
        let word = call.word.take();
        let architecture = call.architecture;
        if remote && stage == Stage::Execute {
            self.fleet.member(node).coming -= 1;
        }
        let ails = self.fleet.member(node).ails;
        if ails.stopped || ails.left {
            let back = self.way_back(id, node);
            self.queue.push_after(back, Event::Refused(id));
            return;
        }
        if let Some((from, word)) = word {
            self.fleet.hear(node, from, word, self.queue.now());
        }
        self.hold(id, node, architecture);
        if self.trial.contender == Contender::Clairvoyant {
            self.run_here(id);
        } else {
            self.place(id);
        }
    }

    /// Opens an exchange for a call at `node`.
    pub(super) fn hold(&mut self, id: CallId, node: MachineId, architecture: Option<Architecture>) {
        let now = self.queue.now();
        let Some(call) = self.calls.get(id) else { return };
        call.frames.push(Frame {
            node,
            stage: call.bound_for.1,
            architecture,
            ticket: None,
            avoid: Vec::new(),
            again: Again::No,
            asked: node,
            passed_here: call.path.contains(&node),
            begun: now,
        });
    }

    /// Has the scheduler of the node that holds the call decide, and carries that out.
    pub(super) fn place(&mut self, id: CallId) {
        let now = self.queue.now();
        let Some(call) = self.calls.get(id) else { return };
        let Some(frame) = call.frames.last() else { return };
        let name = self.trial.cell.functions[usize::from(call.function)].name;
        let mut known = [NodeIndex::default(); 2 * PATH_MAX];
        let node = frame.node;
        let (path, avoid) = self.fleet.translate(node, &call.path, &frame.avoid, &mut known);
        let invocation = Invocation {
            function: name,
            hop: (call.frames.len() - 1) as u8,
            stage: frame.stage,
            architecture: frame.architecture,
            path,
            passed_here: frame.passed_here,
            avoid,
            again: frame.again,
            timed: true,
        };
        let mut decision = self.fleet.decide(node, &invocation, self.trial.contender, now);
        let wanted = decision.fallback_from.unwrap_or(decision.architecture);
        let (index, stage) = match decision.step {
            Step::RunHere => (None, Stage::Execute),
            Step::Offload(index) => (Some(index), Stage::Execute),
            Step::Delegate(index) => (Some(index), Stage::Schedule),
            Step::Refuse(_) => return self.answer(id, Outcome::Failed),
        };
        let target = index.map(|index| self.fleet.machine_of(node, index));
        let Some(call) = self.calls.get(id) else { return };
        call.architecture = Some(decision.architecture);
        let Some(frame) = call.frames.last_mut() else { return };
        frame.architecture = Some(wanted);
        frame.ticket = decision.ticket.take();
        frame.asked = target.unwrap_or(node);
        frame.begun = now;
        self.trace.note(&[2, now, u64::from(node), u64::from(frame.asked), stage as u64]);
        match target {
            None => self.run_here(id),
            Some(target) => self.send(id, node, target, stage),
        }
    }

    /// Sends a call from one sidecar to another.
    pub(super) fn send(&mut self, id: CallId, from: MachineId, to: MachineId, stage: Stage) {
        let now = self.queue.now();
        let word = self.fleet.report(from, None, now);
        let Some(call) = self.calls.get(id) else { return };
        call.word = Some((from, word));
        call.bound_for = (to, stage);
        call.path.retain(|node| stage != Stage::Execute || *node != to);
        call.path.push(from);
        if let Some(frame) = call.frames.last_mut() {
            frame.asked = to;
        }
        let bytes = self.trial.cell.functions[usize::from(call.function)].bytes[0];
        if stage == Stage::Execute {
            self.fleet.member(to).coming += 1;
        }
        if self.is_cut(from, to) {
            if stage == Stage::Execute {
                self.fleet.member(to).coming -= 1;
            }
            self.queue.push_after(self.connect_timeout, Event::Refused(id));
            return;
        }
        let mut delay = self.transit(from, to, bytes);
        let open = self.connections.take(from, to, now);
        if matches!(self.trial.contender, Contender::Reference(_)) || !open {
            // A handshake before the request.
            let handshake = 2 * self.transit(from, to, 0);
            delay += handshake;
            if let Some(frame) = self.calls.get(id).and_then(|call| call.frames.last_mut()) {
                let sent = Fleet::now(now + handshake);
                if let Some(ticket) = &mut frame.ticket {
                    ticket.note_sent(sent);
                }
            }
        }
        self.queue.push_after(delay, Event::Arrive(id));
    }

    pub(super) fn transit(&self, from: MachineId, to: MachineId, bytes: u32) -> Nanos {
        if from == to {
            return 0;
        }
        let network = &self.trial.cell.network;
        let zones = (network.zone_of[from as usize], network.zone_of[to as usize]);
        let bits = f64::from(bytes + HEAD_BYTES) * 8.0;
        let on_wire = network.bandwidth.map_or(0.0, |rate| bits / rate * 1e9) as Nanos;
        nanos(network.delays[zones.0][zones.1] + network.overhead) + on_wire
    }

    pub(super) fn is_cut(&self, from: MachineId, to: MachineId) -> bool {
        let ails = [from, to].map(|machine| &self.fleet.members[machine as usize].ails);
        let cut_off = ails.iter().any(|ails| ails.cut_off);
        from != to && (cut_off || ails[0].partitioned != ails[1].partitioned)
    }

    /// Closes the exchange at the node that holds the call, and answers the one before.
    pub(super) fn answer(&mut self, id: CallId, outcome: Outcome) {
        let Some(call) = self.calls.get(id) else { return };
        call.outcome = outcome;
        let Some(frame) = call.frames.pop() else { return };
        let remote = frame.asked != frame.node;
        let report = call.ran.filter(|_| remote && outcome != Outcome::Lost);
        let function = usize::from(call.function);
        let waiting = call.frames.last().map(|frame| frame.node);
        self.learn(frame.node, frame.asked, frame.ticket, outcome, report);
        let Some(waiting) = waiting else { return self.end(id) };
        let bytes = self.trial.cell.functions[function].bytes[1];
        self.connections.touch(waiting, frame.node, self.queue.now());
        let mut delay = self.transit(frame.node, waiting, bytes);
        if self.is_cut(frame.node, waiting) {
            // The sender hears nothing more, and gives up when its segments stay unacknowledged.
            delay += 2 * self.connect_timeout;
            if let Some(call) = self.calls.get(id) {
                call.outcome = Outcome::Lost;
            }
        }
        self.queue.push_after(delay, Event::Answered(id));
    }

    fn handle_answer(&mut self, id: CallId) {
        if self.drop_cancelled(id) {
            return;
        }
        let Some(call) = self.calls.get(id) else { return };
        let outcome = call.outcome;
        self.answer(id, outcome);
    }

    /// Hands a ticket back, with what the answer said.
    pub(super) fn learn(
        &mut self,
        node: MachineId,
        asked: MachineId,
        ticket: Option<Ticket>,
        outcome: Outcome,
        ran: Option<(MachineId, LoadReport)>,
    ) {
        let now = Fleet::now(self.queue.now());
        let said = ran.filter(|(runner, _)| {
            let silent = self.fleet.members[*runner as usize].ails.silent;
            silent <= 0.0 || self.chance.random::<f64>() >= silent
        });
        // Of an invocation that did not run, the node asked tells its load only.
        let direct = |runner| runner == asked && outcome != Outcome::Cancelled;
        let seen = said.filter(|(runner, _)| !direct(*runner));
        let direct = said.filter(|(runner, _)| direct(*runner)).map(|(_, report)| report);
        let ran =
            seen.and_then(|(runner, report)| Some((self.fleet.slot_of(node, runner)?, report)));
        if let Some(ticket) = ticket {
            let scheduler = &mut self.fleet.member(node).scheduler;
            scheduler.record_placed(ticket, outcome, direct, ran, now);
            self.look_for_lost(node);
        }
    }

    /// How long the sidecar that sent a call to `node` waits to hear that it is not there.
    pub(super) fn way_back(&mut self, id: CallId, node: MachineId) -> Nanos {
        let Some(call) = self.calls.get(id) else { return 0 };
        let waiting = call.frames.last().map(|frame| frame.node);
        waiting.map_or(0, |waiting| self.transit(node, waiting, 0))
    }

    /// Nothing ran where it was sent: it is placed again by the node that sent it.
    fn move_on(&mut self, id: CallId, outcome: Outcome) {
        if self.drop_cancelled(id) {
            return;
        }
        let Some(call) = self.calls.get(id) else { return };
        let load = call.ran.take();
        let Some(frame) = call.frames.last_mut() else {
            call.outcome = Outcome::Failed;
            return self.end(id);
        };
        let (node, asked) = (frame.node, frame.asked);
        frame.avoid.push(asked);
        let ran_nothing = outcome == Outcome::Unreachable;
        frame.again = if ran_nothing { Again::NothingRan } else { Again::No };
        let ticket = frame.ticket.take();
        call.path.retain(|passed| *passed != node);
        let second_fails = call.second && call.frames.len() == 1;
        self.learn(node, asked, ticket, outcome, load);
        if second_fails {
            self.give_up_second(id);
            return;
        }
        if self.trial.contender == Contender::Clairvoyant {
            let function = self.calls.get(id).map_or(0, |call| usize::from(call.function));
            let target = oracle::target(self, node, function);
            return self.send(id, node, target, Stage::Execute);
        }
        self.place(id);
    }
}

#[cfg(test)]
mod tests;
