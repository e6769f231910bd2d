//! Where a function is warm, and what it costs where it is not.
//!
//! A node that has not run a function for a while, or never, may have to start it first. Nobody
//! says so: it shows in a service several times as long as usual after a gap longer than any that
//! was harmless. What is learned of the gap and of the cost is the function's, and holds at every
//! node.
//!
//! Also where it takes longer than that node's speed tells, as where its data is far away.

use super::Time;
use super::speed::{Speed, Surprise};
use crate::topology::Slot;

/// Nodes of which it is remembered when the function last ran there; the longest ago go.
const PLACES: usize = 8;
/// How many times as long as usual a service must be to be taken for a cold start. A neighbour that
/// takes half or two thirds of a machine away must not look like one.
pub(super) const COLD_FACTOR: f64 = 4.0;
/// Nobody stops a function that was called within this many seconds.
const GAP_MIN_S: f64 = 1.0;
/// Weight of the last cold start in the mean of what they cost, and of the last visit to a node
/// nothing was known of in the share of those that were cold.
const WEIGHT: f64 = 0.2;

/// Nodes whose logarithms of time for one function differ by no more than this from what their speed
/// tells are as fast as that: with none, a node is taken for slow for which it was only met too often
/// at bad moments.
const ALIKE: f64 = 0.05;

#[derive(Debug, Clone, Copy)]
struct Place {
    slot: Slot,
    last: Time,
    /// How fast the function is there besides the speed of the node.
    own: Speed,
}

/// What is known of the cold starts of one function.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Warmth {
    places: [Option<Place>; PLACES],
    /// Seconds a cold start adds; 0 while none was seen.
    cold_s: f64,
    /// Share of the visits to nodes nothing was known of that were cold.
    cold_share: f64,
    /// The longest gap, in seconds, that was harmless, and the shortest that was not.
    harmless_s: f64,
    harmful_s: Option<f64>,
}

impl Warmth {
    /// Whether an invocation that began at `started` and needed `service_s` where `usual_s` is
    /// usual met a cold start at the node of `slot`.
    pub(super) fn is_cold(
        &self,
        slot: Slot,
        service_s: f64,
        usual_s: Option<f64>,
        started: Time,
    ) -> bool {
        let slow = usual_s.is_some_and(|usual_s| service_s > COLD_FACTOR * usual_s);
        let harmless_s = self.harmless_s.max(GAP_MIN_S);
        slow && self.gap_s(slot, started).is_none_or(|gap_s| gap_s > harmless_s)
    }

    /// Learns from an invocation that began at `started` and ended at `now`.
    pub(super) fn learn(
        &mut self,
        slot: Slot,
        service_s: f64,
        usual_s: Option<f64>,
        started: Time,
        now: Time,
    ) {
        let gap_s = self.gap_s(slot, started);
        let cold = self.is_cold(slot, service_s, usual_s, started);
        match gap_s {
            None => self.cold_share += WEIGHT * (f64::from(u8::from(cold)) - self.cold_share),
            Some(gap_s) if cold => {
                self.harmful_s = Some(self.harmful_s.map_or(gap_s, |least| least.min(gap_s)));
            }
            Some(gap_s) => self.harmless_s = self.harmless_s.max(gap_s),
        }
        if let Some(usual_s) = usual_s.filter(|_| cold) {
            let extra_s = service_s - usual_s;
            let weight = if self.cold_s > 0.0 { WEIGHT } else { 1.0 };
            self.cold_s += weight * (extra_s - self.cold_s);
        }
        self.note(slot, now);
    }

    /// Seconds to be expected of a cold start at the node of `slot`.
    pub(super) fn extra_s(&self, slot: Slot, now: Time) -> f64 {
        if self.cold_s == 0.0 {
            return 0.0;
        }
        match (self.gap_s(slot, now), self.harmful_s) {
            // Others may have called it there.
            (None, _) => self.cold_s * self.cold_share,
            (Some(gap_s), Some(harmful_s)) if gap_s >= harmful_s => self.cold_s,
            (Some(_), _) => 0.0,
        }
    }

