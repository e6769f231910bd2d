//! Finding out whether peers are there: those that were lost, and those that may be.
//!
//! Every sidecar answers the question below by itself, whoever asks: with a refusal, and so with the
//! field that tells a sidecar from anything else that may listen at its address. The gateway behind it
//! has no part in that; an invocation finds out about it.
//!
//! A *line* is a connection over which that was asked once, and nothing else is. A peer that dies ends
//! it, which tells even those that seldom call it.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use http::header::HOST;
use http::{Request, StatusCode};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::Snapshot;
use crate::topology::{NodeIndex, Role, Slot};

use super::connect::{self, Destination};
use super::dispatch::Context;
use super::peer;
use super::request_body::RequestBody;

/// What is asked: `/entry` takes no GET.
const QUESTION: &str = "/entry";

/// Probes under way at once; further ones wait for the next look.
const PROBES_MAX: usize = 64;

/// The peers that a line is held to, or is being made to.
type Lines = Rc<RefCell<HashSet<Slot>>>;

/// A connection whose other end has shown that it is a sidecar.
struct Line {
    conversation: JoinHandle<()>,
    /// hyper ends a connection that nobody can send over any more.
    sender: SendRequest<RequestBody>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.conversation.abort();
    }
}

impl Context {
    /// Probes lost and doubted nodes when it is time to, for as long as this sidecar runs, and holds
    /// lines to the others.
    pub async fn probe_lost(self: Rc<Self>) {
        let room = Arc::new(Semaphore::new(PROBES_MAX));
        let lines = Lines::default();
        loop {
            let snapshot = self.state.snapshot();
            tokio::time::sleep(snapshot.site.policy.health.probe_interval).await;
            self.hold_lines(&lines);
            while let Ok(permit) = Arc::clone(&room).try_acquire_owned() {
                let snapshot = self.state.snapshot();
                let Some((node, started)) = self.state.next_probe(&snapshot) else { break };
                let context = Rc::clone(&self);
                tokio::task::spawn_local(async move {
                    let found = context.line_to(&snapshot, node).await.is_some();
                    let node = snapshot.site.topology.node(node);
                    tracing::debug!(node = %node.id, found, "probed");
                    context.state.probed(node.slot, found, started);
                    drop(permit);
                });
            }
        }
    }

    /// Makes a line to each peer that should have one and has none.
    fn hold_lines(self: &Rc<Self>, lines: &Lines) {
        let snapshot = self.state.snapshot();
        let rule = &snapshot.site.policy.health;
        if !rule.probes || self.state.is_draining() {
            return;
        }
        for node in nearest(&snapshot).take(rule.lines as usize) {
            let slot = snapshot.site.topology.node(node).slot;
            if lines.borrow().contains(&slot) || self.state.is_left_alone(slot) {
                continue;
            }
            lines.borrow_mut().insert(slot);
            let (context, snapshot, lines) =
                (Rc::clone(self), Arc::clone(&snapshot), Rc::clone(lines));
            tokio::task::spawn_local(async move {
                context.hold_line(&snapshot, node).await;
                lines.borrow_mut().remove(&slot);
            });
        }
    }

    /// Holds a line until it has been idle for too long; doubts the peer if it ends before that.
    async fn hold_line(&self, snapshot: &Snapshot, node: NodeIndex) {
        if let Some(mut line) = self.line_to(snapshot, node).await
            && timeout(snapshot.timeouts.idle, &mut line.conversation).await.is_err()
        {
            return;
        }
        self.state.doubt(snapshot.site.topology.node(node).slot);
    }

    /// A line to `node`, if a sidecar answers at its address, and proves to be it where it has to.
    async fn line_to(&self, snapshot: &Snapshot, node: NodeIndex) -> Option<Line> {
        let node = snapshot.site.topology.node(node);
        let destination = Destination::peer(snapshot, node, self.call_peers_from);
        let asked = timeout(snapshot.timeouts.connect, self.ask(snapshot, &destination));
        asked.await.ok().flatten()
    }

    async fn ask(&self, snapshot: &Snapshot, to: &Destination) -> Option<Line> {
        let stream = self.upstreams.open_http(to, &snapshot.timeouts).await.ok()?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        let conversation = tokio::task::spawn_local(async move {
            let ended = connection.await;
            tracing::debug!(?ended, "line ended");
        });
        let session = connect::greet(to, &mut sender, &snapshot.timeouts).await;
        let mut line = Line { conversation, sender };
        session.ok()?;
        let request = Request::get(QUESTION).header(HOST, to.authority.to_string());
        let request = request.body(RequestBody::empty()).ok()?;
        let answer = line.sender.send_request(request).await.ok()?;
        let refused = answer.status() == StatusCode::METHOD_NOT_ALLOWED;
        (refused && answer.headers().contains_key(peer::REFUSAL)).then_some(line)
    }
}

/// All other nodes: first those of this zone, then the controllers, then the rest.
fn nearest(snapshot: &Snapshot) -> impl Iterator<Item = NodeIndex> {
    let site = &snapshot.site;
    let rank = |index: &NodeIndex| {
        let node = site.topology.node(*index);
        match node.role {
            _ if node.zone == site.node().zone => 0,
            Role::Worker => 2,
            Role::EdgeController | Role::CloudController => 1,
        }
    };
    let others = site.topology.everyone().iter().copied().filter(|index| *index != site.here);
    let mut others: Vec<NodeIndex> = others.collect();
    others.sort_by_key(rank);
    others.into_iter()
}
