//! Taking nodes out of the candidates and putting them back, which is no matter of the file.

use std::sync::Arc;

use super::Snapshot;
use crate::problem::Problem;
use crate::topology::{NodeId, Topology};

impl Snapshot {
    /// Whether an operator has taken the node `id` out of the candidates.
    pub fn is_drained(&self, id: &NodeId) -> bool {
        self.drained.binary_search(id).is_ok()
    }

    /// This snapshot with the node `id` taken out or put back.
    pub(super) fn drained_with(&self, id: &Arc<str>, out: bool) -> Result<Self, Vec<Problem>> {
        let topology = &self.site.topology;
        let Some(node) = topology.index_of(id).map(|index| topology.node(index)) else {
            let remedy = "name one that GET /clusters lists";
            return Err(vec![Problem::new("node", id, "is no node of the topology", remedy)]);
        };
        let mut drained = self.drained.to_vec();
        match (drained.binary_search(&node.id), out) {
            (Err(place), true) => drained.insert(place, node.id.clone()),
            (Ok(place), false) => drop(drained.remove(place)),
            (Ok(_), true) | (Err(_), false) => {}
        }
        Ok(Self { drained: drained.into(), ..self.clone() })
    }

    /// Those that are drained and still there in `topology`.
    pub(super) fn still_drained(&self, topology: &Topology) -> Box<[NodeId]> {
        let there = |id: &&NodeId| topology.index_of(id.as_str()).is_some();
        self.drained.iter().filter(there).cloned().collect()
    }
}
