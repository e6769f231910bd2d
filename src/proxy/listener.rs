//! Listening sockets, and the life of a client connection.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Response, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tower::Service;

use crate::config::{Authority, HeaderCase, Snapshot};
use crate::state::State;

use super::admit::Admitted;
use super::client::{Client, Port, Transport};
use super::drain::{Exit, Leaving};
use super::in_place::InPlace;
use super::io::Stream;
use super::response_body::ResponseBody;
use super::{Context, stack, tls};

const BACKLOG: i32 = 4096;

/// How long to wait when the process has run out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often a connection whose first bytes may yet become HTTP/2 is looked at.
const PEEK_PAUSE: Duration = Duration::from_millis(5);

/// How often an HTTP/2 client is asked whether it is there.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);

/// How often a draining worker looks whether its tunnels have ended.
const TUNNEL_POLL: Duration = Duration::from_millis(20);

/// How often idle upstream connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// `count` sockets that listen on `address` and share its connections.
///
/// SO_REUSEPORT lets any process of this user join in, so the address is first claimed without it:
/// two sidecars on one port is a mistake, and would share the traffic without a word.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<StdListener>> {
    if address.port() != 0 {
        socket(address)?.bind(&address.into())?;
    }
    let mut listeners = vec![listen(address)?];
    let bound = listeners[0].local_addr()?;
    for _ in 1..count {
        listeners.push(listen(bound)?);
    }
    Ok(listeners)
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The listening sockets of one worker with what their connections need.
#[derive(Debug)]
pub struct Listener<A> {
    /// The sockets, not blocking; other workers and processes may hold them as well.
    pub sockets: Vec<StdListener>,
    /// Which of our ports it is.
    pub port: Port,
    /// This worker's context.
    pub context: Rc<Context>,
    /// Answers our own paths.
    pub api: A,
    /// Bounds client connections over all workers.
    pub connections: Arc<Semaphore>,
    /// Becomes true when no more connections are to be taken.
    pub draining: watch::Receiver<bool>,
}

impl<A> Listener<A>
where
    A: Service<Admitted, Response = Response<ResponseBody>, Error = Infallible> + Clone + 'static,
{
    /// Takes connections until draining begins, then ends when the last of them has.
    pub async fn run(mut self) -> io::Result<()> {
        let sockets = std::mem::take(&mut self.sockets).into_iter().map(TcpListener::from_std);
        let sockets = sockets.collect::<io::Result<Vec<_>>>()?;
        let (exit, turn) = (Exit::new(), Cell::new(0));
        let mut draining = self.draining.clone();
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            let permit = Arc::clone(&self.connections).acquire_owned();
            tokio::select! {
                accepted = accept(&sockets, &turn, permit) => match accepted {
                    Ok((stream, address, permit)) => {
                        self.spawn(stream, address, permit, exit.leaving());
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                _ = sweep.tick() => {
                    let idle = self.context.state.snapshot().timeouts.idle;
                    self.context.upstreams.sweep(idle);
                }
                changed = draining.wait_for(|draining| *draining) => {
                    // An error means that whoever could say so is gone.
                    let _ = changed;
                    break;
                }
            }
        }
        for socket in sockets {
            self.empty(socket, &exit)?;
        }
        let timeouts = self.context.state.snapshot().timeouts;
        exit.drain(timeouts.drain_idle()).await;
        while self.context.tunnels.open() > 0 {
            tokio::time::sleep(TUNNEL_POLL).await;
        }
        Ok(())
    }

    /// Takes the connections that wait in `socket`, and closes it: what waits in a socket that
    /// nobody else holds is reset with it.
    fn empty(&self, socket: TcpListener, exit: &Exit) -> io::Result<()> {
        // Asked directly, since the runtime may not have heard of the last ones yet.
        let socket = socket.into_std()?;
        for _ in 0..BACKLOG {
            let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else { break };
            let Ok((stream, address)) = socket.accept() else { break };
            stream.set_nonblocking(true)?;
            self.spawn(TcpStream::from_std(stream)?, address, permit, exit.leaving());
        }
        Ok(())
    }

    fn spawn(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        permit: OwnedSemaphorePermit,
        mut leaving: Leaving,
    ) {
        let state = Arc::clone(&self.context.state);
        let snapshot = state.snapshot();
        // A socket that refuses the option is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let original_destination =
            snapshot.interception.and_then(|_| original_destination(&stream));
        state.metrics.connections_accepted.inc();
        state.metrics.connections.inc();
        let elsewhere = original_destination.as_ref().filter(|meant| !snapshot.is_gateway(meant));
        if let Some(elsewhere) = elsewhere.cloned() {
            let context = Rc::clone(&self.context);
            tokio::task::spawn_local(async move {
                context.relay(stream, elsewhere).await;
                state.metrics.connections.dec();
                drop(permit);
            });
            return;
        }
        let (context, api, port) = (Rc::clone(&self.context), self.api.clone(), self.port);
        tokio::task::spawn_local(async move {
            let begun = begin(stream, &state, &snapshot, port);
            let begun = leaving.before_closing(begun).await;
            if let Some(Begun { builder, version, stream, transport }) = begun.flatten() {
                let client = Client::new(address, original_destination, port, transport);
                let service = InPlace::new(stack(&context, client, api));
                let io = TokioIo::new(stream);
                let connection = builder.serve_connection_with_upgrades(io, service).into_owned();
                if let Err(error) = leaving.watch(connection, version).await {
                    tracing::debug!(%address, %error, "connection ended");
                }
            }
            state.metrics.connections.dec();
            drop(permit);
        });
    }
}

/// A connection on which a client has begun to speak.
struct Begun {
    builder: Builder<LocalExecutor>,
    version: Version,
    stream: Stream,
    transport: Transport,
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
async fn begin(stream: TcpStream, state: &State, snapshot: &Snapshot, port: Port) -> Option<Begun> {
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
                        state.metrics.tls_handshake_failures.inc();
                        tracing::debug!(%error, "no TLS with a client");
                        return None;
                    }
                };
                let transport = taken.certified.map_or(Transport::Encrypted, Transport::Certified);
                ((taken.stream, transport), taken.speaks_http2)
            }
        };
    let builder = builder(snapshot);
    let (builder, version) = if http2 {
        (builder.http2_only(), Version::HTTP_2)
    } else {
        (builder.http1_only(), Version::HTTP_11)
    };
    Some(Begun { builder, version, stream, transport })
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long")
}

