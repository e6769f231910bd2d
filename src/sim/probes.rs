//! Probes of nodes that cannot be reached, as live sidecars send them.

use super::call::MachineId;
use super::fleet::Fleet;
use super::world::{Event, World, nanos};
use crate::scheduling::Time;
use crate::topology::Slot;

/// A probe on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    slot: Slot,
    found: bool,
    started: Time,
}

impl World<'_> {
    /// Has `machine` look for lost nodes, if it has lost one and does not do so already.
    pub(super) fn look_for_lost(&mut self, machine: MachineId) {
        let member = self.fleet.member(machine);
        if member.scheduler.awaits_probes() && !member.probes {
            member.probes = true;
            let interval = nanos(member.site.policy.health.probe_interval);
            self.queue.push_after(interval, Event::Probe { machine });
        }
    }

    pub(super) fn handle_probe(&mut self, machine: MachineId) {
        let started = Fleet::now(self.queue.now());
        loop {
            let member = self.fleet.member(machine);
            let topology = &member.site.topology;
            let Some(index) = member.scheduler.next_probe(topology, started) else { break };
            let slot = topology.node(index).slot;
            let target = self.fleet.machine_of(machine, index);
            let ails = self.fleet.member(target).ails;
            let cut = self.is_cut(machine, target);
            let found = !cut && !ails.stopped && !ails.left;
            // A connection, and a question.
            let takes = match cut {
                true => self.connect_timeout,
                false if found => 4 * self.transit(machine, target, 0),
                false => 2 * self.transit(machine, target, 0),
            };
            let probe = Probe { slot, found, started };
            self.queue.push_after(takes, Event::Probed { machine, probe });
        }
        self.fleet.member(machine).probes = false;
        self.look_for_lost(machine);
    }

    pub(super) fn handle_probed(&mut self, machine: MachineId, probe: Probe) {
        let now = self.queue.now();
        self.trace.note(&[8, now, u64::from(machine), u64::from(probe.found)]);
        let Probe { slot, found, started } = probe;
        self.fleet.member(machine).scheduler.probed(slot, found, started, Fleet::now(now));
        self.look_for_lost(machine);
    }
}
