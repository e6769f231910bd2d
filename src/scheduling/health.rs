//! Which nodes are left alone, why, and for how long.
//!
//! A node that cannot be reached is *lost*: it is asked for nothing until a probe finds it again. A
//! node that answers and fails is *ejected*, if it fails more than the others do: a function that
//! fails everywhere is no fault of a node. Either way one invocation at a time tries it again when
//! its time is over, and each failure makes that time longer. A node that ends a connection nobody
//! asked it to end is *doubted*: invocations go on, but a probe asks at once whether it is there.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::route::{Outcome, Ticket};
use super::{Scheduler, Time};
use crate::topology::Slot;

/// When nodes are left alone; see [`super::health`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HealthRule {
    /// Failures in a row after which a node is ejected.
    pub failures: u32,
    /// Share of its answers in the window from which it is ejected otherwise.
    pub failure_share: f64,
    /// Fewest answers from which that is taken.
    pub answers_min: u32,
    /// How long answers count.
    pub window: Duration,
    /// How long a node is left alone the first time; it doubles with each further time.
    pub ejection: Duration,
    /// The longest such time.
    pub ejection_max: Duration,
    /// By what share of it such a time may be longer, so that deciders do not all come back at once.
    pub jitter: f64,
    /// Share of all nodes that may be ejected for their failures at once. Those that are lost come
    /// on top: nothing is gained by sending to them.
    pub ejected_share_max: f64,
    /// How long a node without a function is not asked for it.
    pub absent: Duration,
    /// Whether lost nodes are tried by probes before an invocation tries them.
    pub probes: bool,
    /// How often somebody looks whether there is a node to be probed.
    pub probe_interval: Duration,
    /// To how many nodes a connection is held, as long as they are probed, to hear that it ends.
    pub lines: u32,
}

impl HealthRule {
    /// Default of [`Self::ejection`].
    pub const EJECTION: Duration = Duration::from_millis(500);
    /// Default of [`Self::ejection_max`].
    pub const EJECTION_MAX: Duration = Duration::from_secs(30);
}

impl Default for HealthRule {
    fn default() -> Self {
        Self {
            failures: 5,
            failure_share: 0.5,
            answers_min: 20,
            window: Duration::from_secs(10),
            ejection: Self::EJECTION,
            ejection_max: Self::EJECTION_MAX,
            jitter: 0.1,
            ejected_share_max: 0.5,
            absent: Duration::from_secs(10),
            probes: true,
            probe_interval: Duration::from_millis(250),
            lines: 32,
        }
    }
}

/// How many times the share of failures of the others a node must have to be told from them.
const OUTLIER_FACTOR: u64 = 2;
/// How long others wait for the one that tries such a node again: longer than it takes to give up
/// connecting, as configured by default.
pub(super) const TRIAL_LIFE: Duration = Duration::from_secs(3);
/// Doublings after which a time is surely at its longest.
const DOUBLINGS_MAX: u32 = 30;

/// Why a node is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It cannot be reached.
    Lost,
    /// It fails.
    Failing,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 2] = [Self::Lost, Self::Failing];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Failing => "failing",
        }
    }
}

/// Since when, how long and why a node is left alone.
#[derive(Debug, Clone, Copy)]
struct Pause {
    cause: Cause,
    noted: Time,
    length: Duration,
    /// Whether a probe has to find it before invocations may try.
    awaits_probe: bool,
    /// When the one attempt was made that tries the node again.
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

    fn is_due(self, now: Time) -> bool {
        now >= self.until() && !self.is_on_trial(now)
    }
}

/// Whether it is being found out if a node that is not left alone is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Doubt {
    #[default]
    None,
    Raised,
    /// A probe is under way, begun then.
    Probed(Time),
}

/// Good and bad answers of the last while: those of this half of the window, and of the one before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    begun: Time,
    now: [u32; 2],
    before: [u32; 2],
}

impl Tally {
    fn record(&mut self, good: bool, half: Duration, now: Time) {
        let age = now.since(self.begun);
        if age >= half {
            self.before = if age < half * 2 { self.now } else { [0; 2] };
            self.now = [0; 2];
            self.begun = now;
        }
        self.now[usize::from(!good)] += 1;
    }

    fn failures(self) -> u64 {
        u64::from(self.now[1]) + u64::from(self.before[1])
    }

    fn answers(self) -> u64 {
        self.failures() + u64::from(self.now[0]) + u64::from(self.before[0])
    }

