//! The facts of one invocation.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use crate::config::{self, Platform, Snapshot};
use crate::decisions::Explained;
use crate::metrics::Invoked;
use crate::scheduling::FunctionName;
use crate::scheduling::policy::Architecture;
use crate::scheduling::route::Stage;
use crate::state::State;
use crate::topology::NodeIndex;

use super::admit::Caller;
use super::client::Client;
use super::dispatch::Context;
use super::trail::Trail;

/// The facts of one invocation, which stay the same over all attempts to place it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) client: Client,
    pub(crate) function: FunctionName,
    pub(crate) asynchronous: bool,
    pub(crate) platform: Platform,
    pub(crate) hop: u8,
    pub(crate) stage: Stage,
    pub(crate) via: String,
    pub(crate) path: Vec<NodeIndex>,
    pub(crate) architecture: Option<Architecture>,
    pub(crate) deadline: Option<Instant>,
    /// Whether a peer sent it, and so is told where it ran.
    pub(crate) from_peer: bool,
    /// Whether whoever called is told where it ran,
    pub(crate) wants_report: bool,
    /// and what was decided.
    pub(crate) wants_decision: bool,
    /// The last decision, where somebody asked for it.
    pub(crate) explained: RefCell<Option<Arc<Explained>>>,
    /// What is timed of it for metrics, if it came in here, until its answer takes that over.
    pub(crate) invoked: RefCell<Option<Invoked>>,
    pub(crate) trail: Trail,
}

impl Call {
    /// Begins to time it from `since` on, if it is a client's. To be called before it is invoked, once.
    pub(crate) fn begin(&mut self, state: &State, since: Instant) {
        if self.stage == Stage::Entry {
            let mut invoked = state.metrics.functions.begin(self.function, state.time_of(since));
            if self.asynchronous {
                invoked.discard_time();
            }
            *self.invoked.get_mut() = Some(invoked);
        }
    }

    /// Gives an invocation that has come in at `since` without a deadline that of its function, or of
    /// all.
    pub(crate) fn keep_time(&mut self, since: Instant) {
        if self.deadline.is_none() && self.stage == Stage::Entry && !self.asynchronous {
            let left = self.snapshot.function(self.function).deadline;
            let left = left.or(self.snapshot.timeouts.deadline);
            self.deadline = left.and_then(|left| since.checked_add(left));
        }
    }
}

/// The call that `caller` makes, on the heap: it is handed from one future to the next.
pub(super) fn of(
    context: &Context,
    caller: Caller,
    snapshot: Arc<Snapshot>,
    called: config::Invoked,
) -> Box<Call> {
    let mut call = Box::new(Call {
        client: caller.client,
        function: called.function,
        asynchronous: called.asynchronous,
        platform: called.platform,
        hop: 0,
        stage: Stage::Entry,
        via: String::new(),
        path: Vec::new(),
        architecture: None,
        deadline: None,
        from_peer: caller.peer.is_some(),
        wants_report: caller.wants_decision,
        wants_decision: caller.wants_decision,
        explained: RefCell::default(),
        invoked: RefCell::default(),
        trail: caller.trail,
        snapshot,
    });
    if let Some(peer) = caller.peer {
        call.hop = peer.hop;
        call.stage = peer.stage;
        call.via = peer.via;
        call.path = peer.path;
        call.architecture = peer.architecture;
        if let Some((node, load)) = peer.sender {
            let slot = call.snapshot.site.topology.node(node).slot;
            context.state.hear(slot, load);
        }
        call.deadline = peer.deadline.and_then(|left| caller.came.checked_add(left));
    }
    call.keep_time(caller.came);
    call.begin(&context.state, caller.came);
    call
}
