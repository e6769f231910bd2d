//! Who is at the other end of a connection, as far as the connection tells.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use http::header::HeaderValue;

use crate::config::{Authority, Endpoint};

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
    /// The client at `address`, who came in by `port`.
    pub fn new(
        address: SocketAddr,
        original_destination: Option<Authority>,
        port: Port,
        transport: Transport,
    ) -> Self {
        let forwarded_for = headers::forwarded_for(address.ip());
        let session = RefCell::default();
        Self(Rc::new(Connection {
            address,
            original_destination,
            port,
            forwarded_for,
            transport,
            session,
        }))
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
    pub(super) fn scheme(&self) -> &'static str {
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
