//! From what is written to a [`Study`]: every part notes what is wrong with it and goes on, so
//! that all problems are told at once.

mod cells;
mod entries;
mod faults;
mod fleet;
mod loads;
mod notes;
mod trace;

use std::path::Path;
use std::time::Duration;

use notes::Notes;

use super::raw;
use crate::config;
use crate::problem::Problem;
use crate::sim::contender::Contender;
use crate::sim::scenario::{Length, Scenario};

/// For who wrote a key that is not known.
const UNKNOWN: &str = "remove it, or see config/sim/README.md for the keys there are";
/// For who left one out, or wrote something else than belongs there.
const EXAMPLE: &str = "see config/sim/README.md, and testbed.yaml there for an example";

/// A scenario, and who is to be compared in it.
#[derive(Debug, Clone)]
pub(super) struct Study {
    pub(super) scenario: Scenario,
    pub(super) policies: Vec<Contender>,
    pub(super) seeds: Vec<u64>,
}

/// What `text` describes; `folder` is where relative paths in it begin.
pub(super) fn read(text: &str, folder: &Path) -> Result<Study, Vec<Problem>> {
    let raw: raw::Scenario = serde_yaml::from_str(text).map_err(|error| vec![refused(&error)])?;
    study(raw, folder).map_err(|mut problems| {
        config::locate(text, &mut problems);
        problems
    })
}

fn study(raw: raw::Scenario, folder: &Path) -> Result<Study, Vec<Problem>> {
    let notes = &mut Notes::default();
    // What follows speaks of nodes and zones, so without a fleet there is nothing to check it by.
    let Some(fleet) = fleet::read(&raw, notes) else { return Err(notes.take()) };
    let scenario = Scenario {
        name: raw.name.clone(),
        cells: cells::read(&raw, &fleet, notes),
        entries: entries::read(&raw.entries, &fleet, notes),
        loads: loads::read(&raw.loads, folder, notes),
        length: length(&raw.length, notes),
        machines: fleet.machines,
        snapshot: fleet.snapshot,
        text: fleet.text,
    };
    let policies = policies(raw.policies.as_deref(), notes);
    if raw.seeds.is_empty() {
        notes.note("seeds", "[]", "has no seed", "write at least one, as in [1]");
    }
    let problems = notes.take();
    if problems.is_empty() {
        Ok(Study { scenario, policies, seeds: raw.seeds })
    } else {
        Err(problems)
    }
}

fn length(raw: &raw::Length, notes: &mut Notes) -> Length {
    let time = notes.seconds("length.seconds", raw.seconds);
    let warm_up = notes.seconds("length.warm_up_seconds", raw.warm_up_seconds);
    if time == Duration::ZERO && raw.invocations == 0 {
        let remedy = "write length.invocations or length.seconds";
        notes.note("length", "", "ends a trial before it begins", remedy);
    }
    Length { invocations: raw.invocations, time, warm_up }
}

fn policies(names: Option<&[String]>, notes: &mut Notes) -> Vec<Contender> {
    let Some(names) = names else { return Contender::all() };
    if names.is_empty() {
        notes.note("policies", "[]", "has no policy", "leave the key out for all there are");
    }
    let mut found = Vec::new();
    for (i, name) in names.iter().enumerate() {
        match policy(name) {
            Ok(contender) => found.push(contender),
            Err(problem) => notes.push(Problem { key: format!("policies[{i}]"), ..problem }),
        }
    }
    found
}

/// The policy called `name`.
pub(super) fn policy(name: &str) -> Result<Contender, Problem> {
    name.parse().map_err(|()| {
        let known = Contender::all().iter().map(Contender::to_string).collect::<Vec<_>>();
        let known = known.join(", ");
        let remedy = format!("write one of {known}; those of hopwise may end in +hedge or +queue");
        Problem::new("policy", name, "is not a policy known here", remedy)
    })
}

/// Serde stops at the first key or type that does not fit, and tells its path in front.
fn refused(error: &serde_yaml::Error) -> Problem {
    let line = error.location().map(|place| place.line());
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    let (key, fault) = match message.split_once(": ") {
        Some((path, fault)) if !path.contains(' ') => (path, fault),
        _ => ("scenario", message),
    };
    // "unknown field `x`, expected …": the key itself is the better half of the path.
    let unknown = fault.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
    let key = match unknown {
        Some((name, _)) if key == "scenario" => name.to_owned(),
        Some((name, _)) => format!("{key}.{name}"),
        None => key.to_owned(),
    };
    let remedy = if unknown.is_some() { UNKNOWN } else { EXAMPLE };
    Problem { line, ..Problem::new(key, "", fault, remedy) }
}

#[cfg(test)]
mod tests;
