//! Listening sockets: bound here, held for us by a service manager, or taken over from the process
//! before. The same socket with its queue, not another on the same port: one that is closed resets
//! whoever waits in it.

use std::io;
use std::net::{SocketAddr, TcpListener};

use anyhow::{Context as _, anyhow, bail};
use listenfd::ListenFd;

use crate::config::{Listen, Snapshot};
use crate::proxy::listener::bind;

/// The sockets of one sidecar.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For clients and peers.
    pub data: Vec<TcpListener>,
    /// For operators.
    pub admin: Vec<TcpListener>,
}

impl Sockets {
    /// New sockets, as `snapshot` asks for.
    pub fn bind(snapshot: &Snapshot) -> anyhow::Result<Self> {
        Self::default().completed(snapshot)
    }

    /// Those a service manager holds for this process; none if it holds none. To be called before
    /// other threads are started, since it cleans the environment.
    pub fn from_service_manager(listen: &Listen) -> anyhow::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut held = ListenFd::from_env();
        let mut sockets = Self::default();
        for (index, name) in (0..held.len()).zip(names.split(':').chain(std::iter::repeat(""))) {
            let socket = held.take_tcp_listener(index).with_context(|| {
                format!("LISTEN_FDS: socket {index} does not listen for TCP; use ListenStream=PORT")
            })?;
            if let Some(socket) = socket {
                sockets.put(name, socket, listen)?;
            }
        }
        Ok(sockets)
    }

    /// Sorts in a socket by its name, or by its port where the name says nothing.
    fn put(&mut self, name: &str, socket: TcpListener, listen: &Listen) -> anyhow::Result<()> {
        let address = socket.local_addr()?;
        match name {
            "data" => self.data.push(socket),
            "admin" => self.admin.push(socket),
            _ if address.port() == listen.data.port() => self.data.push(socket),
            _ if address.port() == listen.admin.port() => self.admin.push(socket),
            _ => bail!(
                "LISTEN_FDNAMES: the socket {name:?} on {address} is on the port of neither \
                 listen.data nor listen.admin; name it with FileDescriptorName=data or admin"
            ),
        }
        Ok(())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty() && self.admin.is_empty()
    }

    /// Only those that listen where `listen` says.
    pub fn at(mut self, listen: &Listen) -> Self {
        self.data.retain(|socket| listens_at(socket, listen.data));
        self.admin.retain(|socket| listens_at(socket, listen.admin));
        self
    }

    /// With new sockets for the ports that have none.
    pub fn completed(mut self, snapshot: &Snapshot) -> anyhow::Result<Self> {
        let Listen { data, admin } = snapshot.listen;
        if self.data.is_empty() {
            self.data = bind(data, snapshot.workers.get())
                .with_context(|| format!("listen.data: cannot listen on {data}"))?;
        }
        if self.admin.is_empty() {
            self.admin = bind(admin, 1)
                .with_context(|| format!("listen.admin: cannot listen on {admin}"))?;
        }
        for socket in self.data.iter().chain(&self.admin) {
            socket.set_nonblocking(true)?;
        }
        let wide = self.admin.iter().any(|socket| !is_local(socket));
        if wide && !snapshot.knows_operators() {
            bail!(
                "the admin socket lets others than this machine steer the node, without a token or \
                 certificates; set admin.token_file, HOPWISE_ADMIN_TOKEN or admin.tls.ca_file, or \
                 listen on 127.0.0.1"
            );
        }
        Ok(self)
    }

    /// The same sockets once more: they are open for as long as somebody holds them.
    pub fn try_clone(&self) -> io::Result<Self> {
        let again = |sockets: &[TcpListener]| {
            sockets.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()
        };
        Ok(Self { data: again(&self.data)?, admin: again(&self.admin)? })
    }

    /// Where clients and where operators are served.
    pub fn addresses(&self) -> anyhow::Result<(SocketAddr, SocketAddr)> {
        let first = |sockets: &[TcpListener]| {
            let socket = sockets.first().ok_or_else(|| anyhow!("no socket to listen on"))?;
            Ok::<_, anyhow::Error>(socket.local_addr()?)
        };
        Ok((first(&self.data)?, first(&self.admin)?))
    }
}

/// Whether only this machine reaches `socket`.
fn is_local(socket: &TcpListener) -> bool {
    socket.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback())
}

fn listens_at(socket: &TcpListener, wanted: SocketAddr) -> bool {
    socket.local_addr().is_ok_and(|address| {
        address.ip() == wanted.ip() && (address.port() == wanted.port() || wanted.port() == 0)
    })
}

/// `sockets` for each of `workers`: every socket has one that accepts from it, and every worker has
/// one to accept from, be it another's.
pub fn shared_out(sockets: Vec<TcpListener>, workers: usize) -> io::Result<Vec<Vec<TcpListener>>> {
    let mut shares: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    for (worker, share) in shares.iter_mut().enumerate().skip(sockets.len()) {
        share.push(sockets[worker % sockets.len()].try_clone()?);
    }
    for (index, socket) in sockets.into_iter().enumerate() {
        shares[index % workers].push(socket);
    }
    Ok(shares)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_socket_has_a_worker_and_every_worker_a_socket() {
        for (sockets, workers) in [(1, 1), (1, 4), (2, 4), (3, 4), (4, 4), (5, 4), (8, 3)] {
            let bound: Vec<_> =
                (0..sockets).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
            let all: HashSet<_> = bound.iter().map(|socket| socket.local_addr().unwrap()).collect();
            let shares = shared_out(bound, workers).unwrap();
            assert_eq!(shares.len(), workers);
            assert!(shares.iter().all(|share| !share.is_empty()), "{sockets} for {workers}");
            let held = shares.iter().flatten().map(|socket| socket.local_addr().unwrap());
            assert_eq!(held.collect::<HashSet<_>>(), all, "{sockets} for {workers}");
        }
    }

    #[test]
    fn sockets_are_told_apart_by_name_and_then_by_port() {
        let [one, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let listen = Listen { data: one.local_addr().unwrap(), admin: other.local_addr().unwrap() };
        for (name, is_admin) in [("data", false), ("admin", true), ("", false), ("x", false)] {
            let mut sockets = Sockets::default();
            sockets.put(name, one.try_clone().unwrap(), &listen).unwrap();
            assert_eq!(
                (sockets.data.len(), sockets.admin.len()),
                if is_admin { (0, 1) } else { (1, 0) }
            );
        }
        let third = TcpListener::bind("127.0.0.1:0").unwrap();
        let refused = Sockets::default().put("x", third, &listen).unwrap_err().to_string();
        assert!(refused.contains("FileDescriptorName"), "{refused}");
    }

    #[test]
    fn only_sockets_at_the_address_that_is_asked_for_are_kept() {
        let socket = || TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = Sockets { data: vec![socket(), socket()], admin: vec![socket()] };
        let (data, admin) = sockets.addresses().unwrap();
        let any = SocketAddr::new(data.ip(), 0);
        let kept = |listen| {
            let kept = sockets.try_clone().unwrap().at(&listen);
            (kept.data.len(), kept.admin.len())
        };
        assert_eq!(kept(Listen { data, admin }), (1, 1));
        assert_eq!(kept(Listen { data: any, admin: data }), (2, 0));
        assert_eq!(kept(Listen { data: "0.0.0.0:0".parse().unwrap(), admin }), (0, 1));
    }
}
