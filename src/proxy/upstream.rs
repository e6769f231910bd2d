//! Connections to gateways and to other sidecars: kept open per worker, and sent over.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{Request, Response};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::config::{Authority, HeaderCase, Limits, Snapshot, Timeouts};
use crate::scheduling::Time;
use crate::state::State;

use super::connect::{self, Destination};
use super::failure::{Failure, classify, io_kind};
use super::io::{Unanswered, UpstreamIo};
use super::names::Names;
use super::patience::{Overdue, Patience};
use super::request_body::{Gate, Passage, Replay, RequestBody};
use super::saved::Saved;
use super::signature::Session;
use super::trail::Mark;

/// How long a body is held back for a `100 Continue`.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

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

    /// Looks at what came of an exchange. If nothing was heard any more, nothing will be on other connections:
    /// all of them are closed, so that nobody waits there for an answer that has got lost on its way.
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
    since: Instant,
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
struct Connection {
    sender: SendRequest<RequestBody>,
    patience: Patience,
    unanswered: Arc<Unanswered>,
    /// Signs what is sent, where peers share a key.
    session: Option<Box<Session>>,
    _counted: CountedOpen,
}

/// A connection in use. Released when answer and request are through; closed otherwise.
#[derive(Debug)]
pub(super) struct Lease {
    connection: Option<Connection>,
    home: Rc<Pool>,
    sent: Option<Rc<Replay>>,
    gate: Option<Arc<Gate>>,
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
    saved: Rc<Saved>,
    sent: Option<Rc<Replay>>,
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
    pub(super) fn sweep(&self, idle_max: Duration) {
        *self.last.borrow_mut() = None;
        self.pools.borrow_mut().retain(|_, pool| {
            let mut idle = pool.idle.borrow_mut();
            idle.retain(|idle| {
                !idle.connection.sender.is_closed() && idle.since.elapsed() < idle_max
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

    /// Gives the connection back, if it can serve another request.
    pub(super) fn release(mut self) {
        let done = self.sent.as_ref().is_none_or(|sent| sent.is_complete());
        let Some(connection) = self.connection.take() else { return };
        let mut idle = self.home.idle.borrow_mut();
        if done && !connection.sender.is_closed() && idle.len() < self.idle_max {
            idle.push(Idle { connection, since: Instant::now() });
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

/// A request on its way over a connection.
struct Underway<F> {
    lease: Lease,
    saved: Rc<Saved>,
    sent: Option<Rc<Replay>>,
    /// How it may be sent once more.
    kind: Kind,
    answer: F,
}

/// What a request is besides its message.
#[derive(Debug, Clone, Copy)]
struct Kind {
    expects_continue: bool,
    idempotent: bool,
}

/// What hyper makes of a request; the request itself, where nothing of it was sent.
type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// Hands a request to its connection. Apart from waiting for the answer, so that what waits has no
/// room in it for all that a request is made of, and hyper none to move.
fn begin_exchange(
    mut lease: Lease,
    outbound: Box<Outbound>,
) -> Result<Underway<impl Future<Output = Sent>>, Failure> {
    let Outbound { mut head, mut body, expects_continue, idempotent, saved } = *outbound;
    name_host(&mut head.headers, &lease.home.destination.authority);
    let sent = body.replay();
    lease.sent = sent.clone();
    let saved = saved.unwrap_or_else(|| Saved::of(&head, expects_continue, idempotent));
    let gate = (expects_continue && sent.is_some()).then(Arc::<Gate>::default);
    if let Some(gate) = &gate {
        body = body.behind(Arc::clone(gate));
        lease.gate = Some(Arc::clone(gate));
    }
    if let Some(Connection { session: Some(session), .. }) = &mut lease.connection {
        session.sign(&head.method, &head.uri, &mut head.headers);
    }
    let mut request = Request::from_parts(head, body);
    if let Some(gate) = gate {
        open_later(&gate);
        hyper::ext::on_informational(&mut request, move |response| {
            if response.status() == http::StatusCode::CONTINUE {
                gate.set(Passage::Open);
            }
        });
    }
    let Some(Connection { sender, .. }) = &mut lease.connection else {
        return Err(Failure::NothingRan(io::ErrorKind::NotConnected.into(), None));
    };
    let answer = sender.try_send_request(request);
    Ok(Underway { lease, saved, sent, kind: Kind { expects_continue, idempotent }, answer })
}

/// One request and the head of its answer over one connection.
async fn exchange(
    lease: Lease,
    outbound: Box<Outbound>,
    timeouts: &Timeouts,
) -> Result<Answered, Failure> {
    let Underway { mut lease, saved, sent, kind, answer } = begin_exchange(lease, outbound)?;
    let Some(Connection { patience, unanswered, .. }) = &mut lease.connection else {
        return Err(Failure::NothingRan(io::ErrorKind::NotConnected.into(), None));
    };
    let answer = pin!(answer);
    match patience.wait_for(answer, timeouts, sent.as_deref()).await {
        Ok(Ok(response)) => {
            Ok(Answered { response, lease, sent_at: None, read: None, saved, sent })
        }
        Err(Overdue::Answer) => Err(Failure::TimedOut),
        Err(Overdue::RequestBody) => Err(Failure::ClientStalled),
        Ok(Err(mut failed)) => Err(match failed.take_message() {
            Some(request) => {
                let (head, body) = request.into_parts();
                let (saved, Kind { expects_continue, idempotent }) = (None, kind);
                let outbound =
                    Box::new(Outbound { head, body, expects_continue, idempotent, saved });
                Failure::NothingRan(io::Error::other(failed.into_error()), Some(outbound))
            }
            None => classify(failed.into_error(), &saved, &sent, unanswered),
        }),
    }
}

/// Sends the body after a while even where the server says nothing (RFC 9110, 10.1.1).
fn open_later(gate: &Arc<Gate>) {
    let gate = Arc::downgrade(gate);
    tokio::task::spawn_local(async move {
        tokio::time::sleep(CONTINUE_WAIT).await;
        if let Some(gate) = gate.upgrade() {
            gate.set(Passage::Open);
        }
    });
}

/// A client of HTTP/1.0 may name no host, but we speak HTTP/1.1, which demands one.
fn name_host(headers: &mut http::HeaderMap, authority: &Authority) {
    if !headers.contains_key(http::header::HOST)
        && let Ok(host) = http::HeaderValue::from_str(&authority.to_string())
    {
        headers.insert(http::header::HOST, host);
    }
}
