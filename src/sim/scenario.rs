//! What is simulated: machines and the network between them, functions, clients, faults.

use std::time::Duration;

use crate::config::Snapshot;
use crate::scheduling::FunctionName;
use crate::topology::NodeIndex;

/// A scenario: a fleet, and the cells of a table that is to be filled for each policy.
///
/// A *trial* is one cell under one load, one way of entry, one policy and one seed.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name, the first column of every row.
    pub name: String,
    /// Topology and rules, as every node reads them; the node of this snapshot is not special.
    pub snapshot: Snapshot,
    /// The text that snapshot came from, for those that follow when nodes leave.
    pub text: ConfigText,
    /// The machine of each node, by [`NodeIndex`].
    pub machines: Vec<Machine>,
    /// What varies, apart from entry and load.
    pub cells: Vec<Cell>,
    /// Where invocations come in.
    pub entries: Vec<Entry>,
    /// How many there are.
    pub loads: Vec<Load>,
    /// When a trial ends.
    pub length: Length,
}

/// A configuration in parts, so that nodes can be left out.
#[derive(Debug, Clone, Default)]
pub struct ConfigText {
    /// Everything but the keys `node` and `topology`.
    pub head: String,
    /// Id, role, zone and address of each node, by [`NodeIndex`].
    pub nodes: Vec<[String; 4]>,
}

impl ConfigText {
    /// The configuration with these nodes, read by the first of them.
    pub fn of(&self, nodes: &[usize]) -> String {
        let mut text = self.head.clone();
        for (place, &node) in nodes.iter().enumerate() {
            let [id, role, zone, address] = &self.nodes[node];
            if place == 0 {
                text.push_str(&format!("node: {{id: {id:?}}}\ntopology:\n"));
            }
            text.push_str(&format!(
                "  - {{id: {id:?}, role: {role:?}, zone: {zone:?}, address: {address:?}}}\n"
            ));
        }
        text
    }
}

/// One row of conditions.
#[derive(Debug, Clone)]
pub struct Cell {
    /// Its name.
    pub name: String,
    /// The ways between machines.
    pub network: Network,
    /// Functions, each drawn with probability proportional to its weight.
    pub functions: Vec<Function>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

/// A machine: as many invocations as cores run at full speed, more share them evenly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// Cores.
    pub cores: u16,
    /// Seconds of demand served per second and core.
    pub speed: f64,
}

/// One-way delays, between nodes and by distance.
#[derive(Debug, Clone)]
pub struct Network {
    /// The zone of each node, as an index of `delays`.
    pub zone_of: Vec<usize>,
    /// One-way delay from a node of the first zone to another of the second.
    pub delays: Vec<Vec<Duration>>,
    /// Bits per second on every way; none: bodies take no time.
    pub bandwidth: Option<f64>,
    /// Time each sidecar adds to a message it passes on.
    pub overhead: Duration,
    /// After how long without a message between two nodes the next one waits for a handshake.
    pub reconnect_after_idle: Option<Duration>,
}

/// A function.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its name.
    pub name: FunctionName,
    /// Weight among the functions of the cell.
    pub weight: f64,
    /// Seconds of one core at speed 1 that an invocation needs.
    pub demand: Demand,
    /// What the first invocation after a while finds.
    pub cold_start: Option<ColdStart>,
    /// How long it waits for data before it needs a core, by [`NodeIndex`]; nothing beyond the end.
    pub waits: Vec<Duration>,
    /// Bytes of a request and of an answer.
    pub bytes: [u32; 2],
    /// Whether a second copy does no harm.
    pub idempotent: bool,
    /// How long its clients wait.
    pub deadline: Option<Duration>,
}

impl Function {
    /// How long it waits for data at the node of this index.
    pub fn wait_at(&self, node: usize) -> Duration {
        self.waits.get(node).copied().unwrap_or_default()
    }
}

/// The distribution of demand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Demand {
    /// Always the same.
    Constant(Duration),
    /// Lognormal with this mean and standard deviation of the logarithm.
    Lognormal(Duration, f64),
    /// Pareto with this mean and shape (above 1).
    Pareto(Duration, f64),
    /// The first, or with this probability the second.
    Bimodal(Duration, Duration, f64),
}

/// A node that has not run a function for a while must start it again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColdStart {
    /// How long that takes.
    pub takes: Duration,
    /// How long after its last invocation a function stays warm at a node.
    pub keep_warm: Duration,
}

/// Where invocations come in.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// The ways of entry, in turn; one that is in force for good stands alone.
    pub turns: Vec<EntryShares>,
    /// How long each is in force.
    pub turn: Duration,
}

/// Nodes where invocations come in, with cumulated probabilities up to 1.
#[derive(Debug, Clone)]
pub struct EntryShares(pub Vec<(NodeIndex, f64)>);

/// The clients.
#[derive(Debug, Clone)]
pub struct Load {
    /// The number shown in the column `concurrency`: clients, or invocations per second.
    pub concurrency: f64,
    /// How they behave.
    pub kind: LoadKind,
}

/// How clients behave.
#[derive(Debug, Clone)]
pub enum LoadKind {
    /// From each time on, so many clients, each of which waits for an answer before it goes on.
    Closed {
        /// Times in order, with the clients there are from then on.
        phases: Vec<(Duration, u32)>,
        /// Mean of the exponential pause between an answer and the next call.
        think: Duration,
    },
    /// Poisson arrivals at a rate that changes.
    Open(Rate),
    /// Arrivals in order: when, and which function of the cell (modulo their number).
    Replay(Vec<(Duration, u32)>),
}

/// Invocations per second over time.
#[derive(Debug, Clone, PartialEq)]
pub enum Rate {
    /// From each time on, this many per second.
    Steps(Vec<(Duration, f64)>),
    /// Bursts: `high` per second for `on`, then `low` for `off`.
    Bursts {
        /// Rate in a burst.
        high: f64,
        /// Rate between bursts.
        low: f64,
        /// Length of a burst.
        on: Duration,
        /// Time between bursts.
        off: Duration,
    },
    /// A sine around `mean`, from nothing to twice that, once in `period`.
    Diurnal {
        /// Mean rate.
        mean: f64,
        /// One day.
        period: Duration,
    },
}

/// Something that goes wrong at a node for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// Where.
    pub node: NodeIndex,
    /// What.
    pub kind: FaultKind,
    /// When it begins.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// After how long it begins again.
    pub every: Option<Duration>,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FaultKind {
    /// Everything takes this many times as long.
    Slowed(f64),
    /// Its processes are gone: what runs there is lost, connections are refused.
    Stopped,
    /// No message reaches it or leaves it.
    CutOff,
    /// No message passes between those that are partitioned and the others.
    Partitioned,
    /// Taken out of the topology by a change of configuration at every node.
    Left,
    /// What it says of its load is lost, with this probability.
    Silent(f64),
    /// Its function fails at once, with this probability.
    Failing(f64),
}

/// When a trial ends: not before both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Length {
    /// Invocations answered.
    pub invocations: u64,
    /// Simulated time.
    pub time: Duration,
    /// Invocations issued before this are told apart.
    pub warm_up: Duration,
}
