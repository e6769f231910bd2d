//! The mode × role table: what this program *is*.

use crate::topology::{NodeIndex, Role, Slot};

use super::policy::Architecture;
use super::retry::Again;
use super::{FunctionName, Time};

/// What an invocation asks of the node it has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has just come in from a client.
    Entry,
    /// Decide where it runs: another node hands the decision over.
    Schedule,
    /// Run it here: a decider chose this node.
    Execute,
}

impl Stage {
    /// The name in headers; [`Stage::Entry`] never travels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Schedule => "schedule",
            Self::Execute => "execute",
        }
    }
}

/// The facts of one call of a function, as the node that decides sees them.
#[derive(Debug, Clone, Copy)]
pub struct Invocation<'a> {
    /// The function called.
    pub function: FunctionName,
    /// Sidecar-to-sidecar offloads so far.
    pub hop: u8,
    /// What is asked of this node.
    pub stage: Stage,
    /// The architecture an earlier node or the caller chose; on a further attempt the one that the
    /// first attempt wanted, or dynamic mode draws again and the fallback is not seen as one.
    pub architecture: Option<Architecture>,
    /// Nodes it has passed. A decider may send it back to one of them to be run; the shell then
    /// takes that node off the path, or it would be refused there.
    pub path: &'a [NodeIndex],
    /// Whether this node is on that path: it has come round in a circle.
    pub passed_here: bool,
    /// Nodes that did not answer it well, in this node's own attempts.
    pub avoid: &'a [NodeIndex],
    /// What may have come of the attempt before.
    pub again: Again,
    /// Whether its response time says something: a queued asynchronous call is answered at once.
    pub timed: bool,
}

/// What a node of some role does with an invocation under an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Run it here, or pick among all nodes when this one is pressed.
    RunHereOrPickAmongAll,
    /// Pick among all nodes.
    PickAmongAll,
    /// Pick among the nodes of this zone.
    PickInZone,
    /// Pick among the nodes of this zone, or hand it to another zone's controller when pressed.
    PickInZoneOrAnotherZone,
    /// Hand it to the controller of this zone.
    AskZoneController,
    /// Hand it to a cloud controller.
    AskCloudController,
}

/// The table.
pub const fn duty(architecture: Architecture, role: Role) -> Duty {
    use Architecture::{Centralized, Decentralized, Federated};
    use Role::{CloudController, EdgeController, Worker};
    match (architecture, role) {
        (Decentralized, _) => Duty::RunHereOrPickAmongAll,
        (Federated, Worker) => Duty::AskZoneController,
        (Federated, EdgeController) => Duty::PickInZoneOrAnotherZone,
        (Federated, CloudController) => Duty::PickInZone,
        (Centralized, CloudController) => Duty::PickAmongAll,
        (Centralized, Worker | EdgeController) => Duty::AskCloudController,
    }
}

/// What to do with an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Hand it to this node's gateway.
    RunHere,
    /// Send it to a node that is to run it.
    Offload(NodeIndex),
    /// Send it to a controller that is to place it.
    Delegate(NodeIndex),
    /// Do not run it.
    Refuse(Refusal),
}

/// Why an invocation is not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It has passed this node before.
    Loop,
    /// It was handed to this node to place, and a worker places nothing for others.
    NotAController,
    /// An attempt failed, and no further one can be paid for.
    RetriesSpent,
}

/// The reason for a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A decider chose this node.
    Ordered,
    /// It may not travel further.
    HopLimit,
    /// This node has room, or may not offload.
    Room,
    /// Picked among the candidates of a decider.
    Picked,
    /// Another node decides under this architecture.
    Handed,
    /// Nobody else could be reached.
    LastResort,
    /// An attempt failed, and no further one elsewhere can be paid for.
    RetriesSpent,
    /// It has come round in a circle.
    Loop,
    /// This node's role may not place it.
    Role,
}

