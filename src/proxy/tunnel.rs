//! Connections that change their protocol: WebSocket and other upgrades.

use std::rc::Rc;
use std::sync::Arc;

use crate::config::Authority;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::Context;
use super::answer::Refused;
use super::client::Client;
use super::client_io::ClientIo;
use super::connect::Destination;
use super::headers::{remove_connection_fields, restore_upgrade};
use super::pending::Pending;
use super::response_body::ResponseBody;
use super::trail::Trail;
use super::upstream::Lease;

/// Counts the tunnels of one worker: each holds a clone for as long as it is open.
#[derive(Debug, Clone, Default)]
pub(super) struct Count(Rc<()>);

impl Count {
    /// How many are open.
    pub(super) fn open(&self) -> usize {
        Rc::strong_count(&self.0) - 1
    }
}

impl Context {
    /// Passes the bytes of a connection that was redirected here on its way to `destination`.
    pub(super) async fn relay(&self, mut client: ClientIo, destination: Authority) {
        let _held = self.tunnels.clone();
        let timeouts = self.state.snapshot().timeouts;
        let destination = Destination::anyone(destination);
        match self.upstreams.open(&destination, &timeouts).await {
            Ok(mut upstream) => {
                let ended = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
                tracing::debug!(to = %destination.authority, ?ended, "relay ended");
            }
            Err(error) => {
                // Closed at once and without a word, as if there were nobody in between.
                client.reset_on_close();
                tracing::debug!(to = %destination.authority, %error, "cannot relay");
            }
        }
    }
}

impl Context {
    /// Grants an upgrade that the upstream has granted, and passes bytes both ways to the end.
    pub(super) fn open_tunnel(
        &self,
        client: &Client,
        mut response: Response<Incoming>,
        (lease, trail): (Lease, Trail),
        pending: Option<Box<Pending>>,
        upgrade: Option<OnUpgrade>,
    ) -> Response<ResponseBody> {
        let Some(upgrade) = upgrade else {
            let message = "the gateway switched protocols unasked; see its log";
            return Refused::new(StatusCode::BAD_GATEWAY, "bad_gateway", message).into_response();
        };
        let upstream = hyper::upgrade::on(&mut response);
        let (mut head, _) = response.into_parts();
        if let Some(protocol) = remove_connection_fields(&mut head.headers).upgrade {
            restore_upgrade(&mut head.headers, protocol);
        }
        let (open, watched) = (self.tunnels.clone(), Arc::clone(&client.connection.watched));
        watched.become_tunnel();
        let task = tokio::task::spawn_local(async move {
            // A tunnel says nothing of the function's speed, but it keeps the node busy.
            let mut pending = pending;
            if let Some(pending) = &mut pending {
                pending.discard_time();
            }
            let _held = (lease, open);
            if let (Ok(client), Ok(upstream)) = (upgrade.await, upstream.await) {
                let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
                let ended = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
                tracing::debug!(?ended, "tunnel ended");
                if let Ok((received, sent)) = ended {
                    trail.note(|notes| (notes.length, notes.sent) = (received, sent));
                }
            }
            if let Some(pending) = pending {
                pending.finish();
            }
        });
        self.watch.add(watched, task.abort_handle());
        Response::from_parts(head, ResponseBody::full(""))
    }
}
