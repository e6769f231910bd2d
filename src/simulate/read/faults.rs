//! What goes wrong in a cell, node by node.

use std::time::Duration;

use super::Notes;
use super::fleet::Fleet;
use crate::sim::scenario::{Fault, FaultKind};
use crate::simulate::raw;
use crate::topology::NodeIndex;

const FACTOR: std::ops::RangeInclusive<f64> = 0.001..=1e6;

/// The faults of the cell at `place`, one for each node they befall.
pub(super) fn read(
    raw: &[raw::Fault],
    place: &str,
    fleet: &Fleet,
    notes: &mut Notes,
) -> Vec<Fault> {
    let fault = |(i, fault): (usize, &raw::Fault)| {
        let key = format!("{place}.faults[{i}]");
        let nodes = nodes(fault, &key, fleet, notes);
        let kind = kind(fault, &key, notes);
        times(fault, &key, &nodes, kind, notes)
    };
    raw.iter().enumerate().flat_map(fault).collect()
}

fn nodes(raw: &raw::Fault, key: &str, fleet: &Fleet, notes: &mut Notes) -> Vec<NodeIndex> {
    let node = raw.node.as_ref().map(|id| {
        fleet.node(id, &format!("{key}.node"), notes).into_iter().collect::<Vec<NodeIndex>>()
    });
    let nodes = raw.nodes.as_ref().map(|ids| {
        let places = ids.iter().enumerate();
        places.filter_map(|(i, id)| fleet.node(id, &format!("{key}.nodes[{i}]"), notes)).collect()
    });
    let zone = raw.zone.as_ref().map(|zone| {
        let zone = fleet.zone(zone, &format!("{key}.zone"), notes);
        zone.map_or_else(Vec::new, |zone| fleet.members(zone))
    });
    let all_edge = raw.all_edge.then(|| fleet.edge());
    let places = vec![("node", node), ("nodes", nodes), ("zone", zone), ("all_edge", all_edge)];
    notes.only(key, places).unwrap_or_default()
}

fn kind(raw: &raw::Fault, key: &str, notes: &mut Notes) -> FaultKind {
    let raw::Fault { factor, probability, .. } = *raw;
    let mut number = |name: &str, value: Option<f64>, range: std::ops::RangeInclusive<f64>| {
        let key = format!("{key}.{name}");
        match value {
            Some(value) => notes.within(&key, value, range),
            None => {
                notes.note(key, "", format!("is missing where kind is {}", raw.kind), "write it");
                *range.start()
            }
        }
    };
    let (kind, used) = match raw.kind.as_str() {
        "slowed" => (FaultKind::Slowed(number("factor", factor, FACTOR)), "factor"),
        "stopped" => (FaultKind::Stopped, ""),
        "cut_off" => (FaultKind::CutOff, ""),
        "partitioned" => (FaultKind::Partitioned, ""),
        "left" => (FaultKind::Left, ""),
        "silent" => {
            (FaultKind::Silent(number("probability", probability, 0.0..=1.0)), "probability")
        }
        "failing" => {
            (FaultKind::Failing(number("probability", probability, 0.0..=1.0)), "probability")
        }
        other => {
            let remedy = "write slowed, stopped, cut_off, partitioned, left, silent or failing";
            notes.note(format!("{key}.kind"), other, "is not known here", remedy);
            return FaultKind::Stopped;
        }
    };
    for (name, value) in [("factor", factor), ("probability", probability)] {
        if let Some(value) = value.filter(|_| used != name) {
            let fault = format!("says nothing where kind is {}", raw.kind);
            notes.note(format!("{key}.{name}"), value, fault, "remove it");
        }
    }
    kind
}

/// One fault per node: all at once, or one node after the other, round and round.
fn times(
    raw: &raw::Fault,
    key: &str,
    nodes: &[NodeIndex],
    kind: FaultKind,
    notes: &mut Notes,
) -> Vec<Fault> {
    let at = notes.seconds(&format!("{key}.at_s"), raw.at_s);
    let lasts_key = format!("{key}.lasts_s");
    let lasts = notes.seconds(&lasts_key, raw.lasts_s);
    let lasts = notes.some_time(&lasts_key, lasts);
    let every_key = format!("{key}.every_s");
    let every = raw.every_s.map(|every_s| notes.seconds(&every_key, every_s));
    if let Some(every) = every {
        if raw.in_turn {
            let fault = "follows from in_turn: the first node is next after the last";
            notes.note(&every_key, every.as_secs_f64(), fault, "remove it");
        } else if every < lasts {
            let fault = "begins again before it has ended";
            notes.note(&every_key, every.as_secs_f64(), fault, "make it at least lasts_s");
        }
    }
    let turn = |k: usize| if raw.in_turn { lasts * k as u32 } else { Duration::ZERO };
    let round = if raw.in_turn { Some(lasts * nodes.len() as u32) } else { every };
    let fault = |(k, &node)| Fault { node, kind, at: at + turn(k), lasts, every: round };
    nodes.iter().enumerate().map(fault).collect()
}
