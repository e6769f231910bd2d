//! Which architecture is to decide, by which would be faster: a rule without regret.
//!
//! Two things are known without trying anything. An invocation that finds a core free at its entry
//! node is fastest there: every other place costs the way as well. And a decider cannot answer
//! sooner than the way to it and back plus the service. So only what finds no core free is a matter
//! of choice, and only deciders that could win are ever tried, with a bounded share.
//!
//! For those, each architecture has a track record at this node: the time spent on the way, and by
//! how much others on the target stretched the service. Both are facts about nodes, network and
//! load, not about a function, so what one function teaches holds for the next, which may be called
//! once an hour: its expected tail is `way + service × stretch`.

use super::Time;
use super::policy::{AdaptiveRule, Architecture};

/// Weight of the last invocation in the share of those that find no core free.
const BUSY_WEIGHT: f64 = 0.02;
/// Trials that can be saved up, and there are from the start: one for each of the others, so that
/// the ways are known early.
const TRIES_MAX: f64 = 2.0;

/// What an architecture has done for this node of late; older answers count less.
#[derive(Debug, Clone, Copy, Default)]
struct Track {
    answers: f64,
    way_s: f64,
    stretch: f64,
    /// Of the completion over the service.
    variance: f64,
    updated: Time,
}

/// The track records, and how much may still be tried.
#[derive(Debug, Clone)]
pub(super) struct Adaptive {
    tracks: [Track; 3],
    /// Invocations that may be spent on trying.
    tries: f64,
    /// See [`AdaptiveRule::memory`].
    memory_s: f64,
    /// Share of the invocations that come in here and find no core free.
    busy: f64,
}

impl Default for Adaptive {
    fn default() -> Self {
        Self { tracks: Default::default(), tries: TRIES_MAX, memory_s: f64::INFINITY, busy: 0.0 }
    }
}

/// What one answer says of the architecture that placed it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lesson {
    /// Seconds from the request to the answer, less the execution.
    pub(super) way_s: f64,
    /// Execution over the service usual for the function.
    pub(super) stretch: f64,
}

/// The architecture for one invocation, and the one for those after it: another if it is but tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) now: Architecture,
    pub(super) in_place: Architecture,
}

/// What is expected of an architecture for one function: seconds, and their standard error.
#[derive(Debug, Clone, Copy)]
struct Expected {
    mean_s: f64,
    error_s: f64,
}

impl Adaptive {
    /// Takes in what came of an invocation that found no core free.
    pub(super) fn record(&mut self, architecture: Architecture, lesson: Lesson, now: Time) {
        let track = &mut self.tracks[architecture.index()];
        let age = now.since(track.updated).as_secs_f64() / self.memory_s;
        track.answers = track.answers * (-age).exp() + 1.0;
        track.updated = track.updated.max(now);
        let weight = 1.0 / track.answers;
        track.way_s += weight * (lesson.way_s - track.way_s);
        let from_mean = lesson.stretch - track.stretch;
        track.stretch += weight * from_mean;
        track.variance = (1.0 - weight) * (track.variance + weight * from_mean * from_mean);
    }

    /// The architecture for an invocation that found no core free, of a function that usually
    /// needs `service_s` and for which `incumbent` is in place.
    pub(super) fn choose(
        &mut self,
        rule: &AdaptiveRule,
        possible: [bool; 3],
        incumbent: Architecture,
        service_s: f64,
    ) -> Choice {
        self.memory_s = rule.memory.as_secs_f64();
        let stay = Choice { now: incumbent, in_place: incumbent };
        let offered = |a: &Architecture| possible[a.index()] && *a != incumbent;
        let others = || Architecture::ALL.into_iter().filter(offered);
        let Some(held) = self.expected(rule, incumbent, service_s) else { return stay };
        let better = |architecture: &Architecture| {
            let measured = self.expected(rule, *architecture, service_s);
            measured.or_else(|| self.assumed(*architecture, incumbent, service_s)).is_some_and(
                |other| {
                    let apart = rule.errors_apart * (other.error_s + held.error_s);
                    other.mean_s + apart < held.mean_s * (1.0 - rule.hysteresis)
                },
            )
        };
        if let Some(architecture) = others().find(better) {
            return Choice { now: architecture, in_place: architecture };
        }
        self.tries = (self.tries + rule.exploration).min(TRIES_MAX);
        let promising = |architecture: &Architecture| {
            let track = &self.tracks[architecture.index()];
            track.answers == 0.0 || track.way_s + service_s < held.mean_s
        };
        let least_known = others().filter(promising).min_by_key(|a| self.tracks[a.index()].updated);
        match least_known {
            Some(architecture) if self.tries >= 1.0 => {
                self.tries -= 1.0;
                Choice { now: architecture, ..stay }
            }
            _ => stay,
        }
    }

    /// What is expected of one that was hardly tried, but whose way is known: that it places as well
    /// as the one in place. Of this node itself that is not taken for granted.
    fn assumed(
        &self,
        architecture: Architecture,
        incumbent: Architecture,
        service_s: f64,
    ) -> Option<Expected> {
        let track = &self.tracks[architecture.index()];
        let held = &self.tracks[incumbent.index()];
        let delegates = architecture != Architecture::Decentralized;
        (delegates && track.answers > 0.0).then(|| Expected {
            mean_s: track.way_s + service_s * held.stretch,
            error_s: service_s * (held.variance / held.answers.max(1.0)).sqrt(),
        })
    }

    /// The decider, the most central first, whose exact view is worth the way to it even for an
    /// invocation that finds a core free at its entry.
    pub(super) fn near(
        &self,
        rule: &AdaptiveRule,
        possible: [bool; 3],
        service_s: f64,
    ) -> Option<Architecture> {
        let within = |architecture: Architecture, worth: f64| {
            let track = &self.tracks[architecture.index()];
            possible[architecture.index()] && track.answers > 0.0 && track.way_s < worth * service_s
        };
        let busy = self.busy > rule.busy_share;
        let exact = [Architecture::Centralized, Architecture::Federated]
            .into_iter()
            .find(|architecture| within(*architecture, rule.exact_view));
        exact.or_else(|| {
            let zone = Architecture::Federated;
            (busy && within(zone, rule.exact_view_busy)).then_some(zone)
        })
    }

    /// Notes whether an invocation that has come in finds a core free.
    pub(super) fn arrive(&mut self, free: bool) {
        self.busy += BUSY_WEIGHT * (f64::from(u8::from(!free)) - self.busy);
    }

    fn expected(
        &self,
        rule: &AdaptiveRule,
        architecture: Architecture,
        service_s: f64,
    ) -> Option<Expected> {
        let track = &self.tracks[architecture.index()];
        (track.answers >= f64::from(rule.answers_min)).then(|| Expected {
            mean_s: track.way_s + service_s * track.stretch,
            error_s: service_s * (track.variance / track.answers).sqrt(),
        })
    }
}