    /// Whether this node fails more often than the rest of the `fleet`.
    fn is_outlier(self, fleet: Self) -> bool {
        let others = fleet.answers().saturating_sub(self.answers());
        let their_failures = fleet.failures().saturating_sub(self.failures());
        others == 0 || self.failures() * others > OUTLIER_FACTOR * their_failures * self.answers()
    }
}

/// How one node does.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Health {
    in_a_row: u32,
    tally: Tally,
    pause: Option<Pause>,
    doubt: Doubt,
    /// Times it was left alone in a row, and the end of the last of them.
    times: u32,
    last_until: Time,
}

impl Health {
    /// Whether the node is left alone at `now`.
    pub(super) fn is_paused(&self, now: Time) -> bool {
        let closed = |pause: Pause| pause.awaits_probe || !pause.is_due(now);
        self.pause.is_some_and(closed)
    }

    /// Why the node is left alone, or will be until somebody has tried it.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.pause.map(|pause| pause.cause)
    }

    /// Notes that an invocation was sent there: the first one after a pause tries it.
    pub(super) fn mark_sent(&mut self, now: Time) {
        if let Some(pause) = &mut self.pause
            && pause.is_due(now)
        {
            pause.trial = Some(now);
        }
    }

    /// Notes that an attempt begun at `started` ended without telling how the node does.
    pub(super) fn mark_untold(&mut self, started: Time) {
        if let Some(pause) = &mut self.pause {
            pause.trial = pause.trial.filter(|sent| *sent != started);
        }
    }

    /// Notes an answer to an attempt begun at `started`; whether that ends the pause. Any answer
    /// shows that a node is there; that it does no longer fail, only a good one that was asked for
    /// after it was given time.
    pub(super) fn mark_answered(&mut self, good: bool, started: Time) -> bool {
        let Some(pause) = self.pause else { return false };
        let forgiven = match pause.cause {
            Cause::Lost => true,
            Cause::Failing => good && started >= pause.until(),
        };
        if forgiven {
            if pause.cause == Cause::Lost {
                self.times = 0;
            }
            self.last_until = pause.until();
            self.pause = None;
            self.in_a_row = 0;
            self.tally = Tally::default();
        }
        forgiven
    }

    /// Notes that an attempt begun at `started` did not reach it; whether that was news.
    ///
    /// Attempts begun before the last failure was known say nothing new, however late they end, so
    /// a burst of calls that all wait for a connection in vain is one failure.
    pub(super) fn mark_lost(
        &mut self,
        started: Time,
        awaits_probe: bool,
        rule: &HealthRule,
        jitter: f64,
        now: Time,
    ) -> bool {
        let known = self.pause.is_some_and(|pause| {
            pause.cause == Cause::Lost && (now < pause.until() || started <= pause.noted)
        });
        if !known {
            self.leave_alone(Cause::Lost, awaits_probe, rule, jitter, now);
        }
        !known
    }

    /// Notes how an answer to an attempt begun at `started` was; whether the node deserves to be
    /// ejected, as long as there is room for it among those that are.
    fn judge(
        &mut self,
        good: bool,
        started: Time,
        fleet: Tally,
        rule: &HealthRule,
        now: Time,
    ) -> bool {
        self.tally.record(good, rule.window / 2, now);
        if good {
            self.in_a_row = 0;
            return false;
        }
        self.in_a_row += 1;
        match self.pause {
            Some(pause) if pause.cause == Cause::Failing => return started >= pause.until(),
            Some(_) => return false,
            None => {}
        }
        let (failures, answers) = (self.tally.failures(), self.tally.answers());
        let often = answers >= u64::from(rule.answers_min)
            && failures as f64 >= rule.failure_share * answers as f64;
        (often || self.in_a_row >= rule.failures) && self.tally.is_outlier(fleet)
    }

    fn leave_alone(
        &mut self,
        cause: Cause,
        awaits_probe: bool,
        rule: &HealthRule,
        jitter: f64,
        now: Time,
    ) {
        let relapsed = self.times > 0 && now.since(self.last_until) < rule.ejection_max;
        self.times = if self.pause.is_some() || relapsed { self.times + 1 } else { 1 };
        let doublings = (self.times - 1).min(DOUBLINGS_MAX);
        let length = rule.ejection.saturating_mul(1 << doublings).min(rule.ejection_max);
        let length = length.mul_f64(1.0 + rule.jitter * jitter);
        self.pause = Some(Pause { cause, noted: now, length, awaits_probe, trial: None });
    }

    /// Whether a probe has to find the node.
    pub(super) fn awaits_probe(&self) -> bool {
        self.pause.is_some_and(|pause| pause.awaits_probe)
    }

    /// Notes that the node may be gone; whether that is news.
    pub(super) fn raise_doubt(&mut self) -> bool {
        let news = self.pause.is_none() && self.doubt == Doubt::None;
        if news {
            self.doubt = Doubt::Raised;
        }
        news
    }

    /// Whether it is to be found out if the node is there.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubt == Doubt::Raised
    }

    /// Begins a probe if one is due; whether one was.
    pub(super) fn begin_probe(&mut self, now: Time) -> bool {
        if self.is_doubted() {
            self.doubt = if self.pause.is_none() { Doubt::Probed(now) } else { Doubt::None };
        }
        if self.doubt == Doubt::Probed(now) {
            return true;
        }
        let due = self.pause.as_mut().filter(|pause| pause.awaits_probe && pause.is_due(now));
        due.map(|pause| pause.trial = Some(now)).is_some()
    }

    /// Ends the probe begun at `started` of a node that was doubted; whether it was one.
    pub(super) fn settle_doubt(&mut self, started: Time) -> bool {
        let own = self.doubt == Doubt::Probed(started);
        if own {
            self.doubt = Doubt::None;
        }
        own
    }

    /// Takes in what a probe found while the node was left alone.
    pub(super) fn learn_probe(&mut self, found: bool, rule: &HealthRule, jitter: f64, now: Time) {
        match &mut self.pause {
            Some(pause) if found => pause.awaits_probe = false,
            _ => self.leave_alone(Cause::Lost, true, rule, jitter, now),
        }
    }

    /// Ends the probe begun at `started` of a node that is left alone; whether it was one.
    pub(super) fn end_probe(&mut self, started: Time) -> bool {
        let Some(pause) = &mut self.pause else { return false };
        let own = pause.trial == Some(started);
        if own {
            pause.trial = None;
        }
        own
    }
}

