//! What is counted per node that this one sends invocations to, itself included.
//!
//! The names are those of the topology, so nobody can make them up; but there may be very many, and
//! those that are asked after all places are taken are counted together.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

use super::Count;
use super::histogram::Histogram;
use crate::scheduling::Time;
use crate::scheduling::route::{Outcome, Ticket};
use crate::topology::{NodeId, Slot, Topology};

/// The numbers of one node.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// How steps ended there, by [`super::OUTCOMES`].
    pub(super) outcomes: [Count; super::OUTCOMES.len()],
    /// Answers by [`super::STATUS_CLASSES`].
    pub(super) answers: [Count; super::STATUS_CLASSES.len()],
    /// From sending it there to the end of the answer.
    pub(super) total: Histogram,
    /// From there to its head.
    pub(super) first_byte: Histogram,
}

type Places = HashMap<Slot, (NodeId, Arc<Node>), RandomState>;

/// All nodes.
#[derive(Debug)]
pub struct Nodes {
    places_max: AtomicUsize,
    places: ArcSwap<Places>,
    others: Arc<Node>,
    changing: Mutex<()>,
}

impl Nodes {
    pub(super) fn new(places_max: usize) -> Self {
        Self {
            places_max: AtomicUsize::new(places_max),
            places: ArcSwap::default(),
            others: Arc::default(),
            changing: Mutex::default(),
        }
    }

    /// Lets go of nodes that are not in `topology`, and of those that are too many.
    pub(super) fn follow(&self, topology: &Topology, places_max: usize) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.places_max.store(places_max, Relaxed);
        let places = self.places.load();
        let stays = |slot: &Slot, id: &NodeId| {
            let index = topology.index_of(id.as_str());
            index.is_some_and(|index| topology.node(index).slot == *slot)
        };
        let kept = places.iter().filter(|(slot, (id, _))| stays(slot, id)).take(places_max);
        let kept = kept.map(|(slot, place)| (*slot, place.clone())).collect();
        self.places.store(Arc::new(kept));
    }

    /// Notes how the step of `ticket` ended, at a node of `topology`. A `status` of 0 is none.
    pub(crate) fn record(
        &self,
        topology: impl FnOnce() -> Arc<Topology>,
        ticket: &Ticket,
        outcome: Outcome,
        status: u16,
        now: Time,
    ) {
        let slot = ticket.slot();
        let known = self.places.load();
        let added;
        let node = match known.get(&slot) {
            Some((_, node)) => node,
            None => {
                added = self.add(&known, slot, topology);
                added.as_ref().unwrap_or(&self.others)
            }
        };
        node.outcomes[super::outcome_index(outcome)].inc();
        if status > 0 {
            node.answers[super::class_index(status)].inc();
        }
        if ticket.is_timed() && matches!(outcome, Outcome::Good | Outcome::Failed) {
            node.total.record(now.since(ticket.started()));
            if let Some(heard) = ticket.heard_at() {
                node.first_byte.record(heard.since(ticket.started()));
            }
        }
    }

    fn add(
        &self,
        known: &Places,
        slot: Slot,
        topology: impl FnOnce() -> Arc<Topology>,
    ) -> Option<Arc<Node>> {
        if known.len() >= self.places_max.load(Relaxed) {
            return None;
        }
        let topology = topology();
        let id = topology.nodes().iter().find(|node| node.slot == slot)?.id.clone();
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Places::clone(&self.places.load());
        let (_, node) = next.entry(slot).or_insert_with(|| (id, Arc::default()));
        let node = Arc::clone(node);
        if next.len() <= self.places_max.load(Relaxed) {
            self.places.store(Arc::new(next));
            return Some(node);
        }
        None
    }

    /// The names of those with a place of their own.
    pub fn names(&self) -> Vec<NodeId> {
        self.places.load().values().map(|(id, _)| id.clone()).collect()
    }

    /// Those with a place of their own, in the order of their names, and then all others.
    pub(super) fn all(&self) -> Vec<(Option<NodeId>, Arc<Node>)> {
        let places = self.places.load();
        let mut all: Vec<_> =
            places.values().map(|(id, node)| (Some(id.clone()), Arc::clone(node))).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all.push((None, Arc::clone(&self.others)));
        all
    }
}
