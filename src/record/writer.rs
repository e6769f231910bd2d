//! Writing a record, behind the back of those who decide.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;

use serde::Serialize;

use super::call::{Call, Header};

/// Most bytes in a record: some minutes of a busy node, and no full disk.
pub const RECORD_BYTES_MAX: u64 = 1 << 30;

/// Most calls that wait to be written.
const WAITING_MAX: usize = 1 << 16;

/// Takes calls, in order, and writes each as a line.
#[derive(Debug)]
pub struct Recorder {
    calls: Option<SyncSender<Call>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// A recorder that writes to `path`, in place of what is there. A new file is for its owner's
    /// eyes only: it holds the whole configuration and who called what.
    pub fn start(path: &Path, header: &Header) -> std::io::Result<Self> {
        Self::start_bounded(path, header, RECORD_BYTES_MAX)
    }

    /// The same, which stops at `bytes_max`.
    pub fn start_bounded(path: &Path, header: &Header, bytes_max: u64) -> std::io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut lines = Lines { file: BufWriter::new(file), bytes: 0, line: Vec::new() };
        lines.write(header)?;
        lines.file.flush()?;
        let (calls, waiting) = sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new().name("hopwise-record".to_owned());
        let thread = thread.spawn(move || {
            if let Err(error) = lines.write_all(&waiting, bytes_max) {
                tracing::warn!(%error, "the record cannot be written; it ends here");
            }
        })?;
        Ok(Self { calls: Some(calls), thread: Some(thread) })
    }

    /// Hands `call` over to be written; whether there is any use in going on. Nobody waits: a
    /// record with a gap repeats nothing, so it ends where the disk falls behind.
    pub(super) fn note(&mut self, call: Call) -> bool {
        let Some(calls) = &self.calls else { return false };
        match calls.try_send(call) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                tracing::warn!("the record cannot be written as fast as decisions fall; it ends");
                // Whoever decides does not wait for the writer of what is left.
                self.thread = None;
                false
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }
}

impl Drop for Recorder {
    /// Waits until all is written.
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has said so.
            let _ = thread.join();
        }
    }
}

struct Lines {
    file: BufWriter<File>,
    bytes: u64,
    line: Vec<u8>,
}

impl Lines {
    fn write(&mut self, value: &impl Serialize) -> std::io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, value)?;
        self.line.push(b'\n');
        self.bytes += self.line.len() as u64;
        self.file.write_all(&self.line)
    }

    /// Writes what comes until nothing more does; what is written is on the disk whenever there is
    /// a pause, so a process that is killed loses little.
    fn write_all(&mut self, waiting: &Receiver<Call>, bytes_max: u64) -> std::io::Result<()> {
        loop {
            let call = match waiting.try_recv() {
                Ok(call) => call,
                Err(TryRecvError::Disconnected) => return self.file.flush(),
                Err(TryRecvError::Empty) => {
                    self.file.flush()?;
                    let Ok(call) = waiting.recv() else { return Ok(()) };
                    call
                }
            };
            self.write(&call)?;
            if self.bytes >= bytes_max {
                tracing::warn!(bytes_max, "the record is as long as it may be; it ends here");
                return self.file.flush();
            }
        }
    }
}
