//! What is accepted and what it becomes, and what is refused with which words.

use super::*;
use crate::sim::scenario::{ColdStart, Demand, Fault, FaultKind, LoadKind, Rate};
use crate::simulate::tests::{SMALL, study};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// What [`SMALL`] becomes with `with` in place of `instead`.
fn changed(instead: &str, with: &str) -> Result<Study, Vec<Problem>> {
    assert!(SMALL.contains(instead), "{instead}");
    read(&SMALL.replacen(instead, with, 1), Path::new(""))
}

/// The keys there are, for people.
const REFERENCE: &str = include_str!("../../../config/sim/README.md");

const LOADS: &str = "{closed: {concurrency: [2, 6]}}";
const ENTRIES: &str = "[{name: single, node: edge1}, {name: distributed, uniform: edge}]";
const DEMAND: &str = "{lognormal: {mean_ms: 50, sigma: 0.5}}";

#[test]
fn what_is_left_out_takes_its_default() {
    let study = study("");
    let scenario = &study.scenario;
    assert_eq!(study.seeds, [1, 2, 3, 4, 5]);
    let length = Length { invocations: 2000, time: secs(120), warm_up: secs(10) };
    assert_eq!(scenario.length, length);
    assert_eq!((scenario.cells.len(), &*scenario.cells[0].name), (1, "steady"));
    assert_eq!(scenario.machines[0].speed, 1.0);
    let network = &scenario.cells[0].network;
    assert_eq!((network.bandwidth, network.overhead), (None, Duration::ZERO));
    assert_eq!(network.zone_of, [0, 1, 1]);
    assert_eq!(network.delays, [[ms(10), ms(60)], [ms(60), ms(10)]]);
    assert_eq!(scenario.cells[0].functions[0].bytes, [0, 0]);
}

#[test]
fn configuration_goes_through_the_ordinary_door() {
    let study = study("hopwise: {hop_limit: 3, selection: predictive}\n");
    let policy = study.scenario.snapshot.site.policy;
    assert_eq!(policy.hop_limit.0, 3);
    assert_eq!(policy.selection, crate::scheduling::policy::Selection::Predictive);
}

#[test]
fn a_fleet_can_be_generated() {
    let text = SMALL.replacen("single, node: edge1", "hot, hot_zone: z2, share: 0.6", 1);
    let start = text.find("nodes:").unwrap();
    let end = text.find("delays_ms").unwrap();
    let generate = "generate: {zones: 2, nodes_per_zone: 2, cloud: {nodes: 2, cores: 16}}\n";
    let text = format!("{}{generate}{}", &text[..start], &text[end..]);
    let study = read(&text, Path::new("")).unwrap();
    let topology = &study.scenario.snapshot.site.topology;
    let told: Vec<String> = topology
        .nodes()
        .iter()
        .map(|n| format!("{} {} {} {}", n.id, n.role.as_str(), n.zone, n.address.host))
        .collect();
    let expected = [
        "cloud1 cloud-controller cloud 10.0.0.1",
        "cloud2 cloud-controller cloud 10.0.0.2",
        "z1n1 edge-controller z1 10.0.0.3",
        "z1n2 worker z1 10.0.0.4",
        "z2n1 edge-controller z2 10.0.0.5",
        "z2n2 worker z2 10.0.0.6",
    ];
    assert_eq!(told, expected);
    let cores: Vec<u16> = study.scenario.machines.iter().map(|machine| machine.cores).collect();
    assert_eq!(cores, [16, 16, 2, 2, 2, 2]);
    let shares = &study.scenario.entries[0].turns[0].0;
    let told: Vec<_> = shares.iter().map(|(node, s)| (node.as_usize(), s * 10.0)).collect();
    let expected = [(4, 3.0), (5, 6.0), (2, 8.0), (3, 10.0)];
    for ((node, share), (wanted, expected)) in told.into_iter().zip(expected) {
        assert!(node == wanted && (share - expected).abs() < 1e-9, "{node} {share}");
    }
}

#[test]
fn every_demand() {
    for (written, demand) in [
        ("{constant_ms: 20}", Demand::Constant(ms(20))),
        ("{lognormal: {mean_ms: 20, sigma: 0.15}}", Demand::Lognormal(ms(20), 0.15)),
        ("{pareto: {mean_ms: 20, shape: 1.5}}", Demand::Pareto(ms(20), 1.5)),
        (
            "{bimodal: {usual_ms: 20, rare_ms: 900, probability: 0.1}}",
            Demand::Bimodal(ms(20), ms(900), 0.1),
        ),
    ] {
        let study = changed(DEMAND, written).unwrap();
        assert_eq!(study.scenario.cells[0].functions[0].demand, demand, "{written}");
    }
    let cold = "{constant_ms: 1}, cold_start: {takes_ms: 1000, keep_warm_s: 30}, idempotent: true";
    let study = changed(DEMAND, cold).unwrap();
    let function = &study.scenario.cells[0].functions[0];
    let expected = ColdStart { takes: secs(1), keep_warm: secs(30) };
    assert_eq!((function.cold_start, function.idempotent), (Some(expected), true));
}

