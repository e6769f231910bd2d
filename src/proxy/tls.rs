//! Encrypted connections: taken from clients and peers, and opened to peers.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{Acceptor, ClientHello};
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, TlsStream};

use crate::config::{Endpoint, HTTP2, PEER_PROTOCOL, Tls, dns_names, names};
use crate::topology::Topology;

use super::client::Port;
use super::io::Stream;

/// The first byte of a TLS connection, which no HTTP method begins with: a handshake record.
pub(super) const FIRST_BYTE: u8 = 0x16;

/// How long a certificate counts before it is looked at again: it may run out on an open connection.
const VERIFIED_FOR: Duration = Duration::from_secs(60);

/// A connection that was taken.
pub(super) struct Taken {
    pub(super) stream: Stream,
    pub(super) speaks_http2: bool,
    pub(super) certified: Option<Certified>,
}

/// The certificate by which the other end of a connection is known.
#[derive(Debug)]
pub struct Certified {
    chain: Vec<CertificateDer<'static>>,
    names: Vec<Box<str>>,
    /// By whose trust it counts, and since when.
    verified: RefCell<(Arc<Endpoint>, Instant)>,
}

impl Certified {
    fn new(chain: &[CertificateDer<'_>], endpoint: &Arc<Endpoint>) -> Option<Self> {
        let names = dns_names(chain.first()?);
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Some(Self { chain, names, verified: RefCell::new((Arc::clone(endpoint), Instant::now())) })
    }

    /// Whether `endpoint`, which may have been replaced since the handshake, trusts it still.
    pub(super) fn counts_for(&self, endpoint: &Arc<Endpoint>) -> bool {
        let mut verified = self.verified.borrow_mut();
        if Arc::ptr_eq(&verified.0, endpoint) && verified.1.elapsed() < VERIFIED_FOR {
            return true;
        }
        let Some(trust) = &endpoint.trust else { return false };
        let (own, between) = (&self.chain[0], &self.chain[1..]);
        let counts = trust.callers.verify_client_cert(own, between, UnixTime::now()).is_ok();
        if counts {
            *verified = (Arc::clone(endpoint), Instant::now());
        }
        counts
    }

    /// Whether it names a node of `topology`.
    pub(super) fn names_one_of(&self, topology: &Topology) -> bool {
        self.names.iter().any(|name| topology.index_of(name).is_some())
    }

    /// Whether it names the node `id`.
    pub(super) fn names(&self, id: &str) -> bool {
        self.names.iter().any(|name| &**name == id)
    }
}

/// Whether anything on `port` answers to TLS.
pub(super) fn is_spoken(tls: &Tls, port: Port) -> bool {
    match port {
        Port::Data => tls.clients.is_some() || tls.peers.is_some(),
        Port::Admin => tls.operators.is_some(),
    }
}

/// Whom a caller means to speak to. Sidecars name their protocol; all others are clients, who are
/// let in by the certificate for peers only where there is no other.
fn endpoint<'t>(tls: &'t Tls, port: Port, hello: &ClientHello<'_>) -> Option<&'t Arc<Endpoint>> {
    let is_peer = hello.alpn().is_some_and(|mut offered| offered.any(|name| name == PEER_PROTOCOL));
    match port {
        Port::Admin => tls.operators.as_ref(),
        Port::Data if is_peer => tls.peers.as_ref(),
        Port::Data => tls.clients.as_ref().or(tls.peers.as_ref()),
    }
}

/// Takes a connection on `port`, to the end of the handshake.
pub(super) async fn take(stream: TcpStream, tls: &Tls, port: Port) -> io::Result<Taken> {
    let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let endpoint = endpoint(tls, port, &begun.client_hello()).cloned();
    let endpoint = endpoint.ok_or_else(|| io::Error::other("no certificate for such a caller"))?;
    let stream = begun.into_stream(Arc::clone(&endpoint.server)).await?;
    let (_, session) = stream.get_ref();
    let speaks_http2 = session.alpn_protocol() == Some(HTTP2);
    let chain = session.peer_certificates();
    let certified = chain.and_then(|chain| Certified::new(chain, &endpoint));
    let stream = Stream::Encrypted(Box::new(TlsStream::Server(stream)));
    Ok(Taken { stream, speaks_http2, certified })
}

/// Opens an encrypted connection to the sidecar of `node` on `stream`, and to nobody else.
pub(super) async fn open(stream: TcpStream, endpoint: &Endpoint, node: &str) -> io::Result<Stream> {
    let client = endpoint.trust.as_ref().map(|trust| Arc::clone(&trust.client));
    let client = client.ok_or(io::ErrorKind::Unsupported)?;
    let name = ServerName::try_from(node.to_owned()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(client).connect(name, stream).await?;
    // The handshake would have taken a wildcard for the name.
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    if !chain.first().is_some_and(|certificate| names(certificate, node)) {
        return Err(io::Error::other(format!("its certificate does not name {node}")));
    }
    Ok(Stream::Encrypted(Box::new(TlsStream::Client(stream))))
}
