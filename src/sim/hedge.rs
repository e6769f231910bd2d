//! Second copies: when one is sent, and what becomes of the copy that loses.

use super::call::{Call, CallId, Frame, MachineId};
use super::contender::Contender;
use super::fleet::Fleet;
use super::queue::Nanos;
use super::turns::Standing;
use super::world::{Event, PATH_MAX, World};
use crate::scheduling::retry::Again;
use crate::scheduling::route::{Invocation, Outcome, Stage, Step};
use crate::topology::NodeIndex;

impl World<'_> {
    /// Looks again at a call that has just come in when it takes long, if a copy does no harm.
    pub(super) fn watch(&mut self, id: CallId, entry: MachineId, function: usize) {
        let function = &self.trial.cell.functions[function];
        if !function.idempotent || !matches!(self.trial.contender, Contender::Hopwise(..)) {
            return;
        }
        let now = Fleet::now(self.queue.now());
        let member = self.fleet.member(entry);
        if let Some(after) = member.scheduler.hedge_after(&member.site, function.name, now) {
            self.queue.push_after(after.as_nanos() as Nanos, Event::Late(id));
        }
    }

    /// Sends a second copy of a call that is still not answered, if there is one to send.
    pub(super) fn handle_late(&mut self, id: CallId) {
        let now = self.queue.now();
        let Some(call) = self.calls.get(id).filter(|call| call.cancelled == 0) else { return };
        let Some(frame) = call.frames.first() else { return };
        let Some(first) = frame.ticket.as_ref().map(|ticket| ticket.invoked()) else { return };
        let entry = frame.node;
        let mut avoid = frame.avoid.clone();
        avoid.push(frame.asked);
        let function = usize::from(call.function);
        let mut known = [NodeIndex::default(); 2 * PATH_MAX];
        let (path, avoided) = self.fleet.translate(entry, &[], &avoid, &mut known);
        let invocation = Invocation {
            function: self.trial.cell.functions[function].name,
            hop: 0,
            stage: Stage::Entry,
            architecture: None,
            path,
            passed_here: false,
            avoid: avoided,
            again: Again::No,
            timed: true,
        };
        let contender = self.trial.contender;
        let Some(mut decision) = self.fleet.hedge(entry, &invocation, first, contender, now) else {
            return;
        };
        let target = match decision.step {
            Step::Offload(index) | Step::Delegate(index) => self.fleet.machine_of(entry, index),
            Step::RunHere | Step::Refuse(_) => entry,
        };
        let frame = Frame {
            node: entry,
            stage: Stage::Entry,
            architecture: Some(decision.architecture),
            ticket: decision.ticket.take(),
            avoid,
            again: Again::No,
            asked: target,
            passed_here: false,
            begun: now,
        };
        let Some(call) = self.calls.get(id) else { return };
        let second = call.second(id, frame);
        let second = self.calls.insert(second);
        if let Some(call) = self.calls.get(id) {
            call.twin = Some(second);
        }
        self.hedges[0] += 1;
        self.trace.note(&[6, now, u64::from(entry), u64::from(target)]);
        if target == entry {
            self.run_here(second);
        } else {
            self.send(second, entry, target, Stage::Execute);
        }
    }

    /// Whether `call`, which has just ended, is the answer: then the other copy is cancelled. One
    /// that got lost is none as long as the other is on its way.
    pub(super) fn settle(&mut self, call: &Call) -> bool {
        let Some(other) = call.twin.and_then(|twin| Some((twin, self.calls.get(twin)?))) else {
            return true;
        };
        let (id, other) = other;
        other.twin = None;
        if call.outcome == Outcome::Lost {
            return false;
        }
        self.hedges[1] += u64::from(call.second);
        self.cancel(id, 0, Outcome::Cancelled);
        true
    }

    /// The node of one frame learns that nobody waits any more, and tells the next.
    pub(super) fn cancel(&mut self, id: CallId, position: usize, outcome: Outcome) {
        let Some(call) = self.calls.get(id) else { return };
        // Otherwise its answer has crossed the word that nobody wants it.
        let Some(frame) = call.frames.get_mut(position) else { return };
        let (node, asked, ticket) = (frame.node, frame.asked, frame.ticket.take());
        let function = usize::from(call.function);
        call.cancelled = position + 1;
        self.learn(node, asked, ticket, outcome, None);
        if asked == node {
            self.take_out(id, node, function);
        } else if !self.is_cut(node, asked) {
            // As long as the request takes, or it might come in before that.
            let bytes = self.trial.cell.functions[function].bytes[0];
            let event = Event::Cancelled { id, frame: position as u8 + 1 };
            self.queue.push_after(self.transit(node, asked, bytes), event);
        }
    }

    /// Stops a call that runs at `node`, or is about to.
    fn take_out(&mut self, id: CallId, node: MachineId, function: usize) {
        let now = self.queue.now();
        let standing = self.take_standing(id);
        self.calls.remove(id);
        if !matches!(standing, Standing::Waits(_)) {
            let member = self.fleet.member(node);
            member.meter(now);
            member.processor.cancel(id.place, now);
            member.processor.leave(function, now);
            self.foresee(node);
        }
        self.leave_turn(standing, node);
    }

    /// Drops a call of which word reaches a node that no longer waits for it.
    pub(super) fn drop_cancelled(&mut self, id: CallId) -> bool {
        let unwanted = |call: &&mut Call| call.cancelled > 0 && call.cancelled >= call.frames.len();
        let unwanted = self.calls.get(id).filter(unwanted).is_some();
        if unwanted {
            self.calls.remove(id);
        }
        unwanted
    }

    /// Gives up on a second copy that nobody would run; the first is the answer, unless it is lost.
    pub(super) fn give_up_second(&mut self, id: CallId) {
        let Some(call) = self.calls.get(id) else { return };
        call.outcome = Outcome::Lost;
        self.end(id);
    }
}

#[cfg(test)]
mod tests;
