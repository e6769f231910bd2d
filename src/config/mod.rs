//! The one value everything runs by, and its only constructor.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::problem::Problem;
use crate::scheduling::Site;
use crate::scheduling::policy::{Mode, Thresholds};

/// Everything configuration says, validated. Never changed: a change makes the next one.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Counts up by one with every accepted change.
    pub generation: u64,
    /// Topology, this node in it, and the policy.
    pub site: Site,
    /// This node's gateway.
    pub gateway: Authority,
    /// Where this sidecar listens; read once, at start.
    pub listen: Listen,
    /// Threads of the data path; read once, at start.
    pub workers: NonZeroUsize,
    /// Bounds on what is accepted and kept.
    pub limits: Limits,
    /// Bounds on every wait.
    pub timeouts: Timeouts,
    /// The key sidecars sign their calls with; without one, source addresses vouch.
    pub peer_key: Option<Secret>,
    /// What callers from afar must show to see or steer this node.
    pub admin_token: Option<Secret>,
    /// Taking redirected connections; read once, at start.
    pub interception: Option<Interception>,
    /// IP addresses of the topology's nodes, for telling peers from clients without a key.
    pub peer_addresses: HashSet<IpAddr>,
}

/// A host and a port to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    /// An IP address or a host name.
    pub host: Arc<str>,
    /// A TCP port.
    pub port: u16,
}

/// Where a sidecar listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// For clients and peers.
    pub data: SocketAddr,
    /// For operators.
    pub admin: SocketAddr,
}

/// Bounds on what is accepted and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes in a body that is read whole (`/entry`, `/schedule` and the management calls).
    pub entry_body_bytes: usize,
    /// Most bytes of a request body that are kept to send it again elsewhere.
    pub replay_body_bytes: usize,
    /// Most header fields in a message.
    pub headers: usize,
    /// Most client connections at once, over all workers.
    pub connections: usize,
    /// Most functions remembered.
    pub functions: NonZeroUsize,
    /// Most idle connections kept per worker and upstream.
    pub idle_connections: usize,
}

/// Bounds on every wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Connecting upstream.
    pub connect: Duration,
    /// Receiving a request's header section.
    pub request_header: Duration,
    /// From the request sent to the answer's header section.
    pub answer: Duration,
    /// An idle upstream connection is closed after this long.
    pub idle: Duration,
    /// From SIGTERM to the end, whatever is still running.
    pub drain: Duration,
}

/// Taking connections that iptables REDIRECT sends here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interception {
    /// SO_MARK of our own upstream connections, for a rule that lets them pass.
    pub mark: u32,
}

/// A secret that never shows in logs or answers.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

/// A change of configuration; a rejected one leaves everything as it was.
#[derive(Debug, Clone)]
pub enum Change {
    /// This text replaces the file read before.
    Text(String),
    /// Another mode.
    Mode(Mode),
    /// Other thresholds.
    Thresholds(ThresholdsPatch),
}

/// Thresholds to change; those left out stay.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ThresholdsPatch {
    /// See [`Thresholds::soft_d2f`].
    pub soft_d2f: Option<f64>,
    /// See [`Thresholds::hard_d2f`].
    pub hard_d2f: Option<f64>,
    /// See [`Thresholds::soft_f2c`].
    pub soft_f2c: Option<f64>,
    /// See [`Thresholds::hard_f2c`].
    pub hard_f2c: Option<f64>,
}

impl Snapshot {
    /// The snapshot that `text` describes, for node `id` in place of `node.id` where one is given.
    pub fn from_yaml(text: &str, id: Option<&str>) -> Result<Self, Vec<Problem>> {
        let _ = (text, id);
        Err(Vec::new())
    }

    /// The next snapshot after `change`, or all that stands against it.
    pub fn with(&self, change: &Change) -> Result<Self, Vec<Problem>> {
        let _ = change;
        Err(Vec::new())
    }

    /// Whether `authority` is the gateway of a node of the topology, this one included.
    pub fn is_gateway(&self, authority: &Authority) -> bool {
        let of_node = |node: &crate::topology::Node| {
            node.address.gateway_port == authority.port && node.address.host == authority.host
        };
        let local = authority.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            && authority.port == self.gateway.port;
        *authority == self.gateway || local || self.site.topology.nodes().iter().any(of_node)
    }

    /// Keys that differ in `next` and take effect only at the next start.
    pub fn restart_needed(&self, next: &Self) -> Vec<&'static str> {
        let _ = next;
        Vec::new()
    }
}

/// `problems` as lines that an editor can jump to.
pub fn render(problems: &[Problem], file: &str) -> String {
    problems.iter().map(|problem| format!("{file}: {problem}\n")).collect()
}

impl Secret {
    /// The secret `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// Whether `shown` is the secret, in a time that does not tell how much of it is right.
    pub fn matches(&self, shown: &[u8]) -> bool {
        let differing = self.0.iter().zip(shown).fold(0, |seen, (a, b)| seen | (a ^ b));
        std::hint::black_box(differing) == 0 && self.0.len() == shown.len()
    }

    /// The bytes, for signing.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl ThresholdsPatch {
    /// `thresholds` with the changes of this patch.
    pub fn applied_to(&self, thresholds: Thresholds) -> Thresholds {
        Thresholds {
            soft_d2f: self.soft_d2f.unwrap_or(thresholds.soft_d2f),
            hard_d2f: self.hard_d2f.unwrap_or(thresholds.hard_d2f),
            soft_f2c: self.soft_f2c.unwrap_or(thresholds.soft_f2c),
            hard_f2c: self.hard_f2c.unwrap_or(thresholds.hard_f2c),
        }
    }
}
