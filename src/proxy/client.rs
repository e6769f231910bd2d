//! Who is at the other end of a connection, as far as the connection tells.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use http::header::HeaderValue;

use crate::config::{Authority, Endpoint};

use super::client_io;
use super::headers;
use super::signature::Session;
use super::tls::Certified;

/// The connection a request came on; all requests on it share it.
#[derive(Debug, Clone)]
pub struct Client(Rc<Connection>);

/// What is known of the other end of a connection.
#[derive(Debug)]
pub struct Connection {
    /// The other end.
    pub address: SocketAddr,
    /// Where the client meant to connect to, on a connection that was redirected here.
    pub original_destination: Option<Authority>,
    /// The port it came in by.
    pub port: Port,
    /// What outlives its requests.
    pub(super) connection: Arc<client_io::Connection>,
    /// Its address, as the next server is told.
    pub(super) forwarded_for: HeaderValue,
    /// How it came.
    pub(super) transport: Transport,
    /// What checks the signatures of a peer that has greeted us.
    pub(super) session: RefCell<Option<Box<Session>>>,
}

/// How bytes reach us.
#[derive(Debug)]
pub enum Transport {
    /// As they are.
    Plain,
    /// Encrypted, from somebody unknown.
    Encrypted,
    /// Encrypted, from the holder of a certificate.
    Certified(Certified),
}

impl Client {
    /// The client at `address`, who came in by `port` on `connection`.
    pub(super) fn new(
        address: SocketAddr,
        original_destination: Option<Authority>,
        port: Port,
        transport: Transport,
        connection: Arc<client_io::Connection>,
    ) -> Self {
        let forwarded_for = headers::forwarded_for(address.ip());
        let session = RefCell::default();
        Self(Rc::new(Connection {
            address,
            original_destination,
            port,
            connection,
            forwarded_for,
            transport,
            session,
        }))
    }
}

#[cfg(test)]
impl Client {
    /// A client from afar, of a sidecar that does nothing else.
    pub(crate) fn stranger(port: Port) -> Self {
        let yaml = "node: {id: a}\ntopology: [{id: a, role: worker, zone: z, address: 192.0.2.9}]";
        let snapshot = crate::config::Snapshot::from_yaml(yaml, None).unwrap();
        let rng = rand::SeedableRng::seed_from_u64(1);
        let state = Arc::new(crate::state::State::new(snapshot, None, rng));
        let address = SocketAddr::from(([192, 0, 2, 1], 1));
        let limits = state.snapshot().limits;
        let kind = crate::clients::Kind::Client;
        let connected = state.clients.connect(address.ip(), kind, &limits).unwrap();
        let connection = client_io::Connection::new(state, connected);
        Self::new(address, None, port, Transport::Plain, connection)
    }
}

impl Deref for Client {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl Connection {
    /// How the client calls us.
    pub(crate) fn scheme(&self) -> &'static str {
        match self.transport {
            Transport::Plain => "http",
            Transport::Encrypted | Transport::Certified(_) => "https",
        }
    }

    /// The certificate of the other end, if `endpoint` trusts it still.
    pub(super) fn certified_for(&self, endpoint: Option<&Arc<Endpoint>>) -> Option<&Certified> {
        match &self.transport {
            Transport::Certified(shown) => {
                endpoint.is_some_and(|endpoint| shown.counts_for(endpoint)).then_some(shown)
            }
            Transport::Plain | Transport::Encrypted => None,
        }
    }
}

/// Which of our ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// For clients and peers.
    Data,
    /// For operators.
    Admin,
}
