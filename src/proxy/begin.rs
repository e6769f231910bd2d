//! The beginning of a client connection: what it speaks, found out by its first bytes.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{HeaderCase, Snapshot};

use super::client::{Port, Transport};
use super::executor::Streams;
use super::io::Stream;
use super::watch::Watched;
use super::{Context, tls};

/// How often a connection whose first bytes may yet become HTTP/2 is looked at.
const PEEK_PAUSE: Duration = Duration::from_millis(5);

/// How often an HTTP/2 client is asked whether it is there.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);

/// A connection on which a client has begun to speak.
pub(super) struct Begun {
    pub(super) builder: Builder,
    pub(super) stream: Stream,
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
    stream: TcpStream,
    context: &Rc<Context>,
    snapshot: &Snapshot,
    port: Port,
    watched: &Watched,
) -> Option<Begun> {
    let within = snapshot.timeouts.request_header;
    let takes_tls = tls::is_spoken(&snapshot.tls, port);
    let plain = |stream| (Stream::Plain(stream), Transport::Plain);
    let ((stream, transport), http2) =
        match timeout(within, spoken(&stream, takes_tls)).await.ok()?? {
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
    Some(Begun { builder, stream, transport })
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long")
}

/// What the client begins to speak, by its first bytes, which stay to be read.
///
/// hyper-util could tell HTTP/1 from HTTP/2 by itself, but would wait for ever for a client that
/// says nothing, and look through what it has read ahead on every read.
async fn spoken(stream: &TcpStream, takes_tls: bool) -> Option<Spoken> {
    const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut begun = [0; PREFACE.len()];
    loop {
        let length = stream.peek(&mut begun).await.ok().filter(|&length| length > 0)?;
        if begun[..length] != PREFACE[..length] {
            let tls = takes_tls && begun[0] == tls::FIRST_BYTE;
            return Some(if tls { Spoken::Tls } else { Spoken::Http1 });
        }
        if length == PREFACE.len() {
            return Some(Spoken::Http2);
        }
        // What is there stays readable, so waiting for more is waiting for time to pass.
        tokio::time::sleep(PEEK_PAUSE).await;
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