impl<R: Rng> Scheduler<R> {
    /// Follows other rules on health from now on.
    pub fn keep_health(&mut self, rule: HealthRule) {
        self.health = rule;
    }

    /// How often nodes were left alone, by [`Cause::ALL`].
    pub fn ejections(&self) -> [u64; 2] {
        self.ejections
    }

    /// Learns how the node of `ticket` does from how its step ended.
    pub(super) fn learn_health(&mut self, ticket: &Ticket, outcome: Outcome, now: Time) {
        let rule = self.health;
        let good = match outcome {
            Outcome::Good => true,
            Outcome::Failed | Outcome::Lost => false,
            Outcome::Unreachable => return self.lose(ticket, now),
            Outcome::Cancelled | Outcome::Absent => return,
        };
        self.fleet.record(good, rule.window / 2, now);
        let fleet = self.fleet;
        let Some(estimate) = self.estimate_mut(ticket.slot) else { return };
        let health = estimate.health_mut();
        if !health.judge(good, ticket.started, fleet, &rule, now) {
            return;
        }
        let again = health.cause() == Some(Cause::Failing);
        if again || self.has_room_for_ejection() {
            let jitter = self.rng.random();
            let Some(estimate) = self.estimate_mut(ticket.slot) else { return };
            estimate.leave_alone(|health| {
                health.leave_alone(Cause::Failing, false, &rule, jitter, now);
            });
            self.ejections[Cause::Failing as usize] += 1;
        }
    }

    fn lose(&mut self, ticket: &Ticket, now: Time) {
        // Nobody probes this node's own gateway.
        let awaits_probe = self.health.probes && !ticket.is_local();
        self.lose_slot(ticket.slot, ticket.started, awaits_probe, now);
    }

    pub(super) fn lose_slot(&mut self, slot: Slot, started: Time, awaits_probe: bool, now: Time) {
        let rule = self.health;
        let jitter = self.rng.random();
        let Some(estimate) = self.estimate_mut(slot) else { return };
        let lost = estimate.mark_unreachable(started, awaits_probe, &rule, jitter, now);
        self.ejections[Cause::Lost as usize] += u64::from(lost);
        self.awaits_probes |= lost && awaits_probe;
    }

    fn has_room_for_ejection(&self) -> bool {
        let failing = |cause| cause == Some(Cause::Failing);
        let ejected = self.estimates.known().filter(|e| failing(e.health().cause())).count();
        (ejected + 1) as f64 <= self.health.ejected_share_max * f64::from(self.members)
    }
}
