//! Traces in the format of the Azure Functions 2019 data set: a row per function, and from the
//! fifth column on how many invocations there were in each minute.

use std::path::Path;
use std::time::Duration;

use super::Notes;
use super::loads::rounded;
use crate::problem::Problem;
use crate::sim::scenario::{Load, LoadKind};
use crate::simulate::raw;

/// Columns before the first minute: owner, app, function, trigger.
const NAMES: usize = 4;
const MINUTE_S: f64 = 60.0;
/// Most invocations in one replay; each takes 24 bytes.
const ARRIVALS_MAX: u64 = 20_000_000;
const SPEEDUP: std::ops::RangeInclusive<f64> = 0.001..=1e6;

/// The load that replays the trace `raw` names.
pub(super) fn read(raw: &raw::Replay, folder: &Path, notes: &mut Notes) -> Option<Load> {
    let speedup = notes.within("loads.replay.speedup", raw.speedup, SPEEDUP);
    let counts = counts(raw, folder).map_err(|problem| notes.push(problem)).ok()?;
    let minutes = counts.iter().map(Vec::len).max().unwrap_or(0);
    let total: u64 = counts.iter().flatten().map(|&count| u64::from(count)).sum();
    if !(1..=ARRIVALS_MAX).contains(&total) {
        let fault = "is more than can be replayed, or nothing";
        let remedy = format!("choose minutes and functions_max for 1 to {ARRIVALS_MAX}");
        notes.note("loads.replay", format!("{total} invocations"), fault, remedy);
        return None;
    }
    let arrivals = arrivals(&counts, minutes, speedup);
    let seconds = minutes as f64 * MINUTE_S / speedup;
    let concurrency = rounded(total as f64 / seconds);
    Some(Load { concurrency, kind: LoadKind::Replay(arrivals) })
}

/// Invocations of each function in each minute.
fn counts(raw: &raw::Replay, folder: &Path) -> Result<Vec<Vec<u32>>, Problem> {
    let path = folder.join(&raw.file);
    let refused = |value: String, error: String| {
        let remedy =
            "name a file with the columns HashOwner, HashApp, HashFunction, Trigger, 1, 2, …";
        Problem::new("loads.replay.file", value, error, remedy)
    };
    let mut reader = csv::Reader::from_path(&path)
        .map_err(|error| refused(path.display().to_string(), error.to_string()))?;
    let minutes_max = raw.minutes.unwrap_or(usize::MAX);
    let mut counts = Vec::new();
    for record in reader.records().take(raw.functions_max.unwrap_or(usize::MAX)) {
        let record =
            record.map_err(|error| refused(path.display().to_string(), error.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let count = |text: &str| {
            let fault = format!("is not a number of invocations, in line {line} of the trace");
            text.trim().parse::<u32>().map_err(|_| refused(text.to_owned(), fault))
        };
        let minutes = record.iter().skip(NAMES).take(minutes_max).map(count);
        counts.push(minutes.collect::<Result<_, _>>()?);
    }
    Ok(counts)
}

/// When each invocation comes: those of one minute in even steps, all functions together, since the
/// trace tells no more than the minute; in each minute a function's own are as even as can be.
fn arrivals(counts: &[Vec<u32>], minutes: usize, speedup: f64) -> Vec<(Duration, u32)> {
    let mut arrivals = Vec::new();
    for minute in 0..minutes {
        let mut order: Vec<(f64, u32)> = Vec::new();
        for (function, counts) in counts.iter().enumerate() {
            let count = counts.get(minute).copied().unwrap_or(0);
            let share = |k: u32| (f64::from(k) + 0.5) / f64::from(count);
            order.extend((0..count).map(|k| (share(k), function as u32)));
        }
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let step = MINUTE_S / order.len().max(1) as f64;
        for (place, (_, function)) in order.into_iter().enumerate() {
            let at = minute as f64 * MINUTE_S + (place as f64 + 0.5) * step;
            arrivals.push((Duration::from_secs_f64(at / speedup), function));
        }
    }
    arrivals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_invocations_of_a_minute_come_in_even_steps() {
        let arrivals = arrivals(&[vec![2, 0], vec![1, 1]], 2, 10.0);
        let at = |s: f64, function: u32| (Duration::from_secs_f64(s), function);
        assert_eq!(arrivals, [at(1.0, 0), at(3.0, 1), at(5.0, 0), at(9.0, 1)]);
    }
}
