//! When an invocation would be answered, were it sent to a node.

use super::Time;
use super::estimate::NodeEstimate;
use super::load::Occupancy;
use super::warmth::Warmth;
use crate::topology::Slot;

/// Seconds of service taken for granted of a function never seen.
pub(super) const SERVICE_UNSEEN_S: f64 = 0.1;

/// A bad answer is not a fast one: the share of good ones divides what is predicted, down to this.
const SUCCESS_MIN: f64 = 0.01;

/// Weights of the time for which an invocation holds up those that share its cores: our own, which
/// are known, and others', of whom is known less; what may be there of them is in the stretch
/// already. Selfish choices fill the near nodes until a free core far away is no slower, and
/// everyone at them pays for it (`bench/results/scheduling-trials.md`).
const CROWDING_OWN: f64 = 1.0;
const CROWDING_OTHERS: f64 = 0.35;

/// What a decider goes by for one invocation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outlook {
    /// Seconds the function runs alone on a usual node.
    pub(super) service_s: f64,
    /// Seconds for which a node is believed to be slower than usual.
    pub(super) slow_life_s: f64,
    pub(super) now: Time,
    /// Where the function is warm, and where it takes longer.
    pub(super) warmth: Warmth,
}

/// When a node would answer one more invocation, what that is made of, and the price of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Completion {
    /// What nodes are compared by, in seconds: `total_s` and the time for which those already there
    /// would be held up, `weight * service_s * slowdown * (stretch - 1)`. The weight is 1 of those
    /// that this node sent there, and 0.35 of others.
    pub price_s: f64,
    /// Seconds until the answer: `(network_s + cold_start_s + service_s * slowdown * stretch) / success`.
    pub total_s: f64,
    /// Seconds on the way there and back.
    pub network_s: f64,
    /// Seconds that a cold start is believed to cost there.
    pub cold_start_s: f64,
    /// Seconds the function runs there alone.
    pub service_s: f64,
    /// By how much the node is slower than usual.
    pub slowdown: f64,
    /// By how much those that share its cores stretch it.
    pub stretch: f64,
    /// Invocations believed to be there already, of ours those about to end for less than one.
    pub others: f64,
    /// Share of its answers that are good.
    pub success: f64,
}

impl Outlook {
    /// When an invocation sent to the node of `estimate` is answered: the way there and back, and the
    /// service stretched by those who share its cores. Where the price of it is sure to be more than
    /// `least_s`, which costs less to find out, only the seconds that it takes at least.
    ///
    /// Of the way to a node that was never timed nothing is assumed, so it is soon timed.
    pub(super) fn completion(
        &self,
        slot: Slot,
        estimate: &NodeEstimate,
        local: bool,
        least_s: f64,
    ) -> Result<Completion, f64> {
        let network_s = estimate.network.filter(|_| !local).unwrap_or_default().as_secs_f64();
        let alone_s = self.service_s * estimate.speed.factor() * self.warmth.factor(slot);
        let cold_start_s = self.warmth.extra_s(slot, self.now);
        let way_s = network_s + cold_start_s;
        let success = estimate.success.max(SUCCESS_MIN);
        let at_least_s = (way_s + alone_s) / success;
        if at_least_s >= least_s {
            return Err(at_least_s);
        }
        let outstanding = estimate.outstanding;
        let slowdown = estimate.load.slowdown(outstanding, self.slow_life_s, self.now);
        let takes_s = alone_s * slowdown;
        let (ours, others) = if local {
            (f64::from(outstanding), Occupancy::default())
        } else {
            let others = estimate.load.others(self.service_s, self.now);
            (estimate.still_there(takes_s, network_s, others.mean, self.now), others)
        };
        let there = Occupancy { mean: ours + others.mean, ..others };
        let stretch = stretch(there, estimate.load.cores());
        let total_s = (way_s + takes_s * stretch) / success;
        // Of ours, those on their way were held up as well, or will be.
        let counted = f64::from(outstanding);
        let all = (counted + others.mean).max(1e-9);
        let crowding = (CROWDING_OWN * counted + CROWDING_OTHERS * others.mean) / all;
        let held_up_s = crowding * takes_s * (stretch - 1.0);
        Ok(Completion {
            price_s: total_s + held_up_s,
            total_s,
            network_s,
            cold_start_s,
            service_s: alone_s,
            slowdown,
            stretch,
            others: there.mean,
            success,
        })
    }
}

