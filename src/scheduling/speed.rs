//! How long functions run when nothing is in their way, and how fast nodes run them.
//!
//! A node measures *service*: execution time less what invocations beside it took away. The time
//! an invocation would have run alone is a property of the function and the node, whatever the
//! load, so what is learned at one load holds at another.

use super::Time;

/// Service received by each invocation that runs here, in seconds since the start.
///
/// Invocations share the cores evenly: beside `n` others on `cores` cores one receives
/// `min(1, cores / (n + 1))` seconds per second. The sum is kept once for all of them, so what one
/// has received is a difference, at a cost that does not depend on how many there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meter {
    cores: u16,
    received_s: f64,
    updated: Time,
}

impl Meter {
    pub(super) fn new(cores: u16) -> Self {
        Self { cores: cores.max(1), received_s: 0.0, updated: Time::ZERO }
    }

    pub(super) fn cores(&self) -> u16 {
        self.cores
    }

    /// Service received until `now`, while `running` have been there since the last call.
    pub(super) fn advance(&mut self, running: u32, now: Time) -> f64 {
        let elapsed = now.since(self.updated).as_secs_f64();
        self.received_s += elapsed * (f64::from(self.cores) / f64::from(running.max(1))).min(1.0);
        self.updated = self.updated.max(now);
        self.received_s
    }
}

/// How long a function runs when nothing is in its way: a mean that follows its samples, and how
/// far they lie from it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Service {
    mean_s: f64,
    log_mean: f64,
    log_variance: f64,
    samples: u32,
    updated: Time,
}

/// How long a sample counts: half of what is believed of a function is younger than some 40 s.
const SERVICE_LIFE_S: f64 = 60.0;
/// Least weight of a sample, so that a function called a thousand times a second is still followed.
const SERVICE_WEIGHT_MIN: f64 = 0.002;
/// Samples before which a deviation says nothing: the first may be a cold start.
const SAMPLES_SETTLED: u32 = 4;
/// Variance of the logarithm of service taken for granted, and how many samples that is worth.
const LOG_VARIANCE_PRIOR: f64 = 0.5;
const LOG_VARIANCE_PRIOR_SAMPLES: f64 = 4.0;
/// No function is as regular as to make one sample certain.
const LOG_VARIANCE_MIN: f64 = 0.01;
/// Shortest service that is told from none.
const SERVICE_MIN_S: f64 = 1e-6;

/// A sample beside what was expected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surprise {
    /// Logarithm of the sample over what was expected.
    pub(super) log: f64,
    /// Variance of that logarithm from call to call.
    pub(super) variance: f64,
}

impl Service {
    /// Adds a sample.
    pub(super) fn record(&mut self, sample_s: f64, now: Time) {
        let sample_s = sample_s.max(SERVICE_MIN_S);
        let aged = 1.0 - (-now.since(self.updated).as_secs_f64() / SERVICE_LIFE_S).exp();
        self.updated = self.updated.max(now);
        self.samples = self.samples.saturating_add(1);
        let weight = if self.samples == 1 { 1.0 } else { aged };
        let weight = weight.max(1.0 / f64::from(self.samples)).max(SERVICE_WEIGHT_MIN);
        self.mean_s += weight * (sample_s - self.mean_s);
        let from_mean = sample_s.ln() - self.log_mean;
        self.log_mean += weight * from_mean;
        self.log_variance += weight * (from_mean * from_mean * (1.0 - weight) - self.log_variance);
    }

    /// The mean in seconds, where there is a sample.
    pub(super) fn mean_s(&self) -> Option<f64> {
        (self.samples > 0).then_some(self.mean_s)
    }

    /// Whether all that is known is a single sample.
    pub(super) fn is_provisional(&self) -> bool {
        self.samples == 1
    }

    /// How far `sample_s` lies from what was expected, once enough is known to expect something.
    pub(super) fn surprise(&self, sample_s: f64) -> Option<Surprise> {
        (self.samples >= SAMPLES_SETTLED).then(|| Surprise {
            log: sample_s.max(SERVICE_MIN_S).ln() - self.log_mean,
            variance: self.log_variance(),
        })
    }

    fn log_variance(&self) -> f64 {
        let samples = f64::from(self.samples);
        let prior = LOG_VARIANCE_PRIOR * LOG_VARIANCE_PRIOR_SAMPLES;
        let pooled = (self.log_variance * samples + prior) / (samples + LOG_VARIANCE_PRIOR_SAMPLES);
        pooled.max(LOG_VARIANCE_MIN)
    }
}

