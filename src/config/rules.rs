//! The rules of scheduling as written in the file.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::raw::MINUTE_MS;
use super::reader::{Fault, Section};
use crate::scheduling::health::HealthRule;
use crate::scheduling::limit::LimitRule;
use crate::scheduling::policy::{AdaptiveRule, DynamicRule, HedgeRule, TailRatioRule, Thresholds};
use crate::scheduling::queue::QueueRule;
use crate::scheduling::retry::RetryRule;
use crate::scheduling::window::SAMPLES_MAX;

/// What a threshold on a tail ratio may be.
pub(super) const THRESHOLD: RangeInclusive<f64> = 0.001..=1000.0;
const RATE_MAX: f64 = 1e6;
const SLOPE_MAX: f64 = 1000.0;
const SAMPLE_INTERVAL_SECS: RangeInclusive<f64> = 0.001..=3600.0;
const MEMORY_SECS: RangeInclusive<f64> = 1.0..=3600.0;
const RUNNING_MAX: u32 = 65_536;
const STRETCH_MAX: RangeInclusive<f64> = 1.1..=100.0;
const WAITING_MAX: u32 = 1_000_000;

pub(super) fn read_tail_scheduler(s: &mut Section<'_>) -> TailRatioRule {
    let rule = TailRatioRule::default();
    let default = rule.thresholds;
    let thresholds = Thresholds {
        soft_d2f: s.number("soft_d2f_threshold", default.soft_d2f, THRESHOLD),
        hard_d2f: s.number("hard_d2f_threshold", default.hard_d2f, THRESHOLD),
        soft_f2c: s.number("soft_f2c_threshold", default.soft_f2c, THRESHOLD),
        hard_f2c: s.number("hard_f2c_threshold", default.hard_f2c, THRESHOLD),
    };
    for (soft, hard) in soft_above_hard(&thresholds) {
        let keys = [soft.0, hard.0].map(|name| format!("{name}_threshold"));
        if s.is_sound(&keys[0]) && s.is_sound(&keys[1]) {
            s.note(&keys[0], soft.1, above(&keys[1], hard.1));
        }
    }
    let interval_secs =
        s.number("sample_interval", rule.sample_interval.as_secs_f64(), SAMPLE_INTERVAL_SECS);
    TailRatioRule {
        thresholds,
        min_samples: s.whole("min_samples", rule.min_samples, 1..=SAMPLES_MAX as u32),
        sample_interval: Duration::from_secs_f64(interval_secs),
        ..rule
    }
}

/// Each pair of thresholds in the wrong order, with their names.
pub(super) fn soft_above_hard(
    thresholds: &Thresholds,
) -> impl Iterator<Item = ((&'static str, f64), (&'static str, f64))> {
    [
        (("soft_d2f", thresholds.soft_d2f), ("hard_d2f", thresholds.hard_d2f)),
        (("soft_f2c", thresholds.soft_f2c), ("hard_f2c", thresholds.hard_f2c)),
    ]
    .into_iter()
    .filter(|(soft, hard)| soft.1 > hard.1)
}

/// What is wrong with a soft threshold above the hard one.
pub(super) fn above(hard_key: &str, hard: f64) -> Fault {
    Fault::new(
        format!("is above {hard_key} = {hard}"),
        format!("make it at most {hard}, or raise {hard_key}"),
    )
}

/// How dynamic mode chooses, and the numbers of either rule.
pub(super) fn read_dynamic(
    s: &mut Section<'_>,
    tail_ratio: TailRatioRule,
) -> (DynamicRule, AdaptiveRule, TailRatioRule) {
    let rule = s.choice("rule", &DynamicRule::ALL, DynamicRule::as_str).unwrap_or_default();
    let default = AdaptiveRule::default();
    let memory_s = s.number("memory_s", default.memory.as_secs_f64(), MEMORY_SECS);
    let adaptive = AdaptiveRule {
        exploration: s.number("exploration", default.exploration, 0.0..=0.05),
        hysteresis: s.number("hysteresis", default.hysteresis, 0.0..=1.0),
        exact_view: s.number("exact_view", default.exact_view, 0.0..=1.0),
        busy_share: s.number("busy_share", default.busy_share, 0.0..=1.0),
        exact_view_busy: s.number("exact_view_busy", default.exact_view_busy, 0.0..=1.0),
        answers_min: s.whole("answers_min", default.answers_min, 1..=1_000_000),
        errors_apart: s.number("errors_apart", default.errors_apart, 0.0..=100.0),
        memory: Duration::from_secs_f64(memory_s),
    };
    (rule, adaptive, read_smoothing(s, tail_ratio))
}

