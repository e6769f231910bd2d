//! The beginning of a client connection: what it speaks, found out by its first bytes.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{HeaderCase, Snapshot};

use super::client::{Port, Transport};
use super::executor::Streams;
use super::io::Stream;
use super::watch::Watched;
use super::{Context, tls};

/// Bytes that are read at once to begin with: most heads are smaller.
const FIRST_BYTES: usize = 4096;

/// Where the first bytes of a connection are read to, before it is known how many there are. One for
/// a worker: to clear another for each connection costs as much as to decide where a call runs.
#[derive(Debug)]
pub(super) struct Scratch(RefCell<Box<[u8]>>);

impl Default for Scratch {
    fn default() -> Self {
        Self(RefCell::new(vec![0; FIRST_BYTES].into()))
    }
}

impl Scratch {
    /// Appends what the client says next.
    ///
    /// The runtime takes a new connection to be readable, since most clients have asked by then, and
    /// knows it empty after a read that did not fill the buffer: no call is in vain.
    async fn read_more(&self, stream: &mut TcpStream, first: &mut Vec<u8>) -> io::Result<()> {
        poll_fn(|cx| {
            let mut bytes = self.0.borrow_mut();
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            first.extend_from_slice(read.filled());
            Poll::Ready(Ok(()))
        })
        .await
    }
}

/// How often an HTTP/2 client is asked whether it is there.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);

/// A connection on which a client has begun to speak.
pub(super) struct Begun {
    pub(super) builder: Builder,
    pub(super) stream: Stream,
    /// What has been read of it already.
    pub(super) first: Bytes,
    pub(super) transport: Transport,
}

/// What serves a connection, by the version it speaks: HTTP/1.1 and 1.0, or HTTP/2, with TLS or with
/// prior knowledge.
pub(super) enum Builder {
    Http1(http1::Builder),
    /// On the heap, since it is large and most connections have no use for it.
    Http2(Box<http2::Builder<Streams>>),
}

/// What a client begins to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Http1,
    Http2,
    Tls,
}

/// The connection with the builder for what the client begins to speak; none if it says too little
/// in time.
pub(super) async fn begin(
    mut stream: TcpStream,
    context: &Rc<Context>,
    snapshot: &Snapshot,
    port: Port,
    watched: &Watched,
) -> Option<Begun> {
    let within = snapshot.timeouts.request_header;
    let takes_tls = tls::is_spoken(&snapshot.tls, port);
    let plain = |stream| (Stream::Plain(stream), Transport::Plain);
    let mut first = Vec::new();
    let ((stream, transport), http2) =
        match timeout(within, spoken(&mut stream, takes_tls, &context.scratch, &mut first))
            .await
            .ok()?
            .ok()?
        {
            Spoken::Http1 => (plain(stream), false),
            Spoken::Http2 => (plain(stream), true),
            Spoken::Tls => {
                // On the heap: a handshake is large, and most connections have none.
                let taking = Box::pin(tls::take(stream, &snapshot.tls, port));
                let taken = match timeout(within, taking).await.unwrap_or_else(|_| Err(late())) {
                    Ok(taken) => taken,
                    Err(error) => {
                        context.state.metrics.tls_handshake_failures.inc();
                        tracing::debug!(%error, "no TLS with a client");
                        return None;
                    }
                };
                let transport = taken.certified.map_or(Transport::Encrypted, Transport::Certified);
                ((taken.stream, transport), taken.speaks_http2)
            }
        };
    let builder = if http2 {
        watched.set_multiplexed();
        Builder::Http2(Box::new(builder_of_http2(snapshot, Streams(Rc::clone(context)))))
    } else {
        Builder::Http1(builder_of_http1(snapshot))
    };
    Some(Begun { builder, stream, first: first.into(), transport })
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long")
}

/// What the client begins to speak, by its first bytes, which go to `first`; those of TLS stay where
/// they are.
///
/// hyper-util could tell HTTP/1 from HTTP/2 by itself, but would wait for ever for a client that
/// says nothing, and look through what it has read ahead on every read.
async fn spoken(
    stream: &mut TcpStream,
    takes_tls: bool,
    scratch: &Scratch,
    first: &mut Vec<u8>,
) -> io::Result<Spoken> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    if takes_tls {
        let mut begun = [0];
        if stream.peek(&mut begun).await? > 0 && begun[0] == tls::FIRST_BYTE {
            return Ok(Spoken::Tls);
        }
    }
    loop {
        scratch.read_more(stream, first).await?;
        let length = first.len().min(PREFACE.len());
        if first[..length] != PREFACE[..length] {
            return Ok(Spoken::Http1);
        }
        if length == PREFACE.len() {
            return Ok(Spoken::Http2);
        }
    }
}

/// `pipeline_flush` stays off: it holds an answer back for as long as unread input is left, and
/// for ever when that input is a broken body.
fn builder_of_http1(snapshot: &Snapshot) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // The sweep keeps the time, without a timer for each head.
        .header_read_timeout(None)
        .max_headers(snapshot.limits.headers)
        .preserve_header_case(snapshot.header_case == HeaderCase::Preserve)
        .title_case_headers(snapshot.header_case == HeaderCase::Proper)
        .auto_date_header(false)
        .writev(false);
    builder
}

fn builder_of_http2(snapshot: &Snapshot, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        // A client that is gone without a word answers no ping.
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(snapshot.timeouts.request_header);
    builder
}
