//! Who is there: nodes, their roles, zones and addresses. Pure.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::problem::Problem;

/// Most bytes in a node id or a zone name: both travel in headers and become label values.
pub const NAME_BYTES_MAX: usize = 63;

/// The name of a node, unique in its topology.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Arc<str>);

/// The name of a zone: nodes that are near each other and share a controller.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Zone(Arc<str>);

/// A name that cannot be one: empty, too long, or with other characters than `[-a-zA-Z0-9_.]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to {NAME_BYTES_MAX} characters of [-a-zA-Z0-9_.]")]
pub struct NameError;

fn checked_name(name: &str) -> Result<Arc<str>, NameError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(allowed) {
        return Err(NameError);
    }
    Ok(name.into())
}

impl NodeId {
    /// The id `name`, if it can be one.
    pub fn new(name: &str) -> Result<Self, NameError> {
        checked_name(name).map(Self)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for NodeId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Zone {
    /// The zone `name`, if it can be one.
    pub fn new(name: &str) -> Result<Self, NameError> {
        checked_name(name).map(Self)
    }

    /// The zone's name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a node does for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Decides for everyone under the centralized architecture.
    CloudController,
    /// Decides for its zone under the federated architecture.
    EdgeController,
    /// Decides for itself only.
    Worker,
}

impl Role {
    /// Every role, in the order in which tables print them.
    pub const ALL: [Self; 3] = [Self::CloudController, Self::EdgeController, Self::Worker];

    /// The name in configuration and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CloudController => "cloud-controller",
            Self::EdgeController => "edge-controller",
            Self::Worker => "worker",
        }
    }

    /// Whether nodes of this role place invocations for others.
    pub const fn is_controller(self) -> bool {
        !matches!(self, Self::Worker)
    }
}

impl std::str::FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(())
    }
}

/// Where a node's sidecar and its gateway listen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// An IP address or a host name, without port.
    pub host: Arc<str>,
    /// The sidecar's data port.
    pub port: u16,
    /// The gateway's port.
    pub gateway_port: u16,
}

impl Address {
    /// Data port of a sidecar that names none.
    pub const PORT_DEFAULT: u16 = 31113;
    /// Gateway port of a node that names none.
    pub const GATEWAY_PORT_DEFAULT: u16 = 31112;
}

/// Position of a node in one [`Topology`]; it has no meaning in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct NodeIndex(u32);

impl NodeIndex {
    /// The position as an index of [`Topology::nodes`].
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// Where what is learned about a node is kept, stable while the node stays in the topology.
///
/// A slot is handed on when its node leaves. `since` tells its owners apart, so an invocation that
/// began before a reload never reports to the wrong node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Index into tables kept per node.
    pub index: u32,
    /// The topology revision in which the node took this slot.
    pub since: u64,
}

/// A node as configured, before it has a place in a topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its name.
    pub id: NodeId,
    /// What it does for others.
    pub role: Role,
    /// The zone it stands in.
    pub zone: Zone,
    /// Where it listens.
    pub address: Address,
}

/// A node in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub id: NodeId,
    /// What it does for others.
    pub role: Role,
    /// The zone it stands in.
    pub zone: Zone,
    /// Where it listens.
    pub address: Address,
    /// Where what is learned about it is kept.
    pub slot: Slot,
    /// Where its zone stands among the zones: every decision asks for them, and a name takes long
    /// to look up.
    zone_place: u32,
}

#[derive(Debug, Clone, Default)]
struct Members {
    nodes: Vec<NodeIndex>,
    controllers: Vec<NodeIndex>,
}

/// All nodes, with the lookups a decision needs; built once per configuration and never changed.
#[derive(Debug, Clone)]
pub struct Topology {
    revision: u64,
    nodes: Vec<Node>,
    everyone: Vec<NodeIndex>,
    by_id: HashMap<NodeId, NodeIndex>,
    zones: Vec<Members>,
    zone_places: HashMap<Zone, u32>,
    zone_controllers: Vec<NodeIndex>,
    cloud_controllers: Vec<NodeIndex>,
    slots: u32,
}

impl Topology {
    /// Most nodes in a topology.
    pub const NODES_MAX: usize = 100_000;