fn read_smoothing(s: &mut Section<'_>, rule: TailRatioRule) -> TailRatioRule {
    let floor = s.number("smoothing_floor", rule.smoothing_floor, 0.0..=1.0);
    let range = s.number("smoothing_range", rule.smoothing_range, 0.0..=1.0);
    if floor + range > 1.0 + f64::EPSILON {
        let remedy = "make smoothing_floor and smoothing_range add up to at most 1";
        s.note("smoothing_range", range, Fault::new("makes weights above 1", remedy));
    }
    TailRatioRule {
        min_rate_d2f: s.number("min_rate_d2f", rule.min_rate_d2f, 0.0..=RATE_MAX),
        min_rate_f2c: s.number("min_rate_f2c", rule.min_rate_f2c, 0.0..=RATE_MAX),
        smoothing_floor: floor,
        smoothing_range: range,
        smoothing_slope: s.number("smoothing_slope", rule.smoothing_slope, 0.0..=SLOPE_MAX),
        smoothing_midpoint: s.number("smoothing_midpoint", rule.smoothing_midpoint, 0.0..=RATE_MAX),
        ..rule
    }
}

pub(super) fn read_hedge(s: &mut Section<'_>) -> HedgeRule {
    let rule = HedgeRule::default();
    HedgeRule {
        enabled: s.flag("enabled", rule.enabled),
        budget: s.number("budget", rule.budget, 0.0..=1.0),
        ..rule
    }
}

pub(super) fn read_queue(s: &mut Section<'_>) -> QueueRule {
    let rule = QueueRule::default();
    let wait_ms = rule.wait_max.as_millis() as u64;
    QueueRule {
        enabled: s.flag("enabled", rule.enabled),
        // Zero is out of range, so it is what is left where the key is.
        running_max: NonZeroU32::new(s.whole("running", 0, 1..=RUNNING_MAX)),
        waiting_max: s.whole("waiting", rule.waiting_max, 0..=WAITING_MAX),
        wait_max: Duration::from_millis(s.whole("wait_ms", wait_ms, 1..=10 * MINUTE_MS)),
        limit: LimitRule {
            enabled: s.flag("adaptive", rule.limit.enabled),
            max: s.whole("running_max", rule.limit.max, 1..=RUNNING_MAX),
            stretch_max: s.number("stretch_max", rule.limit.stretch_max, STRETCH_MAX),
        },
    }
}

pub(super) fn read_retries(s: &mut Section<'_>) -> RetryRule {
    let rule = RetryRule::default();
    let wait_ms = rule.wait.as_millis() as u64;
    RetryRule {
        attempts: s.whole("attempts", rule.attempts, 1..=RetryRule::ATTEMPTS_MAX),
        budget: s.number("budget", rule.budget, 0.0..=1.0),
        floor_per_s: s.number("floor_per_s", rule.floor_per_s, 0.0..=RATE_MAX),
        burst: s.number("burst", rule.burst, 1.0..=RATE_MAX),
        wait: Duration::from_millis(s.whole("wait_ms", wait_ms, 0..=MINUTE_MS)),
    }
}

pub(super) fn read_health(s: &mut Section<'_>) -> HealthRule {
    let rule = HealthRule::default();
    let window_s = s.number("window_s", rule.window.as_secs_f64(), MEMORY_SECS);
    let mut wait = |key, default: Duration, range_ms| {
        Duration::from_millis(s.whole(key, default.as_millis() as u64, range_ms))
    };
    let ejection = wait("ejection_ms", rule.ejection, 1..=60 * MINUTE_MS);
    let ejection_max = wait("ejection_max_ms", rule.ejection_max, 1..=60 * MINUTE_MS);
    let absent = wait("absent_ms", rule.absent, 0..=60 * MINUTE_MS);
    let probe_interval = wait("probe_interval_ms", rule.probe_interval, 10..=MINUTE_MS);
    if ejection > ejection_max && s.is_sound("ejection_ms") && s.is_sound("ejection_max_ms") {
        let longest_ms = ejection_max.as_millis();
        let fault = format!("is above ejection_max_ms = {longest_ms}");
        let remedy = format!("make it at most {longest_ms}, or raise ejection_max_ms");
        s.note("ejection_ms", ejection.as_millis(), Fault::new(fault, remedy));
    }
    HealthRule {
        failures: s.whole("failures", rule.failures, 1..=1_000_000),
        failure_share: s.number("failure_share", rule.failure_share, 0.01..=1.0),
        answers_min: s.whole("answers_min", rule.answers_min, 1..=1_000_000),
        window: Duration::from_secs_f64(window_s),
        ejection,
        ejection_max,
        jitter: s.number("jitter", rule.jitter, 0.0..=1.0),
        ejected_share_max: s.number("ejected_share_max", rule.ejected_share_max, 0.0..=1.0),
        absent,
        probes: s.flag("probes", rule.probes),
        probe_interval,
        lines: s.whole("lines", rule.lines, 0..=10_000),
    }
}
