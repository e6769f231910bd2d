//! What is believed of each node.

use std::time::Duration;

use super::Time;
pub use super::load::LoadReport;
use super::load::{Load, Sent};
use super::route::Stage;
use super::speed::Speed;
use super::window::Window;

/// The first pause after a node could not be reached; it doubles with each further failure.
pub const UNREACHABLE_PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest such pause.
pub const UNREACHABLE_PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long others wait for the one that tries such a node again: longer than it takes to give up
/// connecting, as configured by default.
const TRIAL_LIFE: Duration = Duration::from_secs(3);

/// How long a node's word on its load counts, less and less; then it is taken to be idle.
pub const REPORT_LIFE: Duration = Duration::from_secs(10);

const NETWORK_WEIGHT: f64 = 0.1;

/// Response time that jumps up with a slow answer and comes down slowly, as Finagle and Linkerd
/// have it.
#[derive(Debug, Clone, Copy, Default)]
pub struct PeakEwma {
    cost_s: f64,
    updated: Time,
}

/// How many seconds it takes to forget two thirds of a peak.
const PEAK_LIFE_S: f64 = 10.0;

impl PeakEwma {
    pub(super) fn record(&mut self, took: Duration, now: Time) {
        let kept = (-now.since(self.updated).as_secs_f64() / PEAK_LIFE_S).exp();
        let took_s = took.as_secs_f64();
        self.cost_s = took_s.max(self.cost_s * kept + took_s * (1.0 - kept));
        self.updated = self.updated.max(now);
    }
}

/// The record of one node: what it did for us, and what it said of itself.
///
/// What a prediction reads is here, in two cache lines: of many nodes, each that is looked at is far
/// from the others in memory. The rest stands elsewhere.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub struct NodeEstimate {
    /// Share of its recent answers that were good, 0 to 1.
    pub success: f64,
    /// Time on the way there and back, as response time less the execution time it reported.
    pub network: Option<Duration>,
    pub(super) speed: Speed,
    /// Invocations it runs for us and has not answered.
    pub outstanding: u32,
    /// Invocations it places for us and has not answered.
    pub placing: u32,
    pub(super) load: Load,
    /// Whether it could not be reached the last time; [`History`] knows more.
    failed: bool,
    history: Box<History>,
}

const _: () = assert!(size_of::<NodeEstimate>() == 128);

/// What is remembered of a node beside what a prediction reads.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Response times of invocations it ran for us.
    pub executed: Window,
    /// Response times of invocations it placed for us.
    pub placed: Window,
    pub(super) peak: PeakEwma,
    sent: Sent,
    pause: Option<Pause>,
}

impl History {
    /// Notes an answer that took so long.
    pub(super) fn record(&mut self, stage: Stage, took: Duration, now: Time) {
        let window = match stage {
            Stage::Schedule => &mut self.placed,
            Stage::Entry | Stage::Execute => &mut self.executed,
        };
        window.record(took, now);
        self.peak.record(took, now);
    }

    /// Drops what has become too old.
    pub(super) fn expire(&mut self, now: Time) {
        self.executed.expire(now);
        self.placed.expire(now);
    }
}

/// Since when and how long a node is left alone.
#[derive(Debug, Clone, Copy)]
struct Pause {
    noted: Time,
    length: Duration,
    /// When the one invocation was sent that tries the node again.
    trial: Option<Time>,
}

impl Pause {
    fn until(self) -> Time {
        self.noted + self.length
    }

    /// Whether somebody finds out at the moment, so that others need not.
    fn is_on_trial(self, now: Time) -> bool {
        self.trial.is_some_and(|sent| now.since(sent) < TRIAL_LIFE)
    }
}

impl Default for NodeEstimate {
    fn default() -> Self {
        Self::new()
    }
}

impl NodeEstimate {
    /// A record of nothing.
    pub fn new() -> Self {
        Self {
            success: 1.0,
            network: None,
            speed: Speed::default(),
            outstanding: 0,
            placing: 0,
            load: Load::default(),
            failed: false,
            history: Box::default(),
        }
    }

