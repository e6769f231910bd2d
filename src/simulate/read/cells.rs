//! Cells: functions, delays and faults under one name.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fleet::Fleet;
use super::{Notes, faults};
use crate::scheduling::FunctionName;
use crate::sim::scenario::{Cell, ColdStart, Demand, Function, Network};
use crate::simulate::raw;
use crate::topology::NodeIndex;

/// Samples tell functions apart by 16 bits.
const FUNCTIONS_MAX: usize = 1 << 16;
const WEIGHT_MAX: f64 = 1e9;
const SIGMA_MAX: f64 = 5.0;
/// A shape of 1 has no mean.
const SHAPE: std::ops::RangeInclusive<f64> = 1.01..=100.0;
const BANDWIDTH_MBPS: std::ops::RangeInclusive<f64> = 0.001..=1e6;

/// The cells of `raw`; where none are written, one without faults.
pub(super) fn read(raw: &raw::Scenario, fleet: &Fleet, notes: &mut Notes) -> Vec<Cell> {
    let steady =
        raw::Cell { name: "steady".to_owned(), functions: None, delays_ms: None, faults: vec![] };
    let cells = raw.cells.clone().unwrap_or_else(|| vec![steady]);
    if cells.is_empty() {
        notes.note("cells", "[]", "has no cell", "leave the key out for one without faults");
    }
    notes.distinct("cells", cells.iter().map(|cell| cell.name.as_str()));
    let common = functions(&raw.functions, "functions", fleet, notes);
    if raw.functions.is_empty() && cells.iter().any(|cell| cell.functions.is_none()) {
        let remedy = "list functions, or let every cell list its own";
        notes.note("functions", "", "is missing", remedy);
    }
    let cell = |(i, cell): (usize, &raw::Cell)| {
        let place = format!("cells[{i}]");
        let own = cell.functions.as_ref();
        let functions_key = format!("{place}.functions");
        Cell {
            name: cell.name.clone(),
            functions: own
                .map_or_else(|| common.clone(), |own| functions(own, &functions_key, fleet, notes)),
            network: network(raw, cell.delays_ms.as_ref(), &place, fleet, notes),
            faults: faults::read(&cell.faults, &place, fleet, notes),
        }
    };
    cells.iter().enumerate().map(cell).collect()
}

fn functions(raw: &[raw::Function], key: &str, fleet: &Fleet, notes: &mut Notes) -> Vec<Function> {
    if raw.len() > FUNCTIONS_MAX {
        let remedy = format!("list at most {FUNCTIONS_MAX}");
        notes.note(key, format!("{} functions", raw.len()), "are too many", remedy);
        return Vec::new();
    }
    notes.distinct(key, raw.iter().map(|function| function.name.as_str()));
    if !raw.is_empty() && raw.iter().all(|function| function.weight == 0.0) {
        notes.note(key, "", "have no weight", "give one of them a weight above 0");
    }
    let function = |(i, raw): (usize, &raw::Function)| {
        let place = format!("{key}[{i}]");
        let name = FunctionName::new(&raw.name).map_err(|error| {
            let fault = "is not the name of a function";
            notes.note(format!("{place}.name"), &raw.name, fault, error.to_string());
        });
        Some(Function {
            weight: notes.within(&format!("{place}.weight"), raw.weight, 0.0..=WEIGHT_MAX),
            demand: demand(&raw.demand, &format!("{place}.demand"), notes),
            cold_start: raw.cold_start.as_ref().map(|cold_start| ColdStart {
                takes: notes
                    .milliseconds(&format!("{place}.cold_start.takes_ms"), cold_start.takes_ms),
                keep_warm: notes
                    .seconds(&format!("{place}.cold_start.keep_warm_s"), cold_start.keep_warm_s),
            }),
            waits: waits(&raw.waits_ms, &format!("{place}.waits_ms"), fleet, notes),
            bytes: [raw.request_bytes, raw.answer_bytes],
            idempotent: raw.idempotent,
            deadline: raw.deadline_ms.map(|ms| {
                let key = format!("{place}.deadline_ms");
                let deadline = notes.milliseconds(&key, ms);
                notes.some_time(&key, deadline)
            }),
            name: name.ok()?,
        })
    };
    raw.iter().enumerate().filter_map(function).collect()
}

/// By index, of those nodes that are named.
fn waits(
    raw: &BTreeMap<String, f64>,
    key: &str,
    fleet: &Fleet,
    notes: &mut Notes,
) -> Vec<Duration> {
    let mut waits = Vec::new();
    for (id, ms) in raw {
        let place = format!("{key}.{id}");
        let wait = notes.milliseconds(&place, *ms);
        if let Some(node) = fleet.node(id, &place, notes).map(NodeIndex::as_usize) {
            waits.resize(waits.len().max(node + 1), Duration::ZERO);
            waits[node] = wait;
        }
    }
    waits
}

