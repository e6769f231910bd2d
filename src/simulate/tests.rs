//! The shell as a whole; its parts have tests beside them.

mod bounds;
mod queueing;
mod turns;
mod whole;

use std::path::Path;

use super::read::{Study, read};
use super::run::{self, Settings};
use super::{Filter, TESTBED, grid, samples, table};
use crate::sim::{self, Run};

/// A small scenario; what a test adds begins in line 11.
pub(super) const SMALL: &str = "\
name: small
nodes:
  - {id: cloud, role: cloud-controller, zone: cloud, cores: 4}
  - {id: edge1, role: edge-controller, zone: A, cores: 2}
  - {id: edge2, role: worker, zone: A, cores: 2}
delays_ms: {within_zone: 10, between_zones: 20, to_cloud: 60}
functions: [{name: work, demand: {lognormal: {mean_ms: 50, sigma: 0.5}}}]
entries: [{name: single, node: edge1}, {name: distributed, uniform: edge}]
loads: {closed: {concurrency: [2, 6]}}
policies: [federated+predictive, clairvoyant]
";

/// [`SMALL`] with `more`.
pub(super) fn study(more: &str) -> Study {
    let text = format!("{SMALL}{more}");
    read(&text, Path::new("")).unwrap_or_else(|problems| panic!("{text}: {problems:#?}"))
}

/// What `text` describes.
fn study_of(text: &str) -> Study {
    read(text, Path::new("")).unwrap_or_else(|problems| panic!("{text}: {problems:#?}"))
}

/// One node, and whoever calls it.
fn one_node(cores: u16, functions: &str, load: &str, more: &str) -> Study {
    study_of(&format!(
        "name: one
nodes: [{{id: only, role: edge-controller, zone: A, cores: {cores}}}]
delays_ms: {{within_zone: 1, between_zones: 1, to_cloud: 1}}
functions: [{functions}]
entries: [{{name: single, node: only}}]
loads: {{{load}}}
{more}"
    ))
}

/// The first trial of `study` under `policy`.
fn run(study: &Study, policy: &str, seed: u64) -> Run {
    let filter =
        Filter { policies: vec![policy.to_owned()], seeds: vec![seed], ..Filter::default() };
    sim::run(&grid::trials(study, &filter).unwrap()[0], &mut |_, _| {})
}

/// How long answers took on average, in seconds.
fn mean_s(run: &Run) -> f64 {
    let sum: f64 = run.samples.iter().map(|sample| sample.took.as_secs_f64()).sum();
    sum / run.samples.len() as f64
}

#[test]
fn every_scenario_that_comes_along_can_be_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/sim");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let study = read(&text, &folder)
            .unwrap_or_else(|problems| panic!("{}: {problems:#?}", path.display()));
        assert_eq!(path.file_stem().unwrap().to_str(), Some(&*study.scenario.name));
        assert!(!grid::trials(&study, &Filter::default()).unwrap().is_empty());
        names.push(study.scenario.name);
    }
    assert!(!names.is_empty(), "looked in the wrong place");
}

#[test]
fn the_grid_is_every_combination_in_order() {
    let study = study("seeds: [7, 8]\n");
    let trials = grid::trials(&study, &Filter::default()).unwrap();
    let told: Vec<String> = trials
        .iter()
        .map(|t| format!("{} {} {} {}", t.entry.name, t.load.concurrency, t.contender, t.seed))
        .collect();
    assert_eq!(told.len(), 16);
    assert_eq!(told[0], "single 2 federated+predictive 7");
    assert_eq!(told[1], "single 2 federated+predictive 8");
    assert_eq!(told[2], "single 2 clairvoyant 7");
    assert_eq!(told[15], "distributed 6 clairvoyant 8");
}

