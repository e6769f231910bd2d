//! How the connections of a worker end without losing a request.
//!
//! From the beginning of the drain each answer says `Connection: close`, so a client that goes on
//! asking goes elsewhere by itself. One that is idle is not closed at once, since its next request
//! may be on its way, and nobody could tell it that nothing ran; its connection goes after a while.

use std::pin::{Pin, pin};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Response, StatusCode, Version};
use tokio::sync::watch;

/// How far a worker is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// No more connections are taken, and answers tell clients to go.
    Draining,
    /// Connections that nobody uses are closed.
    Closing,
}

/// The way out for the connections of one worker.
#[derive(Debug)]
pub(super) struct Exit {
    phase: watch::Sender<Phase>,
}

/// What a connection knows of the way out; the worker waits until it is dropped.
#[derive(Debug)]
pub(super) struct Leaving {
    phase: watch::Receiver<Phase>,
}

impl Exit {
    /// Nobody leaves yet.
    pub(super) fn new() -> Self {
        Self { phase: watch::Sender::new(Phase::Serving) }
    }

    /// For a new connection.
    pub(super) fn leaving(&self) -> Leaving {
        Leaving { phase: self.phase.subscribe() }
    }

    /// Begins to drain, closes after `idle_for` what nobody uses, and waits for what is in use.
    pub(super) async fn drain(self, idle_for: Duration) {
        self.phase.send_replace(Phase::Draining);
        tokio::select! {
            () = self.phase.closed() => {}
            () = tokio::time::sleep(idle_for) => {
                self.phase.send_replace(Phase::Closing);
                self.phase.closed().await;
            }
        }
    }
}

impl Leaving {
    /// What `future` comes to, unless connections that nobody uses are closed before.
    pub(super) async fn before_closing<F: Future>(&mut self, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = reached(&mut self.phase, Phase::Closing) => None,
        }
    }

    /// Runs `connection` of `version` to its end, which `finish` brings about once nothing is in
    /// progress. HTTP/2 has a word for "no more requests", so it says it at once; HTTP/1 has it in
    /// answers only.
    pub(super) async fn watch<C: Future>(
        mut self,
        connection: C,
        version: Version,
        finish: fn(Pin<&mut C>),
    ) -> C::Output {
        let last = if version == Version::HTTP_2 { Phase::Draining } else { Phase::Closing };
        let mut connection = pin!(connection);
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = reached(&mut self.phase, last) => finish(connection.as_mut()),
        }
        connection.await
    }
}

/// Waits for `phase`; whoever could say that it has come is never gone before.
async fn reached(current: &mut watch::Receiver<Phase>, phase: Phase) {
    let _ = current.wait_for(|current| *current >= phase).await;
}

/// Makes `response`, to a request of `version`, the last one of its connection.
pub(super) fn make_last<B>(response: &mut Response<B>, version: Version) {
    if version < Version::HTTP_2 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
