//! What clients take of this sidecar, all together and each of them.
//!
//! Counting is a few atomic additions per connection and per request. A client is found once per
//! connection, so the table of clients is no larger than the number of connections.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Limits;

/// This part of every bound, on top of it, is for peers alone.
const PEER_RESERVE: usize = 16;

/// Bits of an IPv6 address that tell clients apart: whoever has one address has a whole network.
const IPV6_CLIENT_BITS: u32 = 64;

/// What all clients of one port take.
#[derive(Debug, Default)]
pub struct Clients {
    all: Use,
    each: Mutex<HashMap<IpAddr, Arc<Use>>>,
}

/// Connections and requests in progress.
#[derive(Debug, Default)]
struct Use {
    connections: AtomicUsize,
    in_flight: AtomicUsize,
}

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One client among many.
    Client,
    /// A sidecar, which brings what many clients ask.
    Peer,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// All clients together have all there is.
    All,
    /// This client has its share.
    Client,
}

/// The place of one connection, free again when it is dropped.
#[derive(Debug)]
pub struct Connected {
    clients: Arc<Clients>,
    client: IpAddr,
    own: Arc<Use>,
}

impl Clients {
    /// Takes in a connection from `address`, if there is room.
    pub fn connect(
        self: &Arc<Self>,
        address: IpAddr,
        kind: Kind,
        limits: &Limits,
    ) -> Result<Connected, NoRoom> {
        let client = client_of(address);
        let mut each = self.each();
        let own = each.get(&client).map_or(0, |own| own.connections.load(Ordering::Relaxed));
        check(kind, limits.connections, limits.client_share, self.connections(), own)?;
        let own = Arc::clone(each.entry(client).or_default());
        for counted in [&own.connections, &self.all.connections] {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Connected { clients: Arc::clone(self), client, own })
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.all.connections.load(Ordering::Relaxed)
    }

    fn each(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Use>>> {
        self.each.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected {
    /// Notes that a request begins.
    pub fn begin(&self) {
        for counted in [&self.own.in_flight, &self.clients.all.in_flight] {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that a request has ended.
    pub fn end(&self) {
        for counted in [&self.own.in_flight, &self.clients.all.in_flight] {
            counted.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether a request that has begun may go on.
    pub fn check(&self, kind: Kind, limits: &Limits) -> Result<(), NoRoom> {
        // It is counted already, and is not in its own way.
        let others = |counted: &AtomicUsize| counted.load(Ordering::Relaxed).saturating_sub(1);
        let [all, own] = [&self.clients.all, &*self.own].map(|part| others(&part.in_flight));
        check(kind, limits.in_flight, limits.client_share, all, own)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.clients.all.connections.fetch_sub(1, Ordering::Relaxed);
        // Under the lock, so that nobody takes up an entry that is about to go.
        let mut each = self.clients.each();
        if self.own.connections.fetch_sub(1, Ordering::Relaxed) == 1 {
            each.remove(&self.client);
        }
    }
}

/// Whether there is room for one more where `all` have so much and the one that asks has `own`.
fn check(kind: Kind, max: usize, share: f64, all: usize, own: usize) -> Result<(), NoRoom> {
    let reserve = match kind {
        Kind::Peer => max.div_ceil(PEER_RESERVE),
        Kind::Client => 0,
    };
    if all >= max.saturating_add(reserve) {
        return Err(NoRoom::All);
    }
    // Even the smallest share is one.
    let own_max = ((max as f64 * share) as usize).max(1);
    if kind == Kind::Client && own >= own_max {
        return Err(NoRoom::Client);
    }
    Ok(())
}

/// A number by which the client at `address` can be told from others.
pub fn key_of(address: IpAddr) -> u64 {
    match client_of(address) {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let network = v6.to_bits() & (u128::MAX << (128 - IPV6_CLIENT_BITS));
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { connections: 4, in_flight: 4, client_share: 0.5, ..Limits::DEFAULT };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn connect(clients: &Arc<Clients>, text: &str, kind: Kind) -> Result<Connected, NoRoom> {
        clients.connect(ip(text), kind, &LIMITS)
    }

    #[test]
    fn one_client_leaves_room_for_others_and_all_leave_room_for_peers() {
        let clients = Arc::<Clients>::default();
        let mut held = Vec::new();
        for address in ["192.0.2.1", "::ffff:192.0.2.1"] {
            held.push(connect(&clients, address, Kind::Client).unwrap());
        }
        assert_eq!(connect(&clients, "192.0.2.1", Kind::Client).unwrap_err(), NoRoom::Client);
        held.push(connect(&clients, "192.0.2.2", Kind::Client).unwrap());
        held.push(connect(&clients, "192.0.2.1", Kind::Peer).unwrap());
        assert_eq!(connect(&clients, "192.0.2.3", Kind::Client).unwrap_err(), NoRoom::All);
        held.push(connect(&clients, "192.0.2.3", Kind::Peer).unwrap());
        assert_eq!(connect(&clients, "192.0.2.3", Kind::Peer).unwrap_err(), NoRoom::All);
        held.clear();
        assert_eq!(clients.connections(), 0);
        assert!(clients.each().is_empty(), "nobody is remembered who has left");
    }

    #[test]
    fn requests_are_counted_apart_from_connections() {
        let clients = Arc::<Clients>::default();
        let one = connect(&clients, "2001:db8::1", Kind::Client).unwrap();
        let same = connect(&clients, "2001:db8::2", Kind::Client).unwrap();
        let other = connect(&clients, "2001:db8:0:1::1", Kind::Client).unwrap();
        let begin = |connected: &Connected, kind| {
            connected.begin();
            connected.check(kind, &LIMITS).inspect_err(|_| connected.end())
        };
        for connected in [&one, &same] {
            begin(connected, Kind::Client).unwrap();
        }
        assert_eq!(begin(&one, Kind::Client), Err(NoRoom::Client), "a network is one client");
        begin(&other, Kind::Client).unwrap();
        begin(&other, Kind::Client).unwrap();
        assert_eq!(begin(&one, Kind::Client), Err(NoRoom::All));
        begin(&one, Kind::Peer).unwrap();
        assert_eq!(begin(&one, Kind::Peer), Err(NoRoom::All));
        one.end();
        one.end();
        begin(&same, Kind::Client).unwrap();
    }
}
