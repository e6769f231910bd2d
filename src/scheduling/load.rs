//! How busy a node is believed to be, from what it says of itself and what is sent there.

use std::time::Duration;

use super::Time;

/// What a node says of itself with every request and every answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadReport {
    /// Invocations running there, the one it answers included.
    pub in_flight: u32,
    /// Cores the node may use.
    pub cores: u16,
    /// How long this invocation ran there, its gateway and function included.
    pub execution: Option<Duration>,
    /// How long it would have run had it had a core to itself.
    pub service: Option<Duration>,
    /// How much slower than usual the node is now: thousandths of a natural logarithm.
    pub pace_milli: u16,
}

/// Invocations sent to a node whose time of departure is remembered.
const STARTS: usize = 16;
/// An answer is overdue when its invocation should have been done by this many times what it takes.
const OVERDUE: f64 = 1.2;
/// What one of ours counts for when it was just sent, and when it is about to end: what it has still
/// to run is in the way, and not that it is there.
const JUST_SENT: f64 = 1.5;
const ABOUT_TO_END: f64 = 0.5;
/// Over how many seconds the usual number of others' invocations at a node is averaged: some
/// lifetimes of an invocation, so that it is a level, and few enough to follow a change of load.
const LEVEL_LIFE_S: f64 = 3.0;
/// Variance of others' invocations over their mean. One would be Poisson arrivals; deciders that
/// see the same idle node at once arrive in bunches.
const DISPERSION: f64 = 2.0;
/// Level below which uncertainty does not fall: a node nobody used may be found by others as well.
const LEVEL_MIN: f64 = 0.1;
/// Lifetimes of an invocation after which nothing is left of who was there; spares an exponential
/// that would come to nothing.
const STAYS_MAX: f64 = 20.0;

/// When invocations were sent to a node, as far as that may still matter.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sent {
    starts: [Time; STARTS],
    next: usize,
}

impl Sent {
    pub(super) fn record(&mut self, now: Time) {
        self.starts[self.next] = now;
        self.next = (self.next + 1) % STARTS;
    }

    /// Of `outstanding` invocations how many are in the way of one more, if each takes `takes_s`, and
    /// `way_s` there and back.
    ///
    /// The mean of two counts: that by age sees who is about to go, and errs where some take longer
    /// than others; that by shares of time does not, and sees nobody. Whoever is there counts for
    /// more the later it was sent.
    pub(super) fn still_there(&self, outstanding: u32, takes_s: f64, way_s: f64, now: Time) -> f64 {
        let ours = f64::from(outstanding);
        // Of its time until it is back an invocation spends this part there (Little's law).
        let by_share = ours * takes_s / (takes_s + way_s).max(1e-9);
        let runs_since = now.before_secs(takes_s);
        let due_since = now.before_secs(takes_s * OVERDUE + way_s);
        let (mut running, mut due, mut ages_s) = (0, 0, 0.0);
        // Places that are free are as old as can be, and so neither.
        for start in self.starts {
            let runs = start > runs_since;
            running += usize::from(runs);
            due += u32::from(start > due_since);
            ages_s += if runs { now.secs_since(start) } else { 0.0 };
        }
        if running == STARTS {
            // Those before are forgotten.
            return by_share;
        }
        // Whoever was sent longer ago than it takes is done, and its answer on the way; unless it is
        // overdue, too: then it is one that takes longer.
        let overdue = f64::from(outstanding.saturating_sub(due));
        let running = running as f64;
        // Some that were sent since may be back already.
        let by_age = overdue + (ours - overdue).min(running);
        // Of whom no age is known is taken to be half way.
        let mean_age = if running > 0.0 { ages_s / (running * takes_s) } else { 0.5 };
        let weight = JUST_SENT - (JUST_SENT - ABOUT_TO_END) * mean_age;
        f64::midpoint(by_age, by_share) * weight
    }

    /// How many were sent too late for the node to know of them at `at`, `transit` away.
    fn unseen(&self, transit: Duration, at: Time) -> u32 {
        let unseen = |start: &&Time| **start > Time::ZERO && **start + transit > at;
        self.starts.iter().filter(unseen).count() as u32
    }
}

