use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::*;
use crate::topology::{Address, NodeId, NodeSpec, Role, Zone};

pub(super) fn topology_of(nodes: usize) -> Topology {
    let specs = (0..nodes).map(|i| spec(&format!("n{i}"), Role::Worker, "z")).collect();
    Topology::new(specs, None).unwrap()
}

fn spec(id: &str, role: Role, zone: &str) -> NodeSpec {
    let address = Address { host: id.into(), port: 1, gateway_port: 2 };
    NodeSpec { id: NodeId::new(id).unwrap(), role, zone: Zone::new(zone).unwrap(), address }
}