#[test]
fn a_function_waits_for_data_where_it_is_said_to() {
    let far = |node: &str| format!("{{constant_ms: 1}}, waits_ms: {{{node}: 150}}");
    let study = changed(DEMAND, &far("cloud")).unwrap();
    let function = &study.scenario.cells[0].functions[0];
    let at = |id: &str| study.scenario.snapshot.site.topology.index_of(id).unwrap().as_usize();
    assert_eq!(function.wait_at(at("cloud")), ms(150));
    assert_eq!(function.wait_at(at("edge1")), Duration::ZERO);
    let problems = changed(DEMAND, &far("moon")).unwrap_err();
    assert_eq!(problems[0].key, "functions[0].waits_ms.moon");
    assert_eq!(problems[0].value, "moon");
}

#[test]
fn the_example_for_people_can_be_read_and_run() {
    let (_, example) = REFERENCE.split_once("```yaml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let study = read(example, Path::new("")).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let network = &study.scenario.cells[1].network;
    assert_eq!(network.reconnect_after_idle, Some(secs(55)));
    assert_eq!((network.bandwidth, network.overhead), (Some(1e8), Duration::from_micros(50)));
    // West is a zone like any other; east has a way to the cloud of its own.
    assert_eq!(network.delays[0], [ms(1), ms(12), ms(80)]);
    let told = |cell: &crate::sim::scenario::Cell| (cell.functions.len(), cell.faults.len());
    let cells: Vec<_> = study.scenario.cells.iter().map(told).collect();
    assert_eq!(cells, [(2, 0), (2, 10), (2, 0)]);
    let trials = crate::simulate::grid::trials(&study, &Default::default()).unwrap();
    assert_eq!(trials.len(), 3 * 4 * 3 * 2);
    let run = crate::sim::run(&trials[0], &mut |_, _| {});
    assert!(run.samples.len() >= 2000);
}

#[test]
fn every_key_there_is_stands_in_the_reference_for_people() {
    let raw = include_str!("../raw.rs");
    let fields = raw.lines().filter_map(|line| line.trim().strip_prefix("pub(super) "));
    let keys = fields.filter_map(|field| field.split_once(": ")).map(|(key, _)| key);
    let missing: Vec<&str> = keys.filter(|key| !REFERENCE.contains(key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_load() {
    let kind = |written: &str| {
        let study = changed(LOADS, written).unwrap();
        let load = study.scenario.loads.last().unwrap().clone();
        (load.concurrency, format!("{:?}", load.kind))
    };
    let told = |kind: LoadKind| format!("{kind:?}");
    let phases = vec![(secs(0), 5), (secs(60), 30)];
    let steps = LoadKind::Closed { phases, think: Duration::ZERO };
    let one = LoadKind::Closed { phases: vec![(secs(0), 9)], think: ms(5) };
    let bursts = Rate::Bursts { high: 40.0, low: 10.0, on: secs(1), off: secs(2) };
    let rising = LoadKind::Open(Rate::Steps(vec![(secs(0), 2.5), (secs(60), 9.0)]));
    let diurnal = Rate::Diurnal { mean: 4.0, period: secs(60) };
    for (written, concurrency, expected) in [
        ("{closed: {concurrency: [2, 9], think_ms: 5}}", 9.0, one),
        ("{closed_steps: [{at_s: 0, clients: 5}, {at_s: 60, clients: 30}]}", 30.0, steps),
        ("{open: {rate: [2.5]}}", 2.5, LoadKind::Open(Rate::Steps(vec![(secs(0), 2.5)]))),
        ("{open_steps: [{at_s: 0, rate: 2.5}, {at_s: 60, rate: 9}]}", 9.0, rising),
        ("{bursts: {high: 40, low: 10, on_s: 1, off_s: 2}}", 20.0, LoadKind::Open(bursts)),
        ("{diurnal: {mean: 4, period_s: 60}}", 4.0, LoadKind::Open(diurnal)),
    ] {
        assert_eq!(kind(written), (concurrency, told(expected)), "{written}");
    }
}

#[test]
fn a_trace_is_found_beside_the_scenario() {
    let folder = std::env::temp_dir().join(format!("hopwise-trace-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let trace = "HashOwner,HashApp,HashFunction,Trigger,1,2\no,a,f,http,1,2\no,a,g,timer,1,0\n";
    std::fs::write(folder.join("trace.csv"), trace).unwrap();
    let with = |options: &str| {
        let loads = format!("{{replay: {{file: trace.csv{options}}}}}");
        read(&SMALL.replacen(LOADS, &loads, 1), &folder)
    };
    let load = with(", speedup: 60").unwrap().scenario.loads.remove(0);
    let LoadKind::Replay(arrivals) = load.kind else { panic!("{load:?}") };
    assert_eq!(arrivals, [(ms(250), 0), (ms(750), 1), (ms(1250), 0), (ms(1750), 0)]);
    assert_eq!(load.concurrency, 2.0);
    let less = with(", functions_max: 1, minutes: 1").unwrap().scenario.loads.remove(0);
    let LoadKind::Replay(arrivals) = less.kind else { panic!("{less:?}") };
    assert_eq!(arrivals, [(secs(30), 0)]);

    std::fs::write(folder.join("trace.csv"), trace.replace("1,2\no", "1,many\no")).unwrap();
    let problems = with("").unwrap_err();
    assert_eq!((&*problems[0].key, &*problems[0].value), ("loads.replay.file", "many"));
    assert!(problems[0].fault.ends_with("in line 2 of the trace"), "{problems:?}");
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(with("").unwrap_err()[0].key, "loads.replay.file");
}

#[test]
fn faults_befall_nodes_at_once_or_in_turn() {
    let study = study(
        "cells:
  - name: trouble
    delays_ms: {to_cloud: 70, pairs: [{between: [A, cloud], ms: 7}]}
    faults:
      - {node: cloud, kind: silent, probability: 0.5, at_s: 1, lasts_s: 2, every_s: 3}
      - {zone: A, kind: left, lasts_s: 4}
      - {all_edge: true, kind: slowed, factor: 3, at_s: 5, lasts_s: 8, in_turn: true}
",
    );
    let cell = &study.scenario.cells[0];
    let nodes = study.scenario.snapshot.site.topology.everyone();
    let fault = |node: usize, kind, at, lasts, every: Option<u64>| Fault {
        node: nodes[node],
        kind,
        at: secs(at),
        lasts: secs(lasts),
        every: every.map(secs),
    };
    let slowed = FaultKind::Slowed(3.0);
    let expected = [
        fault(0, FaultKind::Silent(0.5), 1, 2, Some(3)),
        fault(1, FaultKind::Left, 0, 4, None),
        fault(2, FaultKind::Left, 0, 4, None),
        fault(1, slowed, 5, 8, Some(16)),
        fault(2, slowed, 13, 8, Some(16)),
    ];
    assert_eq!(cell.faults, expected);
    assert_eq!(cell.network.delays, [[ms(10), ms(7)], [ms(7), ms(10)]]);
}

#[test]
fn a_hot_spot_moves() {
    let moving = "[{name: m, moving_hot_spot: {zones: [A, cloud], share: 1, turn_s: 9}}]";
    let entry = changed(ENTRIES, moving).unwrap().scenario.entries.remove(0);
    assert_eq!((entry.turns.len(), entry.turn), (2, secs(9)));
    assert_eq!(entry.turns[1].0[0].0.as_usize(), 0);
}

/// What stands in [`SMALL`], what a test puts there, and how the problem with it begins.
const BAD: [(&str, &str, &str); 31] = [
    ("name: small", "name: small\nwhat: 1", "line 2: what: unknown field `what`, expected"),
    ("cores: 4", "cores: four", "line 3: nodes[0].cores: invalid type"),
    ("cores: 4", "cores: 0", "line 3: nodes[0].cores = 0: is out of range; write a number from 1"),
    ("edge2", "edge1", "line 5: nodes[2].id = edge1: is also the id of"),
    ("role: worker", "role: boss", "line 5: nodes[2].role = boss: is not known here; "),
    (
        "nodes:",
        "generate: {zones: 0, nodes_per_zone: 1}\nnodes:",
        "line 2: generate: stands beside",
    ),
    ("within_zone: 10", "within_zone: -1", "line 6: delays_ms.within_zone = -1: is out of range"),
    ("within_zone: 10, ", "", "line 6: delays_ms.within_zone: is missing; write it"),
    ("sigma: 0.5", "sigma: .nan", "line 7: functions[0].demand.lognormal.sigma = NaN: is out of"),
    ("mean_ms: 50", "mean_ms: 0", "line 7: functions[0].demand.lognormal.mean_ms = 0: is no time"),
    (DEMAND, "{}", "line 7: functions[0].demand: says nothing; write exactly one of constant_ms,"),
    (DEMAND, "{pareto: {mean_ms: 1, shape: 1}}", "line 7: functions[0].demand.pareto.shape = 1: "),
    ("name: work", "name: a b", "line 7: functions[0].name = a b: is not the name of a function"),
    ("name: work", "name: work, weight: 0", "line 7: functions: have no weight"),
    ("edge1}, {", "edge9}, {", "line 8: entries[0].node = edge9: is not a node of this scenario"),
    ("uniform: edge", "uniform: some", "line 8: entries[1].uniform = some: is not known here"),
    ("uniform: edge", "hot_zone: A", "line 8: entries[1].share: is missing beside hot_zone"),
    ("uniform: edge", "hot_zone: B, share: 1", "line 8: entries[1].hot_zone = B: is not a zone of"),
    ("distributed", "single", "line 8: entries[1].name = single: stands there twice"),
    (LOADS, "{}", "line 9: loads: says nothing; write exactly one of closed, closed_steps"),
    ("[2, 6]", "[0]", "line 9: loads.closed.concurrency[0] = 0: is out of range"),
    (LOADS, "{open: {rate: [0]}}", "line 9: loads.open.rate[0] = 0: is no invocation at all"),
    (LOADS, "{open_steps: [{at_s: 0, rate: 0}]}", "line 9: loads.open_steps: does not say how"),
    (
        LOADS,
        "{open_steps: [{at_s: 0, rate: 1}, {at_s: 0, rate: 2}]}",
        "line 9: loads.open_steps[1].at_s = 0: is not after the step before",
    ),
    (LOADS, "{closed_steps: [{at_s: 9, clients: 1}]}", "line 9: loads.closed_steps: does not say"),
    (LOADS, "{open: {rate: [1]}, closed: {concurrency: [1]}}", "line 9: loads = closed and open: "),
    ("clairvoyant", "oracle", "line 10: policies[1] = oracle: is not a policy known here; write"),
    ("policies:", "seeds: []\npolicies:", "line 10: seeds = []: has no seed"),
    (
        "name: small",
        "name: small\nhopwise: {hop_limt: 1}",
        "line 2: hopwise.hop_limt = 1: is not a",
    ),
    ("name: small", "name: small\nhopwise: {topology: []}", "line 2: hopwise.topology: follows"),
    (
        "delays_ms: {",
        "delays_ms: {far: 1, ",
        "line 6: delays_ms.far: unknown field `far`, expected",
    ),
];

#[test]
fn what_is_bad_is_told_with_line_key_value_and_remedy() {
    for (instead, with, expected) in BAD {
        let problems = changed(instead, with).unwrap_err();
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(told[0].starts_with(expected), "{with}: {told:#?}");
        assert!(problems.iter().all(|problem| !problem.remedy.is_empty()), "{told:#?}");
    }
}

#[test]
fn faults_that_make_no_sense() {
    for (fault, expected) in [
        ("node: cloud, kind: broken, lasts_s: 1", "kind = broken: is not known here; write slowed"),
        ("node: cloud, kind: slowed, lasts_s: 1", "factor: is missing where kind is slowed"),
        ("node: cloud, kind: left, factor: 2, lasts_s: 1", "factor = 2: says nothing where kind"),
        ("node: cloud, kind: left, lasts_s: 0", "lasts_s = 0: is no time at all"),
        ("node: cloud, kind: left, lasts_s: 5, every_s: 4", "every_s = 4: begins again before"),
        ("zone: A, kind: left, lasts_s: 5, every_s: 9, in_turn: true", "every_s = 9: follows from"),
    ] {
        let text = format!("{SMALL}cells: [{{name: c, faults: [{{{fault}}}]}}]\n");
        let problems = read(&text, Path::new("")).unwrap_err();
        let told = format!("line 11: cells[0].faults[0].{expected}");
        assert!(problems[0].to_string().starts_with(&told), "{fault}: {problems:#?}");
    }
}

#[test]
fn problems_come_together() {
    let text = SMALL.replace("mean_ms: 50", "mean_ms: -1").replace("[2, 6]", "[]");
    let problems = read(&format!("{text}seeds: []\n"), Path::new("")).unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|problem| &*problem.key).collect();
    for key in ["functions[0].demand.lognormal.mean_ms", "loads.closed.concurrency", "seeds"] {
        assert!(keys.contains(&key), "{keys:?}");
    }
}