/// What the client begins to speak, by its first bytes, which stay to be read.
///
/// The builder could tell HTTP/1 from HTTP/2 by itself, but would wait for ever for a client that
/// says nothing.
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

async fn accept(
    sockets: &[TcpListener],
    turn: &Cell<usize>,
    permit: impl Future<Output = Result<OwnedSemaphorePermit, tokio::sync::AcquireError>>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = permit.await.map_err(io::Error::other)?;
    let (stream, address) = std::future::poll_fn(|cx| {
        let first = turn.get();
        for index in (first..sockets.len()).chain(0..first) {
            if let Poll::Ready(accepted) = sockets[index].poll_accept(cx) {
                // The others come first next time, or a busy one would keep them waiting.
                turn.set((index + 1) % sockets.len());
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await?;
    Ok((stream, address, permit))
}

/// Where the client meant to connect to, if iptables REDIRECT sent it here instead.
fn original_destination(stream: &TcpStream) -> Option<Authority> {
    let local = stream.local_addr().ok()?;
    let socket = SockRef::from(stream);
    let meant = match local {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    let meant = meant.ok()?.as_socket()?;
    let authority =
        Authority { host: meant.ip().to_canonical().to_string().into(), port: meant.port() };
    (meant != local).then_some(authority)
}

/// HTTP/1.1, HTTP/1.0 or h2c with prior knowledge.
///
/// `pipeline_flush` stays off: it holds an answer back for as long as unread input is left, and
/// for ever when that input is a broken body.
fn builder(snapshot: &Snapshot) -> Builder<LocalExecutor> {
    let mut builder = Builder::new(LocalExecutor);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(snapshot.timeouts.request_header)
        .max_headers(snapshot.limits.headers)
        .preserve_header_case(snapshot.header_case == HeaderCase::Preserve)
        .title_case_headers(snapshot.header_case == HeaderCase::Proper)
        .auto_date_header(false)
        .writev(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .auto_date_header(false)
        // A client that is gone without a word answers no ping.
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(snapshot.timeouts.request_header);
    builder
}

/// Runs hyper's tasks on the worker's own thread.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