/// What of a report is worth keeping.
#[derive(Debug, Clone, Copy)]
struct Said {
    in_flight: u32,
    cores: u16,
    pace_milli: u16,
}

impl From<LoadReport> for Said {
    fn from(report: LoadReport) -> Self {
        let LoadReport { in_flight, cores, pace_milli, .. } = report;
        Self { in_flight, cores: cores.max(1), pace_milli }
    }
}

/// What is believed of the load of one node.
#[derive(Debug, Clone, Default)]
pub(super) struct Load {
    said: Option<Said>,
    /// When what was reported was so, by the clock of this node.
    reported_at: Time,
    /// When the node could last tell how fast it is.
    paced_at: Time,
    /// Others' invocations there at the last report, and usually.
    others: f64,
    level: f64,
}

/// Invocations believed to be at a node.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Occupancy {
    pub(super) mean: f64,
    pub(super) variance: f64,
}

impl Load {
    /// Invocations running there as it last said, and when that was so.
    pub(super) fn in_flight(&self) -> Option<(u32, Time)> {
        self.said.map(|said| (said.in_flight, self.reported_at))
    }

    /// Cores of the node as it says; one before it has said so.
    pub(super) fn cores(&self) -> u16 {
        self.said.map_or(1, |said| said.cores)
    }

    /// Takes in what the node said of itself at `at`, unless something newer is known. Of ours it
    /// has `outstanding`, those `sent` last (and `transit` away) included.
    pub(super) fn take_in(
        &mut self,
        report: LoadReport,
        outstanding: u32,
        sent: &Sent,
        transit: Duration,
        at: Time,
    ) {
        let first = self.said.is_none();
        if !first && at < self.reported_at {
            return;
        }
        let gap_s = at.since(self.reported_at).as_secs_f64();
        let weight = if first { 1.0 } else { 1.0 - (-gap_s / LEVEL_LIFE_S).exp() };
        self.reported_at = at;
        self.paced_at = at;
        let ours = outstanding.saturating_sub(sent.unseen(transit, at));
        self.others = f64::from(report.in_flight.saturating_sub(ours));
        self.level += weight * (self.others - self.level);
        self.said = Some(report.into());
    }

    /// Takes in what this node knows of itself; how fast it is it learned at `paced_at`.
    pub(super) fn take_in_own(&mut self, report: LoadReport, paced_at: Time, now: Time) {
        self.said = Some(report.into());
        self.reported_at = now;
        self.paced_at = paced_at;
    }

    /// Others' invocations believed to be there: as it last said, drifting to their usual number as
    /// fast as invocations there come and go. The older the word, the wider the spread around it.
    pub(super) fn others(&self, service_s: f64, now: Time) -> Occupancy {
        let Some(said) = self.said else { return Occupancy::default() };
        let age_s = now.since(self.reported_at).as_secs_f64();
        let share = f64::from(said.in_flight) / f64::from(said.cores);
        let stay_s = (service_s * share.max(1.0)).max(1e-3);
        let stays = age_s / stay_s;
        let kept = if stays < STAYS_MAX { (-stays).exp() } else { 0.0 };
        Occupancy {
            mean: self.level + (self.others - self.level) * kept,
            variance: DISPERSION * self.level.max(LEVEL_MIN) * (1.0 - kept * kept),
        }
    }

