//! Which nodes are asked whether they are there: those that were lost, and those that are doubted.

use rand::{Rng, RngExt};

use super::{Scheduler, Time};
use crate::topology::{NodeIndex, Slot, Topology};

impl<R: Rng> Scheduler<R> {
    /// Whether the owner of `slot` is left alone at `now`.
    pub fn is_left_alone(&self, slot: Slot, now: Time) -> bool {
        self.estimate(slot).is_some_and(|estimate| estimate.is_ejected(now))
    }

    /// Notes that the owner of `slot` may be gone, since it ended a connection.
    pub fn doubt(&mut self, slot: Slot) {
        let probes = self.health.probes;
        let Some(estimate) = self.estimate_mut(slot).filter(|_| probes) else { return };
        self.awaits_probes |= estimate.health_mut().raise_doubt();
    }

    /// Whether there are nodes that wait to be found by a probe.
    pub fn awaits_probes(&self) -> bool {
        self.awaits_probes
    }

    /// A lost or doubted node that should be probed now, if there is one; to be told of in [`Self::probed`].
    pub fn next_probe(&mut self, topology: &Topology, now: Time) -> Option<NodeIndex> {
        if !self.awaits_probes {
            return None;
        }
        self.awaits_probes = false;
        for (node, &index) in topology.nodes().iter().zip(topology.everyone()) {
            let Some(estimate) = self.estimate(node.slot) else { continue };
            if estimate.awaits_probe() || estimate.health().is_doubted() {
                self.awaits_probes = true;
                let estimate = self.estimate_mut(node.slot)?;
                if estimate.health_mut().begin_probe(now) {
                    return Some(index);
                }
            }
        }
        None
    }

    /// Learns what came of a probe of the owner of `slot` that was begun at `started`. One that is
    /// there is tried by an invocation, since its gateway may not be.
    pub fn probed(&mut self, slot: Slot, found: bool, started: Time, now: Time) {
        let rule = self.health;
        let Some(estimate) = self.estimate_mut(slot) else { return };
        if estimate.health_mut().settle_doubt(started) {
            if !found {
                self.lose_slot(slot, started, true, now);
            }
            return;
        }
        let jitter = self.rng.random();
        let Some(estimate) = self.estimate_mut(slot) else { return };
        if estimate.health_mut().end_probe(started) {
            estimate.health_mut().learn_probe(found, &rule, jitter, now);
        }
    }
}
