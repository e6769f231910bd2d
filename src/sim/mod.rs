//! A deterministic simulation of a fleet, by discrete events, around the same scheduler that the
//! live proxy runs. Its clock is virtual: a trial takes no longer than its arithmetic.

pub mod contender;
pub mod scenario;

mod arrivals;
mod call;
mod connections;
mod fleet;
mod hedge;
mod machine;
mod oracle;
mod probes;
mod queue;
mod running;
mod trace;
mod turns;
mod workload;
mod world;

use std::time::Duration;

use contender::Contender;
use scenario::{Cell, Entry, Load, Scenario};

use crate::scheduling::policy::Architecture;
use crate::topology::NodeIndex;

/// One run: a cell under one load, one way of entry, one policy and one seed.
#[derive(Debug, Clone, Copy)]
pub struct Trial<'a> {
    /// The fleet.
    pub scenario: &'a Scenario,
    /// Functions and faults.
    pub cell: &'a Cell,
    /// Where invocations come in.
    pub entry: &'a Entry,
    /// How many there are.
    pub load: &'a Load,
    /// Who decides.
    pub contender: Contender,
    /// Everything that is drawn follows from this.
    pub seed: u64,
}

/// What came of one invocation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When it came in.
    pub issued: Duration,
    /// How long it took.
    pub took: Duration,
    /// Its function, as an index of the cell's.
    pub function: u16,
    /// Where it came in.
    pub entry: NodeIndex,
    /// Where it ran, if it did.
    pub target: Option<NodeIndex>,
    /// Which architecture decided; a clairvoyant needs none.
    pub architecture: Option<Architecture>,
    /// Whether it was answered well.
    pub good: bool,
}

/// What came of a trial.
#[derive(Debug, Clone)]
pub struct Run {
    /// Every invocation, as they ended.
    pub samples: Vec<Sample>,
    /// From the first invocation to the last answer.
    pub total: Duration,
    /// Second copies sent, and those of them that answered first.
    pub hedges: [u64; 2],
    /// Demand that machines have served, that of losing copies included.
    pub served: Duration,
    /// A hash over every decision and every effect: equal for equal trials.
    pub trace_hash: u64,
}

/// Runs one trial; `progress` hears now and then how many invocations have ended, and how much of
/// the simulated time has passed.
pub fn run(trial: &Trial<'_>, progress: &mut dyn FnMut(u64, Duration)) -> Run {
    world::World::new(*trial).run(progress)
}