    /// A topology of `specs` that takes over from `previous`, or all that stands against it.
    ///
    /// Nodes that stay keep their slot, so what was learned about them stays too.
    pub fn new(specs: Vec<NodeSpec>, previous: Option<&Self>) -> Result<Self, Vec<Problem>> {
        let problems = problems_in(&specs);
        if !problems.is_empty() {
            return Err(problems);
        }
        let revision = previous.map_or(1, |p| p.revision + 1);
        let (slots_taken, slots) = assign_slots(&specs, previous, revision);
        let mut topology = Self {
            revision,
            nodes: Vec::with_capacity(specs.len()),
            everyone: Vec::with_capacity(specs.len()),
            by_id: HashMap::with_capacity(specs.len()),
            zones: Vec::new(),
            zone_places: HashMap::new(),
            zone_controllers: Vec::new(),
            cloud_controllers: Vec::new(),
            slots,
        };
        for (spec, slot) in specs.into_iter().zip(slots_taken) {
            topology.seat(spec, slot);
        }
        Ok(topology)
    }

    fn seat(&mut self, spec: NodeSpec, slot: Slot) {
        let index = NodeIndex(self.nodes.len() as u32);
        let NodeSpec { id, role, zone, address } = spec;
        let next = self.zones.len() as u32;
        let zone_place = *self.zone_places.entry(zone.clone()).or_insert(next);
        if zone_place == next {
            self.zones.push(Members::default());
        }
        let members = &mut self.zones[zone_place as usize];
        members.nodes.push(index);
        if role.is_controller() {
            members.controllers.push(index);
            self.zone_controllers.push(index);
        }
        if role == Role::CloudController {
            self.cloud_controllers.push(index);
        }
        self.everyone.push(index);
        self.by_id.insert(id.clone(), index);
        self.nodes.push(Node { id, role, zone, address, slot, zone_place });
    }

    /// Every node, in the order written.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node at `index`.
    pub fn node(&self, index: NodeIndex) -> &Node {
        &self.nodes[index.as_usize()]
    }

    /// The position of the node called `id`.
    pub fn index_of(&self, id: &str) -> Option<NodeIndex> {
        self.by_id.get(id).copied()
    }

    /// All positions, in the order written.
    pub fn everyone(&self) -> &[NodeIndex] {
        &self.everyone
    }

    /// The nodes in the zone of `node`, which is one of this topology, controllers included.
    pub fn zone_members(&self, node: &Node) -> &[NodeIndex] {
        self.zones.get(node.zone_place as usize).map_or(&[], |members| &members.nodes)
    }

    /// The nodes that decide for the zone of `node` under the federated architecture.
    pub fn controllers_of(&self, node: &Node) -> &[NodeIndex] {
        self.zones.get(node.zone_place as usize).map_or(&[], |members| &members.controllers)
    }

    /// The controllers of all zones.
    pub fn zone_controllers(&self) -> &[NodeIndex] {
        &self.zone_controllers
    }

    /// The nodes that decide under the centralized architecture.
    pub fn cloud_controllers(&self) -> &[NodeIndex] {
        &self.cloud_controllers
    }

    /// How many slots tables kept per node must have room for.
    pub fn slots(&self) -> u32 {
        self.slots
    }
}

fn assign_slots(
    specs: &[NodeSpec],
    previous: Option<&Topology>,
    revision: u64,
) -> (Vec<Slot>, u32) {
    let kept = |spec: &NodeSpec| {
        let topology = previous?;
        let node = topology.node(*topology.by_id.get(&spec.id)?);
        (node.address == spec.address).then_some(node.slot)
    };
    let before = previous.map_or(0, |p| p.slots);
    let mut free = vec![true; before as usize];
    let kept: Vec<Option<Slot>> = specs.iter().map(kept).collect();
    for slot in kept.iter().flatten() {
        free[slot.index as usize] = false;
    }
    let mut vacant = (0..before).filter(|&i| free[i as usize]);
    let mut slots = before;
    let slots_taken = kept
        .into_iter()
        .map(|slot| {
            slot.unwrap_or_else(|| {
                let index = vacant.next().unwrap_or_else(|| {
                    slots += 1;
                    slots - 1
                });
                Slot { index, since: revision }
            })
        })
        .collect();
    (slots_taken, slots)
}

