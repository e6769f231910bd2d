//! Shares of the architectures for one function, by the documented rule.
//!
//! With r = P95/P50 of an architecture over the window, its weight w(r) is 0 up to the soft
//! threshold, 1 from the hard one on, linear between. d = w(r of decentralized; d2f) and
//! f = w(r of federated; f2c) give centralized = d·f, federated = d − d·f,
//! decentralized = 1 − d. d counts only from `min_rate_d2f` invocations per second on and f only
//! from `min_rate_f2c`. A ratio that is not known (too few samples) weighs 0: the architecture
//! nearer to the entry is kept until it is seen to be skewed.

use super::policy::{Architecture, TailRatioRule};

/// The probability of each architecture; they sum to one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares([f64; 3]);

impl Shares {
    /// Where every function starts: each node decides for itself.
    pub const DECENTRALIZED: Self = Self([0.0, 0.0, 1.0]);

    /// The share of `architecture`.
    pub fn of(&self, architecture: Architecture) -> f64 {
        self.0[architecture.index()]
    }

    /// The architecture with the largest share; of equal ones, the nearest to the entry.
    pub(super) fn leading(&self) -> Architecture {
        let largest =
            Architecture::ALL.into_iter().max_by(|a, b| self.of(*a).total_cmp(&self.of(*b)));
        largest.unwrap_or(Architecture::Decentralized)
    }

    /// The architecture that a uniform `draw` from [0, 1) falls on.
    pub fn pick(&self, draw: f64) -> Architecture {
        let mut reached = 0.0;
        for architecture in Architecture::ALL {
            reached += self.of(architecture);
            if draw < reached {
                return architecture;
            }
        }
        Architecture::Decentralized
    }

    /// These shares after one more invocation of `architecture`, which weighs `weight`.
    pub(super) fn after(self, architecture: Architecture, weight: f64) -> Self {
        let mut one = [0.0; 3];
        one[architecture.index()] = 1.0;
        self.blend(Self(one), weight)
    }

    fn blend(self, new: Self, weight: f64) -> Self {
        let mix = |i: usize| (1.0 - weight) * self.0[i] + weight * new.0[i];
        Self([mix(0), mix(1), mix(2)])
    }
}

/// What one evaluation for a function goes by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// P95/P50 under decentralized, where there are enough samples.
    pub ratio_decentralized: Option<f64>,
    /// P95/P50 under federated, where there are enough samples.
    pub ratio_federated: Option<f64>,
    /// Invocations of the function per second.
    pub rate: f64,
    /// The same at the last evaluation, where there was one.
    pub rate_before: Option<f64>,
}

/// How far `ratio` is from `soft` (0) to `hard` (1).
pub fn weight(ratio: f64, soft: f64, hard: f64) -> f64 {
    if ratio <= soft {
        0.0
    } else if ratio >= hard {
        1.0
    } else {
        (ratio - soft) / (hard - soft)
    }
}

/// The shares that `evidence` alone asks for.
pub fn target_shares(rule: &TailRatioRule, evidence: &Evidence) -> Shares {
    let t = &rule.thresholds;
    let step = |ratio: Option<f64>, soft, hard, min_rate| match ratio {
        Some(ratio) if evidence.rate >= min_rate => weight(ratio, soft, hard),
        _ => 0.0,
    };
    let d = step(evidence.ratio_decentralized, t.soft_d2f, t.hard_d2f, rule.min_rate_d2f);
    let f = step(evidence.ratio_federated, t.soft_f2c, t.hard_f2c, rule.min_rate_f2c);
    Shares([d * f, d - d * f, 1.0 - d])
}

/// The weight of new shares: all of it the first time, more the more the rate has changed.
pub fn smoothing(rule: &TailRatioRule, rate: f64, rate_before: Option<f64>) -> f64 {
    let Some(before) = rate_before else { return 1.0 };
    let change = (rate - before).abs();
    let steepness = -rule.smoothing_slope * (change - rule.smoothing_midpoint);
    rule.smoothing_floor + rule.smoothing_range / (1.0 + steepness.exp())
}

