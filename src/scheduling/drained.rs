//! Nodes that an operator has taken out of the candidates.
//!
//! A drained node is asked for nothing new: what it has from us goes on, what others send it is
//! their matter. Where all are drained an invocation runs where it is, as it does where all are lost.

use rand::Rng;

use super::Scheduler;
use crate::topology::{NodeId, Topology};

impl<R: Rng> Scheduler<R> {
    /// Takes the nodes named in `drained` out of the candidates, and puts all others back.
    pub fn keep_drained(&mut self, topology: &Topology, drained: &[NodeId]) {
        self.estimates.known_mut().for_each(|estimate| estimate.drained = false);
        let places = drained.iter().filter_map(|id| topology.index_of(id.as_str()));
        for node in places {
            if let Some(estimate) = self.estimate_mut(topology.node(node).slot) {
                estimate.drained = true;
            }
        }
    }
}
