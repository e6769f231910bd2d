//! Turns at machines that run only so many at once, and invocations that come too late.

use super::call::{CallId, MachineId};
use super::contender::Contender;
use super::fleet::Fleet;
use super::queue::Nanos;
use super::world::{Event, World};
use crate::scheduling::Time;
use crate::scheduling::queue::{Admission, Bounds, Caller, Place, Turn};
use crate::scheduling::retry::Again;
use crate::scheduling::route::{Outcome, Stage};

/// How a call stands with the queue of the machine that is to run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has nothing to do with it.
    Outside,
    /// It waits.
    Waits(Place),
    /// It runs.
    Runs,
}

impl World<'_> {
    /// A call is to run at the node that holds it: at once, or when its turn comes.
    pub(super) fn run_here(&mut self, id: CallId) {
        let now = self.queue.now();
        let Some(call) = self.calls.get(id) else { return };
        let Some(frame) = call.frames.last_mut() else { return };
        frame.begun = now;
        let (node, deadline) = (frame.node, call.deadline.map(Fleet::now));
        let again = frame.avoid.contains(&node);
        let name = self.trial.cell.functions[usize::from(call.function)].name;
        let member = self.fleet.member(node);
        let rule = member.site.policy.queue;
        if !rule.enabled || !matches!(self.trial.contender, Contender::Hopwise(..)) {
            return self.begin(id);
        }
        let start_by = member.scheduler.start_by(&rule, name, deadline, Fleet::now(now));
        let bounds = rule.bounds(member.processor.cores());
        if again {
            // Nobody waits twice at the same node.
            if !member.turns.enter_at_once(bounds) {
                return self.refuse_turn(id, false);
            }
            call.turn = Standing::Runs;
            return self.begin(id);
        }
        match member.turns.enter(bounds, Caller::default(), start_by, id) {
            Admission::Runs(_) => {
                call.turn = Standing::Runs;
                self.begin(id);
            }
            Admission::Full(_) => self.refuse_turn(id, false),
            Admission::Waits(place, displaced) => {
                self.wait(id, place, start_by);
                if let Some(displaced) = displaced {
                    self.refuse_turn(displaced, false);
                }
            }
        }
    }

    fn wait(&mut self, id: CallId, place: Place, start_by: Time) {
        let now = self.queue.now();
        let Some(call) = self.calls.get(id) else { return };
        call.turn = Standing::Waits(place);
        let Some(frame) = call.frames.last_mut() else { return };
        if let Some(ticket) = &mut frame.ticket {
            self.fleet.member(frame.node).scheduler.hold(ticket, Fleet::now(now));
        }
        let left = start_by.since(Fleet::now(now));
        self.queue.push_after(left.as_nanos() as Nanos, Event::WaitedOut(id));
    }

    /// One that waits can no longer start in time.
    pub(super) fn handle_waited_out(&mut self, id: CallId) {
        let Some(call) = self.calls.get(id) else { return };
        let (Standing::Waits(place), Some(frame)) = (call.turn, call.frames.last()) else { return };
        let late = call.deadline.is_some();
        self.fleet.member(frame.node).turns.leave(place);
        self.refuse_turn(id, late);
    }

    /// How a call that is about to leave its machine stands with the queue there.
    pub(super) fn take_standing(&mut self, id: CallId) -> Standing {
        let call = self.calls.get(id);
        call.map_or(Standing::Outside, |call| std::mem::replace(&mut call.turn, Standing::Outside))
    }

    /// A call that stood so has left `node`: the next may run.
    pub(super) fn leave_turn(&mut self, standing: Standing, node: MachineId) {
        match standing {
            Standing::Outside => {}
            Standing::Waits(place) => drop(self.fleet.member(node).turns.leave(place)),
            Standing::Runs => {
                self.fleet.member(node).turns.end();
                self.next_turns(node);
            }
        }
    }

    fn next_turns(&mut self, node: MachineId) {
        let now = Fleet::now(self.queue.now());
        loop {
            let member = self.fleet.member(node);
            let bounds = member.site.policy.queue.bounds(member.processor.cores());
            let Some(turn) = member.turns.next(bounds, now) else { return };
            let (Turn::Runs(id) | Turn::Expired(id)) = turn;
            let Some(call) = self.calls.get(id) else { continue };
            if turn == Turn::Expired(id) {
                let late = call.deadline.is_some();
                self.refuse_turn(id, late);
                continue;
            }
            call.turn = Standing::Runs;
            let ticket = call.frames.last_mut().and_then(|frame| frame.ticket.as_mut());
            if let Some(ticket) = ticket {
                member.scheduler.resume(ticket, now);
            }
            self.begin(id);
        }
    }

    /// The node that holds a call does not run it: there is no room, or it is too late.
    fn refuse_turn(&mut self, id: CallId, late: bool) {
        let now = self.queue.now();
        let Some(call) = self.calls.get(id) else { return };
        call.turn = Standing::Outside;
        let Some(frame) = call.frames.last_mut() else { return };
        let (node, ticket) = (frame.node, frame.ticket.take());
        let elsewhere = !late && frame.stage != Stage::Execute && !frame.avoid.contains(&node);
        if elsewhere {
            frame.avoid.push(node);
            frame.again = Again::No;
        }
        self.trace.note(&[7, now, u64::from(node), u64::from(late)]);
        self.learn(node, node, ticket, Outcome::Cancelled, None);
        if elsewhere {
            return self.place(id);
        }
        if late {
            return self.answer(id, Outcome::Cancelled);
        }
        let load = self.fleet.report(node, None, now);
        let Some(call) = self.calls.get(id) else { return };
        call.frames.pop();
        call.ran = Some((node, load));
        let back = self.way_back(id, node);
        self.queue.push_after(back, Event::Full(id));
    }

    /// The sidecar of `node` is gone, and with it whoever waits there.
    pub(super) fn lose_waiting(&mut self, node: MachineId) -> Vec<CallId> {
        let mut turns = std::mem::take(&mut self.fleet.member(node).turns);
        let everyone = Bounds { running: u32::MAX, waiting: 0 };
        std::iter::from_fn(|| turns.next(everyone, Time::ZERO))
            .map(|(Turn::Runs(id) | Turn::Expired(id))| id)
            .collect()
    }

    /// The client gives up on a call.
    pub(super) fn handle_deadline(&mut self, id: CallId) {
        let Some(call) = self.calls.get(id).filter(|call| call.cancelled == 0) else { return };
        call.outcome = Outcome::Lost;
        let twin = call.twin.take();
        let ended = call.ended();
        self.cancel(id, 0, Outcome::Lost);
        if let Some(twin) = twin {
            self.cancel(twin, 0, Outcome::Cancelled);
        }
        self.tell(ended);
    }
}
