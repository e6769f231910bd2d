use std::time::Duration;

use super::super::contender::Extras;
use super::super::scenario::{
    Cell, ConfigText, Demand, Entry, EntryShares, Fault, FaultKind, Function, Length, Load,
    LoadKind, Machine, Network, Rate, Scenario,
};
use super::super::{Run, Trial, run};
use super::*;
use crate::config::Snapshot;
use crate::scheduling::FunctionName;
use crate::scheduling::policy::{Architecture, DynamicRule, Mode, Selection};

const NODES: usize = 4;
const MILLISECOND: Duration = Duration::from_millis(1);

fn scenario(fault: Option<FaultKind>, idempotent: bool) -> Scenario {
    let node = |i: usize| {
        let role = if i == 0 { "edge-controller" } else { "worker" };
        [format!("n{i}"), role.into(), "z".into(), format!("10.0.0.{i}")]
    };
    let text = ConfigText { head: String::new(), nodes: (0..NODES).map(node).collect() };
    let snapshot = Snapshot::from_yaml(&text.of(&Vec::from_iter(0..NODES)), None).unwrap();
    let everyone = snapshot.site.topology.everyone().to_vec();
    let network = Network {
        zone_of: vec![0; NODES],
        delays: vec![vec![2 * MILLISECOND]],
        bandwidth: None,
        overhead: Duration::ZERO,
        reconnect_after_idle: None,
    };
    let function = Function {
        name: FunctionName::new("f").unwrap(),
        weight: 1.0,
        demand: Demand::Lognormal(50 * MILLISECOND, 0.3),
        cold_start: None,
        waits: Vec::new(),
        bytes: [1000, 1000],
        deadline: None,
        idempotent,
    };
    let fault = fault.map(|kind| Fault {
        node: everyone[3],
        kind,
        at: Duration::from_secs(10),
        lasts: 500 * MILLISECOND,
        every: Some(Duration::from_secs(5)),
    });
    let shares = (1..=NODES).map(|i| i as f64 / NODES as f64);
    let shares = EntryShares(everyone.iter().copied().zip(shares).collect());
    Scenario {
        name: "stall".into(),
        snapshot,
        text,
        machines: vec![Machine { cores: 4, speed: 1.0 }; NODES],
        cells: vec![Cell {
            name: "one".into(),
            network,
            functions: vec![function],
            faults: fault.into_iter().collect(),
        }],
        entries: vec![Entry {
            name: "even".into(),
            turns: vec![shares],
            turn: Duration::from_secs(1),
        }],
        loads: vec![Load {
            concurrency: 30.0,
            kind: LoadKind::Open(Rate::Steps(vec![(Duration::ZERO, 30.0)])),
        }],
        length: Length {
            invocations: 0,
            time: Duration::from_secs(400),
            warm_up: Duration::from_secs(10),
        },
    }
}

fn trial(scenario: &Scenario, hedging: bool, contender: Contender, seed: u64) -> Run {
    let mut scenario = scenario.clone();
    scenario.snapshot.site.policy.hedge.enabled = hedging;
    let trial = Trial {
        scenario: &scenario,
        cell: &scenario.cells[0],
        entry: &scenario.entries[0],
        load: &scenario.loads[0],
        contender,
        seed,
    };
    run(&trial, &mut |_, _| {})
}

fn quantile(run: &Run, q: f64) -> f64 {
    let mut took: Vec<Duration> = run.samples.iter().map(|sample| sample.took).collect();
    took.sort_unstable();
    took[(took.len() as f64 * q) as usize].as_secs_f64()
}

fn contender(mode: Mode, selection: Selection) -> Contender {
    Contender::Hopwise(mode, DynamicRule::Adaptive, selection, Extras::default())
}

const DECENTRALIZED: Mode = Mode::Fixed(Architecture::Decentralized);
const FEDERATED: Mode = Mode::Fixed(Architecture::Federated);

#[test]
fn a_stalling_node_is_felt_less_for_little_more_work() {
    let stalls = scenario(Some(FaultKind::Slowed(50.0)), true);
    // One that places by what it predicts stays clear of most stalls; its tail begins later.
    for (mode, selection, q) in [
        (DECENTRALIZED, Selection::Weighted, 0.99),
        (DECENTRALIZED, Selection::Predictive, 0.999),
        (FEDERATED, Selection::Weighted, 0.99),
    ] {
        for seed in 0..3 {
            let contender = contender(mode, selection);
            let [without, with] = [false, true].map(|on| trial(&stalls, on, contender, seed));
            let work = with.served.as_secs_f64() / without.served.as_secs_f64();
            let [before, after] = [&without, &with].map(|run| quantile(run, q));
            let told = format!("{contender} {seed}: {before} {after} {:?} {work}", with.hedges);
            assert_eq!(without.hedges, [0, 0]);
            assert!(with.hedges[1] > 0 && with.hedges[1] < with.hedges[0], "{told}");
            assert!(with.hedges[0] as f64 <= 0.05 * with.samples.len() as f64, "{told}");
            assert!(work <= 1.05, "{told}");
            assert!(after < 0.9 * before, "{told}");
        }
    }
}

#[test]
fn every_invocation_is_answered_once_whatever_happens() {
    for kind in [
        FaultKind::Slowed(50.0),
        FaultKind::Stopped,
        FaultKind::CutOff,
        FaultKind::Partitioned,
        FaultKind::Left,
        FaultKind::Silent(0.5),
        FaultKind::Failing(0.5),
    ] {
        let scenario = scenario(Some(kind), true);
        for mode in [DECENTRALIZED, FEDERATED] {
            let contender = contender(mode, Selection::LeastRequest);
            let [without, with] = [false, true].map(|on| trial(&scenario, on, contender, 7));
            assert!(with.hedges[0] > 100, "{kind:?} {mode}");
            let mut issued: Vec<Duration> = with.samples.iter().map(|s| s.issued).collect();
            issued.sort_unstable();
            assert!(issued.windows(2).all(|pair| pair[0] < pair[1]), "{kind:?} {mode}");
            // Apart from those that are still on their way when it ends.
            let answered = [without, with].map(|run| run.samples.len());
            assert!(answered[0].abs_diff(answered[1]) < 30, "{kind:?} {mode}: {answered:?}");
        }
    }
}

#[test]
fn the_same_trial_runs_the_same_and_only_what_is_idempotent_is_sent_twice() {
    let contender = contender(DECENTRALIZED, Selection::Predictive);
    let stalls = scenario(Some(FaultKind::Slowed(50.0)), true);
    let hashes = [(); 2].map(|()| trial(&stalls, true, contender, 3).trace_hash);
    assert_eq!(hashes[0], hashes[1]);
    let not_twice = scenario(Some(FaultKind::Slowed(50.0)), false);
    let [off, on] = [false, true].map(|on| trial(&not_twice, on, contender, 3));
    assert_eq!((off.trace_hash, on.hedges), (on.trace_hash, [0, 0]));
}
