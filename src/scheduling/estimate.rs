//! What is believed of each node.

use std::time::Duration;

use super::Time;
use super::health::{Health, HealthRule};
pub use super::load::LoadReport;
use super::load::{Load, Sent};
use super::route::Stage;
use super::speed::Speed;
use super::window::Window;

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
    /// Whether it is left alone, or was until it is tried; [`History`] knows more.
    paused: bool,
    /// Whether an operator took it out.
    pub(super) drained: bool,
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
    health: Health,
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
            paused: false,
            drained: false,
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

    /// Whether the node is left alone for now.
    pub fn is_ejected(&self, now: Time) -> bool {
        self.paused && self.history.health.is_paused(now)
    }

    /// Whether nothing new is sent there: it is left alone for now, or somebody took it out.
    pub(super) fn is_closed(&self, now: Time) -> bool {
        self.drained || self.is_ejected(now)
    }

    pub(super) fn health(&self) -> &Health {
        &self.history.health
    }

    pub(super) fn health_mut(&mut self) -> &mut Health {
        &mut self.history.health
    }

    /// Whether it stays away until a probe finds it.
    pub(super) fn awaits_probe(&self) -> bool {
        self.paused && self.history.health.awaits_probe()
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

    /// Of the invocations it has from us those that are still there when one more arrives, if each
    /// takes `takes_s` alone, and `way_s` there and back.
    pub(super) fn still_there(&self, takes_s: f64, way_s: f64, others: f64, now: Time) -> f64 {
        let ours = f64::from(self.outstanding);
        if self.outstanding == 0 || way_s <= 0.0 {
            return ours;
        }
        let stretch = ((ours + others) / f64::from(self.load.cores())).max(1.0);
        self.history.sent.still_there(self.outstanding, takes_s * stretch, way_s, now)
    }

    /// What one more invocation there would cost: the peak response time for each that it has.
    pub(super) fn peak_cost(&self) -> f64 {
        let queued = f64::from(self.outstanding + self.placing + 1);
        self.history.peak.cost_s * queued / self.success.max(1e-9)
    }

    /// Notes that an invocation was sent there.
    pub(super) fn mark_sent(&mut self, stage: Stage, now: Time) {
        if self.paused {
            self.history.health.mark_sent(now);
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

    /// Leaves the node alone, as `how` says.
    pub(super) fn leave_alone(&mut self, how: impl FnOnce(&mut Health)) {
        how(&mut self.history.health);
        self.paused = true;
    }

    /// Notes that an attempt begun at `started` did not reach it; whether that was news. `jitter` is
    /// a draw from 0 to 1.
    pub(super) fn mark_unreachable(
        &mut self,
        started: Time,
        awaits_probe: bool,
        rule: &HealthRule,
        jitter: f64,
        now: Time,
    ) -> bool {
        self.paused = true;
        self.history.health.mark_lost(started, awaits_probe, rule, jitter, now)
    }

    /// Notes that an attempt begun at `started` ended without telling whether the node is there.
    pub(super) fn mark_untold(&mut self, started: Time) {
        if self.paused {
            self.history.health.mark_untold(started);
        }
    }

    /// Notes an answer to an attempt begun at `started`: the node is there, and is left alone no
    /// longer, unless it was for its failures.
    pub(super) fn mark_there(&mut self, good: bool, started: Time) {
        if self.paused && self.history.health.mark_answered(good, started) {
            self.paused = false;
        }
    }

    /// Takes in what an answer said that took so long.
    pub fn mark_answered(&mut self, report: Option<LoadReport>, took: Duration, now: Time) {
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
