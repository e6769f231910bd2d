//! Listening sockets, and the life of a client connection.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Response, Version};
use hyper::body::Bytes;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::Service;

use crate::clients::{Clients, Connected, Kind, NoRoom};
use crate::config::{Authority, Limits};

use super::accept::{Acceptor, refuse_at_once};
use super::admit::Admitted;
use super::begin::{Begun, Builder, begin};
use super::client::{Client, Port};
use super::client_io::{ClientIo, Connection};
use super::drain::{Exit, Leaving};
use super::in_place::InPlace;
use super::io::Stream;
use super::response_body::ResponseBody;
use super::{Context, stack, sweep};

const BACKLOG: i32 = 4096;

/// How often a draining worker looks whether its tunnels have ended.
const TUNNEL_POLL: Duration = Duration::from_millis(20);

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

/// Whether a worker takes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    /// It does.
    Open,
    /// No more, once it has taken those that wait already.
    Closed,
    /// No more, and those that wait are another process's, which holds the sockets as well.
    HandedOver,
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
    /// Counts client connections over all workers.
    pub clients: Arc<Clients>,
    /// Bounds them, where that is not `limits.connections`.
    pub connections_max: Option<usize>,
    /// Whether connections are to be taken.
    pub intake: watch::Receiver<Intake>,
}

impl<A> Listener<A>
where
    A: Service<Admitted, Response = Response<ResponseBody>, Error = Infallible> + Clone + 'static,
{
    /// Takes connections until draining begins, then ends when the last of them has.
    pub async fn run(mut self) -> io::Result<()> {
        let sockets = std::mem::take(&mut self.sockets).into_iter().map(TcpListener::from_std);
        let sockets = sockets.collect::<io::Result<Vec<_>>>()?;
        for socket in &sockets {
            // Whatever is accepted has it from here, without a call for each connection.
            SockRef::from(socket).set_tcp_nodelay(true)?;
        }
        let mut acceptor = Acceptor::new(sockets, Arc::clone(&self.context.state));
        let exit = Exit::new();
        let mut intake = self.intake.clone();
        let (context, clients) = (Rc::clone(&self.context), Arc::clone(&self.clients));
        let sweeping = sweep::spawn(context, clients, self.connections_max);
        let ended = loop {
            tokio::select! {
                (stream, address) = acceptor.next() => match self.connect(address) {
                    Ok(connected) => self.spawn(stream, address, connected, exit.leaving()),
                    Err(why) => acceptor.refuse(stream, why),
                },
                ended = intake.wait_for(|intake| *intake != Intake::Open) => {
                    // An error means that whoever could say so is gone.
                    break ended.map_or(Intake::Closed, |intake| *intake);
                }
            }
        };
        for socket in acceptor.into_sockets() {
            if ended == Intake::Closed {
                self.empty(socket, &exit)?;
            }
        }
        let timeouts = self.context.state.snapshot().timeouts;
        exit.drain(timeouts.drain_idle()).await;
        while self.context.tunnels.open() > 0 {
            tokio::time::sleep(TUNNEL_POLL).await;
        }
        sweeping.abort();
        Ok(())
    }

    /// A place for a connection from `address`.
    fn connect(&self, address: SocketAddr) -> Result<Connected, NoRoom> {
        let snapshot = self.context.state.snapshot();
        let ip = address.ip().to_canonical();
        let (kind, limits) = match self.connections_max {
            Some(connections) => {
                (Kind::Client, Limits { connections, client_share: 1.0, ..snapshot.limits })
            }
            None if snapshot.peer_addresses.contains(&ip) => (Kind::Peer, snapshot.limits),
            None => (Kind::Client, snapshot.limits),
        };
        self.clients.connect(ip, kind, &limits)
    }

    /// Takes the connections that wait in `socket`, and closes it: what waits in a socket that
    /// nobody else holds is reset with it.
    fn empty(&self, socket: TcpListener, exit: &Exit) -> io::Result<()> {
        // Asked directly, since the runtime may not have heard of the last ones yet.
        let socket = socket.into_std()?;
        for _ in 0..BACKLOG {
            let Ok((stream, address)) = socket.accept() else { break };
            stream.set_nonblocking(true)?;
            let stream = TcpStream::from_std(stream)?;
            match self.connect(address) {
                Ok(connected) => self.spawn(stream, address, connected, exit.leaving()),
                // Whoever is gone already need not be told.
                Err(_) => drop(refuse_at_once(&stream)),
            }
        }
        Ok(())
    }

    fn spawn(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        connected: Connected,
        mut leaving: Leaving,
    ) {
        let context = Rc::clone(&self.context);
        let state = Arc::clone(&context.state);
        let snapshot = state.snapshot();
        let original_destination =
            snapshot.interception.and_then(|_| original_destination(&stream));
        state.metrics.connections_accepted.inc();
        let connection = Connection::new(state, connected);
        let watched = Arc::clone(&connection.watched);
        let elsewhere = original_destination.as_ref().filter(|meant| !snapshot.is_gateway(meant));
        let task = if let Some(elsewhere) = elsewhere.cloned() {
            watched.become_tunnel();
            let client = ClientIo::new(Stream::Plain(stream), Bytes::new(), connection);
            let context = Rc::clone(&context);
            tokio::task::spawn_local(async move { context.relay(client, elsewhere).await })
        } else {
            let (context, api, port) = (Rc::clone(&context), self.api.clone(), self.port);
            tokio::task::spawn_local(async move {
                let begun = begin(stream, &context, &snapshot, port, &connection.watched);
                let begun = leaving.before_closing(begun).await;
                let Some(Begun { builder, stream, first, transport }) = begun.flatten() else {
                    return;
                };
                let shared = Arc::clone(&connection);
                let client = Client::new(address, original_destination, port, transport, shared);
                let service = InPlace::new(stack(&context, client, api));
                let io = TokioIo::new(ClientIo::new(stream, first, connection));
                let ended = match builder {
                    Builder::Http1(builder) => {
                        let connection = builder.serve_connection(io, service).with_upgrades();
                        let finish = http1::UpgradeableConnection::graceful_shutdown;
                        leaving.watch(connection, Version::HTTP_11, finish).await
                    }
                    Builder::Http2(builder) => {
                        let connection = Box::pin(builder.serve_connection(io, service));
                        let finish =
                            |connection: Pin<&mut Pin<Box<http2::Connection<_, _, _>>>>| {
                                connection.get_mut().as_mut().graceful_shutdown();
                            };
                        leaving.watch(connection, Version::HTTP_2, finish).await
                    }
                };
                if let Err(error) = ended {
                    tracing::debug!(%address, %error, "connection ended");
                }
            })
        };
        context.watch.add(watched, task.abort_handle());
    }
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
