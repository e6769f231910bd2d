//! The one value everything runs by, and its only constructor.
//!
//! Text becomes YAML values (`parse`), these become typed values with their defaults (`raw`, by
//! means of `reader`), and these become a [`Snapshot`] if they agree with each other (`build`,
//! `checks`). Every step notes what is wrong and goes on, so all problems are told at once.

mod access_log;
mod bounds;
mod build;
mod checks;
mod drained;
mod dump;
mod lines;
mod parse;
mod raw;
mod reader;
mod routes;
mod rules;
mod schema;
mod secrets;
mod shape;
mod template;
mod tls;

pub use access_log::{AccessLogRule, LogFormat};
pub use bounds::{Limits, Timeouts};
pub use dump::REFERENCE;
pub(crate) use lines::locate;
pub use routes::{Invoked, NoInvocation, Platform, Routes};
pub use schema::schema;
pub use tls::{Digest, Endpoint, HTTP2, PEER_PROTOCOL, Tls, Trust, dns_names, names};

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::problem::Problem;
use crate::scheduling::policy::{Mode, Thresholds};
use crate::scheduling::{FunctionName, Site};
use crate::topology::NodeId;

/// Most threads of the data path.
pub const WORKERS_MAX: usize = 256;

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
    /// The Unix socket by which a newer process takes over; read once, at start.
    pub handover: Option<Arc<Path>>,
    /// Threads of the data path; read once, at start.
    pub workers: NonZeroUsize,
    /// Cores that functions have at this node; read once, at start.
    pub cores: NonZeroU16,
    /// Bounds on what is accepted and kept.
    pub limits: Limits,
    /// Bounds on every wait.
    pub timeouts: Timeouts,
    /// The key sidecars sign their calls with; without one, and without certificates, source addresses
    /// vouch.
    pub peer_key: Option<Secret>,
    /// Certificates; where there is one for peers, it vouches for them in place of addresses.
    pub tls: Tls,
    /// What callers from afar must show to see or steer this node.
    pub admin_token: Option<Secret>,
    /// Taking redirected connections; read once, at start.
    pub interception: Option<Interception>,
    /// How names of header fields are spelled on connections opened from now on.
    pub header_case: HeaderCase,
    /// Which requests are invocations, and of which function.
    pub routes: Routes,
    /// Which requests the access log tells of.
    pub access_log: AccessLogRule,
    /// What is said of functions, where it is not what holds for all.
    pub functions: HashMap<FunctionName, FunctionRule>,
    /// IP addresses of the topology's nodes, for telling peers from clients without a key.
    ///
    /// A node named by a host name is not among them: names can point elsewhere at any time, so
    /// such a node is known as a peer by the key alone. In order, since every request is looked up.
    pub peer_addresses: Box<[IpAddr]>,
    /// Nodes that somebody has taken out of the candidates, in order; the file says nothing of them.
    pub drained: Box<[NodeId]>,
    /// Keys that the text has changed since the start and that take effect only at the next; what is
    /// here of them is what is in force.
    restart_needed: Vec<&'static str>,
    /// The text it was made of.
    text: Arc<str>,
    /// Stands in place of the file's `node.id`, in this and every later text.
    id_override: Option<Arc<str>>,
}

/// What is said of one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FunctionRule {
    /// Whether a second copy does no harm.
    pub idempotent: bool,
    /// How long an invocation may take from when it comes in, where its caller sets no bound.
    pub deadline: Option<Duration>,
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

/// How the names of header fields are spelled in HTTP/1 messages that pass. They mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderCase {
    /// As they came.
    #[default]
    Preserve,
    /// `Like-This`, whatever they came as: what most clients and gateways write anyway.
    Proper,
}

impl HeaderCase {
    /// Both, in the order documented.
    pub const ALL: [Self; 2] = [Self::Preserve, Self::Proper];

