//! Bounds on what is accepted, kept and waited for.

use std::num::NonZeroUsize;
use std::time::Duration;

/// Bounds on what is accepted and kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Most bytes in a body that is read whole (`/entry`, `/schedule` and the management calls).
    pub entry_body_bytes: usize,
    /// Most bytes of a request body that are kept to send it again elsewhere.
    pub replay_body_bytes: usize,
    /// Most header fields in a message.
    pub headers: usize,
    /// Most client connections at once, over all workers.
    pub connections: usize,
    /// Most requests in progress at once, over all workers.
    pub in_flight: usize,
    /// Share of connections, and of requests in progress, that one client may have.
    pub client_share: f64,
    /// Most functions remembered.
    pub functions: NonZeroUsize,
    /// Most idle connections kept per worker and upstream.
    pub idle_connections: usize,
    /// Most requests under way at once per worker and peer.
    pub peer_requests: u32,
    /// Most of them that wait for a connection at once.
    pub peer_connects: u32,
    /// Most functions, and most nodes, that have metrics by their names.
    pub metric_names: usize,
    /// Most decisions that are kept for operators.
    pub decisions: usize,
}

/// Bounds on every wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Connecting upstream.
    pub connect: Duration,
    /// An upstream that acknowledges nothing of what it was sent is given up after this long.
    pub silence: Duration,
    /// Receiving a request's header section.
    pub request_header: Duration,
    /// A client that sends nothing more of a body.
    pub request_body: Duration,
    /// A client connection between two requests.
    pub keep_alive: Duration,
    /// Waiting for the answer's header section, from the last part of the request on.
    pub answer: Duration,
    /// A server that sends nothing more of an answer it has begun.
    pub answer_body: Duration,
    /// A client that takes nothing of what is sent to it.
    pub client_read: Duration,
    /// From a request to the end of its answer, whatever moves.
    pub total: Duration,
    /// An upgraded connection on which nothing moves.
    pub tunnel: Duration,
    /// An idle upstream connection is closed after this long.
    pub idle: Duration,
    /// From SIGTERM to the end, whatever is still running.
    pub drain: Duration,
    /// How long a draining sidecar keeps client connections that nobody uses, as written.
    pub drain_idle: Duration,
    /// From when on the addresses of a host name are asked for again.
    pub name_fresh: Duration,
    /// From when on they are not used any more, whether there is another answer or not.
    pub name_stale: Duration,
    /// How long an invocation may take from when it comes in until its answer begins, where neither
    /// its caller nor its function sets a bound.
    pub deadline: Option<Duration>,
}

impl Limits {
    /// What holds where nothing is written.
    pub const DEFAULT: Self = Self {
        entry_body_bytes: 16 << 20,
        replay_body_bytes: 64 << 10,
        headers: 100,
        connections: 10_000,
        in_flight: 10_000,
        client_share: 0.5,
        functions: NonZeroUsize::MIN.saturating_add(999),
        idle_connections: 256,
        peer_requests: 1024,
        peer_connects: 128,
        metric_names: 256,
        decisions: 100,
    };
}

impl Timeouts {
    /// What holds where nothing is written.
    pub const DEFAULT: Self = Self {
        connect: Duration::from_millis(1000),
        silence: Duration::from_millis(1000),
        request_header: Duration::from_millis(10_000),
        request_body: Duration::from_millis(30_000),
        // Longer than peers keep what they do not use, so that nobody closes what they just took.
        keep_alive: Duration::from_millis(60_000),
        answer: Duration::from_millis(300_000),
        answer_body: Duration::from_millis(300_000),
        client_read: Duration::from_millis(60_000),
        total: Duration::from_millis(86_400_000),
        tunnel: Duration::from_millis(3_600_000),
        idle: Duration::from_millis(55_000),
        drain: Duration::from_millis(30_000),
        drain_idle: Duration::from_millis(2000),
        name_fresh: Duration::from_millis(30_000),
        name_stale: Duration::from_millis(86_400_000),
        deadline: None,
    };

    /// How long a draining sidecar keeps client connections that nobody uses: not to the very end,
    /// so that they are closed and not broken off.
    pub fn drain_idle(&self) -> Duration {
        self.drain_idle.min(self.drain / 2)
    }
}
