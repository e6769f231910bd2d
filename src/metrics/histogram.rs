//! Distributions of durations: classic buckets for everybody, and the sparse exponential buckets of
//! native histograms, whose quantiles are within 5 %.
//!
//! A sample costs two relaxed additions: it is counted in a cell that belongs to one bucket of each
//! kind. There are so many cells, whatever is recorded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Upper bounds of the classic buckets in seconds, as OpenTelemetry advises for HTTP.
pub(super) const BOUNDS_S: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Native buckets per power of two, as a power of two itself: each is 9 % wider than the one before.
pub(super) const SCHEMA: i32 = 3;
const PER_OCTAVE: usize = 1 << SCHEMA;
/// The lower end of each bucket of the octave from a half to one.
const FRACTIONS: [f64; PER_OCTAVE] = [
    0.5,
    0.545_253_866_332_628_8,
    0.594_603_557_501_360_5,
    0.648_419_777_325_504_8,
    std::f64::consts::FRAC_1_SQRT_2,
    0.771_105_412_703_970_4,
    0.840_896_415_253_714_6,
    0.917_004_043_204_671_2,
];
/// Octaves below and above one second that have buckets of their own: 15 µs to 68 minutes.
const OCTAVES_BELOW: usize = 16;
const OCTAVES_ABOVE: usize = 12;
const NATIVE: usize = (OCTAVES_BELOW + OCTAVES_ABOVE) * PER_OCTAVE;
/// The key of the first native bucket; that of key k ends at 2^(k / [`PER_OCTAVE`]) seconds.
const FIRST_KEY: i32 = 1 - (OCTAVES_BELOW * PER_OCTAVE) as i32;
/// What takes no longer than this many seconds counts as none: 2^-16.
pub(super) const ZERO_S: f64 = 1.0 / 65_536.0;

/// Seconds between two exemplars of one histogram, at least.
const EXEMPLAR_INTERVAL_S: u64 = 1;

/// A distribution of durations.
#[derive(Debug)]
pub struct Histogram {
    /// Between the bounds of either kind: that of native bucket n and classic bucket c is n + c, for
    /// no native bucket has two classic bounds in it. The first one is for what counts as none.
    cells: [AtomicU64; NATIVE + 1 + BOUNDS_S.len()],
    sum_nanos: AtomicU64,
    /// The second, on the caller's clock, from which on another exemplar is taken.
    exemplar_from_s: AtomicU64,
    exemplars: Mutex<BTreeMap<usize, Exemplar>>,
}

/// One sample that can be looked up elsewhere.
#[derive(Debug, Clone)]
pub struct Exemplar {
    /// What `id` is: `trace_id` or `call_id`.
    pub label: &'static str,
    /// By what it is found.
    pub id: Box<str>,
    pub(super) value_s: f64,
    pub(super) unix_s: f64,
}

impl Exemplar {
    /// The sample that is found by `id`.
    pub fn new(label: &'static str, id: impl Into<Box<str>>) -> Self {
        Self { label, id: id.into(), value_s: 0.0, unix_s: 0.0 }
    }
}

/// A distribution as it was at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Taken {
    /// Samples per classic bucket, the last of which has no bound.
    pub(super) classic: Vec<u64>,
    pub(super) zero: u64,
    /// Samples per native bucket that has any, by key.
    pub(super) native: Vec<(i32, u64)>,
    pub(super) sum_s: f64,
    pub(super) exemplars: Vec<(usize, Exemplar)>,
}

impl PartialEq for Exemplar {
    fn eq(&self, other: &Self) -> bool {
        self.label == other.label && self.id == other.id && self.value_s == other.value_s
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            cells: [const { AtomicU64::new(0) }; NATIVE + 1 + BOUNDS_S.len()],
            sum_nanos: AtomicU64::new(0),
            exemplar_from_s: AtomicU64::new(0),
            exemplars: Mutex::default(),
        }
    }
}

