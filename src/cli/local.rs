//! `simulate`, `demo`, `replay`: what needs no sidecar that runs elsewhere.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::output::print;
use crate::demo::load::USERS_MAX;
use crate::demo::run;
use crate::simulate::{self, Failure};
use crate::{logging, record};

#[derive(Debug, clap::Args)]
pub(super) struct Replay {
    /// What `run --record` wrote.
    #[arg(value_name = "FILE")]
    record: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// End by itself after this many calls; otherwise Ctrl-C ends it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// Users, each of whom makes one call after the other.
    #[arg(long, default_value_t = 12, value_name = "N", value_parser = users)]
    users: usize,
    /// Decides what is drawn at random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the result as JSON, and nothing else.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Simulate {
    /// The scenario; five nodes in three zones where none is named.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Only this cell of the scenario; can be repeated.
    #[arg(long, value_name = "NAME")]
    cell: Vec<String>,
    /// Only this way of entry; can be repeated.
    #[arg(long, value_name = "NAME")]
    entry: Vec<String>,
    /// Only this load; can be repeated.
    #[arg(long, value_name = "N")]
    concurrency: Vec<f64>,
    /// This policy in place of those of the scenario; can be repeated.
    #[arg(long, value_name = "NAME")]
    policy: Vec<String>,
    /// This seed in place of those of the scenario; can be repeated.
    #[arg(long, value_name = "N")]
    seed: Vec<u64>,
    /// Run trials on this many threads in place of one per core; the result is the same.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print one row per trial as JSON, and nothing else.
    #[arg(long)]
    json: bool,
    /// Write every invocation to this file.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw charts of P50, P95 and their ratio into this file, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Show how far it has come even where stderr is no terminal.
    #[arg(long)]
    progress: bool,
}

impl Replay {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let shown = self.record.display();
        let file =
            std::fs::File::open(&self.record).with_context(|| format!("cannot read {shown}"))?;
        let replayed =
            record::replay(std::io::BufReader::new(file)).with_context(|| shown.to_string())?;
        if replayed.broken_off {
            eprintln!("{shown}: the last line is not whole and was left out");
        }
        let decisions = replayed.decisions;
        match &replayed.difference {
            Some(difference) => print(&format!("{decisions} decisions, then {difference}\n"))?,
            None => print(&format!("{decisions} decisions, none differs\n"))?,
        }
        Ok(if replayed.difference.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Demo {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { requests, users, seed, json } = self;
        logging::start("warn");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let failed = runtime.block_on(run::run(run::Options { requests, users, seed, json }))?;
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn users(text: &str) -> Result<usize, String> {
    let users = text.parse().ok().filter(|users| (1..=USERS_MAX).contains(users));
    users.ok_or_else(|| format!("write a number from 1 to {USERS_MAX}"))
}

impl Simulate {
    /// Bad input ends with 2, as bad arguments do.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let filter = simulate::Filter {
            cells: self.cell,
            entries: self.entry,
            concurrency: self.concurrency,
            policies: self.policy,
            seeds: self.seed,
        };
        let options = simulate::Options {
            scenario: self.scenario,
            filter,
            threads: self.threads,
            json: self.json,
            csv: self.csv,
            plot: self.plot,
            progress: self.progress,
        };
        match simulate::simulate(&options) {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(Failure::Input(problems)) => {
                eprint!("{problems}");
                Ok(ExitCode::from(2))
            }
            Err(Failure::Output(error)) => Err(error),
        }
    }
}
