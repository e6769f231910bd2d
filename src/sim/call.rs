//! Invocations on their way.

use crate::scheduling::estimate::LoadReport;
use crate::scheduling::policy::Architecture;
use crate::scheduling::retry::Again;
use crate::scheduling::route::{Outcome, Stage, Ticket};

use super::queue::Nanos;
use super::turns::Standing;

/// A machine, by the position of its node in the scenario's own topology.
pub(super) type MachineId = u32;

/// One invocation, from its client and back.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) function: u16,
    pub(super) client: u32,
    pub(super) demand_s: f64,
    pub(super) issued: Nanos,
    pub(super) entry: MachineId,
    pub(super) architecture: Option<Architecture>,
    /// Sidecars that hold an exchange open for it, the entry node first.
    pub(super) frames: Vec<Frame>,
    /// Nodes it has passed, as the header between sidecars says.
    pub(super) path: Vec<MachineId>,
    /// Where it is on its way to, and what is asked there.
    pub(super) bound_for: (MachineId, Stage),
    /// Where it ran, and what that node said of itself.
    pub(super) ran: Option<(MachineId, LoadReport)>,
    /// What the sidecar that sent it on said of itself.
    pub(super) word: Option<(MachineId, LoadReport)>,
    pub(super) outcome: Outcome,
    /// Whether it is a second copy, and the other copy of the same invocation.
    pub(super) second: bool,
    pub(super) twin: Option<CallId>,
    /// When its client gives up, and how it stands with the queue of the machine that runs it.
    pub(super) deadline: Option<Nanos>,
    pub(super) turn: Standing,
    /// Of its frames so many, from the entry node on, know that nobody waits for it any more.
    pub(super) cancelled: usize,
    /// Tells it from earlier owners of its place.
    pub(super) serial: u32,
}

impl Call {
    /// What is to be told of it at its end.
    pub(super) fn ended(&self) -> Ended {
        Ended {
            client: self.client,
            function: self.function,
            issued: self.issued,
            entry: self.entry,
            ran_at: self.ran.map(|(machine, _)| machine),
            architecture: self.architecture,
            outcome: self.outcome,
        }
    }

    /// Another copy of this call, the first, as it leaves the entry node.
    pub(super) fn second(&self, first: CallId, frame: Frame) -> Self {
        Self {
            architecture: frame.architecture,
            bound_for: (frame.node, frame.stage),
            frames: vec![frame],
            path: Vec::new(),
            ran: None,
            word: None,
            outcome: Outcome::Good,
            second: true,
            twin: Some(first),
            turn: Standing::Outside,
            cancelled: 0,
            ..*self
        }
    }
}

/// What is told of a call that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) client: u32,
    pub(super) function: u16,
    pub(super) issued: Nanos,
    pub(super) entry: MachineId,
    pub(super) ran_at: Option<MachineId>,
    pub(super) architecture: Option<Architecture>,
    pub(super) outcome: Outcome,
}

/// What one sidecar remembers of it.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) node: MachineId,
    pub(super) stage: Stage,
    /// The architecture it came with, and on further attempts the one first wanted.
    pub(super) architecture: Option<Architecture>,
    pub(super) ticket: Option<Ticket>,
    pub(super) avoid: Vec<MachineId>,
    /// What may have come of the attempt before.
    pub(super) again: Again,
    /// Whom the current attempt is addressed to.
    pub(super) asked: MachineId,
    /// Whether this node was on its path when it came in.
    pub(super) passed_here: bool,
    /// When the current attempt began.
    pub(super) begun: Nanos,
}

/// All calls on their way, in places that are used again.
#[derive(Debug, Default)]
pub(super) struct Calls {
    places: Vec<Option<Call>>,
    vacant: Vec<u32>,
    serial: u32,
}

/// The name of a call on its way; stale once the call has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallId {
    pub(super) place: u32,
    pub(super) serial: u32,
}

impl Calls {
    pub(super) fn insert(&mut self, mut call: Call) -> CallId {
        self.serial = self.serial.wrapping_add(1);
        call.serial = self.serial;
        let place = self.vacant.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() as u32 - 1
        });
        self.places[place as usize] = Some(call);
        CallId { place, serial: self.serial }
    }

    pub(super) fn get(&mut self, id: CallId) -> Option<&mut Call> {
        self.places[id.place as usize].as_mut().filter(|call| call.serial == id.serial)
    }

    /// The call that holds `place` now.
    pub(super) fn at(&self, place: u32) -> Option<CallId> {
        let call = self.places[place as usize].as_ref()?;
        Some(CallId { place, serial: call.serial })
    }

    /// All of them, second copies included.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Call> {
        self.places.iter().flatten()
    }

    pub(super) fn remove(&mut self, id: CallId) -> Option<Call> {
        self.get(id)?;
        self.vacant.push(id.place);
        self.places[id.place as usize].take()
    }
}
