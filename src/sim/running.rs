//! What goes on at machines: invocations run, machines fail and recover.

use rand::RngExt;

use super::call::{CallId, MachineId};
use super::scenario::FaultKind;
use super::turns::Standing;
use super::world::{Event, World, nanos};
use crate::scheduling::route::Outcome;

impl World<'_> {
    /// A call begins to run at the node that holds it.
    pub(super) fn begin(&mut self, id: CallId) {
        let now = self.queue.now();
        let Some(call) = self.calls.get(id) else { return };
        let Some(frame) = call.frames.last_mut() else { return };
        frame.begun = now;
        let (node, function) = (frame.node, usize::from(call.function));
        let failing = self.fleet.member(node).ails.failing;
        if failing > 0.0 && self.chance.random::<f64>() < failing {
            let standing = self.take_standing(id);
            self.answer_from(id, node, Outcome::Failed);
            return self.leave_turn(standing, node);
        }
        let description = &self.trial.cell.functions[function];
        let data = nanos(description.wait_at(node as usize));
        let member = self.fleet.member(node);
        match data + member.processor.wait_for_start(function, description.cold_start, now) {
            0 => self.execute(id),
            wait => {
                member.coming += 1;
                self.queue.push_after(wait, Event::Started(id, node));
            }
        }
    }

    pub(super) fn execute(&mut self, id: CallId) {
        let now = self.queue.now();
        let Some(call) = self.calls.get(id) else { return };
        let (demand_s, Some(frame)) = (call.demand_s, call.frames.last()) else { return };
        let (node, begun) = (frame.node, frame.begun);
        let member = self.fleet.member(node);
        if member.lost_at.is_some_and(|lost_at| begun <= lost_at) {
            // It was being started when its machine stopped.
            call.turn = Standing::Outside;
            return self.answer(id, Outcome::Lost);
        }
        member.meter(now);
        member.processor.start(id.place, demand_s, now);
        self.foresee(node);
    }

    /// Puts the next end at `machine` on the calendar.
    pub(super) fn foresee(&mut self, machine: MachineId) {
        let processor = &self.fleet.member(machine).processor;
        let epoch = processor.epoch;
        if let Some(delay) = processor.next_end() {
            self.queue.push_after(delay, Event::Finish { machine, epoch });
        }
    }

    pub(super) fn handle_finish(&mut self, machine: MachineId, epoch: u32) {
        let now = self.queue.now();
        let member = self.fleet.member(machine);
        if member.processor.epoch != epoch {
            return;
        }
        member.meter(now);
        let place = member.processor.finish(now);
        self.foresee(machine);
        let Some(id) = place.and_then(|place| self.calls.at(place)) else { return };
        let function = self.calls.get(id).map_or(0, |call| usize::from(call.function));
        self.fleet.member(machine).processor.leave(function, now);
        let standing = self.take_standing(id);
        self.answer_from(id, machine, Outcome::Good);
        self.leave_turn(standing, machine);
    }

    /// The function has answered at `node`.
    pub(super) fn answer_from(&mut self, id: CallId, node: MachineId, outcome: Outcome) {
        let now = self.queue.now();
        let Some(call) = self.calls.get(id) else { return };
        let ticket = call.frames.last().and_then(|frame| frame.ticket.as_ref());
        let report = self.fleet.report(node, ticket, now);
        call.ran = Some((node, report));
        self.trace.note(&[3, now, u64::from(node), u64::from(id.serial)]);
        self.answer(id, outcome);
    }

    pub(super) fn handle_fault(&mut self, index: u32, begins: bool) {
        let fault = self.trial.cell.faults[index as usize];
        let machine = fault.node.as_usize() as MachineId;
        let now = self.queue.now();
        self.trace.note(&[5, now, u64::from(index), u64::from(begins)]);
        let event = Event::Fault { index, begins: !begins };
        if begins {
            self.queue.push_after(nanos(fault.lasts), event);
        } else if let Some(every) = fault.every {
            self.queue.push_after(nanos(every.saturating_sub(fault.lasts)), event);
        }
        let member = self.fleet.member(machine);
        let ails = &mut member.ails;
        match fault.kind {
            FaultKind::Slowed(factor) => {
                member.meter(now);
                member.processor.slow_down(if begins { factor } else { 1.0 }, now);
                self.foresee(machine);
            }
            FaultKind::CutOff => ails.cut_off = begins,
            FaultKind::Partitioned => ails.partitioned = begins,
            FaultKind::Silent(share) => ails.silent = if begins { share } else { 0.0 },
            FaultKind::Failing(share) => ails.failing = if begins { share } else { 0.0 },
            FaultKind::Stopped => {
                ails.stopped = begins;
                // Those that were refused meanwhile have opened nothing.
                self.connections.lose(machine);
                if begins {
                    self.lose_all(machine);
                }
            }
            FaultKind::Left => {
                ails.left = begins;
                self.fleet.reconfigure(self.trial.scenario);
            }
        }
    }

    /// Everything that runs or waits at `machine` is lost.
    fn lose_all(&mut self, machine: MachineId) {
        let now = self.queue.now();
        let member = self.fleet.member(machine);
        member.meter(now);
        member.lost_at = Some(now);
        let running = member.processor.stop(now);
        let waiting = self.lose_waiting(machine);
        let running = running.into_iter().filter_map(|place| self.calls.at(place));
        for id in running.chain(waiting).collect::<Vec<_>>() {
            self.take_standing(id);
            self.answer(id, Outcome::Lost);
        }
    }
}
