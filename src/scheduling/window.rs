//! Sliding windows whose cost per sample does not grow with the number of samples in them.

use std::collections::VecDeque;
use std::time::Duration;

use super::Time;

/// How long a sample counts.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Most samples a window holds; past that the oldest go, so a very busy window is a shorter one.
pub const SAMPLES_MAX: usize = 65_536;

const SUB_BITS: u32 = 6;
const SUB: usize = 1 << SUB_BITS;
const PAGES: usize = 32 - SUB_BITS as usize + 1;

/// The samples of the last [`WINDOW`]: count, mean and quantiles.
///
/// A sample costs O(1) amortised. The mean is exact to the microsecond; quantiles are read from a
/// histogram with 64 buckets per power of two, so they are off by at most 0.8 %.
#[derive(Debug, Clone, Default)]
pub struct Window {
    samples: VecDeque<Sample>,
    sum_micros: u64,
    /// Not inline, and none before the first sample: a decision reads the means of many windows,
    /// and finds them closer together so.
    pages: Vec<Option<Box<Page>>>,
}

/// Eight bytes, so that a window of a minute at a thousand samples a second is half a megabyte.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at_millis: u32,
    micros: u32,
}

/// The buckets of one power of two, made when first needed.
#[derive(Debug, Clone)]
struct Page {
    total: u32,
    counts: [u32; SUB],
}

impl Window {
    /// Adds a sample and drops those that have become too old.
    pub fn record(&mut self, value: Duration, now: Time) {
        self.expire(now);
        if self.samples.len() == SAMPLES_MAX {
            self.drop_oldest();
        }
        let micros = u32::try_from(value.as_micros()).unwrap_or(u32::MAX).max(1);
        self.samples.push_back(Sample { at_millis: now.as_millis_wrapping(), micros });
        self.sum_micros += u64::from(micros);
        let (page, sub) = bucket(micros);
        if self.pages.is_empty() {
            self.pages.resize_with(PAGES, || None);
        }
        let page = self.pages[page].get_or_insert_with(|| Box::new(Page::EMPTY));
        page.total += 1;
        page.counts[sub] += 1;
    }

    /// Drops the samples that are older than [`WINDOW`].
    pub fn expire(&mut self, now: Time) {
        let now = now.as_millis_wrapping();
        while let Some(oldest) = self.samples.front() {
            // Threads read the clock before they take turns, so a sample may be a little younger
            // than `now`: its age is negative then, not the greatest there is.
            let age_millis = now.wrapping_sub(oldest.at_millis).cast_signed();
            if age_millis <= WINDOW.as_millis() as i32 {
                break;
            }
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(sample) = self.samples.pop_front() else { return };
        self.sum_micros -= u64::from(sample.micros);
        let (page, sub) = bucket(sample.micros);
        if let Some(page) = &mut self.pages[page] {
            page.total -= 1;
            page.counts[sub] -= 1;
        }
        if self.samples.is_empty() {
            *self = Self::default();
        }
    }

    /// Samples in the window.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether no sample is left.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The mean, where there is a sample.
    pub fn mean(&self) -> Option<Duration> {
        let count = self.samples.len() as u64;
        (count > 0).then(|| Duration::from_nanos(self.sum_micros * 1000 / count))
    }

    /// The nearest-rank quantile `q` (0 to 1), where there is a sample.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let rank = (q * self.samples.len() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, page) in self.pages.iter().enumerate() {
            let Some(page) = page else { continue };
            if seen + u64::from(page.total) < rank {
                seen += u64::from(page.total);
                continue;
            }
            for (sub, &count) in page.counts.iter().enumerate() {
                seen += u64::from(count);
                if seen >= rank {
                    return Some(midpoint(index, sub));
                }
            }
        }
        None
    }

    /// The most recent `limit` samples, oldest first.
    pub fn recent(&self, limit: usize) -> impl Iterator<Item = Duration> {
        let skipped = self.samples.len().saturating_sub(limit);
        self.samples.iter().skip(skipped).map(|s| Duration::from_micros(u64::from(s.micros)))
    }
}

impl Page {
    const EMPTY: Self = Self { total: 0, counts: [0; SUB] };
}

/// Below 64 µs a bucket is one microsecond; above, each power of two has 64 buckets.
fn bucket(micros: u32) -> (usize, usize) {
    let octave = (31 - (micros | 1).leading_zeros()).saturating_sub(SUB_BITS - 1);
    let shift = octave.saturating_sub(1);
    (octave as usize, (micros >> shift) as usize % SUB)
}

fn midpoint(page: usize, sub: usize) -> Duration {
    if page == 0 {
        return Duration::from_micros(sub as u64);
    }
    let width = 1_u64 << (page - 1);
    let low = (SUB + sub) as u64 * width;
    Duration::from_nanos((2 * low + width - 1) * 500)
}