#[test]
fn a_filter_chooses_and_refuses_what_it_does_not_know() {
    let study = study("");
    let filter = Filter {
        cells: vec!["steady".into()],
        entries: vec!["distributed".into()],
        concurrency: vec![6.0],
        policies: vec!["reference-dynamic".into()],
        seeds: vec![42],
    };
    let trials = grid::trials(&study, &filter).unwrap();
    assert_eq!(trials.len(), 1);
    assert_eq!((trials[0].load.concurrency, trials[0].seed), (6.0, 42));
    assert_eq!(trials[0].contender.to_string(), "reference-dynamic");

    let filter = Filter {
        cells: vec!["heavy".into()],
        entries: vec!["everywhere".into(), "single".into()],
        concurrency: vec![3.0],
        policies: vec!["best".into()],
        seeds: vec![],
    };
    let problems: Vec<String> =
        grid::trials(&study, &filter).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems[..3],
        [
            "--cell = heavy: is not in this scenario; write one of steady",
            "--entry = everywhere: is not in this scenario; write one of single, distributed",
            "--concurrency = 3: is not in this scenario; write one of 2, 6",
        ]
    );
    let policy = "--policy = best: is not a policy known here; write one of clairvoyant, ";
    assert!(problems[3].starts_with(policy), "{}", problems[3]);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let study = study("length: {invocations: 200, seconds: 5, warm_up_seconds: 1}\n");
    let trials = grid::trials(&study, &Filter::default()).unwrap();
    let outcomes = [1, 4].map(|threads| {
        let threads = std::num::NonZeroUsize::new(threads);
        run::run(&trials, &Settings { threads, keep_samples: true, progress: false })
    });
    let rows = outcomes.each_ref().map(|o| o.iter().map(|o| o.row.clone()).collect::<Vec<_>>());
    assert_eq!(rows[0].len(), trials.len());
    assert_eq!(rows[0], rows[1]);
    assert_eq!(table::render(&rows[0]), table::render(&rows[1]));
    let samples = outcomes.each_ref().map(|o| o.iter().map(|o| &o.samples).collect::<Vec<_>>());
    assert_eq!(samples[0], samples[1]);
}

#[test]
fn samples_become_lines_of_csv() {
    let study = study("");
    let filter = Filter { seeds: vec![3], ..Filter::default() };
    let trials = &grid::trials(&study, &filter).unwrap()[..1];
    let mut outcomes =
        run::run(trials, &Settings { threads: None, keep_samples: true, progress: false });
    let node = |id| study.scenario.snapshot.site.topology.index_of(id).unwrap();
    let sample = crate::sim::Sample {
        issued: std::time::Duration::from_millis(1500),
        took: std::time::Duration::from_micros(70_500),
        function: 0,
        entry: node("edge1"),
        target: Some(node("edge2")),
        architecture: Some(crate::scheduling::policy::Architecture::Federated),
        good: true,
    };
    let lost = crate::sim::Sample { target: None, architecture: None, good: false, ..sample };
    outcomes[0].samples = vec![sample, lost];
    let mut text = Vec::new();
    samples::write(csv::Writer::from_writer(&mut text), trials, &outcomes).unwrap();
    let expected = "\
scenario,cell,entry,concurrency,policy,seed,issued_s,took_ms,function,entry_node,target,architecture,good
small,steady,single,2,federated+predictive,3,1.500000,70.500,work,edge1,edge2,federated,true
small,steady,single,2,federated+predictive,3,1.500000,70.500,work,edge1,,,false
";
    assert_eq!(String::from_utf8(text).unwrap(), expected);
}

#[test]
fn without_a_scenario_the_testbed_is_simulated() {
    let study = read(TESTBED, Path::new("")).unwrap();
    let scenario = &study.scenario;
    let told = [scenario.cells.len(), scenario.entries.len(), scenario.loads.len()];
    assert_eq!((told, study.seeds), ([3, 2, 6], vec![1, 2, 3, 4, 5]));
    assert_eq!(study.policies, crate::sim::contender::Contender::all());
}