fn problems_in(specs: &[NodeSpec]) -> Vec<Problem> {
    let mut problems = Vec::new();
    if specs.is_empty() {
        problems.push(Problem::new("topology", "[]", "has no node", "list at least this node"));
    }
    if specs.len() > Topology::NODES_MAX {
        problems.push(Problem::new(
            "topology",
            format!("{} nodes", specs.len()),
            format!("has more than {} nodes", Topology::NODES_MAX),
            "split the fleet into several topologies",
        ));
    }
    let mut ids: HashMap<&NodeId, usize> = HashMap::new();
    let mut sockets: HashMap<(&str, u16), usize> = HashMap::new();
    for (i, spec) in specs.iter().enumerate() {
        if let Some(first) = ids.insert(&spec.id, i) {
            problems.push(Problem::new(
                format!("topology[{i}].id"),
                &spec.id,
                format!("is also the id of topology[{first}]"),
                "give each node an id of its own",
            ));
        }
        let socket = (&*spec.address.host, spec.address.port);
        if let Some(first) = sockets.insert(socket, i) {
            problems.push(Problem::new(
                format!("topology[{i}].address"),
                format!("{}:{}", socket.0, socket.1),
                format!("is also the data address of topology[{first}]"),
                "give each sidecar an address or a port of its own",
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(id: &str, role: Role, zone: &str, port: u16) -> NodeSpec {
        let address = Address { host: "127.0.0.1".into(), port, gateway_port: 1 };
        NodeSpec { id: NodeId::new(id).unwrap(), role, zone: Zone::new(zone).unwrap(), address }
    }

    #[test]
    fn names_are_bounded_and_plain() {
        for good in ["a", "edge-1", "A.b_c", &"x".repeat(63)] {
            assert!(NodeId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "a,b", "ä", &"x".repeat(64)] {
            assert_eq!(NodeId::new(bad), Err(NameError), "{bad}");
        }
    }

    #[test]
    fn nodes_that_stay_keep_their_slot_and_newcomers_get_a_fresh_one() {
        let worker = |id: &str, port| spec(id, Role::Worker, "z", port);
        let first =
            Topology::new(vec![worker("a", 1), worker("b", 2), worker("c", 3)], None).unwrap();
        let second =
            Topology::new(vec![worker("c", 3), worker("d", 4), worker("e", 5)], Some(&first))
                .unwrap();
        let slot = |t: &Topology, id: &str| t.node(t.index_of(id).unwrap()).slot;
        assert_eq!(slot(&second, "c"), slot(&first, "c"));
        assert_eq!(slot(&second, "d"), Slot { index: 0, since: 2 });
        assert_eq!(slot(&second, "e"), Slot { index: 1, since: 2 });
        assert_eq!(second.slots(), 3, "slots of nodes that left are handed on");
    }

    #[test]
    fn a_node_that_moved_starts_afresh() {
        let first = Topology::new(vec![spec("a", Role::Worker, "z", 1)], None).unwrap();
        let second = Topology::new(vec![spec("a", Role::Worker, "z", 2)], Some(&first)).unwrap();
        assert_ne!(first.nodes()[0].slot, second.nodes()[0].slot);
    }

    #[test]
    fn all_problems_come_at_once() {
        let specs = vec![
            spec("a", Role::Worker, "z", 1),
            spec("a", Role::Worker, "z", 2),
            spec("b", Role::Worker, "z", 2),
        ];
        let keys: Vec<String> =
            Topology::new(specs, None).unwrap_err().into_iter().map(|p| p.key).collect();
        assert_eq!(keys, ["topology[1].id", "topology[2].address"]);
        assert!(Topology::new(vec![], None).is_err());
    }

    #[test]
    fn zones_know_members_and_controllers() {
        let topology = Topology::new(
            vec![
                spec("cloud", Role::CloudController, "cloud", 1),
                spec("edge1", Role::EdgeController, "A", 2),
                spec("edge2", Role::Worker, "A", 3),
            ],
            None,
        )
        .unwrap();
        let edge2 = topology.node(topology.index_of("edge2").unwrap());
        assert_eq!(topology.zone_members(edge2).len(), 2);
        assert_eq!(topology.controllers_of(edge2), [topology.index_of("edge1").unwrap()]);
        assert_eq!(topology.cloud_controllers(), [topology.index_of("cloud").unwrap()]);
        assert_eq!(topology.zone_controllers().len(), 2);
    }
}
