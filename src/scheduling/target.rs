//! Choosing a node, or a controller, among candidates.

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::topology::{NodeIndex, Topology};

use super::Time;
use super::estimate::NodeEstimate;
use super::estimates::Estimates;
use super::explanation::{Exclusion, Explanation, Standing};
use super::policy::Selection;

/// Most candidates that are looked at; of more, this many are drawn at random.
pub const CANDIDATES_MAX: usize = 32;

/// Share of invocations that go to nodes of which nothing is known, all of them together.
pub const EXPLORATION_SHARE: f64 = 0.05;

/// What the candidate is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To run the invocation.
    Execute,
    /// To place it.
    Place,
}

/// What there is to go by, and when.
#[derive(Clone, Copy)]
pub(super) struct Beliefs<'a> {
    pub(super) topology: &'a Topology,
    pub(super) estimates: &'a Estimates,
    pub(super) now: Time,
}

/// A candidate with what `weighted` goes by.
#[derive(Clone, Copy)]
struct Candidate {
    node: NodeIndex,
    /// Inverse mean response time, scaled by the share of good answers; none without samples.
    weight: Option<f64>,
    busy: f64,
    /// See [`NodeEstimate::peak_cost`].
    peak: f64,
}

/// One of `candidates` for which `eligible` holds, chosen by `selection`.
pub(super) fn choose<R: Rng>(
    selection: Selection,
    purpose: Purpose,
    candidates: &[NodeIndex],
    beliefs: Beliefs<'_>,
    eligible: impl Fn(NodeIndex, Option<&NodeEstimate>) -> bool,
    rng: &mut R,
    explaining: &mut Option<Box<Explanation>>,
) -> Option<NodeIndex> {
    let mut shortlist = [None; CANDIDATES_MAX];
    let mut count = 0;
    let mut consider = |node: NodeIndex| {
        let slot = beliefs.topology.node(node).slot;
        let estimate = beliefs.estimates.get(slot);
        let is_eligible = eligible(node, estimate);
        if count < CANDIDATES_MAX && is_eligible {
            shortlist[count] = Some(candidate(node, estimate, purpose, beliefs.now));
            count += 1;
        }
        if let Some(explanation) = explaining {
            let outstanding = estimate.map_or(0, |e| e.outstanding + e.placing);
            let standing = if is_eligible {
                let Candidate { weight, busy, peak, .. } =
                    candidate(node, estimate, purpose, beliefs.now);
                Standing::Compared { weight, busy, peak_s: peak }
            } else if estimate.is_some_and(|e| e.is_ejected(beliefs.now)) {
                Standing::Excluded(Exclusion::Ejected)
            } else {
                Standing::Excluded(Exclusion::NotEligible)
            };
            explanation.note(node, outstanding, standing);
        }
    };
    if candidates.len() <= CANDIDATES_MAX {
        candidates.iter().copied().for_each(&mut consider);
    } else {
        for _ in 0..CANDIDATES_MAX {
            consider(candidates[rng.random_range(0..candidates.len())]);
        }
    }
    let mut chosen = shortlist.iter().flatten();
    match selection {
        Selection::Weighted => weighted(chosen, rng),
        Selection::Random => pick(&shortlist, count, rng).map(|c| c.node),
        // Prediction places by itself; of controllers it takes the less busy, as they are few.
        Selection::LeastRequest | Selection::PeakEwma | Selection::Predictive if count <= 1 => {
            chosen.next().map(|c| c.node)
        }
        Selection::LeastRequest | Selection::PeakEwma | Selection::Predictive => {
            let first = pick(&shortlist, count, rng)?;
            let second = pick(&shortlist, count, rng)?;
            let cost =
                |c: Candidate| if selection == Selection::PeakEwma { c.peak } else { c.busy };
            Some(if cost(second) < cost(first) { second.node } else { first.node })
        }
    }
}

fn candidate(
    node: NodeIndex,
    estimate: Option<&NodeEstimate>,
    purpose: Purpose,
    now: Time,
) -> Candidate {
    let Some(estimate) = estimate else {
        return Candidate { node, weight: None, busy: 0.0, peak: 0.0 };
    };
    let window = match purpose {
        Purpose::Execute => &estimate.history().executed,
        Purpose::Place => &estimate.history().placed,
    };
    let weight = |mean: Duration| estimate.success.max(1e-9) / mean.as_secs_f64().max(1e-6);
    Candidate {
        node,
        weight: window.mean().map(weight),
        busy: estimate.busy(now),
        peak: estimate.peak_cost(),
    }
}

fn pick<R: Rng>(
    shortlist: &[Option<Candidate>; CANDIDATES_MAX],
    count: usize,
    rng: &mut R,
) -> Option<Candidate> {
    (count > 0).then(|| rng.random_range(0..count)).and_then(|i| shortlist[i])
}

