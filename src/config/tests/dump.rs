//! The whole configuration in force, and nodes taken out of it.

use super::*;
use crate::scheduling::policy::Architecture;

const REFERENCE: &str = include_str!("../../../config/reference.yaml");

/// The paths of all keys in `value`.
fn keys(value: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    if let Some(map) = value.as_object() {
        for (key, value) in map {
            let path = format!("{path}.{key}");
            keys(value, &path, found);
            found.push(path);
        }
    }
}

#[test]
fn what_is_dumped_has_every_key_and_loads_as_the_same() {
    for text in [REFERENCE, BASE, include_str!("../../../config/example.yaml")] {
        let first = load(text).unwrap();
        let dumped = first.effective();
        let (mut shown, mut documented) = (Vec::new(), Vec::new());
        keys(&dumped, "", &mut shown);
        keys(&serde_yaml::from_str(REFERENCE).unwrap(), "", &mut documented);
        documented.retain(|key| !key.starts_with(".functions."));
        shown.retain(|key| !key.starts_with(".functions."));
        assert_eq!(shown, documented);
        let again = load(&dumped.to_string()).unwrap();
        assert_eq!(again.effective(), dumped);
        assert_eq!((again.site.policy, again.timeouts), (first.site.policy, first.timeouts));
        assert_eq!((again.limits, again.listen), (first.limits, first.listen));
        assert_eq!(again.site.topology.nodes().len(), first.site.topology.nodes().len());
    }
}

#[test]
fn what_was_changed_since_is_dumped_as_it_is_now() {
    let first =
        based("hop_limit: 1\nfunctions: {f: {idempotent: true}}\nqueue: {waiting: 7}").unwrap();
    let mode = Mode::Fixed(Architecture::Federated);
    let next = first.with(&Change::Mode(mode)).unwrap();
    let patch = ThresholdsPatch { soft_d2f: Some(1.2), ..ThresholdsPatch::default() };
    let dumped = next.with(&Change::Thresholds(patch)).unwrap().effective();
    assert_eq!(dumped["architecture"], "federated");
    assert_eq!(dumped["tail_scheduler"]["soft_d2f_threshold"], 1.2);
    assert_eq!((&dumped["hop_limit"], &dumped["queue"]["waiting"]), (&1.into(), &7.into()));
    assert_eq!(dumped["functions"]["f"]["idempotent"], true);
    assert_eq!(dumped["functions"].as_object().unwrap().len(), 1, "no example");
    assert_eq!(dumped["topology"][0]["port"], 31113);
}

#[test]
fn drains_survive_another_text_as_far_as_their_nodes_do() {
    let first = based("").unwrap();
    let drain = |snapshot: &Snapshot, id: &str, out| snapshot.with(&Change::Drain(id.into(), out));
    let next = drain(&drain(&first, "edge2", true).unwrap(), "cloud", true).unwrap();
    let again = drain(&next, "cloud", true).unwrap();
    let names = |s: &Snapshot| s.drained.iter().map(|id| id.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&again), ["cloud", "edge2"]);
    assert!(first.drained.is_empty() && again.generation == 4);
    let reloaded = again.with(&Change::Text(BASE.into())).unwrap();
    assert_eq!(names(&reloaded), ["cloud", "edge2"]);
    let without = BASE.replace("edge2", "edge3");
    assert_eq!(names(&reloaded.with(&Change::Text(without)).unwrap()), ["cloud"]);
    assert!(drain(&reloaded, "cloud", false).unwrap().drained.len() == 1);
    assert!(drain(&first, "cloud", false).unwrap().drained.is_empty());
    let problems = drain(&first, "nobody", true).unwrap_err();
    assert_eq!((problems[0].key.as_str(), problems[0].value.as_str()), ("node", "nobody"));
}
