//! A call as it is written: the values of the core, which knows nothing of serialization.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::config::{Change, ThresholdsPatch};
use crate::scheduling::estimate::LoadReport;
use crate::scheduling::policy::Architecture;
use crate::scheduling::retry::Again;
use crate::scheduling::route::{Decision, Invocation, Invoked, Outcome, Refusal, Stage, Step, Why};
use crate::scheduling::{FunctionName, Time};
use crate::topology::{NodeIndex, Slot, Topology};

/// The first line: what it takes to start again as the node started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The seed of the node's generator.
    pub seed: u64,
    /// The cores of its machine.
    pub cores: u16,
    /// The node it was told to be in place of the one its configuration names.
    pub node: Option<String>,
    /// Its configuration, as written.
    pub configuration: String,
}

/// One call of the scheduler, with its answer where it gives one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub(super) enum Call {
    Decide {
        generation: u64,
        facts: Facts,
        cpu_share: f64,
        #[serde(with = "nanoseconds")]
        now: Time,
        verdict: Verdict,
    },
    HedgeAfter {
        generation: u64,
        #[serde(with = "function_name")]
        function: FunctionName,
        #[serde(with = "nanoseconds")]
        now: Time,
        after: Option<Duration>,
    },
    Hedge {
        generation: u64,
        facts: Facts,
        #[serde(with = "InvokedFields")]
        first: Invoked,
        cpu_share: f64,
        #[serde(with = "nanoseconds")]
        now: Time,
        verdict: Option<Verdict>,
    },
    Record {
        ticket: u64,
        timed: bool,
        #[serde(default)]
        sent: Option<Moment>,
        heard: Option<Moment>,
        #[serde(with = "OutcomeName")]
        outcome: Outcome,
        report: Option<Said>,
        ran: Option<(Place, Said)>,
        #[serde(with = "nanoseconds")]
        now: Time,
    },
    Hold {
        ticket: u64,
        #[serde(with = "nanoseconds")]
        now: Time,
    },
    Resume {
        ticket: u64,
        #[serde(with = "nanoseconds")]
        now: Time,
    },
    Report {
        #[serde(with = "SlotFields")]
        slot: Slot,
        ticket: Option<u64>,
        #[serde(with = "nanoseconds")]
        now: Time,
        said: Said,
    },
    Observe {
        #[serde(with = "SlotFields")]
        slot: Slot,
        #[serde(with = "ReportFields")]
        report: LoadReport,
        #[serde(with = "nanoseconds")]
        now: Time,
    },
    Hear {
        #[serde(with = "SlotFields")]
        slot: Slot,
        #[serde(with = "ReportFields")]
        report: LoadReport,
        #[serde(with = "nanoseconds")]
        now: Time,
    },
    IsHopeless {
        #[serde(with = "function_name")]
        function: FunctionName,
        left: Duration,
        #[serde(with = "nanoseconds")]
        now: Time,
        hopeless: bool,
    },
    WaitAgain {
        generation: u64,
        failures: u32,
        wait: Duration,
    },
    NextProbe {
        generation: u64,
        #[serde(with = "nanoseconds")]
        now: Time,
        node: Option<usize>,
    },
    Probed {
        #[serde(with = "SlotFields")]
        slot: Slot,
        found: bool,
        #[serde(with = "nanoseconds")]
        started: Time,
        #[serde(with = "nanoseconds")]
        now: Time,
    },
    Doubt {
        #[serde(with = "SlotFields")]
        slot: Slot,
    },
    Tick {
        #[serde(with = "nanoseconds")]
        now: Time,
    },
    View {
        #[serde(with = "nanoseconds")]
        now: Time,
    },
    Forget {
        #[serde(with = "function_name")]
        function: FunctionName,
    },
    Follow {
        change: ChangeLine,
        generation: u64,
    },
}

/// An [`Invocation`] that owns its lists; nodes are positions in the topology of the generation.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    #[serde(with = "function_name")]
    function: FunctionName,
    hop: u8,
    #[serde(with = "StageName")]
    stage: Stage,
    architecture: Option<Named>,
    path: Vec<usize>,
    passed_here: bool,
    avoid: Vec<usize>,
    #[serde(with = "AgainName")]
    again: Again,
    timed: bool,
}

impl Facts {
    pub(super) fn of(invocation: &Invocation<'_>) -> Self {
        let positions = |nodes: &[NodeIndex]| nodes.iter().map(|n| n.as_usize()).collect();
        Self {
            function: invocation.function,
            hop: invocation.hop,
            stage: invocation.stage,
            architecture: invocation.architecture.map(Named),
            path: positions(invocation.path),
            passed_here: invocation.passed_here,
            avoid: positions(invocation.avoid),
            again: invocation.again,
            timed: invocation.timed,
        }
    }

    /// The nodes of the path, and those to be avoided, if all of them are in `topology`.
    pub(super) fn nodes(&self, topology: &Topology) -> Option<(Vec<NodeIndex>, Vec<NodeIndex>)> {
        let everyone = topology.everyone();
        let nodes = |positions: &[usize]| -> Option<Vec<NodeIndex>> {
            positions.iter().map(|&position| everyone.get(position).copied()).collect()
        };
        Some((nodes(&self.path)?, nodes(&self.avoid)?))
    }