    /// Whether nothing is known of the function at the node of `slot`.
    pub(super) fn is_new(&self, slot: Slot) -> bool {
        self.place(slot).is_none()
    }

    /// How many times as long the function takes at the node of `slot` as the speed of that node
    /// tells.
    pub(super) fn factor(&self, slot: Slot) -> f64 {
        self.place(slot).map_or(1.0, |place| place.own.factor())
    }

    /// Learns that from a service there, beside what the speed of the node would have had expected.
    pub(super) fn learn_factor(&mut self, slot: Slot, surprise: Surprise) {
        if let Some(place) = self.places.iter_mut().flatten().find(|place| place.slot == slot) {
            place.own.learn_beyond(surprise, ALIKE);
        }
    }

    fn place(&self, slot: Slot) -> Option<&Place> {
        self.places.iter().flatten().find(|place| place.slot == slot)
    }

    fn gap_s(&self, slot: Slot, now: Time) -> Option<f64> {
        Some(now.since(self.place(slot)?.last).as_secs_f64())
    }

    fn note(&mut self, slot: Slot, now: Time) {
        let known = self.places.iter().position(|p| p.is_some_and(|place| place.slot == slot));
        let oldest = || {
            let age = |i: &usize| self.places[*i].map(|place| place.last);
            (0..PLACES).min_by_key(age).unwrap_or_default()
        };
        let i = known.unwrap_or_else(oldest);
        let own = self.places[i].filter(|_| known.is_some()).map_or(Speed::default(), |p| p.own);
        self.places[i] = Some(Place { slot, last: now, own });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Option<f64> = Some(0.2);

    fn at(secs: f64) -> Time {
        Time::from_secs_f64(secs)
    }

    fn slot(index: u32) -> Slot {
        Slot { index, since: 1 }
    }

    /// A function that runs at three nodes in turn and stays warm for 30 s.
    fn after_some_time() -> Warmth {
        let mut warmth = Warmth::default();
        let mut last = [f64::NEG_INFINITY; 3];
        for (secs, node) in [(0.0, 0), (10.0, 0), (35.0, 0), (50.0, 1), (60.0, 2), (90.0, 0)] {
            let cold = secs - last[node as usize] > 30.0;
            let service_s = if cold && secs > 0.0 { 1.2 } else { 0.2 };
            let usual_s = USUAL.filter(|_| secs > 0.0);
            warmth.learn(slot(node), service_s, usual_s, at(secs), at(secs));
            last[node as usize] = secs;
        }
        warmth
    }

    #[test]
    fn a_node_where_the_function_is_warm_is_worth_more() {
        let warmth = after_some_time();
        assert_eq!(warmth.extra_s(slot(0), at(100.0)), 0.0);
        assert!(warmth.extra_s(slot(1), at(120.0)) > 0.2, "idle for too long");
        assert!(warmth.extra_s(slot(7), at(100.0)) > 0.2, "never seen there");
        assert!((warmth.cold_s - 1.0).abs() < 1e-9, "{warmth:?}");
    }

    #[test]
    fn one_slow_call_after_a_harmless_gap_is_no_cold_start() {
        let warmth = after_some_time();
        assert!(!warmth.is_cold(slot(0), 1.2, USUAL, at(110.0)));
        assert!(warmth.is_cold(slot(0), 1.2, USUAL, at(190.0)));
        assert!(!warmth.is_cold(slot(0), 0.3, USUAL, at(190.0)), "it was quick");
    }

    #[test]
    fn a_function_that_never_starts_cold_is_worth_the_same_everywhere() {
        let mut warmth = Warmth::default();
        for i in 0..20 {
            warmth.learn(slot(i), 0.2, USUAL, at(f64::from(i)), at(f64::from(i)));
        }
        assert!((0..30).all(|i| warmth.extra_s(slot(i), at(1000.0)) == 0.0));
        assert!(warmth.is_new(slot(3)) && !warmth.is_new(slot(19)), "eight are remembered");
    }
}
