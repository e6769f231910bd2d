//! Connections to gateways and to other sidecars: kept open per worker, and sent over.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use http::request::Parts;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::config::{Authority, HeaderCase, Limits, Snapshot, Timeouts};
use crate::scheduling::Time;
use crate::state::State;

use super::connect::{self, Destination};
use super::exchange::exchange;
use super::failure::{Failure, io_kind};
use super::io::{Unanswered, UpstreamIo};
use super::names::Names;
use super::patience::Patience;
use super::request_body::{Gate, Passage, Replay, RequestBody};
use super::saved::Saved;
use super::signature::Session;
use super::trail::Mark;

/// The connections of one worker.
#[derive(Debug)]
pub(super) struct Upstreams {
    state: Arc<State>,
    mark: Option<u32>,
    names: Rc<Names>,
    pools: RefCell<HashMap<Destination, Rc<Pool>>>,
    /// The pool that was asked for last: most often the one that is asked for next.
    last: RefCell<Option<Rc<Pool>>>,
}

/// The connections to one destination.
#[derive(Debug)]
struct Pool {
    destination: Destination,
    state: Arc<State>,
    idle: RefCell<Vec<Idle>>,
    /// Connections in use, and those that are being made.
    busy: Cell<u32>,
    connecting: Cell<u32>,
    /// All that have been made and have not ended.
    tasks: RefCell<Vec<AbortHandle>>,
}

impl Pool {
    fn watch_over(&self, task: AbortHandle) {
        let mut tasks = self.tasks.borrow_mut();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    /// Looks at what came of an exchange. If nothing was heard any more, nothing will be on other
    /// connections: all of them are closed, so that nobody waits there for an answer that has got lost
    /// on its way.
    fn check(&self, settled: &Result<Answered, Failure>) {
        if let Err(Failure::Broken(error, _)) = settled
            && is_silent(error)
        {
            self.idle.borrow_mut().clear();
            self.tasks.borrow_mut().drain(..).for_each(|task| task.abort());
        }
    }
}

fn is_silent(error: &hyper::Error) -> bool {
    io_kind(error) == Some(io::ErrorKind::TimedOut)
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    /// When a sweep first found it so: whoever comes back need not look at the clock.
    since: Option<Instant>,
}

/// Counts a connection as long as it is open.
#[derive(Debug)]
struct CountedOpen(Arc<State>);

impl CountedOpen {
    fn new(state: &Arc<State>) -> Self {
        state.metrics.upstream_open.inc();
        Self(Arc::clone(state))
    }
}

impl Drop for CountedOpen {
    fn drop(&mut self) {
        self.0.metrics.upstream_open.dec();
    }
}

/// hyper's end of a connection, and how long its answers may take.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) patience: Patience,
    pub(super) unanswered: Arc<Unanswered>,
    /// Signs what is sent, where peers share a key.
    pub(super) session: Option<Box<Session>>,
    _counted: CountedOpen,
}

/// A connection in use. Released when answer and request are through; closed otherwise.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) connection: Option<Connection>,
    home: Rc<Pool>,
    pub(super) sent: Option<Rc<Replay>>,
    pub(super) gate: Option<Arc<Gate>>,
    idle_max: usize,
}

/// A request in parts, so that it can be sent again.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) head: Parts,
    pub(super) body: RequestBody,
    pub(super) expects_continue: bool,
    /// Whether it does no harm when it runs twice.
    pub(super) idempotent: bool,
    /// The same once more, where somebody has kept it already.
    pub(super) saved: Option<Rc<Saved>>,
}

/// The head of an answer, with what it takes to ask somebody else instead.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Lease,
    /// When the request went out, where a connection was opened for it first.
    pub(super) sent_at: Option<Time>,
    /// Its body, where that had to be read to tell whose answer it is.
    pub(super) read: Option<Box<Bytes>>,
    pub(super) saved: Rc<Saved>,
    pub(super) sent: Option<Rc<Replay>>,
}

impl Answered {
    /// Whether the request does no harm when it runs twice.
    pub(super) fn is_idempotent(&self) -> bool {
        self.saved.idempotent
    }

    /// The request once more, if its body was kept.
    pub(super) fn again(&self) -> Option<Box<Outbound>> {
        self.saved.again(&self.sent)
    }
}

