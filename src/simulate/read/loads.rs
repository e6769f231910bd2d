//! The clients.

use std::path::Path;
use std::time::Duration;

use super::{Notes, trace};
use crate::sim::scenario::{Load, LoadKind, Rate};
use crate::simulate::raw;

/// Clients at once: each is a small record, but nobody means more than this.
const CLIENTS_MAX: u32 = 1_000_000;
const RATE: std::ops::RangeInclusive<f64> = 0.0..=1e6;

/// The loads, in the order written.
pub(super) fn read(raw: &raw::Loads, folder: &Path, notes: &mut Notes) -> Vec<Load> {
    let kinds = vec![
        ("closed", raw.closed.as_ref().map(|_| ())),
        ("closed_steps", raw.closed_steps.as_ref().map(|_| ())),
        ("open", raw.open.as_ref().map(|_| ())),
        ("open_steps", raw.open_steps.as_ref().map(|_| ())),
        ("bursts", raw.bursts.as_ref().map(|_| ())),
        ("diurnal", raw.diurnal.as_ref().map(|_| ())),
        ("replay", raw.replay.as_ref().map(|_| ())),
    ];
    notes.only("loads", kinds);
    let mut loads = Vec::new();
    loads.extend(raw.closed.iter().flat_map(|closed| self::closed(closed, notes)));
    loads.extend(raw.closed_steps.iter().flat_map(|steps| self::steps(steps, notes)));
    loads.extend(raw.open.iter().flat_map(|open| self::open(open, notes)));
    loads.extend(raw.open_steps.iter().flat_map(|steps| self::open_steps(steps, notes)));
    loads.extend(raw.bursts.iter().map(|bursts| self::bursts(bursts, notes)));
    loads.extend(raw.diurnal.iter().map(|diurnal| self::diurnal(diurnal, notes)));
    loads.extend(raw.replay.iter().filter_map(|replay| trace::read(replay, folder, notes)));
    loads
}

fn clients(key: &str, clients: u32, at_least: u32, notes: &mut Notes) -> u32 {
    let range = f64::from(at_least)..=f64::from(CLIENTS_MAX);
    notes.within(key, f64::from(clients), range) as u32
}

fn closed(raw: &raw::Closed, notes: &mut Notes) -> Vec<Load> {
    let think = notes.milliseconds("loads.closed.think_ms", raw.think_ms);
    if raw.concurrency.is_empty() {
        let remedy = "write numbers of clients, as in [2, 10]";
        notes.note("loads.closed.concurrency", "[]", "has no number", remedy);
    }
    let load = |(i, &number): (usize, &u32)| {
        let number = clients(&format!("loads.closed.concurrency[{i}]"), number, 1, notes);
        let phases = vec![(Duration::ZERO, number)];
        Load { concurrency: f64::from(number), kind: LoadKind::Closed { phases, think } }
    };
    raw.concurrency.iter().enumerate().map(load).collect()
}

fn steps(raw: &[raw::Step], notes: &mut Notes) -> Vec<Load> {
    let key = "loads.closed_steps";
    if !raw.first().is_some_and(|step| step.at_s == 0.0 && step.clients > 0) {
        let remedy = "begin with at_s: 0 and some clients";
        notes.note(key, "", "does not say how it begins", remedy);
    }
    let times = times(key, raw.iter().map(|step| step.at_s), notes);
    let clients = raw
        .iter()
        .enumerate()
        .map(|(i, step)| clients(&format!("{key}[{i}].clients"), step.clients, 0, notes));
    let phases: Vec<(Duration, u32)> = times.into_iter().zip(clients).collect();
    let most = phases.iter().map(|(_, clients)| *clients).max().unwrap_or(0);
    let kind = LoadKind::Closed { phases, think: Duration::ZERO };
    vec![Load { concurrency: f64::from(most), kind }]
}

/// When steps begin, each after the one before.
fn times(key: &str, at_s: impl Iterator<Item = f64>, notes: &mut Notes) -> Vec<Duration> {
    let mut times: Vec<Duration> = Vec::new();
    for (i, at_s) in at_s.enumerate() {
        let key = format!("{key}[{i}].at_s");
        let at = notes.seconds(&key, at_s);
        if times.last().is_some_and(|before| at <= *before) {
            notes.note(key, at_s, "is not after the step before", "list steps in order of time");
        }
        times.push(at);
    }
    times
}

fn rate(key: &str, rate: f64, notes: &mut Notes) -> f64 {
    notes.within(key, rate, RATE)
}

fn some_rate(key: &str, value: f64, notes: &mut Notes) -> f64 {
    let value = rate(key, value, notes);
    if value == 0.0 {
        notes.note(key, 0, "is no invocation at all", "write a number above 0");
    }
    value
}

fn open(raw: &raw::Open, notes: &mut Notes) -> Vec<Load> {
    if raw.rate.is_empty() {
        let remedy = "write invocations per second, as in [5, 20]";
        notes.note("loads.open.rate", "[]", "has no number", remedy);
    }
    let load = |(i, &written): (usize, &f64)| {
        let rate = some_rate(&format!("loads.open.rate[{i}]"), written, notes);
        let kind = LoadKind::Open(Rate::Steps(vec![(Duration::ZERO, rate)]));
        Load { concurrency: rate, kind }
    };
    raw.rate.iter().enumerate().map(load).collect()
}

fn open_steps(raw: &[raw::OpenStep], notes: &mut Notes) -> Vec<Load> {
    let key = "loads.open_steps";
    if !raw.first().is_some_and(|step| step.at_s == 0.0 && step.rate > 0.0) {
        let remedy = "begin with at_s: 0 and a rate above 0";
        notes.note(key, "", "does not say how it begins", remedy);
    }
    let times = times(key, raw.iter().map(|step| step.at_s), notes);
    let rates =
        raw.iter().enumerate().map(|(i, step)| rate(&format!("{key}[{i}].rate"), step.rate, notes));
    let steps: Vec<(Duration, f64)> = times.into_iter().zip(rates).collect();
    let highest = steps.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    vec![Load { concurrency: highest, kind: LoadKind::Open(Rate::Steps(steps)) }]
}

fn bursts(raw: &raw::Bursts, notes: &mut Notes) -> Load {
    let high = some_rate("loads.bursts.high", raw.high, notes);
    let low = rate("loads.bursts.low", raw.low, notes);
    let mut time = |key, seconds| {
        let time = notes.seconds(key, seconds);
        notes.some_time(key, time)
    };
    let on = time("loads.bursts.on_s", raw.on_s);
    let off = time("loads.bursts.off_s", raw.off_s);
    let invocations = high * on.as_secs_f64() + low * off.as_secs_f64();
    let mean = invocations / (on + off).as_secs_f64();
    Load { concurrency: rounded(mean), kind: LoadKind::Open(Rate::Bursts { high, low, on, off }) }
}

fn diurnal(raw: &raw::Diurnal, notes: &mut Notes) -> Load {
    let mean = some_rate("loads.diurnal.mean", raw.mean, notes);
    let period = notes.seconds("loads.diurnal.period_s", raw.period_s);
    let period = notes.some_time("loads.diurnal.period_s", period);
    Load { concurrency: mean, kind: LoadKind::Open(Rate::Diurnal { mean, period }) }
}

/// A mean that people have to read and to write behind `--concurrency`.
pub(super) fn rounded(mean: f64) -> f64 {
    (mean * 1e3).round() / 1e3
}
