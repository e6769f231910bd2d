//! The thread that writes, and what waits for it.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most bytes that wait to be written, and as many that are being written.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// How many are written before their time.
const EARLY_BYTES: usize = WAITING_BYTES_MAX / 4;
/// How long lines wait for others, so that they are written together.
const GATHER: Duration = Duration::from_millis(100);
/// How long the end of a process waits for what is still to be written.
const END_WAIT: Duration = Duration::from_secs(2);

/// Where lines go.
#[derive(Debug)]
pub enum Sink {
    /// Standard output.
    Standard,
    /// The end of a file.
    File(File),
}

impl Sink {
    /// The end of the file at `path`, which is made if need be, for the eyes of its owner and group;
    /// standard output where there is no path.
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let Some(path) = path else { return Ok(Self::Standard) };
        Ok(Self::File(File::options().append(true).create(true).mode(0o640).open(path)?))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Standard => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Self::File(file) => file.write_all(bytes),
        }
    }
}

/// Takes lines in, and has them written.
#[derive(Debug, Default)]
pub(super) struct Writer(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is something to do, or all is done.
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Where they go from now on; the inner none is nowhere.
    next: Option<Option<Sink>>,
    /// The thread runs.
    runs: bool,
    /// It is to end once all is written.
    ends: bool,
}

impl Writer {
    /// Has what comes from now on written to `sink`.
    pub(super) fn change(&self, sink: Option<Sink>) {
        let mut waiting = self.0.waiting();
        if sink.is_some() && !waiting.runs {
            let shared = Arc::clone(&self.0);
            let thread = std::thread::Builder::new().name("hopwise-access".to_owned());
            match thread.spawn(move || shared.write_all()) {
                Ok(_) => waiting.runs = true,
                Err(error) => tracing::error!(%error, "no thread for the access log"),
            }
        }
        waiting.next = Some(sink);
        self.0.changed.notify_all();
    }

    /// Takes in `line`, if there is room.
    pub(super) fn take_in(&self, line: &[u8]) {
        let mut waiting = self.0.waiting();
        let before = waiting.lines.len();
        if !waiting.runs || before + line.len() > WAITING_BYTES_MAX {
            drop(waiting);
            self.0.dropped.fetch_add(1, Relaxed);
            return;
        }
        waiting.lines.extend_from_slice(line);
        let after = waiting.lines.len();
        drop(waiting);
        // Waking the thread is the dearest part of it, so it is done for the first line alone.
        if before == 0 || before < EARLY_BYTES && after >= EARLY_BYTES {
            self.0.changed.notify_all();
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Relaxed)
    }

    /// Has what is there written, and waits until it is, for at most [`END_WAIT`].
    pub(super) fn end(&self) {
        let mut waiting = self.0.waiting();
        waiting.ends = true;
        self.0.changed.notify_all();
        let ended = self.0.changed.wait_timeout_while(waiting, END_WAIT, |waiting| waiting.runs);
        drop(ended);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what comes, to the end.
    fn write_all(&self) {
        let (mut sink, mut lines) = (None::<Sink>, Vec::new());
        let mut failing = false;
        loop {
            let (mut next, ends) = self.next(&mut lines);
            if sink.is_none() {
                sink = next.take().flatten();
            }
            // What came before the change belongs to the sink before it.
            if let Some(sink) = sink.as_mut().filter(|_| !lines.is_empty()) {
                self.note(sink.write(&lines), &lines, &mut failing);
            }
            if let Some(next) = next {
                sink = next;
            }
            lines.clear();
            lines.shrink_to(EARLY_BYTES);
            if ends {
                break;
            }
        }
        self.waiting().runs = false;
        self.changed.notify_all();
    }

    /// Waits for lines, which it puts in the place of `lines`, or for a change; whether this is the end.
    fn next(&self, lines: &mut Vec<u8>) -> (Option<Option<Sink>>, bool) {
        let idle = |w: &mut Waiting| w.lines.is_empty() && w.next.is_none() && !w.ends;
        let few = |w: &mut Waiting| w.lines.len() < EARLY_BYTES && w.next.is_none() && !w.ends;
        let waiting = self.changed.wait_while(self.waiting(), idle);
        let waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let gathered = self.changed.wait_timeout_while(waiting, GATHER, few);
        let mut waiting = gathered.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::swap(&mut waiting.lines, lines);
        (waiting.next.take(), waiting.ends)
    }

    /// Counts lines that could not be written, and says so once.
    fn note(&self, written: io::Result<()>, lines: &[u8], failing: &mut bool) {
        match written {
            Ok(()) => *failing = false,
            Err(error) => {
                let lost = lines.iter().filter(|&&byte| byte == b'\n').count();
                self.dropped.fetch_add(lost as u64, Relaxed);
                if !std::mem::replace(failing, true) {
                    tracing::error!(%error, "the access log cannot be written");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe that nobody reads, with the end that could.
    fn stuck() -> (Sink, impl io::Read) {
        let (reader, writer) = io::pipe().unwrap();
        (Sink::File(File::from(std::os::fd::OwnedFd::from(writer))), reader)
    }

    #[test]
    fn lines_are_written_in_order_and_all_of_them() {
        let path = std::env::temp_dir().join(format!("hopwise-access-{}", std::process::id()));
        let writer = Writer::default();
        writer.change(Some(Sink::open(Some(&path)).unwrap()));
        (0..1000).for_each(|i| writer.take_in(format!("{i}\n").as_bytes()));
        writer.end();
        let written = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(written, (0..1000).map(|i| format!("{i}\n")).collect::<String>());
        assert_eq!(writer.dropped(), 0);
    }

    #[test]
    fn who_writes_to_somebody_slow_does_not_wait() {
        let (sink, mut reader) = stuck();
        let writer = Writer::default();
        writer.change(Some(sink));
        let line = [vec![b'x'; 1023], vec![b'\n']].concat();
        let lines = 4 * WAITING_BYTES_MAX / line.len();
        (0..lines).for_each(|_| writer.take_in(&line));
        let dropped = writer.dropped() as usize;
        // What is being written, and what waits, is kept.
        assert!(dropped >= lines / 4 && dropped < lines, "{dropped} of {lines}");
        let reading = std::thread::spawn(move || {
            let mut read = Vec::new();
            io::Read::read_to_end(&mut reader, &mut read).map(|_| read)
        });
        writer.end();
        drop(writer);
        let read = reading.join().unwrap().unwrap();
        assert_eq!(read.len() / line.len() + dropped, lines);
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let writer = Writer::default();
        writer.change(Some(Sink::File(full)));
        (0..10).for_each(|_| writer.take_in(b"line\n"));
        writer.end();
        assert_eq!(writer.dropped(), 10);
    }
}