/// How many times slower than usual this node is at the moment.
///
/// A Kalman filter of a logarithm that may jump at any time. Each sample counts by what it says: of
/// a function whose service always varies, one slow call says little; of one that never does, much.
/// Only what stands out of the filter's own uncertainty is told to others, so a node that is as
/// usual says so plainly.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    log: f64,
    variance: f64,
    updated: Time,
}

/// Variance of the logarithm of pace when nothing was heard for long: a third slower or faster.
const PACE_VARIANCE: f64 = 0.1;
/// In how many seconds it is unknown again whether a node that was measured is still as it was.
const PACE_LIFE_S: f64 = 1.0;
/// In how many seconds most of what was measured is taken back all the same: longer than a node in
/// trouble is left alone, or each trial would begin with the belief that all is well.
const PACE_MEAN_LIFE_S: f64 = 16.0;
/// Deviations by which a measurement must leave pace different from usual for it to be told.
const PACE_DEVIATIONS: f64 = 2.0;
/// A node is never called more than e^3, twenty times, slower: it is as good as out of use, and
/// the more that is held against it the longer it takes to be found again.
const PACE_MILLI_MAX: f64 = 3000.0;
/// Up to this, in thousandths of a logarithm, a node counts as usual when speeds are compared.
pub(super) const PACE_USUAL_MILLI: u16 = 200;

impl Default for Pace {
    fn default() -> Self {
        Self { log: 0.0, variance: PACE_VARIANCE, updated: Time::ZERO }
    }
}

impl Pace {
    pub(super) fn record(&mut self, surprise: Surprise, now: Time) {
        (self.log, self.variance) = self.at(now);
        self.updated = self.updated.max(now);
        let gain = self.variance / (self.variance + surprise.variance);
        self.log += gain * (surprise.log - self.log);
        self.variance *= 1.0 - gain;
    }

    /// What is believed at `now`: the logarithm, and its variance.
    fn at(&self, now: Time) -> (f64, f64) {
        let elapsed_s = now.since(self.updated).as_secs_f64();
        let kept = (-2.0 * elapsed_s / PACE_LIFE_S).exp();
        let log = self.log * (-elapsed_s / PACE_MEAN_LIFE_S).exp();
        (log, PACE_VARIANCE + (self.variance - PACE_VARIANCE) * kept)
    }

    /// Takes in an invocation that was broken off, and would have been a greater surprise.
    pub(super) fn record_at_least(&mut self, surprise: Surprise, now: Time) {
        if surprise.log > self.at(now).0.max(0.0) {
            self.record(surprise, now);
        }
    }

    /// When it was last measured.
    pub(super) fn updated(&self) -> Time {
        self.updated
    }

    /// Thousandths of the logarithm of how many times slower than usual; 0 when as usual.
    pub(super) fn milli(&self, now: Time) -> u16 {
        if self.log < PACE_DEVIATIONS * self.variance.sqrt() {
            return 0;
        }
        let (log, _) = self.at(now);
        let milli = (log * 1e3).clamp(0.0, PACE_MILLI_MAX) as u16;
        if milli >= PACE_USUAL_MILLI { milli } else { 0 }
    }
}

/// How fast a node is compared with others, learned slowly from what it says of its service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speed {
    log: f64,
    weight: f64,
    /// How many times as long as usual it takes, and the logarithm of that.
    factor: f64,
    log_factor: f64,
}

/// What it takes to believe that nodes differ: the weight of "they do not", as a number of samples
/// of a function with a deviation of a fifth.
const SPEED_PRIOR: f64 = 30.0;
/// Most that is remembered, so that a node which was changed is learned anew.
const SPEED_WEIGHT_MAX: f64 = 3000.0;

/// Nodes whose logarithms of speed differ by less than this are alike. The same sample teaches how
/// long the function runs and how fast the node is, so a little of one is always taken for the
/// other, most of all where one node gets all the calls; it must not be why it gets them.
const SPEED_ALIKE: f64 = 0.15;

impl Default for Speed {
    fn default() -> Self {
        Self { log: 0.0, weight: 0.0, factor: 1.0, log_factor: 0.0 }
    }
}

impl Speed {
    /// How many times as long as on a usual node functions run there.
    pub(super) fn factor(&self) -> f64 {
        self.factor
    }

    /// The logarithm of that.
    pub(super) fn log_factor(&self) -> f64 {
        self.log_factor
    }

