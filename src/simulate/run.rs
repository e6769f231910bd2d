//! Trials on threads.

use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::row::Row;
use crate::sim::{self, Sample, Trial};

/// Steps of the bar per trial, since one trial can take minutes.
const STEPS: u64 = 1000;

/// Most lines where there is no terminal for a bar.
const LINES_MAX: usize = 20;

/// How to run trials.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// One where nothing is said.
    pub(super) threads: Option<NonZeroUsize>,
    /// Whether samples are kept beside the rows made of them.
    pub(super) keep_samples: bool,
    /// Whether to show how far it has come.
    pub(super) progress: bool,
}

/// What is kept of a trial.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) row: Row,
    /// Empty unless they were asked for.
    pub(super) samples: Vec<Sample>,
}

/// How far it has come: a bar for a terminal, a line now and then for a log.
struct Progress {
    bar: ProgressBar,
    trials: usize,
    done: AtomicUsize,
    /// After how many trials there is a line; none without them.
    line_every: Option<usize>,
}

impl Progress {
    fn new(trials: usize, shown: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if shown && terminal { bar(trials) } else { ProgressBar::hidden() };
        let line_every = (shown && !terminal).then_some((trials / LINES_MAX).max(1));
        Self { bar, trials, done: AtomicUsize::new(0), line_every }
    }

    fn end_trial(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if self.line_every.is_some_and(|every| done.is_multiple_of(every) || done == self.trials) {
            // Who closes stderr does not want to hear of it.
            let _ = writeln!(std::io::stderr(), "{done} of {} trials", self.trials);
        }
    }
}

/// Runs `trials`; the outcomes are in the same order.
pub(super) fn run(trials: &[Trial<'_>], settings: &Settings) -> Vec<Outcome> {
    let progress = Progress::new(trials.len(), settings.progress);
    let next = AtomicUsize::new(0);
    // Whoever is free takes the next one, so that one long trial does not hold up a whole share.
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(trial) = trials.get(index) else { return done };
            done.push((index, one(trial, settings.keep_samples, &progress)));
        }
    };
    let threads = settings.threads.map_or(1, NonZeroUsize::get).min(trials.len());
    let mut outcomes: Vec<(usize, Outcome)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().flat_map(join).collect()
    });
    progress.bar.finish_and_clear();
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn one(trial: &Trial<'_>, keep_samples: bool, progress: &Progress) -> Outcome {
    let length = trial.scenario.length;
    let mut told = 0;
    let mut tell = |steps: u64| {
        progress.bar.inc(steps.saturating_sub(told));
        told = told.max(steps);
    };
    let run = sim::run(trial, &mut |invocations, time: Duration| {
        // A trial ends when it has both its invocations and its time.
        let by_count = invocations as f64 / length.invocations.max(1) as f64;
        let by_time = time.as_secs_f64() / length.time.as_secs_f64().max(1e-9);
        tell((by_count.min(by_time).min(1.0) * STEPS as f64) as u64);
    });
    tell(STEPS);
    progress.end_trial();
    let row = Row::new(trial, &run);
    Outcome { row, samples: if keep_samples { run.samples } else { Vec::new() } }
}

fn bar(trials: usize) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(5);
    let bar = ProgressBar::with_draw_target(Some(trials as u64 * STEPS), target);
    let style = ProgressStyle::with_template("{bar:40} {percent} % of {msg}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(format!("{trials} trials"));
    bar
}