    /// How many times slower than usual the node is believed to be, at least 1. The belief fades
    /// with `life_s`, and is tried by one invocation at a time: while one of ours is there, what it
    /// will say is waited for.
    pub(super) fn slowdown(&self, outstanding: u32, life_s: f64, now: Time) -> f64 {
        let pace = self.said.map_or(0, |said| said.pace_milli);
        if pace == 0 {
            return 1.0;
        }
        let age_s = if outstanding > 0 { 0.0 } else { now.since(self.paced_at).as_secs_f64() };
        // Steeper than an exponential, which would hold a little against a node for ever.
        let faded = (-(age_s / life_s).powi(2)).exp();
        (f64::from(pace) * 1e-3 * faded).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSIT: Duration = Duration::from_millis(10);

    fn at(secs: f64) -> Time {
        Time::from_secs_f64(secs)
    }

    fn saying(in_flight: u32) -> LoadReport {
        LoadReport { in_flight, cores: 2, ..LoadReport::default() }
    }

    #[test]
    fn our_own_are_counted_once() {
        let mut load = Load::default();
        let mut sent = Sent::default();
        sent.record(at(1.0));
        sent.record(at(2.0));
        assert_eq!(load.others(0.2, at(2.0)).mean, 0.0);
        // It said three at 2.005, when the second of ours had not arrived: two are others'.
        load.take_in(saying(3), 2, &sent, TRANSIT, at(2.005));
        assert_eq!(load.others(0.2, at(2.005)), Occupancy { mean: 2.0, variance: 0.0 });
    }

    #[test]
    fn those_that_are_done_and_not_back_are_not_there() {
        let mut sent = Sent::default();
        for start in [1.0, 1.1, 1.2] {
            sent.record(at(start));
        }
        // Each takes 0.2 s and the way 0.12 s: the first is answered by 1.32.
        for (now, outstanding, by_age, weight) in [
            (1.20, 3, 3.0, 1.0),  // about to end, half done, just sent
            (1.25, 3, 2.0, 1.0),  // the first is on its way back
            (1.31, 3, 1.0, 0.95), // the second, too
            (1.31, 1, 1.0, 0.95), // or both are back already
            (1.45, 3, 1.0, 1.0),  // the first should be back: it takes longer
            (2.00, 3, 3.0, 1.0),  // all should be
        ] {
            let actual = sent.still_there(outstanding, 0.2000001, 0.12, at(now));
            // Of 0.32 s each is there for 0.2 s.
            let there = 0.5 * (by_age + f64::from(outstanding) * 0.625) * weight;
            assert!((actual - there).abs() < 1e-4, "{outstanding} at {now}: {actual}");
        }
        let unknown = Sent::default().still_there(2, 0.2, 0.12, at(9.0));
        assert!((unknown - 0.5 * (2.0 + 1.25)).abs() < 1e-9, "sent who knows when: {unknown}");
        for _ in 0..STARTS {
            sent.record(at(2.0));
        }
        assert!((sent.still_there(20, 0.3, 0.1, at(2.1)) - 15.0).abs() < 1e-9, "three in four");
    }

    #[test]
    fn a_report_drifts_to_the_usual_level_and_spreads() {
        let mut load = Load::default();
        for second in 0..60 {
            load.take_in(saying(4), 0, &Sent::default(), TRANSIT, at(f64::from(second)));
        }
        load.take_in(saying(0), 0, &Sent::default(), TRANSIT, at(59.1));
        let fresh = load.others(0.2, at(59.1));
        let later = load.others(0.2, at(59.3));
        let old = load.others(0.2, at(65.0));
        assert!(fresh.mean == 0.0 && fresh.variance == 0.0, "{fresh:?}");
        assert!((2.0..3.0).contains(&later.mean) && later.variance > 1.0, "{later:?}");
        assert!((3.5..4.0).contains(&old.mean) && old.variance > later.variance, "{old:?}");
    }

    #[test]
    fn what_is_older_than_what_is_known_changes_nothing() {
        let mut load = Load::default();
        load.take_in(saying(5), 0, &Sent::default(), TRANSIT, at(2.0));
        load.take_in(saying(0), 0, &Sent::default(), TRANSIT, at(1.0));
        assert_eq!(load.others(0.2, at(2.0)).mean, 5.0);
    }

    #[test]
    fn a_slow_node_is_tried_by_one_at_a_time() {
        let mut load = Load::default();
        let slow = LoadReport { pace_milli: 1099, ..saying(0) };
        load.take_in(slow, 0, &Sent::default(), TRANSIT, at(1.0));
        assert!((load.slowdown(0, 2.0, at(1.0)) - 3.0).abs() < 0.01);
        assert!(load.slowdown(0, 2.0, at(9.0)) < 1.05, "it may have recovered");
        assert!(load.slowdown(1, 2.0, at(9.0)) > 2.9, "one of ours is there to see");
    }
}