/// Probability proportional to the weight. Candidates without samples share
/// [`EXPLORATION_SHARE`] evenly: they neither take all the traffic nor are left out.
fn weighted<'a, R: Rng>(
    candidates: impl Iterator<Item = &'a Candidate> + Clone,
    rng: &mut R,
) -> Option<NodeIndex> {
    let known: f64 = candidates.clone().filter_map(|c| c.weight).sum();
    let unknown = candidates.clone().filter(|c| c.weight.is_none()).count();
    let explore = if known <= 0.0 {
        1.0
    } else if unknown > 0 {
        EXPLORATION_SHARE
    } else {
        0.0
    };
    let mut draw = rng.random::<f64>();
    let mut last = None;
    for candidate in candidates {
        let probability = match candidate.weight {
            None => explore / unknown as f64,
            Some(weight) if known > 0.0 => (1.0 - explore) * weight / known,
            Some(_) => 0.0,
        };
        if probability > 0.0 {
            last = Some(candidate.node);
        }
        draw -= probability;
        if draw < 0.0 {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg64;

    use super::*;
    use crate::scheduling::tests::topology_of;

    fn shares(
        selection: Selection,
        means_ms: &[Option<u64>],
        success: &[f64],
        seed: u64,
    ) -> Vec<f64> {
        let topology = topology_of(means_ms.len());
        let mut estimates = Estimates::default();
        estimates.adopt(&topology);
        for (i, node) in topology.nodes().iter().enumerate() {
            let estimate = estimates.get_mut(node.slot).unwrap();
            if let Some(ms) = means_ms[i] {
                estimate.history_mut().executed.record(Duration::from_millis(ms), Time::ZERO);
            }
            estimate.success = success.get(i).copied().unwrap_or(1.0);
        }
        let mut rng = Pcg64::seed_from_u64(seed);
        let mut counts = vec![0.0; means_ms.len()];
        let draws = 40_000;
        for _ in 0..draws {
            let node = choose(
                selection,
                Purpose::Execute,
                topology.everyone(),
                Beliefs { topology: &topology, estimates: &estimates, now: Time::ZERO },
                |_, _| true,
                &mut rng,
                &mut None,
            );
            counts[node.unwrap().as_usize()] += 1.0 / f64::from(draws);
        }
        counts
    }

    fn assert_near(actual: &[f64], expected: &[f64]) {
        for (a, e) in actual.iter().zip(expected) {
            assert!((a - e).abs() < 0.01, "{actual:?} is not near {expected:?}");
        }
    }

    /// The documented formula: product of the others' means over the sum of such products.
    #[test]
    fn weighted_is_the_documented_formula() {
        let means: [f64; 3] = [100.0, 200.0, 400.0];
        let product = |i: usize| -> f64 {
            means.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, m)| m).product()
        };
        let sum: f64 = (0..3).map(product).sum();
        let documented: Vec<f64> = (0..3).map(|i| product(i) / sum).collect();
        for seed in 0..5 {
            let actual = shares(Selection::Weighted, &[Some(100), Some(200), Some(400)], &[], seed);
            assert_near(&actual, &documented);
        }
    }

    #[test]
    fn nodes_without_samples_share_a_bounded_part() {
        let actual = shares(Selection::Weighted, &[Some(100), None, Some(100), None], &[], 1);
        assert_near(&actual, &[0.475, 0.025, 0.475, 0.025]);
        let actual = shares(Selection::Weighted, &[None, None], &[], 1);
        assert_near(&actual, &[0.5, 0.5]);
    }

    #[test]
    fn a_node_that_fails_fast_does_not_win_the_traffic() {
        let actual = shares(Selection::Weighted, &[Some(100), Some(1)], &[1.0, 0.0], 1);
        assert_near(&actual, &[1.0, 0.0]);
    }

    #[test]
    fn of_ten_thousand_nodes_a_sample_is_looked_at() {
        let topology = topology_of(10_000);
        let mut rng = Pcg64::seed_from_u64(7);
        let looked_at = std::cell::Cell::new(0);
        let node = choose(
            Selection::Weighted,
            Purpose::Execute,
            topology.everyone(),
            Beliefs { topology: &topology, estimates: &Estimates::default(), now: Time::ZERO },
            |_, _| {
                looked_at.set(looked_at.get() + 1);
                true
            },
            &mut rng,
            &mut None,
        );
        assert!(node.is_some());
        assert_eq!(looked_at.get(), CANDIDATES_MAX);
    }

    #[test]
    fn nobody_eligible_is_nobody() {
        let topology = topology_of(3);
        let mut rng = Pcg64::seed_from_u64(7);
        for selection in Selection::ALL {
            let none = choose(
                selection,
                Purpose::Place,
                topology.everyone(),
                Beliefs { topology: &topology, estimates: &Estimates::default(), now: Time::ZERO },
                |_, _| false,
                &mut rng,
                &mut None,
            );
            assert_eq!(none, None);
        }
    }
}
