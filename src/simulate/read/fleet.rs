//! Machines, their topology and the configuration that all of them read.

use std::collections::HashMap;

use serde_yaml::Mapping;

use super::Notes;
use crate::config::Snapshot;
use crate::problem::Problem;
use crate::sim::scenario::{ConfigText, Machine};
use crate::simulate::raw;
use crate::topology::{NodeIndex, Role, Topology};

/// Every cell keeps a delay for each pair of zones.
const ZONES_MAX: usize = 2000;

/// Cores of one machine, and how fast they are.
const CORES_MAX: u16 = 4096;
const SPEED_MAX: f64 = 1000.0;

/// Keys of the configuration that follow from the rest of a scenario.
const GIVEN: [(&str, &str); 3] = [
    ("architecture", "name the policies to compare under `policies`"),
    ("node", "every node of the scenario is simulated"),
    ("topology", "list the nodes under `nodes`, or let them be made by `generate`"),
];

/// The fleet, and the zones in the order in which they are first named.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) snapshot: Snapshot,
    pub(super) text: ConfigText,
    pub(super) machines: Vec<Machine>,
    pub(super) zones: Vec<String>,
    /// The zone of each node, as an index of `zones`.
    pub(super) zone_of: Vec<usize>,
    /// Whether a cloud controller stands in each zone.
    pub(super) is_cloud: Vec<bool>,
}

impl Fleet {
    fn new(snapshot: Snapshot, text: ConfigText, machines: Vec<Machine>) -> Self {
        let mut zones: Vec<String> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut zone_of = Vec::new();
        let mut is_cloud = Vec::new();
        for node in snapshot.site.topology.nodes() {
            let zone = node.zone.as_str();
            let index = *places.entry(zone).or_insert_with(|| {
                zones.push(zone.to_owned());
                is_cloud.push(false);
                zones.len() - 1
            });
            is_cloud[index] |= node.role == Role::CloudController;
            zone_of.push(index);
        }
        Self { snapshot, text, machines, zones, zone_of, is_cloud }
    }

    pub(super) fn topology(&self) -> &Topology {
        &self.snapshot.site.topology
    }

    /// The nodes of zones without a cloud controller.
    pub(super) fn edge(&self) -> Vec<NodeIndex> {
        let everyone = self.topology().everyone().iter().copied();
        everyone.filter(|node| !self.is_cloud[self.zone_of[node.as_usize()]]).collect()
    }

    /// The node called `id`; a problem at `key` where there is none.
    pub(super) fn node(&self, id: &str, key: &str, notes: &mut Notes) -> Option<NodeIndex> {
        let found = self.topology().index_of(id);
        if found.is_none() {
            notes.note(key, id, "is not a node of this scenario", "write the id of one that is");
        }
        found
    }

    /// The zone called `name`, as an index; a problem at `key` where there is none.
    pub(super) fn zone(&self, name: &str, key: &str, notes: &mut Notes) -> Option<usize> {
        let found = self.zones.iter().position(|zone| zone == name);
        if found.is_none() {
            let remedy = format!("write one of {}", some_of(&self.zones));
            notes.note(key, name, "is not a zone of this scenario", remedy);
        }
        found
    }

    /// The nodes of the zone at `index`.
    pub(super) fn members(&self, index: usize) -> Vec<NodeIndex> {
        let everyone = self.topology().everyone().iter().copied();
        everyone.filter(|node| self.zone_of[node.as_usize()] == index).collect()
    }
}

/// The first few names, for a message of bounded length.
fn some_of(names: &[String]) -> String {
    const SHOWN_MAX: usize = 10;
    let more = if names.len() > SHOWN_MAX { ", …" } else { "" };
    format!("{}{more}", names[..names.len().min(SHOWN_MAX)].join(", "))
}

/// The fleet that `raw` describes, if its topology and its configuration are good.
pub(super) fn read(raw: &raw::Scenario, notes: &mut Notes) -> Option<Fleet> {
    let listed = raw.nodes.clone();
    let generated = raw.generate.as_ref();
    let key = if listed.is_some() { "nodes" } else { "generate" };
    let nodes = match (listed, generated) {
        (Some(nodes), None) => nodes,
        (None, Some(generate)) => self::generated(generate, notes)?,
        (Some(_), Some(_)) => {
            notes.note("generate", "", "stands beside nodes", "keep one of the two");
            return None;
        }
        (None, None) => {
            notes.note("nodes", "", "is missing", "list nodes here, or write generate");
            return None;
        }
    };
    let machines = nodes.iter().enumerate().map(|(i, node)| {
        let place = if key == "nodes" { format!("nodes[{i}]") } else { key.to_owned() };
        machine(node, &place, notes)
    });
    let machines = machines.collect();
    let (snapshot, text) = snapshot(&nodes, raw.hopwise.as_ref(), notes)?;
    let fleet = Fleet::new(snapshot, text, machines);
    if fleet.zones.len() > ZONES_MAX {
        let value = format!("{} zones", fleet.zones.len());
        notes.note(key, value, "are too many", format!("use at most {ZONES_MAX}"));
        return None;
    }
    Some(fleet)
}