impl Histogram {
    /// Adds a sample.
    pub fn record(&self, took: Duration) {
        let secs = took.as_secs_f64();
        self.cells[native_index(secs) + classic_index(secs)].fetch_add(1, Relaxed);
        self.sum_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Whether an exemplar would be taken at second `now_s` of the caller's clock.
    pub fn wants_exemplar(&self, now_s: u64) -> bool {
        now_s >= self.exemplar_from_s.load(Relaxed)
    }

    /// Keeps a sample by which others of its bucket can be understood, unless there was one just now.
    pub fn exemplify(&self, took: Duration, exemplar: Exemplar, now_s: u64) {
        let from = self.exemplar_from_s.load(Relaxed);
        let next = now_s + EXEMPLAR_INTERVAL_S;
        let taken = now_s >= from
            && self.exemplar_from_s.compare_exchange(from, next, Relaxed, Relaxed).is_ok();
        if !taken {
            return;
        }
        let value_s = took.as_secs_f64();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix_s = unix.map_or(0.0, |since| since.as_secs_f64());
        let mut kept = self.exemplars.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(classic_index(value_s), Exemplar { value_s, unix_s, ..exemplar });
    }

    /// What has been recorded by now.
    pub(super) fn take(&self) -> Taken {
        let (mut classic, mut native) = (vec![0; BOUNDS_S.len() + 1], Vec::new());
        let mut zero = 0;
        let mut first = 0;
        for index in 0..=NATIVE {
            let ends_here = BOUNDS_S.get(first).is_some_and(|bound| native_index(*bound) == index);
            let last = first + usize::from(ends_here);
            let mut all = 0;
            for (bucket, counted) in classic.iter_mut().enumerate().take(last + 1).skip(first) {
                let count = self.cells[index + bucket].load(Relaxed);
                *counted += count;
                all += count;
            }
            first = last;
            match index {
                0 => zero = all,
                _ if all > 0 => native.push((FIRST_KEY + index as i32 - 1, all)),
                _ => {}
            }
        }
        let exemplars = self.exemplars.lock().unwrap_or_else(PoisonError::into_inner);
        Taken {
            zero,
            native,
            classic,
            sum_s: self.sum_nanos.load(Relaxed) as f64 / 1e9,
            exemplars: exemplars.iter().map(|(index, kept)| (*index, kept.clone())).collect(),
        }
    }
}

impl Taken {
    /// Whether nothing was recorded.
    pub(super) fn is_empty(&self) -> bool {
        self.classic.iter().all(|count| *count == 0)
    }
}

fn classic_index(secs: f64) -> usize {
    BOUNDS_S.partition_point(|bound| *bound < secs)
}

/// Where `secs` belongs among the native buckets: 0 for next to nothing, the last for all that is
/// beyond.
fn native_index(secs: f64) -> usize {
    if secs <= ZERO_S {
        return 0;
    }
    // Taken apart into a fraction from a half to one and a power of two, as frexp does; no sample is
    // subnormal, negative or infinite.
    let bits = secs.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1022;
    let fraction = f64::from_bits(bits & !(0x7ff << 52) | (1022 << 52));
    let within = FRACTIONS.partition_point(|lower| *lower < fraction);
    let key = within as i32 + (exponent - 1) * PER_OCTAVE as i32;
    usize::try_from(key - FIRST_KEY + 1).unwrap_or(0).min(NATIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sample_is_between_the_ends_of_its_bucket() {
        let upper = |key: i32| 2_f64.powf(f64::from(key) / PER_OCTAVE as f64);
        let mut secs = ZERO_S * 1.000_001;
        while secs < 4096.0 {
            let key = FIRST_KEY + native_index(secs) as i32 - 1;
            assert!(upper(key - 1) < secs * (1.0 + 1e-12), "{secs} in {key}");
            assert!(secs <= upper(key) * (1.0 + 1e-12), "{secs} in {key}");
            secs *= 1.003;
        }
        assert_eq!(native_index(1.0), (1 - FIRST_KEY) as usize, "a bound is in the bucket it ends");
        assert_eq!(native_index(0.0), 0);
        assert_eq!(native_index(ZERO_S), 0);
        assert_eq!(native_index(1e9), NATIVE);
    }

    #[test]
    fn what_is_recorded_is_in_both_kinds_of_buckets() {
        let histogram = Histogram::default();
        for ms in [0, 5, 6, 1_000, 60_000, 86_400_000] {
            histogram.record(Duration::from_millis(ms));
        }
        let taken = histogram.take();
        assert_eq!(taken.classic, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2]);
        assert_eq!(taken.zero + taken.native.iter().map(|(_, count)| count).sum::<u64>(), 6);
        assert!((taken.sum_s - 86_461.011).abs() < 1e-6, "{}", taken.sum_s);
    }

    #[test]
    fn every_cell_is_read_as_it_was_written() {
        let mut bounds: Vec<usize> = BOUNDS_S.iter().map(|bound| native_index(*bound)).collect();
        bounds.dedup();
        assert_eq!(bounds.len(), BOUNDS_S.len(), "no native bucket has two classic bounds");
        let mut nanos = 1_u64;
        while nanos < 10_000_000_000_000 {
            for near in [nanos - 1, nanos, nanos + 1] {
                let took = Duration::from_nanos(near);
                let histogram = Histogram::default();
                histogram.record(took);
                let (taken, secs) = (histogram.take(), took.as_secs_f64());
                assert_eq!(taken.classic.iter().sum::<u64>(), 1);
                assert_eq!(taken.classic[classic_index(secs)], 1, "{near} ns");
                let key = FIRST_KEY + native_index(secs) as i32 - 1;
                let expected = if native_index(secs) == 0 { vec![] } else { vec![(key, 1)] };
                assert_eq!((taken.zero, taken.native), (u64::from(expected.is_empty()), expected));
            }
            // Bounds are among them, and all else.
            nanos = [nanos + nanos / 37 + 1, bound_after(nanos)].into_iter().min().unwrap();
        }
    }

    fn bound_after(nanos: u64) -> u64 {
        let bounds = BOUNDS_S.iter().map(|bound| (bound * 1e9) as u64);
        bounds.filter(|bound| *bound > nanos).min().unwrap_or(u64::MAX)
    }

    #[test]
    fn there_is_one_exemplar_a_second_at_most() {
        let histogram = Histogram::default();
        let ms = Duration::from_millis;
        histogram.exemplify(ms(7), Exemplar::new("trace_id", "a"), 5);
        histogram.exemplify(ms(80), Exemplar::new("trace_id", "b"), 5);
        assert!(!histogram.wants_exemplar(5));
        histogram.exemplify(ms(90), Exemplar::new("call_id", "c"), 6);
        let kept: Vec<_> =
            histogram.take().exemplars.into_iter().map(|(index, e)| (index, e.id)).collect();
        assert_eq!(kept, [(1, "a".into()), (5, "c".into())]);
    }
}