impl Why {
    /// The name in answers and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::HopLimit => "hop_limit",
            Self::Room => "room",
            Self::Picked => "picked",
            Self::Handed => "handed",
            Self::LastResort => "last_resort",
            Self::RetriesSpent => "retries_spent",
            Self::Loop => "loop",
            Self::Role => "role",
        }
    }
}

/// What was decided for one invocation, and why.
#[derive(Debug)]
pub struct Decision {
    /// What to do.
    pub step: Step,
    /// The architecture that decided.
    pub architecture: Architecture,
    /// The architecture that should have, where its decider could not be reached.
    pub fallback_from: Option<Architecture>,
    /// The reason.
    pub why: Why,
    /// To be handed back with the outcome; a refusal has none.
    pub ticket: Option<Ticket>,
}

/// The receipt of one step: whom it burdens, and since when.
#[derive(Debug)]
#[must_use = "the outcome of a step must be recorded, or the node counts as busy for ever"]
pub struct Ticket {
    pub(super) function: FunctionName,
    pub(super) architecture: Architecture,
    pub(super) entry: bool,
    pub(super) timed: bool,
    pub(super) slot: Slot,
    pub(super) stage: Stage,
    pub(super) started: Time,
    /// When it went out, where a connection had to be opened for it first.
    pub(super) sent: Option<Time>,
    /// When the head of its answer came, where that was noted.
    pub(super) heard: Option<Time>,
    pub(super) run: Run,
    /// Whether it says something of its architecture: it came in here and found no core free.
    pub(super) adaptive: bool,
    pub(super) serial: u64,
    /// The invocation that it answers.
    pub(super) invoked: Invoked,
}

/// Where an invocation runs, as far as the node that issued its ticket is concerned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Run {
    /// At another node.
    Elsewhere,
    /// Here, when its turn comes.
    Held,
    /// Here, since the meter of this node showed so many seconds.
    Here(f64),
}

/// What an answer is measured by: since when the caller waits, and under which architecture the
/// invocation was placed at first. A second copy begins later and is placed otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Invoked {
    /// When it came in.
    pub since: Time,
    /// The architecture that placed its first copy.
    pub under: Architecture,
}

impl Ticket {
    /// The number of this ticket among those of its scheduler, by which a record names it.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Where what is learned about the node asked is kept.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Whether its response time says something.
    pub fn is_timed(&self) -> bool {
        self.timed
    }

    /// The invocation that it answers.
    pub fn invoked(&self) -> Invoked {
        self.invoked
    }

    /// The ticket of a second copy: it says nothing of the architecture that placed the first.
    pub(super) fn second(self, invoked: Invoked) -> Self {
        Self { invoked, adaptive: false, ..self }
    }

    /// Notes that the end of the answer says nothing of the function: a stream without one.
    pub fn discard_time(&mut self) {
        self.timed = false;
    }

    /// Notes that the head of the answer came at `now`; its body may take as long as it likes.
    pub fn note_heard(&mut self, now: Time) {
        self.heard = Some(now);
    }

    /// Notes that a connection was opened for the request first, until `now`. The next one goes out
    /// on it at once, so what that took says nothing of the way.
    pub fn note_sent(&mut self, now: Time) {
        self.sent = Some(now);
    }

    /// When it went out, where a connection had to be opened for it first.
    pub fn sent_at(&self) -> Option<Time> {
        self.sent
    }

    /// When the head of its answer came, where that was noted.
    pub fn heard_at(&self) -> Option<Time> {
        self.heard
    }

    /// Whether it runs at this node, or will.
    pub fn is_local(&self) -> bool {
        self.run != Run::Elsewhere
    }

    /// When the step began.
    pub fn started(&self) -> Time {
        self.started
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered well.
    Good,
    /// It was answered, and badly.
    Failed,
    /// It may have run, but no whole answer came.
    Lost,
    /// Nothing ran: the node could not be reached or would not take it.
    Unreachable,
    /// Nothing ran: the node does not have the function, or nobody there who runs it.
    Absent,
    /// The caller went away.
    Cancelled,
}