/// By how much one more invocation is stretched where others share the cores: the mean of
/// max(1, (others + 1) / cores) over what is believed of the others.
fn stretch(there: Occupancy, cores: u16) -> f64 {
    let cores = f64::from(cores);
    let mean = (there.mean + 1.0) / cores;
    let deviation = there.variance.sqrt() / cores;
    let from_one = mean - 1.0;
    if from_one.abs() >= 4.0 * deviation {
        return mean.max(1.0);
    }
    // Of a normal distribution; the logistic stands within 1 % of its distribution function.
    let z = from_one / deviation;
    let density = (-0.5 * z * z).exp() * FRAC_1_SQRT_2PI;
    let above = 1.0 / (1.0 + (-1.702 * z).exp());
    (1.0 + from_one * above + deviation * density).max(1.0)
}

const FRAC_1_SQRT_2PI: f64 = 0.398_942_280_401_432_7;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scheduling::estimate::LoadReport;
    use crate::scheduling::route::Stage;

    #[test]
    fn what_is_certain_is_the_formula() {
        for (there, cores, expected) in
            [(0.0, 2, 1.0), (1.0, 2, 1.0), (2.0, 2, 1.5), (7.0, 4, 2.0), (0.0, 1, 1.0)]
        {
            let there = Occupancy { mean: there, variance: 0.0 };
            assert_eq!(stretch(there, cores), expected, "{there:?} on {cores}");
        }
    }

    #[test]
    fn the_price_counts_those_who_are_held_up() {
        let outlook = Outlook {
            service_s: 0.1,
            slow_life_s: 1.0,
            now: Time::from_secs_f64(1.0),
            warmth: Warmth::default(),
        };
        let slot = Slot { index: 0, since: 0 };
        // Of two cores: five and this one stretch it to 3 x 0.1 s, and hold each other up by 2 x 0.1 s;
        // of five of which four are others' 0.48 of that counts.
        for (ours, others, total_s, price_s) in
            [(1, 0, 0.1, 0.1), (5, 0, 0.3, 0.5), (0, 5, 0.3, 0.37), (1, 4, 0.3, 0.396)]
        {
            let mut estimate = NodeEstimate::new();
            let now = outlook.now;
            for _ in 0..ours {
                estimate.mark_sent(Stage::Execute, now);
            }
            let report = LoadReport { in_flight: ours + others, cores: 2, ..LoadReport::default() };
            estimate.take_in(report, now);
            let found = outlook.completion(slot, &estimate, false, f64::INFINITY).unwrap();
            assert!((found.total_s - total_s).abs() < 1e-9, "{found:?}");
            assert!((found.price_s - price_s).abs() < 1e-9, "{found:?}");
        }
    }

    #[test]
    fn one_that_is_on_its_way_back_is_hardly_a_crowd() {
        let mut estimate = NodeEstimate::new();
        let at = Time::from_secs_f64;
        estimate.network = Some(Duration::from_millis(120));
        estimate.take_in(LoadReport { cores: 1, ..LoadReport::default() }, at(1.0));
        estimate.mark_sent(Stage::Execute, at(2.0));
        let outlook =
            Outlook { service_s: 0.1, slow_life_s: 1.0, now: at(2.15), warmth: Warmth::default() };
        let slot = Slot { index: 0, since: 0 };
        let found = outlook.completion(slot, &estimate, false, f64::INFINITY).unwrap();
        // Half of the share of time that it spends there; nobody else was ever seen.
        assert!((found.others - 0.5 * 0.1 / 0.22).abs() < 1e-9 && found.stretch > 1.0, "{found:?}");
        assert!(found.price_s < found.total_s + 0.05, "{found:?}");
    }

    /// Against the mean over a normal distribution, summed in steps of a hundredth.
    #[test]
    fn what_is_uncertain_costs_what_it_may_come_to() {
        for (mean, variance) in [(0.5, 1.0), (1.0, 2.0), (2.0, 0.5), (4.0, 3.0)] {
            let deviation = f64::sqrt(variance);
            let (mut sum, mut weights) = (0.0, 0.0);
            for step in -600..=600 {
                let z = f64::from(step) / 100.0;
                let weight = (-0.5 * z * z).exp();
                let others: f64 = mean + z * deviation;
                sum += weight * ((others + 1.0) / 2.0).max(1.0);
                weights += weight;
            }
            let actual = stretch(Occupancy { mean, variance }, 2);
            assert!((actual - sum / weights).abs() < 0.02, "{mean} {variance}: {actual}");
        }
    }
}