fn machine(node: &raw::Node, place: &str, notes: &mut Notes) -> Machine {
    let cores =
        notes.within(&format!("{place}.cores"), f64::from(node.cores), 1.0..=f64::from(CORES_MAX));
    let speed = notes.within(&format!("{place}.speed"), node.speed, 0.001..=SPEED_MAX);
    Machine { cores: cores as u16, speed }
}

/// The nodes of a fleet of equal zones: the cloud, then zone by zone with its controller first.
fn generated(generate: &raw::Generate, notes: &mut Notes) -> Option<Vec<raw::Node>> {
    let raw::Generate { zones, nodes_per_zone, cores, speed, .. } = *generate;
    let in_cloud = generate.cloud.as_ref().map_or(0, |cloud| cloud.nodes);
    let total = zones.checked_mul(nodes_per_zone).and_then(|edge| edge.checked_add(in_cloud));
    if !total.is_some_and(|total| (1..=Topology::NODES_MAX).contains(&total)) {
        let value = format!("{zones} × {nodes_per_zone} + {in_cloud} nodes");
        let remedy = format!("make it 1 to {} nodes", Topology::NODES_MAX);
        notes.note("generate", value, "is no fleet of a size that can be", remedy);
        return None;
    }
    let mut nodes = Vec::new();
    if let Some(cloud) = &generate.cloud {
        for i in 1..=cloud.nodes {
            nodes.push(raw::Node {
                id: if cloud.nodes == 1 { "cloud".to_owned() } else { format!("cloud{i}") },
                role: Role::CloudController.as_str().to_owned(),
                zone: "cloud".to_owned(),
                cores: cloud.cores,
                speed: cloud.speed,
            });
        }
    }
    for zone in 1..=zones {
        for i in 1..=nodes_per_zone {
            let role = if i == 1 { Role::EdgeController } else { Role::Worker };
            nodes.push(raw::Node {
                id: format!("z{zone}n{i}"),
                role: role.as_str().to_owned(),
                zone: format!("z{zone}"),
                cores,
                speed,
            });
        }
    }
    Some(nodes)
}

/// The configuration every node reads: the keys under `hopwise`, and the nodes as its topology.
fn snapshot(
    nodes: &[raw::Node],
    hopwise: Option<&Mapping>,
    notes: &mut Notes,
) -> Option<(Snapshot, ConfigText)> {
    let mut document = hopwise.cloned().unwrap_or_default();
    for (key, remedy) in GIVEN {
        if document.contains_key(key) {
            let fault = "follows from the rest of the scenario";
            notes.note(format!("hopwise.{key}"), "", fault, format!("remove it; {remedy}"));
            document.remove(key);
        }
    }
    document.insert("architecture".into(), "dynamic".into());
    let in_topology = |(i, node): (usize, &raw::Node)| {
        [node.id.clone(), node.role.clone(), node.zone.clone(), address(i)]
    };
    let entries: Vec<[String; 4]> = nodes.iter().enumerate().map(in_topology).collect();
    let made = serde_yaml::to_string(&document).map_err(|error| {
        vec![Problem::new("hopwise", "", error.to_string(), "write plain keys and values")]
    });
    let read = made.and_then(|head| {
        let text = ConfigText { head, nodes: entries };
        let all: Vec<usize> = (0..nodes.len()).collect();
        Ok((Snapshot::from_yaml(&text.of(&all), None)?, text))
    });
    match read {
        Ok(read) => Some(read),
        Err(problems) => {
            problems.into_iter().for_each(|problem| notes.push(in_scenario(problem)));
            None
        }
    }
}

/// `problem` with the key that stands in the scenario; its line is that of another text.
fn in_scenario(problem: Problem) -> Problem {
    let key = match problem.key.strip_prefix("topology") {
        Some(rest) => format!("nodes{rest}"),
        None if problem.key == "node.id" => "nodes".to_owned(),
        None => format!("hopwise.{}", problem.key),
    };
    Problem { key, line: None, ..problem }
}

/// An address that no other node has: 10.0.0.1 and on.
fn address(index: usize) -> String {
    let [_, a, b, c] = (index as u32 + 1).to_be_bytes();
    format!("10.{a}.{b}.{c}")
}