/// Events per second over the last [`WINDOW`], counted by the second.
#[derive(Debug, Clone)]
pub struct Rate {
    first: Time,
    last_second: u64,
    total: u32,
    per_second: [u32; 60],
}

impl Rate {
    /// A rate whose first event is yet to come.
    pub fn new(now: Time) -> Self {
        Self { first: now, last_second: now.as_secs(), total: 0, per_second: [0; 60] }
    }

    /// Counts one event.
    pub fn record(&mut self, now: Time) {
        self.advance(now);
        self.per_second[(self.last_second % 60) as usize] += 1;
        self.total += 1;
    }

    /// Events per second over the window, or over the time since the first event if that is less.
    pub fn per_second(&mut self, now: Time) -> f64 {
        self.advance(now);
        let age = now.since(self.first).min(WINDOW).max(Duration::from_secs(1));
        f64::from(self.total) / age.as_secs_f64()
    }

    fn advance(&mut self, now: Time) {
        let second = now.as_secs();
        let behind = second.saturating_sub(self.last_second).min(60);
        for step in 1..=behind {
            let index = ((self.last_second + step) % 60) as usize;
            self.total -= std::mem::take(&mut self.per_second[index]);
        }
        self.last_second = self.last_second.max(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: f64) -> Time {
        Time::from_secs_f64(secs)
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn every_bucket_holds_its_midpoint_and_the_error_stays_under_one_percent() {
        for micros in (1..5000).chain([65_535, 65_536, 1 << 20, 123_456_789, u32::MAX]) {
            let (page, sub) = bucket(micros);
            let middle = midpoint(page, sub).as_secs_f64() * 1e6;
            let error = (middle - f64::from(micros)).abs() / f64::from(micros);
            assert!(error <= 1.0 / 128.0, "{micros} -> {middle}");
        }
    }

    #[test]
    fn samples_leave_after_exactly_sixty_seconds() {
        let mut window = Window::default();
        window.record(ms(100), at(0.0));
        window.record(ms(300), at(30.0));
        window.expire(at(60.0));
        assert_eq!((window.len(), window.mean()), (2, Some(ms(200))));
        window.expire(at(60.001));
        assert_eq!((window.len(), window.mean()), (1, Some(ms(300))));
        window.expire(at(1000.0));
        assert!(window.is_empty() && window.mean().is_none() && window.quantile(0.5).is_none());
    }

    #[test]
    fn quantiles_follow_nearest_rank() {
        let mut window = Window::default();
        for value in 1..=20 {
            window.record(Duration::from_micros(value), at(0.0));
        }
        for (q, micros) in [(0.0, 1), (0.5, 10), (0.95, 19), (0.951, 20), (1.0, 20)] {
            assert_eq!(window.quantile(q), Some(Duration::from_micros(micros)), "{q}");
        }
    }

    #[test]
    fn the_window_is_bounded_and_keeps_the_newest() {
        let mut window = Window::default();
        for i in 0..SAMPLES_MAX as u64 + 10 {
            window.record(Duration::from_micros(i + 1), at(1.0));
        }
        assert_eq!(window.len(), SAMPLES_MAX);
        assert_eq!(window.recent(1).next(), Some(Duration::from_micros(SAMPLES_MAX as u64 + 10)));
        assert_eq!(window.recent(usize::MAX).next(), Some(Duration::from_micros(11)));
    }

    #[test]
    fn a_clock_reading_from_just_before_the_newest_sample_drops_nothing() {
        let mut window = Window::default();
        window.record(ms(100), at(10.005));
        window.record(ms(300), at(10.004));
        window.expire(at(10.0));
        assert_eq!((window.len(), window.mean()), (2, Some(ms(200))));
    }

    #[test]
    fn a_window_outlives_the_wrap_of_its_millisecond_stamps() {
        let mut window = Window::default();
        let wrap = f64::from(u32::MAX) / 1000.0;
        window.record(ms(1), at(wrap - 1.0));
        window.record(ms(3), at(wrap + 1.0));
        assert_eq!(window.mean(), Some(ms(2)));
        window.expire(at(wrap + 60.0));
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn rate_counts_the_last_minute_and_a_young_one_over_its_age() {
        let mut rate = Rate::new(at(100.0));
        for _ in 0..20 {
            rate.record(at(100.5));
        }
        assert_eq!(rate.per_second(at(100.5)), 20.0);
        assert_eq!(rate.per_second(at(110.0)), 2.0);
        for second in 0..120 {
            rate.record(at(130.0 + f64::from(second)));
        }
        assert_eq!(rate.per_second(at(249.9)), 1.0);
        assert_eq!(rate.per_second(at(1000.0)), 0.0);
    }
}
