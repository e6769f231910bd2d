//! What is believed of all nodes.

use super::estimate::NodeEstimate;
use crate::topology::{Slot, Topology};

/// One record per node that anything is known of. In a large fleet a node has to do with few of the
/// others, so the rest share a record of nothing.
#[derive(Debug, Default)]
pub(super) struct Estimates {
    entries: Vec<Entry>,
    unknown: NodeEstimate,
}

/// A place in the table, with the revision in which its owner took it.
#[derive(Debug, Default)]
struct Entry {
    since: u64,
    known: Option<Box<NodeEstimate>>,
}

impl Estimates {
    /// Makes room for the nodes of `topology`; what is known of those that stay is kept.
    pub(super) fn adopt(&mut self, topology: &Topology) {
        for node in topology.nodes() {
            let index = node.slot.index as usize;
            if self.entries.len() <= index {
                self.entries.resize_with(index + 1, Entry::default);
            }
            let entry = &mut self.entries[index];
            if entry.since != node.slot.since {
                *entry = Entry { since: node.slot.since, known: None };
            }
        }
    }

    /// What is known of the owner of `slot`, if it has a place.
    pub(super) fn get(&self, slot: Slot) -> Option<&NodeEstimate> {
        let entry = self.entries.get(slot.index as usize)?;
        (entry.since == slot.since).then(|| entry.known.as_deref().unwrap_or(&self.unknown))
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut NodeEstimate> {
        let entry = self.entries.get_mut(slot.index as usize)?;
        if entry.since != slot.since {
            return None;
        }
        Some(entry.known.get_or_insert_with(|| Box::new(NodeEstimate::new())))
    }

    /// All records of something.
    pub(super) fn known(&self) -> impl Iterator<Item = &NodeEstimate> {
        self.entries.iter().filter_map(|entry| entry.known.as_deref())
    }

    /// The same, to be changed.
    pub(super) fn known_mut(&mut self) -> impl Iterator<Item = &mut NodeEstimate> {
        self.entries.iter_mut().filter_map(|entry| entry.known.as_deref_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduling::tests::topology_of;

    #[test]
    fn only_what_is_known_has_a_record() {
        let topology = topology_of(100);
        let mut estimates = Estimates::default();
        let slot = |i: usize| topology.node(topology.everyone()[i]).slot;
        assert!(estimates.get(slot(0)).is_none(), "no place yet");
        estimates.adopt(&topology);
        assert_eq!(estimates.get(slot(7)).unwrap().outstanding, 0);
        assert_eq!(estimates.known_mut().count(), 0);
        estimates.get_mut(slot(7)).unwrap().outstanding = 3;
        estimates.adopt(&topology);
        assert_eq!(estimates.get(slot(7)).unwrap().outstanding, 3);
        assert_eq!(estimates.get(slot(8)).unwrap().outstanding, 0);
        assert_eq!(estimates.known_mut().count(), 1);
    }

    #[test]
    fn an_earlier_owner_of_a_place_is_not_known_any_more() {
        let topology = topology_of(2);
        let mut estimates = Estimates::default();
        estimates.adopt(&topology);
        let slot = topology.nodes()[1].slot;
        let earlier = Slot { since: slot.since + 1, ..slot };
        assert!(estimates.get(earlier).is_none());
        assert!(estimates.get_mut(earlier).is_none());
        assert_eq!(estimates.known_mut().count(), 0);
    }
}