fn demand(raw: &raw::Demand, key: &str, notes: &mut Notes) -> Demand {
    let mut mean = |name: &str, milliseconds: f64| {
        let key = format!("{key}.{name}");
        let time = notes.milliseconds(&key, milliseconds);
        notes.some_time(&key, time)
    };
    let constant = raw.constant_ms.map(|ms| Demand::Constant(mean("constant_ms", ms)));
    let lognormal = raw.lognormal.as_ref().map(|d| (d, mean("lognormal.mean_ms", d.mean_ms)));
    let pareto = raw.pareto.as_ref().map(|d| (d, mean("pareto.mean_ms", d.mean_ms)));
    let bimodal = raw
        .bimodal
        .as_ref()
        .map(|d| (d, mean("bimodal.usual_ms", d.usual_ms), mean("bimodal.rare_ms", d.rare_ms)));
    let lognormal = lognormal.map(|(d, mean)| {
        let sigma = notes.within(&format!("{key}.lognormal.sigma"), d.sigma, 0.0..=SIGMA_MAX);
        Demand::Lognormal(mean, sigma)
    });
    let pareto = pareto.map(|(d, mean)| {
        Demand::Pareto(mean, notes.within(&format!("{key}.pareto.shape"), d.shape, SHAPE))
    });
    let bimodal = bimodal.map(|(d, usual, rare)| {
        let probability = format!("{key}.bimodal.probability");
        Demand::Bimodal(usual, rare, notes.within(&probability, d.probability, 0.0..=1.0))
    });
    let kinds = vec![
        ("constant_ms", constant),
        ("lognormal", lognormal),
        ("pareto", pareto),
        ("bimodal", bimodal),
    ];
    notes.only(key, kinds).unwrap_or(Demand::Constant(Duration::from_millis(1)))
}

/// Delays by distance, those of the cell before those of the whole file.
fn network(
    raw: &raw::Scenario,
    of_cell: Option<&raw::Delays>,
    place: &str,
    fleet: &Fleet,
    notes: &mut Notes,
) -> Network {
    let file = &raw.delays_ms;
    let own_key = format!("{place}.delays_ms");
    let mut delay = |name: &str, pick: fn(&raw::Delays) -> Option<f64>| {
        let own = of_cell.and_then(pick).map(|ms| (&*own_key, ms));
        let (key, ms) = own.or(pick(file).map(|ms| ("delays_ms", ms))).unwrap_or_else(|| {
            let fault = "is missing";
            notes.note(format!("delays_ms.{name}"), "", fault, "write it in milliseconds");
            ("delays_ms", 0.0)
        });
        notes.milliseconds(&format!("{key}.{name}"), ms)
    };
    let within = delay("within_zone", |d| d.within_zone);
    let between = delay("between_zones", |d| d.between_zones);
    let to_cloud = delay("to_cloud", |d| d.to_cloud);
    let distance = |a: usize, b: usize| match (a == b, fleet.is_cloud[a] || fleet.is_cloud[b]) {
        (true, _) => within,
        (false, true) => to_cloud,
        (false, false) => between,
    };
    let zones = 0..fleet.zones.len();
    let mut delays: Vec<Vec<Duration>> =
        zones.clone().map(|a| zones.clone().map(|b| distance(a, b)).collect()).collect();
    let own = of_cell.and_then(|d| d.pairs.as_ref()).map(|pairs| (&*own_key, pairs));
    let (key, pairs) = own
        .or(file.pairs.as_ref().map(|pairs| ("delays_ms", pairs)))
        .map_or(("", &[][..]), |(key, pairs)| (key, &pairs[..]));
    for (i, pair) in pairs.iter().enumerate() {
        let place = format!("{key}.pairs[{i}]");
        let ends = [0, 1]
            .map(|end| fleet.zone(&pair.between[end], &format!("{place}.between[{end}]"), notes));
        let delay = notes.milliseconds(&format!("{place}.ms"), pair.ms);
        if let [Some(a), Some(b)] = ends {
            delays[a][b] = delay;
            delays[b][a] = delay;
        }
    }
    Network {
        zone_of: fleet.zone_of.clone(),
        delays,
        bandwidth: raw
            .bandwidth_mbps
            .map(|mbps| notes.within("bandwidth_mbps", mbps, BANDWIDTH_MBPS) * 1e6),
        overhead: notes.milliseconds("overhead_ms", raw.overhead_ms),
        reconnect_after_idle: raw
            .reconnect_after_idle_s
            .map(|idle_s| notes.seconds("reconnect_after_idle_s", idle_s)),
    }
}
