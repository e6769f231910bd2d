//! A line for each request, written behind its back.
//!
//! Requests append to memory, and a thread of its own writes that out several times a second. Where it
//! cannot be written as fast as it comes, lines are dropped and counted: nobody waits for a disk.

mod escape;
mod line;
mod writer;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::config::{AccessLogRule, LogFormat};
use crate::problem::Problem;

pub use line::Line;
pub use writer::Sink;

use line::Stamp;
use writer::Writer;

/// Room for a line that is being made, at first.
const LINE_BYTES: usize = 1024;

/// The access log of a process.
#[derive(Debug, Default)]
pub struct AccessLog {
    on: AtomicBool,
    requests: AtomicU64,
    writer: Writer,
}

impl AccessLog {
    /// Opens what `rule` names, where it wants lines at all; a file is made where there is none.
    pub fn open(rule: &AccessLogRule) -> Result<Option<Sink>, Problem> {
        if rule.format == LogFormat::Off {
            return Ok(None);
        }
        Sink::open(rule.path.as_deref()).map(Some).map_err(|error| {
            let path = rule.path.as_deref().map(|path| path.display().to_string());
            let fault = format!("cannot be opened: {error}");
            let remedy = "name a file in a directory that hopwise may write to, or - for standard \
                          output";
            Problem::new("access_log.path", path.unwrap_or_default(), fault, remedy)
        })
    }

    /// Writes to `sink` from now on; to nowhere, if that is none.
    pub fn follow(&self, sink: Option<Sink>) {
        let on = sink.is_some();
        self.writer.change(sink);
        self.on.store(on, Relaxed);
    }

    /// Whether lines are wanted.
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Whether a successful, fast request has a line, by `rule`; to be asked once for each.
    pub fn samples(&self, rule: &AccessLogRule) -> bool {
        if rule.sample >= 1.0 {
            return true;
        }
        let number = self.requests.fetch_add(1, Relaxed);
        // The upper 53 bits, which a float has room for.
        let drawn = (scattered(number) >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < rule.sample
    }

    /// Takes in `line`, to be written soon.
    pub fn write(&self, format: LogFormat, line: &Line<'_>) {
        thread_local! {
            static MADE: RefCell<(Vec<u8>, Stamp)> =
                RefCell::new((Vec::with_capacity(LINE_BYTES), Stamp::new()));
        }
        MADE.with_borrow_mut(|(made, stamp)| {
            made.clear();
            line.write(format, stamp, made);
            self.writer.take_in(made);
        });
    }

    /// Lines that could not be written.
    pub fn dropped(&self) -> u64 {
        self.writer.dropped()
    }

    /// Writes what is there, and no more after it. Waits for that, but not for long.
    pub fn end(&self) {
        self.on.store(false, Relaxed);
        self.writer.end();
    }
}

/// A number that looks drawn at random, another for each `number` (splitmix64): what comes at regular
/// times is neither always in the sample nor never.
fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_sampled_as_wanted() {
        for sample in [0.0, 0.01, 0.5, 1.0] {
            let (log, rule) =
                (AccessLog::default(), AccessLogRule { sample, ..Default::default() });
            let sampled = (0..10_000).filter(|_| log.samples(&rule)).count();
            let expected = sample * 10_000.0;
            assert!((sampled as f64 - expected).abs() <= 200.0, "{sample}: {sampled}");
        }
    }

    #[test]
    fn what_cannot_be_opened_is_told_with_its_key() {
        let path = Some(std::path::Path::new("/nowhere/at/all.log").into());
        let rule = AccessLogRule { format: LogFormat::Json, path, ..Default::default() };
        let problem = AccessLog::open(&rule).unwrap_err();
        assert_eq!((&*problem.key, &*problem.value), ("access_log.path", "/nowhere/at/all.log"));
        let off = AccessLogRule { format: LogFormat::Off, ..rule };
        assert!(AccessLog::open(&off).unwrap().is_none());
    }
}
