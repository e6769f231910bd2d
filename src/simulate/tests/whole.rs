//! What holds of every trial: times that can be told beforehand, the same chances for everyone, and
//! nothing lost.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::{Study, one_node, run, study_of};
use crate::sim::Sample;
use crate::sim::scenario::{LoadKind, Rate};

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn an_invocation_takes_its_ways_and_its_demand() {
    let study = study_of(
        "name: ways
nodes:
  - {id: edge1, role: edge-controller, zone: A, cores: 1}
  - {id: edge2, role: worker, zone: A, cores: 1, speed: 0.5}
delays_ms: {within_zone: 10, between_zones: 20, to_cloud: 60}
bandwidth_mbps: 8
overhead_ms: 1
functions: [{name: f, demand: {constant_ms: 50}, request_bytes: 9500, answer_bytes: 19500}]
entries: [{name: single, node: edge2}]
loads: {closed: {concurrency: [1]}}
length: {invocations: 0, seconds: 60, warm_up_seconds: 0}
",
    );
    // A megabyte takes a second, and a message has 500 bytes beside its body.
    let there = (10 + 1 + 10) * MILLISECOND;
    let back = (10 + 1 + 20) * MILLISECOND;
    let node = |id| study.scenario.snapshot.site.topology.index_of(id);
    let run = run(&study, "federated+random", 1);
    let mut told = BTreeSet::new();
    for sample in &run.samples {
        // The controller places it, at itself or back where it came from.
        let expected = if sample.target == node("edge1") {
            there + 50 * MILLISECOND + back
        } else {
            2 * there + 100 * MILLISECOND + 2 * back
        };
        assert!(sample.took.abs_diff(expected) < Duration::from_nanos(10), "{sample:?}");
        told.insert(sample.target);
    }
    assert_eq!(told, BTreeSet::from([node("edge1"), node("edge2")]), "both were seen");
}

#[test]
fn a_function_is_started_where_it_has_not_run_for_a_while() {
    let study = one_node(
        4,
        "{name: f, demand: {constant_ms: 100}, cold_start: {takes_ms: 1000, keep_warm_s: 10}}",
        "open: {rate: [0.1]}",
        "length: {invocations: 0, seconds: 5000, warm_up_seconds: 0}",
    );
    let mut run = run(&study, "decentralized+random", 1);
    run.samples.sort_unstable_by_key(|sample| sample.issued);
    let mut warm_until = None;
    let mut counts = [0; 2];
    for Sample { issued, took, .. } in run.samples {
        let cold = warm_until.is_none_or(|until| issued > until);
        // Whoever comes while it is started waits for the rest of that.
        let started = took.abs_diff(1100 * MILLISECOND) < Duration::from_nanos(10);
        assert!(if cold { started } else { took < 1099 * MILLISECOND }, "{issued:?}: {took:?}");
        counts[usize::from(cold)] += 1;
        warm_until = warm_until.max(Some(issued + took + Duration::from_secs(10)));
    }
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
}

#[test]
fn whoever_waits_for_data_needs_no_core() {
    let study = one_node(
        1,
        "{name: f, demand: {constant_ms: 100}, waits_ms: {only: 100}}",
        "closed: {concurrency: [2]}",
        "length: {invocations: 0, seconds: 100, warm_up_seconds: 1}",
    );
    let run = run(&study, "decentralized+random", 1);
    // Both wait together, and then share the core; had they needed it all the time, it were 400 ms.
    let in_time = |sample: &Sample| (299..=301).contains(&sample.took.as_millis());
    assert!(run.samples.len() > 600 && run.samples.iter().all(in_time));
}