    /// What is remembered of it.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The same, to be changed.
    pub fn history_mut(&mut self) -> &mut History {
        &mut self.history
    }

    /// Whether the node is left alone for now because it could not be reached.
    pub fn is_unreachable(&self, now: Time) -> bool {
        let closed = |pause: Pause| now < pause.until() || pause.is_on_trial(now);
        self.failed && self.history.pause.is_some_and(closed)
    }

    /// Invocations believed to be there: what it has from us, or what it said when that is more.
    ///
    /// What it said fades with age. Were it believed for ever, a node that was swamped once would
    /// be avoided, so it would not be heard again, so it would stay avoided.
    pub fn busy(&self, now: Time) -> f64 {
        let reported = self.load.in_flight().map_or(0.0, |(in_flight, at)| {
            let age = now.since(at).as_secs_f64() / REPORT_LIFE.as_secs_f64();
            f64::from(in_flight) * (1.0 - age).max(0.0)
        });
        f64::from(self.outstanding + self.placing).max(reported)
    }

    /// What one more invocation there would cost: the peak response time for each that it has.
    pub(super) fn peak_cost(&self) -> f64 {
        let queued = f64::from(self.outstanding + self.placing + 1);
        self.history.peak.cost_s * queued / self.success.max(1e-9)
    }

    /// Notes that an invocation was sent there.
    pub(super) fn mark_sent(&mut self, stage: Stage, now: Time) {
        if let Some(pause) = &mut self.history.pause
            && now >= pause.until()
            && !pause.is_on_trial(now)
        {
            pause.trial = Some(now);
        }
        if stage == Stage::Schedule {
            self.placing += 1;
            return;
        }
        self.outstanding += 1;
        self.history.sent.record(now);
    }

    /// Notes that it has answered, or will not.
    pub(super) fn mark_ended(&mut self, stage: Stage) {
        let count =
            if stage == Stage::Schedule { &mut self.placing } else { &mut self.outstanding };
        *count = count.saturating_sub(1);
    }

    /// Takes in what the node said of itself, which took half a round trip to come here.
    pub(super) fn take_in(&mut self, report: LoadReport, now: Time) {
        let transit = self.network.unwrap_or_default() / 2;
        let sent = &self.history.sent;
        self.load.take_in(report, self.outstanding, sent, transit, now.before(transit));
    }

    /// Notes that an attempt begun at `started` did not reach it: left alone for a while, longer
    /// each time in a row.
    ///
    /// Attempts begun before the last failure was known say nothing new, however late they end, so
    /// a burst of calls that all wait for a connection in vain is one failure.
    pub fn mark_unreachable(&mut self, started: Time, now: Time) {
        let length = match self.history.pause {
            Some(pause) if now < pause.until() || started <= pause.noted => return,
            Some(pause) => (pause.length * 2).min(UNREACHABLE_PAUSE_MAX),
            None => UNREACHABLE_PAUSE_MIN,
        };
        self.failed = true;
        self.history.pause = Some(Pause { noted: now, length, trial: None });
    }

    /// Notes that an attempt begun at `started` ended without telling whether the node is there.
    pub(super) fn mark_untold(&mut self, started: Time) {
        if let Some(pause) = &mut self.history.pause {
            pause.trial = pause.trial.filter(|sent| *sent != started);
        }
    }

    /// Notes an answer: the node is there, and this is what it said.
    pub fn mark_answered(&mut self, report: Option<LoadReport>, took: Duration, now: Time) {
        if self.failed {
            self.failed = false;
            self.history.pause = None;
        }
        let Some(report) = report else { return };
        // What it has answered has left.
        self.take_in(LoadReport { in_flight: report.in_flight.saturating_sub(1), ..report }, now);
        if let Some(execution) = report.execution {
            let sample = took.saturating_sub(execution);
            self.network = Some(match self.network {
                Some(old) => old.mul_f64(1.0 - NETWORK_WEIGHT) + sample.mul_f64(NETWORK_WEIGHT),
                None => sample,
            });
        }
    }