    pub(super) fn invocation<'a>(
        &self,
        path: &'a [NodeIndex],
        avoid: &'a [NodeIndex],
    ) -> Invocation<'a> {
        Invocation {
            function: self.function,
            hop: self.hop,
            stage: self.stage,
            architecture: self.architecture.as_ref().map(|named| named.0),
            path,
            passed_here: self.passed_here,
            avoid,
            again: self.again,
            timed: self.timed,
        }
    }
}

/// A [`Decision`] that can be compared.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Verdict {
    step: Do,
    architecture: Named,
    fallback_from: Option<Named>,
    #[serde(with = "WhyName")]
    why: Why,
    ticket: Option<u64>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Do {
    RunHere,
    Offload(usize),
    Delegate(usize),
    Refuse(#[serde(with = "RefusalName")] Refusal),
}

impl Verdict {
    pub(super) fn of(decision: &Decision) -> Self {
        Self {
            step: match decision.step {
                Step::RunHere => Do::RunHere,
                Step::Offload(node) => Do::Offload(node.as_usize()),
                Step::Delegate(node) => Do::Delegate(node.as_usize()),
                Step::Refuse(refusal) => Do::Refuse(refusal),
            },
            architecture: Named(decision.architecture),
            fallback_from: decision.fallback_from.map(Named),
            why: decision.why,
            ticket: decision.ticket.as_ref().map(|ticket| ticket.serial()),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ChangeLine {
    Text(String),
    Mode(String),
    /// In the order of [`ThresholdsPatch`].
    Thresholds([Option<f64>; 4]),
    Certificates,
    /// Whether the node is taken out, or put back.
    Drain(String, bool),
}

impl ChangeLine {
    pub(super) fn of(change: &Change) -> Self {
        match change {
            Change::Text(text) => Self::Text(text.clone()),
            Change::Mode(mode) => Self::Mode(mode.to_string()),
            Change::Thresholds(patch) => {
                let ThresholdsPatch { soft_d2f, hard_d2f, soft_f2c, hard_f2c } = *patch;
                Self::Thresholds([soft_d2f, hard_d2f, soft_f2c, hard_f2c])
            }
            Change::Certificates => Self::Certificates,
            Change::Drain(id, out) => Self::Drain(id.to_string(), *out),
        }
    }

    /// The change, unless it names a mode there is not.
    pub(super) fn change(self) -> Option<Change> {
        Some(match self {
            Self::Text(text) => Change::Text(text),
            Self::Mode(mode) => Change::Mode(mode.parse().ok()?),
            Self::Thresholds([soft_d2f, hard_d2f, soft_f2c, hard_f2c]) => {
                Change::Thresholds(ThresholdsPatch { soft_d2f, hard_d2f, soft_f2c, hard_f2c })
            }
            Self::Certificates => Change::Certificates,
            Self::Drain(id, out) => Change::Drain(id.into(), out),
        })
    }
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Named(#[serde(with = "ArchitectureName")] pub(super) Architecture);

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Said(#[serde(with = "ReportFields")] pub(super) LoadReport);

#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Moment(#[serde(with = "nanoseconds")] pub(super) Time);

#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Place(#[serde(with = "SlotFields")] pub(super) Slot);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Architecture", rename_all = "snake_case")]
enum ArchitectureName {
    Centralized,
    Federated,
    Decentralized,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Stage", rename_all = "snake_case")]
enum StageName {
    Entry,
    Schedule,
    Execute,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Outcome", rename_all = "snake_case")]
enum OutcomeName {
    Good,
    Failed,
    Lost,
    Unreachable,
    Absent,
    Cancelled,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Again", rename_all = "snake_case")]
enum AgainName {
    No,
    NothingRan,
    MayHaveRun,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Refusal", rename_all = "snake_case")]
enum RefusalName {
    Loop,
    NotAController,
    RetriesSpent,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Why", rename_all = "snake_case")]
enum WhyName {
    Ordered,
    HopLimit,
    Room,
    Picked,
    Handed,
    LastResort,
    RetriesSpent,
    Loop,
    Role,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Slot")]
struct SlotFields {
    index: u32,
    since: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Invoked")]
struct InvokedFields {
    #[serde(with = "nanoseconds")]
    since: Time,
    #[serde(with = "ArchitectureName")]
    under: Architecture,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "LoadReport")]
struct ReportFields {
    in_flight: u32,
    cores: u16,
    execution: Option<Duration>,
    service: Option<Duration>,
    pace_milli: u16,
}

mod nanoseconds {
    use super::{Deserialize, Deserializer, Duration, Serializer, Time};

    pub(super) fn serialize<S: Serializer>(time: &Time, to: S) -> Result<S::Ok, S::Error> {
        let nanos = time.since(Time::ZERO).as_nanos();
        to.serialize_u64(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Time, D::Error> {
        u64::deserialize(from).map(|nanos| Time::after_origin(Duration::from_nanos(nanos)))
    }
}

mod function_name {
    use super::{Deserialize, Deserializer, Error, FunctionName, Serializer};

    pub(super) fn serialize<S: Serializer>(name: &FunctionName, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(name.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<FunctionName, D::Error> {
        FunctionName::new(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}