    pub(super) fn learn(&mut self, surprise: Surprise) {
        self.learn_beyond(surprise, SPEED_ALIKE);
    }

    /// The same, where those are alike whose logarithms differ by no more than `alike`.
    pub(super) fn learn_beyond(&mut self, surprise: Surprise, alike: f64) {
        let weight = 1.0 / surprise.variance;
        let kept = self.weight * (SPEED_WEIGHT_MAX / (self.weight + weight)).min(1.0);
        self.log += (surprise.log - self.log) * weight / (kept + SPEED_PRIOR + weight);
        self.weight = kept + weight;
        let log_factor = (self.log.abs() - alike).max(0.0).copysign(self.log);
        if log_factor != self.log_factor {
            (self.log_factor, self.factor) = (log_factor, log_factor.exp());
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_distr::{Distribution, LogNormal};
    use rand_pcg::Pcg64;

    use super::*;

    fn at(secs: f64) -> Time {
        Time::from_secs_f64(secs)
    }

    /// Service of a function with this deviation after many calls of 0.2 s.
    fn known(sigma: f64) -> (Service, LogNormal<f64>, Pcg64) {
        let mut rng = Pcg64::seed_from_u64(7);
        let distribution = LogNormal::new(0.2_f64.ln() - sigma * sigma / 2.0, sigma).unwrap();
        let mut service = Service::default();
        for i in 0..2000 {
            service.record(distribution.sample(&mut rng), at(f64::from(i) * 0.1));
        }
        (service, distribution, rng)
    }

    #[test]
    fn the_meter_gives_each_its_share() {
        let mut meter = Meter::new(2);
        assert_eq!(meter.advance(0, at(1.0)), 1.0);
        assert_eq!(meter.advance(2, at(2.0)), 2.0, "two on two cores do not share");
        assert_eq!(meter.advance(4, at(4.0)), 3.0, "four get half each");
        assert_eq!(meter.advance(4, at(3.0)), 3.0, "a late reading takes nothing back");
    }

    #[test]
    fn service_is_learned_whatever_its_spread() {
        for (sigma, within) in [(0.15, 0.01), (1.0, 0.05)] {
            let (service, ..) = known(sigma);
            let mean_s = service.mean_s().unwrap();
            assert!((mean_s - 0.2).abs() < within, "{sigma}: {mean_s}");
            let deviation = service.surprise(0.2).unwrap().variance.sqrt();
            assert!((deviation / sigma - 1.0).abs() < 0.2, "{sigma}: {deviation}");
        }
        assert!(Service::default().mean_s().is_none());
    }

    #[test]
    fn two_slow_calls_of_a_regular_function_are_a_slow_node() {
        let (service, ..) = known(0.15);
        let mut pace = Pace::default();
        for i in 0..2 {
            pace.record(service.surprise(0.6).unwrap(), at(f64::from(i) * 0.1));
        }
        let told = pace.milli(at(0.1));
        assert!((900..1200).contains(&told), "{told}");
        assert_eq!(pace.milli(at(40.0)), 0, "by then it may have recovered");
        for i in 0..3 {
            pace.record(service.surprise(0.2).unwrap(), at(2.0 + f64::from(i) * 0.1));
        }
        assert_eq!(pace.milli(at(2.3)), 0, "it has recovered");
    }

    #[test]
    fn one_slow_call_of_an_irregular_function_is_not() {
        let (service, distribution, mut rng) = known(1.0);
        let mut pace = Pace::default();
        let mut told = 0;
        for i in 0..1000 {
            let sample = distribution.sample(&mut rng);
            pace.record(service.surprise(sample).unwrap(), at(f64::from(i) * 0.1));
            told += u32::from(pace.milli(at(f64::from(i) * 0.1)) > 0);
        }
        assert!(told < 60, "called slow {told} times of 1000");
        pace.record(service.surprise(2.0).unwrap(), at(200.0));
        assert_eq!(pace.milli(at(200.0)), 0, "ten times the mean is nothing unusual, once");
    }

    #[test]
    fn a_node_that_takes_twice_as_long_is_told_from_the_others() {
        let (service, distribution, mut rng) = known(0.15);
        let mut speed = Speed::default();
        for _ in 0..200 {
            speed.learn(service.surprise(2.0 * distribution.sample(&mut rng)).unwrap());
        }
        assert!((1.6..2.1).contains(&speed.factor()), "{}", speed.factor());
    }
}
