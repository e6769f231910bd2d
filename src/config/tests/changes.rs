//! Changes make the next snapshot, or nothing.

use super::*;
use crate::scheduling::policy::Architecture;

fn keys(result: Result<Snapshot, Vec<Problem>>) -> Vec<String> {
    result.unwrap_err().into_iter().map(|problem| problem.key).collect()
}

#[test]
fn another_mode_changes_the_mode_and_nothing_else() {
    let first = based("").unwrap();
    for mode in Mode::ALL {
        let next = first.with(&Change::Mode(mode)).unwrap();
        assert_eq!((next.generation, next.site.policy.mode), (2, mode));
        assert!(Arc::ptr_eq(&first.site.topology, &next.site.topology));
        assert_eq!(next.site.policy.tail_ratio, first.site.policy.tail_ratio);
        assert!(next.restart_needed().is_empty());
    }
}

#[test]
fn a_mode_without_its_controllers_is_warned_about_and_followed() {
    let workers = BASE.replace("edge-controller", "worker").replace("cloud-controller", "worker");
    let snapshot = load(&workers).unwrap();
    let warned = |architecture| {
        let next = snapshot.with(&Change::Mode(Mode::Fixed(architecture))).unwrap();
        let keys = next.warnings().into_iter().map(|problem| problem.key);
        keys.collect::<Vec<String>>()
    };
    assert_eq!(warned(Architecture::Centralized), ["architecture"]);
    assert_eq!(warned(Architecture::Federated), ["topology[0].zone", "topology[1].zone"]);
    assert!(warned(Architecture::Decentralized).is_empty() && snapshot.warnings().is_empty());
}

#[test]
fn thresholds_left_out_stay() {
    let first = based("").unwrap();
    let patch = ThresholdsPatch { soft_d2f: Some(1.2), ..ThresholdsPatch::default() };
    let next = first.with(&Change::Thresholds(patch)).unwrap();
    let expected = Thresholds { soft_d2f: 1.2, ..Thresholds::DEFAULT };
    assert_eq!((next.generation, next.site.policy.tail_ratio.thresholds), (2, expected));
    let patch = ThresholdsPatch { hard_d2f: Some(1.3), ..ThresholdsPatch::default() };
    let third = next.with(&Change::Thresholds(patch)).unwrap();
    let expected = Thresholds { hard_d2f: 1.3, ..expected };
    assert_eq!((third.generation, third.site.policy.tail_ratio.thresholds), (3, expected));
}

#[test]
fn bad_thresholds_are_refused_by_their_short_names() {
    let snapshot = based("").unwrap();
    let none = ThresholdsPatch::default();
    for (patch, expected) in [
        (ThresholdsPatch { soft_d2f: Some(2.6), ..none }, vec!["soft_d2f"]),
        (ThresholdsPatch { hard_f2c: Some(1.6), ..none }, vec!["soft_f2c"]),
        (ThresholdsPatch { soft_d2f: Some(f64::NAN), ..none }, vec!["soft_d2f"]),
        (ThresholdsPatch { hard_d2f: Some(f64::INFINITY), ..none }, vec!["hard_d2f"]),
        (ThresholdsPatch { soft_f2c: Some(0.0), ..none }, vec!["soft_f2c"]),
        (
            ThresholdsPatch { soft_f2c: Some(-1.0), soft_d2f: Some(3.0), ..none },
            vec!["soft_f2c", "soft_d2f"],
        ),
        (ThresholdsPatch { hard_f2c: Some(1000.1), ..none }, vec!["hard_f2c"]),
    ] {
        assert_eq!(keys(snapshot.with(&Change::Thresholds(patch))), expected, "{patch:?}");
    }
}

#[test]
fn another_text_keeps_the_slots_of_nodes_that_stay() {
    let first = based("").unwrap();
    let without_cloud: String = BASE
        .lines()
        .filter(|line| !line.contains("cloud"))
        .map(|line| format!("{line}\n"))
        .collect();
    let text = format!("{without_cloud}  - {{id: new, role: worker, zone: A, address: h}}\n");
    let next = first.with(&Change::Text(text)).unwrap();
    assert_eq!(next.generation, 2);
    let slot = |snapshot: &Snapshot, id: &str| {
        let topology = &snapshot.site.topology;
        topology.node(topology.index_of(id).unwrap()).slot
    };
    for id in ["edge1", "edge2"] {
        assert_eq!(slot(&first, id), slot(&next, id), "{id}");
    }
    assert_ne!(slot(&first, "cloud"), slot(&next, "new"), "a newcomer knows nothing");
    assert_eq!(next.site.node().id.as_str(), "edge1");
}

#[test]
fn the_node_id_given_at_start_holds_for_later_texts() {
    let first = Snapshot::from_yaml(BASE, Some("edge2")).unwrap();
    assert_eq!(first.site.node().id.as_str(), "edge2");
    let next = first.with(&Change::Text(format!("{BASE}hop_limit: 1"))).unwrap();
    assert_eq!(next.site.node().id.as_str(), "edge2");
    let gone = BASE.replace("id: edge2", "id: edge7");
    assert_eq!(keys(first.with(&Change::Text(gone))), ["node.id"]);
}

#[test]
fn a_rejected_text_says_why_and_changes_nothing() {
    let snapshot = based("").unwrap();
    let problems = snapshot.with(&Change::Text(format!("{BASE}hop_limit: 9"))).unwrap_err();
    assert_eq!((problems[0].line, problems[0].key.as_str()), (Some(6), "hop_limit"));
    assert_eq!(snapshot.generation, 1);
}

#[test]
fn keys_read_at_start_are_told_when_they_differ() {
    let first = based("workers: 1").unwrap();
    for (more, expected) in [
        ("workers: 1\nhop_limit: 1", vec![]),
        ("workers: 2", vec!["workers"]),
        ("workers: 1\ncores: 4096", vec!["cores"]),
        ("workers: 1\nlisten: {data: '0.0.0.0:1'}", vec!["listen"]),
        ("workers: 1\nhandover: {socket: /run/hopwise.sock}", vec!["handover"]),
        ("workers: 1\ninterception: {mark: 5}", vec![]),
        ("workers: 3\ninterception: {enabled: true}", vec!["workers", "interception"]),
    ] {
        let next = first.with(&Change::Text(format!("{BASE}{more}"))).unwrap();
        assert_eq!(next.restart_needed(), expected, "{more}");
        assert_eq!((next.workers, next.cores), (first.workers, first.cores), "{more}");
        assert_eq!((next.listen, next.interception), (first.listen, first.interception), "{more}");
        // It stays so whatever else changes, until the file says again what is in force.
        let again = next.with(&Change::Mode(Mode::Dynamic)).unwrap();
        assert_eq!(again.restart_needed(), expected, "{more}");
        let more = format!("{BASE}{more}\nhop_limit: 2").replace("hop_limit: 1\n", "");
        assert_eq!(again.with(&Change::Text(more)).unwrap().restart_needed(), expected);
        let back = again.with(&Change::Text(format!("{BASE}workers: 1"))).unwrap();
        assert!(back.restart_needed().is_empty());
    }
}
