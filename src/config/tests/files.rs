//! The files that come with the program.

use super::*;
use crate::scheduling::policy::OffloadRule;

const REFERENCE: &str = include_str!("../../../config/reference.yaml");
const EARLIER: &str = include_str!("../../../config/earlier.yaml");
const EXAMPLE: &str = include_str!("../../../config/example.yaml");

#[test]
fn every_file_that_comes_along_loads() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
    let mut loaded = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.display().to_string();
            load(&text).unwrap_or_else(|problems| panic!("{}", render(&problems, &name)));
            loaded += 1;
        }
    }
    assert!(loaded >= 3, "{folder} holds {loaded} files");
}

#[test]
fn the_earlier_shape_means_what_it_meant() {
    let snapshot = load(EARLIER).unwrap();
    let offload = OffloadRule { enabled: true, cpu_thresh: 0.9, load_thresh: 3.0 };
    assert_eq!(snapshot.site.policy.offload, offload);
    assert_eq!(snapshot.site.policy.mode, Mode::Dynamic);
    assert_eq!(snapshot.site.node().role, crate::topology::Role::EdgeController);
    assert_eq!(snapshot.site.policy.tail_ratio.sample_interval, Duration::from_secs(2));
    let address = &snapshot.site.node().address;
    assert_eq!((&*address.host, address.port, address.gateway_port), ("10.0.2.100", 31113, 31112));
}

#[test]
fn every_node_of_the_example_can_be_this_one_in_every_mode() {
    for id in ["cloud", "edge1", "edge2", "edge3", "edge4"] {
        let snapshot = build::snapshot(EXAMPLE, Some(id.into()), None, None).unwrap();
        assert_eq!(snapshot.site.node().id.as_str(), id);
        assert_eq!(snapshot.site.policy.offload.enabled, id != "cloud");
        for mode in Mode::ALL {
            snapshot.with(&Change::Mode(mode)).unwrap();
        }
    }
}

#[test]
fn the_reference_shows_every_key_there_is() {
    reader::LEFT_OUT.take();
    load(REFERENCE).unwrap();
    assert_eq!(reader::LEFT_OUT.take(), Vec::<String>::new());
}

#[test]
fn the_reference_shows_the_defaults() {
    let shown = load(REFERENCE).unwrap();
    let required = "node: {id: node1}\ntopology: [{id: node1, role: worker, zone: zone1, address: 10.0.2.100}]";
    let default = load(required).unwrap();
    assert_eq!(shown.site.policy, default.site.policy);
    assert_eq!(shown.site.topology.nodes(), default.site.topology.nodes());
    assert_eq!(shown.functions, default.functions);
    assert_eq!(shown.gateway, default.gateway);
    assert_eq!(shown.listen, default.listen);
    assert_eq!(shown.workers, default.workers);
    assert_eq!(shown.cores, default.cores);
    assert_eq!(shown.limits, default.limits);
    assert_eq!(shown.timeouts, default.timeouts);
    assert_eq!(shown.access_log, default.access_log);
    assert_eq!((shown.peer_key, shown.admin_token), (None, None));
    assert_eq!((shown.interception, default.interception), (None, None));

    let enabled = "interception: {enabled: true}";
    let default = load(&format!("{required}\n{enabled}")).unwrap().interception;
    let shown = REFERENCE.replace("enabled: false", "enabled: true");
    assert_eq!(load(&shown).unwrap().interception, default, "the mark shown is the default");
}

#[test]
fn what_the_page_about_gateways_shows_loads() {
    let page = include_str!("../../../config/gateways.md");
    let shown: Vec<&str> = page.split("```yaml\n").skip(1).collect();
    assert_eq!(shown.len(), 3);
    for example in shown {
        let (example, _) = example.split_once("```").unwrap();
        let snapshot = based(example).unwrap();
        assert_ne!(snapshot.routes, Routes::default(), "{example}");
    }
}
