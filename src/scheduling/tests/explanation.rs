//! What is told of a decision is what it went by, and telling it changes nothing.

use super::super::explanation::{Exclusion, Standing};
use super::*;

/// The nodes looked at, and the best of what was predicted.
fn best(explanation: &Explanation) -> (Vec<usize>, Option<NodeIndex>) {
    let looked_at = explanation.candidates.iter().map(|c| c.node.as_usize()).collect();
    let predicted = explanation.candidates.iter().filter_map(|c| match c.standing {
        Standing::Predicted(completion) => Some((c.node, completion.price_s)),
        _ => None,
    });
    let least = predicted.min_by(|(_, a), (_, b)| a.total_cmp(b));
    (looked_at, least.map(|(node, _)| node))
}

#[test]
fn to_explain_changes_no_decision() {
    let topology = five_nodes();
    for selection in Selection::ALL {
        for mode in Mode::ALL {
            let policy = Policy { selection, ..Policy::new(mode) };
            let site = site(&topology, "edge1", policy);
            let (mut quiet, mut telling) = (scheduler(&topology, 3), scheduler(&topology, 3));
            for i in 0..200 {
                let now = at(1.0 + f64::from(i) * 0.05);
                let plain = quiet.decide(&site, &entering(), 0.95, now);
                let (told, explanation) = telling.decide_explained(&site, &entering(), 0.95, now);
                assert_eq!(plain.step, told.step, "{selection:?} {mode:?} {i}");
                let explanation = explanation.unwrap();
                assert_eq!(explanation.wanted, told.fallback_from.unwrap_or(told.architecture));
                for (scheduler, decision) in [(&mut quiet, plain), (&mut telling, told)] {
                    if i % 3 == 0 {
                        let ticket = decision.ticket.unwrap();
                        scheduler.record(
                            ticket,
                            Outcome::Good,
                            None,
                            now + Duration::from_millis(30),
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn the_candidate_of_the_least_price_was_chosen() {
    let topology = five_nodes();
    let policy = Policy::new(Mode::Fixed(Architecture::Decentralized));
    let site = site(&topology, "edge1", policy);
    let mut scheduler = scheduler(&topology, 1).with_cores(1);
    for i in 0..50 {
        let now = at(1.0 + f64::from(i) * 0.01);
        let (decision, explanation) = scheduler.decide_explained(&site, &entering(), 0.0, now);
        let explanation = explanation.unwrap();
        let (mut looked_at, best) = best(&explanation);
        let chosen = match decision.step {
            Step::RunHere => site.here,
            Step::Offload(node) => node,
            other => panic!("{other:?}"),
        };
        assert_eq!(best, Some(chosen));
        looked_at.sort_unstable();
        assert_eq!(looked_at, [0, 1, 2, 3, 4]);
        assert_eq!(
            (explanation.in_flight, explanation.left_out),
            (scheduler.in_flight(site.node().slot) - u32::from(chosen == site.here), 0)
        );
    }
}

#[test]
fn who_could_not_be_chosen_is_told_with_the_reason() {
    let topology = five_nodes();
    let policy = Policy::new(Mode::Fixed(Architecture::Decentralized));
    let site = site(&topology, "edge1", policy);
    let mut scheduler = scheduler(&topology, 1);
    let avoid = [topology.index_of("edge2").unwrap()];
    let invocation = Invocation { avoid: &avoid, ..entering() };
    let (_, explanation) = scheduler.decide_explained(&site, &invocation, 0.0, at(1.0));
    let standing = |id: &str| {
        let node = topology.index_of(id).unwrap();
        let candidates = &explanation.as_ref().unwrap().candidates;
        candidates.iter().find(|c| c.node == node).unwrap().standing
    };
    assert!(matches!(standing("edge2"), Standing::Excluded(Exclusion::Avoided)));
    assert!(matches!(standing("edge1"), Standing::Predicted(_)));
}
