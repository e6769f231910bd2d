//! New connections upstream: where to, where from, how marked, and when they are given up.

use std::hash::{Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::config::{Authority, Endpoint, Secret, Snapshot, Timeouts};
use crate::topology::{Node, NodeId, Slot};

use super::io::{Silence, Stream, UpstreamIo};
use super::names::Names;
use super::request_body::RequestBody;
use super::signature::{self, Session};
use super::tls;

/// How long Linux takes on a short way to repeat for the second time what is not acknowledged, from
/// when on it counts how long that has been so.
const FIRST_REPEATS: Duration = Duration::from_millis(450);
/// The shortest time it is then told to wait.
const SILENCE_MIN: Duration = Duration::from_millis(50);

/// How long a connection may be silent before it is asked whether it still stands.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);

/// Where a request is sent, and from which address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    /// The gateway or sidecar.
    pub(super) authority: Authority,
    /// The local address to call from, by which peers know a node that has no key.
    pub(super) from: Option<IpAddr>,
    /// The sidecar that has to prove itself there.
    pub(super) peer: Option<Peer>,
    /// Whose sidecar it is, if it is one: then what goes there is bounded.
    pub(super) sidecar: Option<Slot>,
}

/// A sidecar, and how it is told from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) proof: Proof,
}

/// By what a sidecar proves that it is the one that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    Certificate(Arc<Endpoint>),
    Key(Secret),
}

impl Hash for Destination {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Who has to be there differs only from one configuration to the next.
        self.authority.hash(state);
        self.from.hash(state);
    }
}

impl Destination {
    /// A gateway, or whatever else needs to prove nothing.
    pub(super) fn anyone(authority: Authority) -> Self {
        Self { authority, from: None, peer: None, sidecar: None }
    }

    /// The sidecar of `node`, called from the address `from`.
    pub(super) fn peer(snapshot: &Snapshot, node: &Node, from: Option<IpAddr>) -> Self {
        let authority = Authority { host: Arc::clone(&node.address.host), port: node.address.port };
        let proof = match (&snapshot.tls.peers, &snapshot.peer_key) {
            (Some(endpoint), _) => Some(Proof::Certificate(Arc::clone(endpoint))),
            (None, Some(key)) => Some(Proof::Key(key.clone())),
            (None, None) => None,
        };
        let peer = proof.map(|proof| Peer { node: node.id.clone(), proof });
        Self { authority, from, peer, sidecar: Some(node.slot) }
    }

    /// How it is called.
    pub(super) fn scheme(&self) -> &'static str {
        match &self.peer {
            Some(Peer { proof: Proof::Certificate(_), .. }) => "https",
            Some(Peer { proof: Proof::Key(_), .. }) | None => "http",
        }
    }
}

/// A connection to `destination` that carries HTTP, encrypted where whoever is there has to prove
/// itself, within twice [`Timeouts::connect`].
pub(super) async fn open_http(
    names: &Rc<Names>,
    destination: &Destination,
    mark: Option<u32>,
    timeouts: &Timeouts,
) -> io::Result<UpstreamIo> {
    let stream = open(names, destination, mark, timeouts).await?;
    let stream = match &destination.peer {
        // On the heap: a handshake is large and rare.
        Some(Peer { node, proof: Proof::Certificate(endpoint) }) => {
            let shaking = Box::pin(tls::open(stream, endpoint, node.as_str()));
            timeout(timeouts.connect, shaking).await.map_err(|_| too_late())??
        }
        Some(Peer { proof: Proof::Key(_), .. }) | None => Stream::Plain(stream),
    };
    let usual = timeouts.silence.saturating_sub(FIRST_REPEATS).max(SILENCE_MIN);
    let silence = Silence { usual, blocked: timeouts.answer };
    Ok(UpstreamIo::new(stream, silence))
}

/// The session that begins on a new connection to `destination`, where it has to prove itself by the
/// shared key, within [`Timeouts::connect`].
pub(super) async fn greet(
    destination: &Destination,
    sender: &mut SendRequest<RequestBody>,
    timeouts: &Timeouts,
) -> io::Result<Option<Box<Session>>> {
    let Some(Peer { node, proof: Proof::Key(key) }) = &destination.peer else { return Ok(None) };
    let greeting = Box::pin(signature::greet(sender, &destination.authority, key, node.as_str()));
    timeout(timeouts.connect, greeting).await.map_err(|_| too_late())?.map(Some)
}

/// A connection to `destination`, within [`Timeouts::connect`].
pub(super) async fn open(
    names: &Rc<Names>,
    destination: &Destination,
    mark: Option<u32>,
    timeouts: &Timeouts,
) -> io::Result<TcpStream> {
    let Authority { host, port } = &destination.authority;
    let stream = match host.parse::<IpAddr>() {
        Ok(ip) => {
            let opened = open_at(SocketAddr::new(ip, *port), destination.from, mark);
            timeout(timeouts.connect, opened).await.map_err(|_| too_late())??
        }
        Err(_) => {
            let opened = open_at_name(names, destination, mark, timeouts);
            let opened =
                timeout(timeouts.connect, opened).await.unwrap_or_else(|_| Err(too_late()));
            names.note_reached(host, opened.is_ok());
            opened?
        }
    };
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_AFTER))?;
    Ok(stream)
}

fn too_late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no connection in time")
}

/// A connection to whichever address of a host name can be reached first.
async fn open_at_name(
    names: &Rc<Names>,
    destination: &Destination,
    mark: Option<u32>,
    timeouts: &Timeouts,
) -> io::Result<TcpStream> {
    let Authority { host, port } = &destination.authority;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for ip in names.addresses(host, timeouts).await?.iter() {
        match open_at(SocketAddr::new(*ip, *port), destination.from, mark).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn open_at(
    address: SocketAddr,
    from: Option<IpAddr>,
    mark: Option<u32>,
) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    if let Some(mark) = mark {
        SockRef::from(&socket).set_mark(mark)?;
    }
    if let Some(from) = from.filter(|from| from.is_ipv4() == address.is_ipv4()) {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    socket.connect(address).await
}