/// The shares after one evaluation.
pub fn next_shares(rule: &TailRatioRule, old: Shares, evidence: &Evidence) -> Shares {
    let weight = smoothing(rule, evidence.rate, evidence.rate_before);
    old.blend(target_shares(rule, evidence), weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(d: Option<f64>, f: Option<f64>, rate: f64) -> Evidence {
        Evidence { ratio_decentralized: d, ratio_federated: f, rate, rate_before: None }
    }

    /// Worked out by hand with the default thresholds 1.5/2.5 and 1.7/2.7:
    /// (ratio decentralized, ratio federated, rate) -> (centralized, federated, decentralized).
    #[test]
    fn shares_by_hand() {
        let table = [
            // below or at soft, nothing moves
            (Some(1.0), None, 9.0, [0.0, 0.0, 1.0]),
            (Some(1.5), Some(9.0), 9.0, [0.0, 0.0, 1.0]),
            // d = 0.5, f unknown, 0, 0.25, 1
            (Some(2.0), None, 9.0, [0.0, 0.5, 0.5]),
            (Some(2.0), Some(1.7), 9.0, [0.0, 0.5, 0.5]),
            (Some(2.0), Some(1.95), 9.0, [0.125, 0.375, 0.5]),
            (Some(2.0), Some(2.7), 9.0, [0.5, 0.0, 0.5]),
            // d = 1 at and above hard
            (Some(2.5), Some(2.2), 9.0, [0.5, 0.5, 0.0]),
            (Some(9.0), Some(9.0), 9.0, [1.0, 0.0, 0.0]),
            (Some(9.0), None, 9.0, [0.0, 1.0, 0.0]),
            // a federated ratio alone says nothing about decentralized
            (None, Some(9.0), 9.0, [0.0, 0.0, 1.0]),
            (None, None, 9.0, [0.0, 0.0, 1.0]),
            // rates: d from 0.5 on, f from 1.2 on, both inclusive
            (Some(9.0), Some(9.0), 0.49, [0.0, 0.0, 1.0]),
            (Some(9.0), Some(9.0), 0.5, [0.0, 1.0, 0.0]),
            (Some(9.0), Some(9.0), 1.19, [0.0, 1.0, 0.0]),
            (Some(9.0), Some(9.0), 1.2, [1.0, 0.0, 0.0]),
        ];
        let rule = TailRatioRule::default();
        for (d, f, rate, expected) in table {
            let shares = target_shares(&rule, &evidence(d, f, rate));
            for architecture in Architecture::ALL {
                let difference = shares.of(architecture) - expected[architecture.index()];
                assert!(difference.abs() < 1e-12, "{d:?} {f:?} {rate}: {shares:?}");
            }
        }
    }

    #[test]
    fn soft_equal_to_hard_is_a_step() {
        assert_eq!(weight(2.0, 2.0, 2.0), 0.0);
        assert_eq!(weight(2.0 + 1e-9, 2.0, 2.0), 1.0);
    }

    /// a = 0.1 + 0.8 / (1 + exp(−0.5·(|Δ| − 5))): 0.5 at Δ = 5; at Δ = 0 and Δ = 10 the
    /// logistic is 0.0758581800 and 0.9241418200.
    #[test]
    fn smoothing_by_hand() {
        let rule = TailRatioRule::default();
        let table = [
            (None, 7.0, 1.0),
            (Some(7.0), 7.0, 0.160_686_544),
            (Some(2.0), 7.0, 0.5),
            (Some(7.0), 2.0, 0.5),
            (Some(0.0), 10.0, 0.839_313_456),
            (Some(0.0), 1e6, 0.9),
        ];
        for (before, rate, expected) in table {
            let a = smoothing(&rule, rate, before);
            assert!((a - expected).abs() < 1e-9, "{before:?} {rate}: {a}");
        }
    }

    #[test]
    fn new_shares_are_blended_into_the_old_ones() {
        let rule = TailRatioRule::default();
        // Δ = 5, so a = 0.5: half of decentralized remains, half of centralized arrives.
        let seen = Evidence { rate_before: Some(2.0), ..evidence(Some(9.0), Some(9.0), 7.0) };
        let shares = next_shares(&rule, Shares::DECENTRALIZED, &seen);
        assert_eq!(shares, Shares([0.5, 0.0, 0.5]));
        let first = evidence(Some(9.0), Some(9.0), 7.0);
        assert_eq!(next_shares(&rule, Shares::DECENTRALIZED, &first), Shares([1.0, 0.0, 0.0]));
    }

    #[test]
    fn a_draw_falls_on_shares_in_order_and_never_outside() {
        let shares = Shares([0.25, 0.25, 0.5]);
        for (draw, expected) in [
            (0.0, Architecture::Centralized),
            (0.249, Architecture::Centralized),
            (0.25, Architecture::Federated),
            (0.5, Architecture::Decentralized),
            (0.999_999, Architecture::Decentralized),
        ] {
            assert_eq!(shares.pick(draw), expected);
        }
        assert_eq!(Shares([0.0; 3]).pick(0.5), Architecture::Decentralized);
    }
}
