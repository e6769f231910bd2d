//! What this process logs, and changing that while it runs.
//!
//! There is one log per process, as `tracing` has one subscriber; so there is one handle to it.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

use crate::problem::Problem;

/// Most bytes of a filter.
const FILTER_BYTES_MAX: usize = 1024;

/// What stands for itself in a filter; anything else needs a target in front.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

static FILTER: OnceLock<Handle<EnvFilter, Registry>> = OnceLock::new();

/// Begins to log to standard error, from `level` up; RUST_LOG says otherwise.
///
/// A process that logs already goes on as it does.
pub fn start(level: &str) {
    let said = std::env::var("RUST_LOG").ok().filter(|said| !said.is_empty());
    let (said, refused) = match said.map(|said| parse(&said)) {
        Some(Ok(filter)) => (Some(filter), None),
        Some(Err(problem)) => (None, Some(problem)),
        None => (None, None),
    };
    let filter = said.unwrap_or_else(|| EnvFilter::new(level));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
    if let Some(problem) = refused {
        let problem = Problem { key: "RUST_LOG".to_owned(), ..problem };
        tracing::error!(%problem, level, "RUST_LOG is not followed");
    }
}

/// The filter in force, if [`start`] was called.
pub fn filter() -> Option<String> {
    FILTER.get()?.with_current(EnvFilter::to_string).ok()
}

/// Logs by `filter` from now on: a level, or levels by target as in `info,hopwise::proxy=debug`.
///
/// A filter that cannot be followed changes nothing.
pub fn follow(filter: &str) -> Result<(), Problem> {
    let parsed = parse(filter)?;
    let gone = |_| {
        let remedy = "start one by `hopwise run`";
        Problem::new("level", "", "this process has no log of its own", remedy)
    };
    FILTER.get().ok_or(()).and_then(|handle| handle.reload(parsed).map_err(drop)).map_err(gone)
}

fn parse(filter: &str) -> Result<EnvFilter, Problem> {
    let remedy = format!("write one of {}, or as in info,hopwise::proxy=debug", LEVELS.join(", "));
    let bad = |fault: String| {
        let shown: String = filter.chars().take(40).filter(|c| !c.is_control()).collect();
        Problem::new("level", shown, fault, remedy.as_str())
    };
    if filter.len() > FILTER_BYTES_MAX {
        return Err(bad(format!("has more than {FILTER_BYTES_MAX} bytes")));
    }
    // tracing would take a misspelt level for the name of a target.
    let known = |part: &str| LEVELS.contains(&part.to_ascii_lowercase().as_str());
    if let Some(part) = filter.split(',').find(|part| !known(part) && !part.contains('=')) {
        return Err(bad(format!("{part:?} is no level")));
    }
    EnvFilter::try_new(filter).map_err(|error| bad(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_are_followed_and_misspelt_ones_are_not() {
        for good in ["debug", "OFF", "info,hopwise::proxy=debug", "hyper=trace"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        let long = "info,".repeat(FILTER_BYTES_MAX);
        for bad in ["", "verbose", "info,", "debug,proxy", "hopwise=loud", &long] {
            let problem = parse(bad).unwrap_err();
            assert!(problem.remedy.contains("debug") && problem.value.len() <= 40, "{problem}");
        }
    }
}