    /// The word for it in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preserve => "preserve",
            Self::Proper => "proper",
        }
    }
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
    /// What is in the files of certificates now.
    Certificates,
    /// The node of this id is taken out of the candidates, or put back.
    Drain(Arc<str>, bool),
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
    ///
    /// Secrets are read from the files that `text` names, and the admin token from the environment
    /// variable `HOPWISE_ADMIN_TOKEN` where it names none.
    pub fn from_yaml(text: &str, id: Option<&str>) -> Result<Self, Vec<Problem>> {
        let id = id.map(Arc::from);
        build::snapshot(text, id, secrets::token_variable(), None)
    }

    /// The next snapshot after `change`, or all that stands against it.
    pub fn with(&self, change: &Change) -> Result<Self, Vec<Problem>> {
        let mut next = match change {
            Change::Text(text) => {
                let token = secrets::token_variable();
                let id = self.id_override.clone();
                let mut next = build::snapshot(text, id, token, Some(&self.site.topology))?;
                next.tls = next.tls.after(&self.tls)?;
                next.drained = self.still_drained(&next.site.topology);
                next.keep_what_is_read_at_start(self);
                next
            }
            Change::Drain(id, out) => self.drained_with(id, *out)?,
            Change::Mode(mode) => {
                let mut next = self.clone();
                next.site.policy.mode = *mode;
                next
            }
            Change::Thresholds(patch) => {
                let thresholds = patch.applied_to(self.site.policy.tail_ratio.thresholds);
                accept(checks::thresholds(&thresholds))?;
                let mut next = self.clone();
                next.site.policy.tail_ratio.thresholds = thresholds;
                next
            }
            Change::Certificates => {
                let mut next = self.clone();
                next.tls = self.tls.read_again(self.site.node().id.as_str())?;
                next
            }
        };
        next.generation = self.generation + 1;
        Ok(next)
    }

    /// Whether operators from afar have something to show: the token, or a certificate.
    pub fn knows_operators(&self) -> bool {
        let trusts = |endpoint: &Arc<Endpoint>| endpoint.trust.is_some();
        self.admin_token.is_some() || self.tls.operators.as_ref().is_some_and(trusts)
    }

    /// What is said of `function`.
    pub fn function(&self, function: FunctionName) -> FunctionRule {
        self.functions.get(&function).copied().unwrap_or_default()
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

    /// What is allowed but hardly meant: a mode whose deciders are not in the topology, or a
    /// certificate that others do not take at this time.
    pub fn warnings(&self) -> Vec<Problem> {
        let mode = checks::mode(self.site.policy.mode, &self.site.topology);
        mode.into_iter().chain(self.tls.warnings()).collect()
    }

    /// The keys that the file has changed and that take effect only when the process starts again.
    pub fn restart_needed(&self) -> &[&'static str] {
        &self.restart_needed
    }

    /// Leaves what cannot change before the next start as it is in `current`, and notes it.
    fn keep_what_is_read_at_start(&mut self, current: &Self) {
        let differing = [
            ("listen", self.listen != current.listen),
            ("handover", self.handover != current.handover),
            ("workers", self.workers != current.workers),
            ("cores", self.cores != current.cores),
            ("interception", self.interception != current.interception),
        ];
        let differing = differing.into_iter().filter(|(_, differs)| *differs);
        self.restart_needed = differing.map(|(key, _)| key).collect();
        self.listen = current.listen;
        self.handover.clone_from(&current.handover);
        self.workers = current.workers;
        self.cores = current.cores;
        self.interception = current.interception;
    }
}

fn accept(problems: Vec<Problem>) -> Result<(), Vec<Problem>> {
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// `problems` as a compiler would list those of `file`: one per line, line and column in front.
pub fn render(problems: &[Problem], file: &str) -> String {
    let line_of = |problem: &Problem| {
        let place = match (problem.line, problem.column) {
            (Some(line), Some(column)) => format!("{file}:{line}:{column}"),
            (Some(line), None) => format!("{file}:{line}"),
            (None, _) => file.to_owned(),
        };
        format!("{place}: {}\n", Problem { line: None, ..problem.clone() })
    };
    problems.iter().map(line_of).collect()
}

impl Listen {
    /// For clients and peers, where `listen.data` is not given; the port is the node's `port`.
    pub const DATA_DEFAULT_IP: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    /// For operators on this machine.
    pub const ADMIN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 31114);
}

impl Interception {
    /// Mark of our own upstream connections where none is written.
    pub const MARK_DEFAULT: u32 = 0x68;
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

#[cfg(test)]
mod tests;