/// The refusal of a node that runs, and lets wait, all it may.
pub(super) const QUEUE_FULL: &str = "queue_full";

impl Upstreams {
    /// No connections yet.
    pub(super) fn new(state: Arc<State>) -> Rc<Self> {
        let mark = state.snapshot().interception.map(|interception| interception.mark);
        let (pools, last) = Default::default();
        Rc::new(Self { state, mark, names: Names::new(), pools, last })
    }

    /// Sends `outbound` to `destination` and waits for the head of the answer.
    ///
    /// A kept connection may turn out to be closed. When nobody can have read the request, it is
    /// sent once more on a new connection.
    pub(super) async fn send(
        self: &Rc<Self>,
        destination: &Destination,
        mut outbound: Box<Outbound>,
        snapshot: &Snapshot,
        mark: Mark<'_>,
    ) -> Result<Answered, Failure> {
        let Snapshot { limits, timeouts, .. } = snapshot;
        let pool = self.pool(destination);
        let under_way = pool.busy.get() + pool.connecting.get();
        if destination.sidecar.is_some() && under_way >= limits.peer_requests {
            self.state.metrics.breaker_refusals.inc();
            return Err(Failure::Full(Some(outbound)));
        }
        if let Some(lease) = self.lease_idle(&pool, limits) {
            mark.sent(&destination.authority);
            match exchange(lease, outbound, timeouts).await {
                Err(Failure::NothingRan(_, Some(again))) => outbound = again,
                Err(Failure::Broken(error, Some(again))) if !is_silent(&error) => {
                    return Err(Failure::Stale(error, again));
                }
                settled => {
                    pool.check(&settled);
                    return settled;
                }
            }
        }
        if destination.sidecar.is_some() && pool.connecting.get() >= limits.peer_connects {
            self.state.metrics.breaker_refusals.inc();
            return Err(Failure::Full(Some(outbound)));
        }
        let since = mark.now();
        let connected = self.connect(Rc::clone(&pool), snapshot).await;
        mark.connected(since);
        mark.sent(&destination.authority);
        match connected {
            Ok(lease) => {
                let sent_at = Some(self.state.now());
                let mut settled = exchange(lease, outbound, timeouts).await;
                pool.check(&settled);
                if let Ok(answered) = &mut settled {
                    answered.sent_at = sent_at;
                }
                settled
            }
            Err(error) => {
                pool.idle.borrow_mut().clear();
                self.state.metrics.upstream_connect_failures.inc();
                tracing::debug!(to = %destination.authority, %error, "cannot connect");
                Err(Failure::NothingRan(error, Some(outbound)))
            }
        }
    }

    fn pool(&self, destination: &Destination) -> Rc<Pool> {
        let mut last = self.last.borrow_mut();
        if let Some(pool) = last.as_ref().filter(|pool| pool.destination == *destination) {
            return Rc::clone(pool);
        }
        let mut pools = self.pools.borrow_mut();
        let pool = pools.entry(destination.clone()).or_insert_with(|| {
            let (destination, state) = (destination.clone(), Arc::clone(&self.state));
            let (idle, busy, connecting, tasks) = Default::default();
            Rc::new(Pool { destination, state, idle, busy, connecting, tasks })
        });
        *last = Some(Rc::clone(pool));
        Rc::clone(pool)
    }

    fn lease_idle(&self, pool: &Rc<Pool>, limits: &Limits) -> Option<Lease> {
        let mut idle = pool.idle.borrow_mut();
        // Closed ones go when their connection ends; the last one used is the likeliest to stand.
        let usable = |idle: &Idle| {
            let sender = &idle.connection.sender;
            sender.is_ready() && !sender.is_closed()
        };
        let index = idle.iter().rposition(usable)?;
        let connection = idle.remove(index).connection;
        Some(Lease::new(connection, Rc::clone(pool), limits))
    }