/// Testbed-like, with an open load.
fn open_study(more: &str) -> Study {
    study_of(&format!(
        "name: open
nodes:
  - {{id: cloud, role: cloud-controller, zone: cloud, cores: 4}}
  - {{id: edge1, role: edge-controller, zone: A, cores: 2}}
  - {{id: edge2, role: worker, zone: A, cores: 2}}
  - {{id: edge3, role: edge-controller, zone: B, cores: 2}}
  - {{id: edge4, role: worker, zone: B, cores: 2}}
delays_ms: {{within_zone: 10, between_zones: 20, to_cloud: 60}}
functions:
  - {{name: f, demand: {{lognormal: {{mean_ms: 100, sigma: 0.5}}}}, idempotent: true}}
  - {{name: g, demand: {{pareto: {{mean_ms: 50, shape: 2}}}}, deadline_ms: 400}}
entries: [{{name: distributed, uniform: edge}}]
loads: {{open: {{rate: [60]}}}}
length: {{invocations: 0, seconds: 30, warm_up_seconds: 0}}
{more}"
    ))
}

#[test]
fn everyone_is_given_the_same_invocations() {
    let study = open_study("");
    let come = |policy: &str, seed| {
        let samples = run(&study, policy, seed).samples;
        let mut come: Vec<_> = samples.iter().map(|s| (s.issued, s.entry, s.function)).collect();
        come.sort_unstable();
        // Those that came last may still be on their way.
        come.retain(|(issued, ..)| *issued < Duration::from_secs(25));
        come
    };
    let clairvoyant = come("clairvoyant", 1);
    assert!(clairvoyant.len() > 1000);
    for policy in ["federated+weighted", "dynamic-adaptive+predictive", "reference-dynamic"] {
        assert_eq!(come(policy, 1), clairvoyant, "{policy}");
    }
    assert_ne!(come("clairvoyant", 2), clairvoyant);
}

/// Faults at random places and times, some of them again and again.
fn random_faults(rng: &mut Pcg64) -> String {
    let kinds = [
        "slowed, factor: 10",
        "stopped",
        "cut_off",
        "partitioned",
        "left",
        "silent, probability: 0.5",
        "failing, probability: 0.5",
    ];
    let fault = |_| {
        let kind = kinds[rng.random_range(0..kinds.len())];
        // The cloud stays, or there would be nobody left.
        let node = rng.random_range(1..=4);
        let (at_s, lasts_s) = (rng.random_range(0..15), rng.random_range(1..8));
        let again = if rng.random() { ", every_s: 9" } else { "" };
        format!("{{node: edge{node}, kind: {kind}, at_s: {at_s}, lasts_s: {lasts_s}{again}}}")
    };
    let faults: Vec<String> = (0..3).map(fault).collect();
    format!("cells: [{{name: ill, faults: [{}]}}]\n", faults.join(", "))
}

#[test]
fn every_invocation_ends_exactly_once_whatever_goes_wrong() {
    let policies = [
        "clairvoyant",
        "reference-dynamic",
        "centralized+weighted",
        "federated+predictive+hedge",
        "decentralized+predictive+queue",
        "dynamic-adaptive+predictive+hedge+queue",
    ];
    for seed in 0..12 {
        let mut rng = Pcg64::seed_from_u64(seed);
        let faults = random_faults(&mut rng);
        let well = issued(&ending(open_study("")), "clairvoyant", seed);
        assert!(well.len() > 1000 && well.windows(2).all(|pair| pair[0] < pair[1]));
        for policy in policies {
            let ill = issued(&ending(open_study(&faults)), policy, seed);
            assert!(ill == well, "{seed} {policy}: {} of {}, {faults}", ill.len(), well.len());
        }
    }
}

/// Nothing comes in the last third, so that all that came has ended before the end.
fn ending(mut study: Study) -> Study {
    let rates = vec![(Duration::ZERO, 60.0), (Duration::from_secs(20), 0.0)];
    study.scenario.loads[0].kind = LoadKind::Open(Rate::Steps(rates));
    study
}

/// When those came that have ended.
fn issued(study: &Study, policy: &str, seed: u64) -> Vec<Duration> {
    let mut issued: Vec<_> = run(study, policy, seed).samples.iter().map(|s| s.issued).collect();
    issued.sort_unstable();
    issued
}
