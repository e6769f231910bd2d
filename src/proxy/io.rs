//! The bytes of a connection, encrypted or not; the upstream side tells a close from a refusal.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// Most bytes that servers are taken to read at once: those of Go, with the smallest buffer of the
/// usual ones, begin a request with what they have of it.
const READ_BYTES: usize = 4096;

/// More than TLS adds to what is written at once.
const RECORD_BYTES: usize = 64;

/// What has been written to a connection since something was last read from it, and whether the
/// server ended it.
///
/// Shared with whoever sends requests over it. hyper wants its IO to be `Send`, so these are atomics;
/// only one thread ever touches them.
#[derive(Debug)]
pub(super) struct Unanswered {
    writes: AtomicUsize,
    bytes: AtomicUsize,
    piece_bytes: usize,
    ended: AtomicBool,
}

impl Unanswered {
    fn note_write(&self, bytes: usize) {
        let (writes, before) = (self.writes.load(RELAXED), self.bytes.load(RELAXED));
        self.writes.store(writes + 1, RELAXED);
        self.bytes.store(before + bytes, RELAXED);
    }

    fn note_read(&self) {
        self.writes.store(0, RELAXED);
        self.bytes.store(0, RELAXED);
    }

    /// Whether the server ended the connection.
    pub(super) fn was_ended_there(&self) -> bool {
        self.ended.load(RELAXED)
    }

    /// Whether a server that has not read all of it has read none of it.
    pub(super) fn is_one_piece(&self) -> bool {
        self.writes.load(RELAXED) <= 1 && self.bytes.load(RELAXED) <= self.piece_bytes
    }
}

const RELAXED: Ordering = Ordering::Relaxed;

/// A connection. What encryption needs is on the heap, so that plain ones do not grow by it.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Encrypted(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A stream whose end of input is an error where the peer has refused what we sent.
///
/// When a server closes an idle connection just as a request is on its way, its kernel answers
/// that request with RST: nobody has read all of it, so it is sent elsewhere. But the FIN came
/// first, so a plain read reports an orderly end, which may as well mean that the server read the
/// request and died over it. The socket's pending error tells the two apart.
///
/// It also has more patience with a server that takes its time over a large upload: to the kernel, a
/// window that stays shut is as silent as a server that is gone.
#[derive(Debug)]
pub(super) struct UpstreamIo {
    stream: Stream,
    silence: Silence,
    is_blocked: bool,
    unanswered: Arc<Unanswered>,
}

/// How long a server may take nothing of what is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Silence {
    /// Usually: whoever does not even acknowledge it is gone.
    pub(super) usual: Duration,
    /// When there is more than it has room for.
    pub(super) blocked: Duration,
}

impl UpstreamIo {
    pub(super) fn new(stream: Stream, silence: Silence) -> Self {
        let segment_bytes = SockRef::from(stream.tcp()).tcp_mss().map_or(0, |bytes| bytes as usize);
        let piece_bytes = match stream {
            Stream::Plain(_) => segment_bytes,
            Stream::Encrypted(_) => segment_bytes.saturating_sub(RECORD_BYTES),
        };
        let unanswered = Arc::new(Unanswered {
            writes: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            piece_bytes: piece_bytes.min(READ_BYTES),
            ended: AtomicBool::new(false),
        });
        let io = Self { stream, silence, is_blocked: false, unanswered };
        io.be_patient(silence.usual);
        io
    }

    fn be_patient(&self, silence: Duration) {
        // A socket that refuses the option is about to fail anyway.
        let _ = SockRef::from(self.stream.tcp()).set_tcp_user_timeout(Some(silence));
    }

    /// The count of what is written to it.
    pub(super) fn unanswered(&self) -> Arc<Unanswered> {
        Arc::clone(&self.unanswered)
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        if self.is_blocked {
            self.is_blocked = false;
            self.be_patient(self.silence.usual);
        }
        let ended = match &read {
            Ok(()) if buf.filled().len() > before => {
                self.unanswered.note_read();
                false
            }
            Ok(()) => buf.remaining() > 0,
            // How TLS tells an end that was not announced.
            Err(error) => error.kind() == io::ErrorKind::UnexpectedEof,
        };
        if ended || read.is_err() {
            self.unanswered.ended.store(true, RELAXED);
        }
        if ended && let Ok(Some(refused)) = SockRef::from(self.stream.tcp()).take_error() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, refused)));
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        match &written {
            Poll::Pending if !self.is_blocked => {
                self.is_blocked = true;
                self.be_patient(self.silence.blocked);
            }
            Poll::Ready(Ok(written)) => self.unanswered.note_write(*written),
            Poll::Pending | Poll::Ready(Err(_)) => {}
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_connection_does_not_grow_by_encryption() {
        assert_eq!(size_of::<Stream>(), size_of::<TcpStream>());
    }
}