    async fn connect(&self, pool: Rc<Pool>, snapshot: &Snapshot) -> io::Result<Lease> {
        let Snapshot { limits, timeouts, header_case, .. } = snapshot;
        let begun = Counted::new(&pool, |pool| &pool.connecting);
        let since = Instant::now();
        let stream = self.open_http(&pool.destination, timeouts).await?;
        let unanswered = stream.unanswered();
        let handshake = Builder::new()
            .preserve_header_case(*header_case == HeaderCase::Preserve)
            .title_case_headers(*header_case == HeaderCase::Proper)
            .max_headers(limits.headers)
            .writev(false)
            .handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(io::Error::other)?;
        self.state.metrics.upstream_connects.inc();
        let (home, seen) = (Rc::downgrade(&pool), Arc::clone(&unanswered));
        let task = tokio::task::spawn_local(async move {
            let ended = connection.with_upgrades().await;
            let Some(home) = home.upgrade() else { return };
            if let Err(error) = ended {
                tracing::debug!(to = %home.destination.authority, %error, "connection ended");
            }
            if let Some(slot) = home.destination.sidecar.filter(|_| seen.was_ended_there()) {
                home.state.doubt(slot);
            }
            home.idle.borrow_mut().retain(|idle| !idle.connection.sender.is_closed());
        });
        pool.watch_over(task.abort_handle());
        let session = connect::greet(&pool.destination, &mut sender, timeouts).await?;
        drop(begun);
        self.state.metrics.time_connect(pool.destination.sidecar.is_some(), since.elapsed());
        let patience = Patience::new(timeouts.answer);
        let _counted = CountedOpen::new(&self.state);
        let connection = Connection { sender, patience, unanswered, session, _counted };
        Ok(Lease::new(connection, pool, limits))
    }

    /// A new connection, as bare bytes.
    pub(super) async fn open(
        &self,
        destination: &Destination,
        timeouts: &Timeouts,
    ) -> io::Result<TcpStream> {
        connect::open(&self.names, destination, self.mark, timeouts).await
    }

    /// A new connection that carries HTTP, to whoever has to be there.
    pub(super) async fn open_http(
        &self,
        destination: &Destination,
        timeouts: &Timeouts,
    ) -> io::Result<UpstreamIo> {
        connect::open_http(&self.names, destination, self.mark, timeouts).await
    }

    /// Closes what has been idle for longer than `idle_max`, and forgets where nothing is sent.
    pub(super) fn sweep(&self, idle_max: Duration, now: Instant) {
        *self.last.borrow_mut() = None;
        self.pools.borrow_mut().retain(|_, pool| {
            let mut idle = pool.idle.borrow_mut();
            idle.retain_mut(|idle| {
                let since = *idle.since.get_or_insert(now);
                !idle.connection.sender.is_closed()
                    && now.saturating_duration_since(since) < idle_max
            });
            !idle.is_empty() || Rc::strong_count(pool) > 1
        });
    }
}

impl Lease {
    fn new(connection: Connection, home: Rc<Pool>, limits: &Limits) -> Self {
        let (connection, idle_max) = (Some(connection), limits.idle_connections);
        home.busy.set(home.busy.get() + 1);
        home.state.metrics.upstream_active.inc();
        Self { connection, home, sent: None, gate: None, idle_max }
    }

    /// Where it leads to.
    pub(super) fn authority(&self) -> &Authority {
        &self.home.destination.authority
    }

    /// Gives the connection back, if it can serve another request.
    pub(super) fn release(mut self) {
        let done = self.sent.as_ref().is_none_or(|sent| sent.is_complete());
        let Some(connection) = self.connection.take() else { return };
        let mut idle = self.home.idle.borrow_mut();
        if done && !connection.sender.is_closed() && idle.len() < self.idle_max {
            idle.push(Idle { connection, since: None });
        }
    }

    /// Notes that the client of this exchange went away before its end.
    pub(super) fn count_client_abort(&self) {
        self.home.state.metrics.client_aborts.inc();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.set(Passage::Shut);
        }
        self.home.busy.set(self.home.busy.get() - 1);
        self.home.state.metrics.upstream_active.dec();
    }
}

/// One that is counted as long as it lives.
struct Counted<'a>(&'a Cell<u32>);

impl<'a> Counted<'a> {
    fn new(pool: &'a Pool, count: impl FnOnce(&'a Pool) -> &'a Cell<u32>) -> Self {
        let count = count(pool);
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
