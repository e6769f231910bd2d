//! Simulations from the command line: a scenario is read, its trials run on all cores, and what
//! came of them is shown as a table, as JSON, as samples and as charts.
//!
//! - `raw`: a scenario as written; `read` makes a study of it, or tells every problem at once.
//! - `grid`: the trials of a study, those that were asked for.
//! - `run`: trials on threads. What comes out does not depend on how many there are.
//! - `row`: what is told of one trial.
//! - `table`, `samples`, `plot`: rows as text, every invocation as CSV, rows as SVG.
//!
//! What is simulated, and how, is [`crate::sim`]; nothing here decides anything.

mod grid;
mod plot;
mod raw;
mod read;
mod row;
mod run;
mod samples;
mod table;

use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::config;
use crate::problem::Problem;

pub use grid::Filter;

/// What is simulated where no scenario is named.
const TESTBED: &str = include_str!("../../config/sim/testbed.yaml");

/// What to simulate, and what to make of it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The scenario; the testbed where none is named.
    pub scenario: Option<PathBuf>,
    /// Which of its trials.
    pub filter: Filter,
    /// On how many threads; all cores where nothing is said.
    pub threads: Option<NonZeroUsize>,
    /// Rows as JSON in place of the table.
    pub json: bool,
    /// Where to write every sample.
    pub csv: Option<PathBuf>,
    /// Where to draw charts.
    pub plot: Option<PathBuf>,
    /// Show how far it has come even where nobody seems to look.
    pub progress: bool,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The scenario or what was asked of it is not good; one problem per line.
    #[error("{0}")]
    Input(String),
    /// Something could not be written.
    #[error(transparent)]
    Output(#[from] anyhow::Error),
}

/// Simulates what `options` say, and prints what came of it.
pub fn simulate(options: &Options) -> Result<(), Failure> {
    let study = load(options.scenario.as_deref())?;
    let trials = grid::trials(&study, &options.filter).map_err(|p| refused(&p, "hopwise"))?;
    let settings = run::Settings {
        threads: options.threads.or(std::thread::available_parallelism().ok()),
        keep_samples: options.csv.is_some(),
        progress: options.progress || std::io::stderr().is_terminal(),
    };
    // Files that cannot be written are better told before hours of computing than after.
    let samples = options.csv.as_deref().map(samples::create).transpose()?;
    if let Some(path) = &options.plot {
        std::fs::write(path, "").with_context(|| format!("cannot write {}", path.display()))?;
    }
    let outcomes = run::run(&trials, &settings);
    if let (Some(writer), Some(path)) = (samples, &options.csv) {
        samples::write(writer, &trials, &outcomes)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let rows: Vec<row::Row> = outcomes.into_iter().map(|outcome| outcome.row).collect();
    if let Some(path) = &options.plot {
        plot::draw(path, &rows).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let text = if options.json { json(&rows)? } else { table::render(&rows) };
    let mut out = std::io::stdout().lock();
    // A reader that has seen enough is no failure.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(())
}

fn load(path: Option<&Path>) -> Result<read::Study, Failure> {
    let Some(path) = path else {
        return read::read(TESTBED, Path::new("")).map_err(|p| refused(&p, "testbed"));
    };
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let fault = format!("cannot be read: {error}");
        refused(&[Problem::new("--scenario", &file, fault, "name a file that can")], "hopwise")
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    read::read(&text, folder).map_err(|problems| refused(&problems, &file))
}

fn refused(problems: &[Problem], file: &str) -> Failure {
    Failure::Input(config::render(problems, file))
}

fn json(rows: &[row::Row]) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(rows)? + "\n")
}

#[cfg(test)]
mod tests;
