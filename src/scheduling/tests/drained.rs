//! Nodes taken out of the candidates by an operator.

use super::*;
use crate::scheduling::policy::Architecture::{Centralized, Decentralized, Federated};

fn ids(names: &[&str]) -> Vec<NodeId> {
    names.iter().map(|name| NodeId::new(name).unwrap()).collect()
}

/// Where `calls` invocations that enter at `here` go.
fn targets(here: &str, policy: Policy, drained: &[&str], calls: usize) -> Vec<String> {
    let topology = five_nodes();
    let site = site(&topology, here, policy);
    let mut scheduler = scheduler(&topology, 1);
    scheduler.keep_drained(&topology, &ids(drained));
    let mut steps = Vec::new();
    for call in 0..calls {
        let now = at(call as f64);
        let decision = scheduler.decide(&site, &entering(), 1.0, now);
        steps.push(short(&topology, decision.step));
        scheduler.record(decision.ticket.unwrap(), Outcome::Good, None, at(call as f64 + 0.1));
    }
    steps.sort_unstable();
    steps.dedup();
    steps
}

#[test]
fn a_drained_node_is_chosen_by_no_selection() {
    for selection in Selection::ALL {
        let policy = Policy { selection, ..fixed(Centralized) };
        let all = targets("cloud", policy, &[], 200);
        let left = targets("cloud", policy, &["edge1", "edge4"], 200);
        assert!(!left.contains(&">edge1".into()) && !left.contains(&">edge4".into()), "{left:?}");
        assert!(!left.is_empty() && !all.is_empty(), "{selection:?}");
        let others = targets("cloud", policy, &["cloud"], 200);
        assert!(!others.contains(&"here".into()), "{selection:?}: {others:?}");
    }
}

#[test]
fn a_drained_decider_is_not_asked_and_where_all_are_drained_it_runs_here() {
    assert_eq!(targets("edge2", fixed(Federated), &[], 5), ["@edge1"]);
    let around = targets("edge2", fixed(Federated), &["edge1"], 20);
    assert!(!around.iter().any(|step| step.ends_with("edge1")), "{around:?}");
    let everyone = ["cloud", "edge1", "edge2", "edge3", "edge4"];
    for architecture in [Centralized, Federated, Decentralized] {
        assert_eq!(targets("edge2", fixed(architecture), &everyone, 5), ["here"]);
    }
}

#[test]
fn what_is_sent_to_a_drained_node_by_order_runs_and_putting_it_back_counts() {
    let topology = five_nodes();
    let site = site(&topology, "edge2", Policy::new(Mode::Fixed(Decentralized)));
    let mut scheduler = scheduler(&topology, 1);
    scheduler.keep_drained(&topology, &ids(&["edge2", "edge3"]));
    let ordered = Invocation { stage: Stage::Execute, hop: 1, ..entering() };
    let decision = scheduler.decide(&site, &ordered, 0.0, at(1.0));
    assert_eq!(decision.step, Step::RunHere);
    scheduler.record(decision.ticket.unwrap(), Outcome::Good, None, at(1.1));
    let (_, prospects) = scheduler.prospects(&site, None, at(1.0));
    let drained: Vec<bool> = prospects.iter().map(|prospect| prospect.drained).collect();
    assert_eq!(drained, [false, false, true, true, false]);
    scheduler.keep_drained(&topology, &ids(&["edge3"]));
    assert_eq!(scheduler.decide(&site, &entering(), 0.0, at(2.0)).step, Step::RunHere);
}
