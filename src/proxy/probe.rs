//! Finding out whether peers that were lost are there again.
//!
//! Every sidecar answers the question below by itself, whoever asks: with a refusal, and so with the
//! field that tells a sidecar from anything else that may listen at its address. The gateway behind it
//! has no part in that; an invocation finds out about it.

use std::rc::Rc;
use std::sync::Arc;

use http::header::HOST;
use http::{Request, StatusCode};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::Snapshot;
use crate::topology::NodeIndex;

use super::connect::{self, Destination};
use super::dispatch::Context;
use super::peer;
use super::request_body::RequestBody;

/// What is asked: `/entry` takes no GET.
const QUESTION: &str = "/entry";

/// Probes under way at once; further ones wait for the next look.
const PROBES_MAX: usize = 64;

impl Context {
    /// Probes lost nodes when it is time to, for as long as this sidecar runs.
    pub async fn probe_lost(self: Rc<Self>) {
        let room = Arc::new(Semaphore::new(PROBES_MAX));
        loop {
            let snapshot = self.state.snapshot();
            tokio::time::sleep(snapshot.site.policy.health.probe_interval).await;
            while let Ok(permit) = Arc::clone(&room).try_acquire_owned() {
                let snapshot = self.state.snapshot();
                let Some((node, started)) = self.state.next_probe(&snapshot) else { break };
                let context = Rc::clone(&self);
                tokio::task::spawn_local(async move {
                    let found = context.is_there(&snapshot, node).await;
                    let node = snapshot.site.topology.node(node);
                    tracing::debug!(node = %node.id, found, "probed");
                    context.state.probed(node.slot, found, started);
                    drop(permit);
                });
            }
        }
    }

    /// Whether a sidecar answers at the address of `node`, and proves to be it where it has to.
    async fn is_there(&self, snapshot: &Snapshot, node: NodeIndex) -> bool {
        let node = snapshot.site.topology.node(node);
        let destination = Destination::peer(snapshot, node, self.call_peers_from);
        let asked = timeout(snapshot.timeouts.connect, self.ask(snapshot, &destination));
        asked.await.ok().flatten().is_some_and(|status| status == StatusCode::METHOD_NOT_ALLOWED)
    }

    async fn ask(&self, snapshot: &Snapshot, to: &Destination) -> Option<StatusCode> {
        let stream = self.upstreams.open_http(to, &snapshot.timeouts).await.ok()?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        let conversation = tokio::task::spawn_local(connection);
        let asked = async {
            connect::greet(to, &mut sender, &snapshot.timeouts).await.ok()?;
            let request = Request::get(QUESTION).header(HOST, to.authority.to_string());
            sender.send_request(request.body(RequestBody::empty()).ok()?).await.ok()
        };
        let answer = asked.await;
        conversation.abort();
        let answer = answer?;
        answer.headers().contains_key(peer::REFUSAL).then(|| answer.status())
    }
}