    /// Notes whether the last answer was good.
    pub fn mark_success(&mut self, good: bool) {
        const WEIGHT: f64 = 0.05;
        self.success = (1.0 - WEIGHT) * self.success + if good { WEIGHT } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_node_is_left_alone_longer_each_time_and_forgiven_at_once() {
        let mut node = NodeEstimate::new();
        let mut now = Time::from_secs_f64(1.0);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            node.mark_unreachable(now, now);
            node.mark_unreachable(now, now); // a burst of failures is one failure
            let soon = now + Duration::from_millis(1);
            node.mark_unreachable(soon, soon); // and so is a last resort that fails too
            assert!(node.is_unreachable(now));
            let pause = node.history.pause.unwrap();
            pauses.push(pause.length.as_millis());
            now = pause.until();
            assert!(!node.is_unreachable(now), "it is tried again when the pause ends");
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        node.mark_answered(None, Duration::ZERO, now);
        node.mark_unreachable(now, now);
        assert_eq!(node.history.pause.unwrap().length, UNREACHABLE_PAUSE_MIN);
    }

    #[test]
    fn one_invocation_finds_out_for_all() {
        let mut node = NodeEstimate::new();
        let secs = Time::from_secs_f64;
        node.mark_unreachable(secs(1.0), secs(1.0));
        assert!(!node.is_unreachable(secs(1.5)));
        node.mark_sent(Stage::Execute, secs(1.6));
        assert!(node.is_unreachable(secs(1.7)), "it is being tried");
        assert!(!node.is_unreachable(secs(1.6) + TRIAL_LIFE), "it takes too long to wait for");
        node.mark_untold(secs(1.0));
        assert!(node.is_unreachable(secs(1.7)), "that was another");
        node.mark_untold(secs(1.6));
        assert!(!node.is_unreachable(secs(1.7)), "it was broken off, so the next one tries");
        node.mark_sent(Stage::Execute, secs(1.7));
        node.mark_answered(None, Duration::ZERO, secs(1.8));
        assert!(!node.is_unreachable(secs(1.8)));
    }

    #[test]
    fn calls_that_wait_for_a_connection_in_vain_together_are_one_failure() {
        let mut node = NodeEstimate::new();
        let secs = Time::from_secs_f64;
        // A call every 50 ms, each of which fails after two seconds.
        for i in 0..40 {
            let started = f64::from(i) * 0.05;
            node.mark_unreachable(secs(started), secs(started + 2.0));
        }
        assert!(node.is_unreachable(secs(2.49)) && !node.is_unreachable(secs(2.5)));
        node.mark_unreachable(secs(2.5), secs(4.5));
        assert!(node.is_unreachable(secs(5.49)) && !node.is_unreachable(secs(5.5)));
    }

    #[test]
    fn what_a_node_said_of_its_load_fades() {
        let mut node = NodeEstimate::new();
        // The one it answers and eight others.
        let report = LoadReport { in_flight: 9, cores: 2, ..LoadReport::default() };
        node.mark_answered(Some(report), Duration::ZERO, Time::from_secs_f64(100.0));
        node.outstanding = 1;
        for (secs, busy) in [(99.0, 8.0), (100.0, 8.0), (105.0, 4.0), (110.0, 1.0), (999.0, 1.0)] {
            assert_eq!(node.busy(Time::from_secs_f64(secs)), busy, "{secs}");
        }
    }

    #[test]
    fn network_time_is_what_execution_does_not_explain() {
        let mut node = NodeEstimate::new();
        let report = |ms| LoadReport {
            in_flight: 1,
            cores: 2,
            execution: Some(Duration::from_millis(ms)),
            ..LoadReport::default()
        };
        node.mark_answered(Some(report(80)), Duration::from_millis(100), Time::ZERO);
        assert_eq!(node.network, Some(Duration::from_millis(20)));
        node.mark_answered(Some(report(100)), Duration::from_millis(220), Time::ZERO);
        assert_eq!(node.network, Some(Duration::from_millis(30)));
        node.mark_answered(Some(report(100)), Duration::from_millis(50), Time::ZERO);
        assert_eq!(node.network, Some(Duration::from_millis(27)), "never negative");
    }
}
