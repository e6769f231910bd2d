//! The command line.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use hopwise::app::serve::{Options, serve};
use hopwise::config::{self, Snapshot};
use hopwise::demo::load::USERS_MAX;
use hopwise::demo::run;
use hopwise::simulate::{self, Failure};
use hopwise::{logging, record};

/// Decides, invocation by invocation, where a function should run.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a sidecar.
    Run {
        /// The configuration; re-read on SIGHUP.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Be this node of the topology, in place of `node.id`.
        #[arg(long, value_name = "ID", env = "HOPWISE_NODE")]
        node: Option<String>,
        /// Draw from this seed instead of one from the system; it is logged, to repeat a run.
        #[arg(long)]
        seed: Option<u64>,
        /// Write down every decision and all that led to it, for `replay`.
        #[arg(long, value_name = "FILE")]
        record: Option<PathBuf>,
    },
    /// Make the decisions of a record again, and say where they differ.
    Replay {
        /// What `run --record` wrote.
        #[arg(value_name = "FILE")]
        record: PathBuf,
    },
    /// Show it: five nodes with real gateways, functions and load, in this process.
    Demo {
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
    },
    /// Compare policies in a simulated fleet, faster than time: the same scheduler, virtual nodes.
    Simulate(Simulate),
    /// Check a configuration and print every problem in it.
    Check {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Check it for this node, in place of `node.id`.
        #[arg(long, value_name = "ID", env = "HOPWISE_NODE")]
        node: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Simulate {
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

fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Run { config, node, seed, record } => run(config, node.as_deref(), seed, record),
        Command::Replay { record } => replay(&record),
        Command::Demo { requests, users, seed, json } => {
            demo(run::Options { requests, users, seed, json })
        }
        Command::Simulate(arguments) => simulate(arguments),
        Command::Check { config, node } => check(&config, node.as_deref()),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("hopwise: {error:#}");
        ExitCode::FAILURE
    })
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("--config: cannot read {}", path.display()))
}

fn parse(text: &str, path: &Path, node: Option<&str>) -> Result<Snapshot, String> {
    let file = path.display().to_string();
    Snapshot::from_yaml(text, node).map_err(|problems| config::render(&problems, &file))
}

/// The node asked for; a variable that is set to nothing is not set.
fn named(node: Option<&str>) -> Option<&str> {
    node.filter(|node| !node.is_empty())
}

fn replay(record: &Path) -> anyhow::Result<ExitCode> {
    let file =
        std::fs::File::open(record).with_context(|| format!("cannot read {}", record.display()))?;
    let replayed = record::replay(std::io::BufReader::new(file))
        .with_context(|| record.display().to_string())?;
    if replayed.broken_off {
        eprintln!("{}: the last line is not whole and was left out", record.display());
    }
    match &replayed.difference {
        Some(difference) => println!("{} decisions, then {difference}", replayed.decisions),
        None => println!("{} decisions, none differs", replayed.decisions),
    }
    Ok(if replayed.difference.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(path: &Path, node: Option<&str>) -> anyhow::Result<ExitCode> {
    match parse(&read(path)?, path, named(node)) {
        Ok(snapshot) => {
            for warning in snapshot.warnings() {
                eprintln!("{}: warning: {warning}", path.display());
            }
            let (site, listen) = (&snapshot.site, &snapshot.listen);
            println!(
                "{}: good; node {} of {}, mode {}, data port {}, admin port {}",
                path.display(),
                site.node().id,
                site.topology.nodes().len(),
                site.policy.mode,
                listen.data,
                listen.admin,
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            eprint!("{problems}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn run(
    path: PathBuf,
    node: Option<&str>,
    seed: Option<u64>,
    record: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    logging::start("info");
    let (node, text) = (named(node), read(&path)?);
    let snapshot = match parse(&text, &path, node) {
        Ok(snapshot) => snapshot,
        Err(problems) => {
            eprint!("{problems}");
            return Ok(ExitCode::FAILURE);
        }
    };
    for warning in snapshot.warnings() {
        tracing::warn!(%warning, "invocations will fall back to another architecture");
    }
    let node = node.map(str::to_owned);
    let seed = seed.unwrap_or_else(system_seed);
    serve(Options { snapshot, text, source: path, node, seed, record })
}

fn users(text: &str) -> Result<usize, String> {
    let users = text.parse().ok().filter(|users| (1..=USERS_MAX).contains(users));
    users.ok_or_else(|| format!("write a number from 1 to {USERS_MAX}"))
}

fn demo(options: run::Options) -> anyhow::Result<ExitCode> {
    logging::start("warn");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let failed = runtime.block_on(run::run(options))?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Bad input ends with 2, as bad arguments do.
fn simulate(arguments: Simulate) -> anyhow::Result<ExitCode> {
    let filter = simulate::Filter {
        cells: arguments.cell,
        entries: arguments.entry,
        concurrency: arguments.concurrency,
        policies: arguments.policy,
        seeds: arguments.seed,
    };
    let options = simulate::Options {
        scenario: arguments.scenario,
        filter,
        threads: arguments.threads,
        json: arguments.json,
        csv: arguments.csv,
        plot: arguments.plot,
        progress: arguments.progress,
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

/// A seed nobody can foresee.
fn system_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
