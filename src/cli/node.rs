//! `run` and `check`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::builder::{OsStringValueParser, TypedValueParser};
use serde_json::json;

use super::output::{print, print_json};
use crate::app::serve::{Options, serve};
use crate::config::{self, Snapshot};
use crate::logging;
use crate::problem::Problem;

/// The configuration where none is named.
const DEFAULT: &str = "/etc/hopwise/hopwise.yaml";

/// The configuration that is named; a variable that is set to nothing is not set.
fn file(named: OsString) -> PathBuf {
    if named.is_empty() { DEFAULT.into() } else { named.into() }
}

/// Which configuration, for which node.
#[derive(Debug, clap::Args)]
pub(super) struct Source {
    /// The configuration.
    #[arg(
        long,
        value_name = "FILE",
        env = "HOPWISE_CONFIG",
        default_value = DEFAULT,
        value_parser = OsStringValueParser::new().map(file)
    )]
    config: PathBuf,
    /// For this node of the topology, in place of `node.id`.
    #[arg(long, value_name = "ID", env = "HOPWISE_NODE")]
    node: Option<String>,
}

/// Run a sidecar. The configuration is read again on SIGHUP.
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    #[command(flatten)]
    source: Source,
    /// Draw from this seed instead of one from the system; it is logged, to repeat a run.
    #[arg(long)]
    seed: Option<u64>,
    /// Write down every decision and all that led to it, for `replay`.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    source: Source,
    /// Print the problems as JSON.
    #[arg(long)]
    json: bool,
}

impl Source {
    fn read(&self) -> anyhow::Result<String> {
        std::fs::read_to_string(&self.config).with_context(|| {
            format!(
                "--config: cannot read {}; name another file, or write one: hopwise config default",
                self.config.display()
            )
        })
    }

    /// The problem that `error` in reading it is.
    fn unreadable(&self, error: &anyhow::Error) -> Problem {
        Problem {
            key: "--config".to_owned(),
            value: self.config.display().to_string(),
            fault: format!("cannot be read: {}", error.root_cause()),
            remedy: "name another file, or write one: hopwise config default".to_owned(),
            line: None,
            column: None,
        }
    }

    /// The node asked for; a variable that is set to nothing is not set.
    fn node(&self) -> Option<&str> {
        self.node.as_deref().filter(|node| !node.is_empty())
    }

    /// The configuration, or all problems with it.
    pub(super) fn snapshot(&self) -> anyhow::Result<Result<Snapshot, Vec<Problem>>> {
        Ok(Snapshot::from_yaml(&self.read()?, self.node()))
    }

    /// Prints `problems` as a compiler would.
    pub(super) fn tell(&self, problems: &[Problem]) -> ExitCode {
        eprint!("{}", config::render(problems, &self.config.display().to_string()));
        ExitCode::FAILURE
    }
}

impl Run {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        logging::start("info");
        let text = self.source.read()?;
        let snapshot = match Snapshot::from_yaml(&text, self.source.node()) {
            Ok(snapshot) => snapshot,
            Err(problems) => return Ok(self.source.tell(&problems)),
        };
        for warning in snapshot.warnings() {
            tracing::warn!(%warning, "invocations will fall back to another architecture");
        }
        let node = self.source.node().map(str::to_owned);
        let seed = self.seed.unwrap_or_else(system_seed);
        let Self { source: Source { config, .. }, record, .. } = self;
        serve(Options { snapshot, text, source: config, node, seed, record })
    }
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.json {
            let checked = self.source.snapshot();
            let unreadable = |error| Err(vec![self.source.unreadable(&error)]);
            return print_problems(&checked.unwrap_or_else(unreadable));
        }
        let checked = self.source.snapshot()?;
        let path = self.source.config.display();
        let snapshot = match checked {
            Ok(snapshot) => snapshot,
            Err(problems) => return Ok(self.source.tell(&problems)),
        };
        for warning in snapshot.warnings() {
            eprintln!("{path}: warning: {warning}");
        }
        print(&format!("{}\n", summary(&self.source.config, &snapshot)))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn summary(path: &Path, snapshot: &Snapshot) -> String {
    let (site, listen) = (&snapshot.site, &snapshot.listen);
    format!(
        "{}: good; node {} of {}, mode {}, data port {}, admin port {}",
        path.display(),
        site.node().id,
        site.topology.nodes().len(),
        site.policy.mode,
        listen.data,
        listen.admin,
    )
}

pub(super) fn print_problems(checked: &Result<Snapshot, Vec<Problem>>) -> anyhow::Result<ExitCode> {
    let row = |Problem { key, value, fault, remedy, line, column }: &Problem| {
        json!({
            "line": line, "column": column, "key": key, "value": value, "fault": fault,
            "remedy": remedy,
        })
    };
    let rows = |problems: &[Problem]| problems.iter().map(row).collect::<Vec<_>>();
    let (problems, warnings) = match checked {
        Ok(snapshot) => (Vec::new(), rows(&snapshot.warnings())),
        Err(problems) => (rows(problems), Vec::new()),
    };
    print_json(&json!({ "good": checked.is_ok(), "problems": problems, "warnings": warnings }))?;
    Ok(if checked.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A seed nobody can foresee.
fn system_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
