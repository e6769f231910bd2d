//! Where invocations come in.

use std::time::Duration;

use super::Notes;
use super::fleet::Fleet;
use crate::sim::scenario::{Entry, EntryShares};
use crate::simulate::raw;
use crate::topology::NodeIndex;

/// How long a way of entry is in force that stands alone: longer than any trial.
const FOR_GOOD: Duration = Duration::from_secs(u32::MAX as u64);

/// The ways of entry.
pub(super) fn read(raw: &[raw::Entry], fleet: &Fleet, notes: &mut Notes) -> Vec<Entry> {
    if raw.is_empty() {
        notes.note("entries", "[]", "has no way of entry", "list at least one");
    }
    notes.distinct("entries", raw.iter().map(|entry| entry.name.as_str()));
    let entry = |(i, raw): (usize, &raw::Entry)| {
        let key = format!("entries[{i}]");
        let (turns, turn) = turns(raw, &key, fleet, notes)?;
        Some(Entry { name: raw.name.clone(), turns, turn })
    };
    raw.iter().enumerate().filter_map(entry).collect()
}

type Turns = (Vec<EntryShares>, Duration);

fn turns(raw: &raw::Entry, key: &str, fleet: &Fleet, notes: &mut Notes) -> Option<Turns> {
    let ways = vec![
        ("node", raw.node.as_ref().map(|_| "node")),
        ("uniform", raw.uniform.as_ref().map(|_| "uniform")),
        ("hot_zone", raw.hot_zone.as_ref().map(|_| "hot_zone")),
        ("moving_hot_spot", raw.moving_hot_spot.as_ref().map(|_| "moving_hot_spot")),
    ];
    notes.only(key, ways)?;
    if let Some(share) = raw.share.filter(|_| raw.hot_zone.is_none()) {
        let fault = "says nothing without hot_zone";
        notes.note(format!("{key}.share"), share, fault, "remove it");
    }
    if let Some(id) = &raw.node {
        let node = fleet.node(id, &format!("{key}.node"), notes)?;
        return Some((vec![even(&[node])], FOR_GOOD));
    }
    if let Some(nodes) = &raw.uniform {
        let nodes = nodes_of(nodes, &format!("{key}.uniform"), fleet, notes)?;
        return Some((vec![even(&nodes)], FOR_GOOD));
    }
    if let Some(zone) = &raw.hot_zone {
        let Some(share) = raw.share else {
            let remedy = "write the share of invocations that come in there, as in 0.6";
            notes.note(format!("{key}.share"), "", "is missing beside hot_zone", remedy);
            return None;
        };
        let share = notes.within(&format!("{key}.share"), share, 0.0..=1.0);
        let zone = fleet.zone(zone, &format!("{key}.hot_zone"), notes)?;
        return Some((vec![hot(zone, share, fleet)], FOR_GOOD));
    }
    moving(raw.moving_hot_spot.as_ref()?, &format!("{key}.moving_hot_spot"), fleet, notes)
}

fn moving(raw: &raw::MovingHotSpot, key: &str, fleet: &Fleet, notes: &mut Notes) -> Option<Turns> {
    let share = notes.within(&format!("{key}.share"), raw.share, 0.0..=1.0);
    let turn_key = format!("{key}.turn_s");
    let turn = notes.seconds(&turn_key, raw.turn_s);
    let turn = notes.some_time(&turn_key, turn);
    if raw.zones.is_empty() {
        notes.note(format!("{key}.zones"), "[]", "has no zone", "list at least one");
        return None;
    }
    let zones = raw.zones.iter().enumerate();
    let turns = zones.map(|(i, zone)| {
        let zone = fleet.zone(zone, &format!("{key}.zones[{i}]"), notes)?;
        Some(hot(zone, share, fleet))
    });
    // All zones are looked at before one that is unknown ends this.
    let turns: Vec<Option<EntryShares>> = turns.collect();
    Some((turns.into_iter().collect::<Option<_>>()?, turn))
}

fn nodes_of(text: &str, key: &str, fleet: &Fleet, notes: &mut Notes) -> Option<Vec<NodeIndex>> {
    let nodes = match text {
        "all" => fleet.topology().everyone().to_vec(),
        "edge" => fleet.edge(),
        other => {
            notes.note(key, other, "is not known here", "write edge or all");
            return None;
        }
    };
    if nodes.is_empty() {
        notes.note(key, text, "is no node at all", "write all, or add edge nodes");
        return None;
    }
    Some(nodes)
}

/// `share` into the zone, the rest evenly into all other edge nodes; all where there are none.
fn hot(zone: usize, share: f64, fleet: &Fleet) -> EntryShares {
    let inside = fleet.members(zone);
    let outside: Vec<NodeIndex> =
        fleet.edge().into_iter().filter(|node| fleet.zone_of[node.as_usize()] != zone).collect();
    if outside.is_empty() {
        return even(&inside);
    }
    let weigh = |nodes: Vec<NodeIndex>, share: f64| {
        let each = share / nodes.len() as f64;
        nodes.into_iter().map(move |node| (node, each))
    };
    cumulated(weigh(inside, share).chain(weigh(outside, 1.0 - share)).collect())
}

fn even(nodes: &[NodeIndex]) -> EntryShares {
    cumulated(nodes.iter().map(|&node| (node, 1.0 / nodes.len() as f64)).collect())
}

/// Each share with all before it; the last is 1, whatever rounding makes of it.
fn cumulated(mut shares: Vec<(NodeIndex, f64)>) -> EntryShares {
    let mut reached = 0.0;
    for (_, share) in &mut shares {
        reached += *share;
        *share = reached;
    }
    if let Some((_, last)) = shares.last_mut() {
        *last = 1.0;
    }
    EntryShares(shares)
}
