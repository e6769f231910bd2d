//! Users in a closed loop: each calls one function after another and waits for every answer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::http::uri::Uri;
use hyper::{Request, StatusCode};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::client::{ClientError, connect};
use crate::scheduling::function::FunctionName;
use crate::scheduling::policy::Architecture;
use crate::topology::NodeId;

/// Most users of one load.
pub const USERS_MAX: usize = 10_000;
/// How long a call may take before it counts as failed, unless the load says otherwise.
pub const CALL_WAIT: Duration = Duration::from_secs(30);
/// How long calls under way may take to end once the load is stopped. Then they are abandoned.
pub const STOP_WAIT: Duration = Duration::from_secs(1);

/// How long a user waits after a broken connection: a target that is down would otherwise be
/// asked as fast as it refuses.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// Reports that have not been looked at; past that users wait.
const REPORTS_MAX: usize = 1024;

/// Asks a sidecar to say where and by whom an invocation was placed.
const EXPLAIN: &str = "hopwise-explain";
const NODE: &str = "hopwise-node";
const ARCHITECTURE: &str = "hopwise-architecture";
const HOP: &str = "hopwise-hop";

/// What is called, by how many, and how often.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where invocations enter. Users are dealt out over them in turn, and stay.
    pub targets: Vec<SocketAddr>,
    /// How many users there are, each with one connection: from 1 to [`USERS_MAX`].
    pub users: usize,
    /// How many calls are made in all; without a number, until the load is stopped.
    pub requests: Option<u64>,
    /// What the users call.
    pub work: Vec<Work>,
    /// Decides which function the n-th call is of, whoever makes it.
    pub seed: u64,
    /// How long a call may take before it counts as failed.
    pub call_wait: Duration,
}

/// One kind of call.
#[derive(Debug, Clone)]
pub struct Work {
    /// The function that is called.
    pub function: FunctionName,
    /// How often, beside the weights of the others.
    pub weight: u32,
    /// What follows the question mark; may be empty.
    pub query: String,
    /// The type of the payload, if it has one.
    pub content_type: Option<HeaderValue>,
    /// What is sent.
    pub payload: Bytes,
}

/// A call that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The function that was called.
    pub function: FunctionName,
    /// Position in [`Load::targets`] of where it entered.
    pub target: usize,
    /// From before the request, connecting included, to the end of the answer.
    pub latency: Duration,
    /// The status of the answer, or why there was none.
    pub result: Result<StatusCode, String>,
    /// The node that ran it, if the answer says so.
    pub node: Option<NodeId>,
    /// Who decided where it ran, if the answer says so.
    pub architecture: Option<Architecture>,
    /// How many times it was handed on, if the answer says so.
    pub hop: Option<u32>,
}

impl Finished {
    /// Whether it was anything but a success.
    pub fn failed(&self) -> bool {
        !self.result.as_ref().is_ok_and(StatusCode::is_success)
    }
}

/// A load that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Nowhere to send it.
    #[error("the load has no targets: name at least one address")]
    NoTargets,
    /// No users, or too many.
    #[error("{0} users cannot be had: ask for 1 to {USERS_MAX}")]
    Users(usize),
    /// Nothing to call.
    #[error("the load has nothing to call: give at least one function a weight above 0")]
    NoWork,
    /// A query that does not fit into a request line.
    #[error("\"{0}\" cannot be a query: percent-encode what is not allowed in one")]
    Query(String),
}

/// Runs `load` and hands every finished call to `on_finished`.
///
/// Ends when all calls are made, or soon after `stop` turns true or loses its sender: calls under
/// way then have [`STOP_WAIT`] to end, and those that do not are not reported.
pub async fn run(
    load: Load,
    mut stop: watch::Receiver<bool>,
    mut on_finished: impl FnMut(Finished),
) -> Result<(), LoadError> {
    let users = load.users;
    let shared = Arc::new(Shared::new(load)?);
    let (report, mut reports) = mpsc::channel(REPORTS_MAX);
    // Dropped with this future, so that no user outlives it.
    let mut tasks = JoinSet::new();
    for user in 0..users {
        tasks.spawn(use_functions(Arc::clone(&shared), user, report.clone()));
    }
    drop(report);
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stopped| *stopped) => break,
            finished = reports.recv() => match finished {
                Some(finished) => on_finished(finished),
                None => return Ok(()),
            }
        }
    }
    shared.end();
    let rest = async {
        while let Some(finished) = reports.recv().await {
            on_finished(finished);
        }
    };
    let _ = tokio::time::timeout(STOP_WAIT, rest).await;
    Ok(())
}

async fn use_functions(shared: Arc<Shared>, user: usize, report: mpsc::Sender<Finished>) {
    let target = user % shared.targets.len();
    let mut connection = None;
    while let Some(kind) = shared.next_kind() {
        let finished = shared.call(&mut connection, target, kind).await;
        if report.send(finished).await.is_err() {
            return;
        }
        if connection.is_none() {
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }
}

/// What users share.
struct Shared {
    targets: Vec<SocketAddr>,
    hosts: Vec<HeaderValue>,
    kinds: Vec<Kind>,
    weights: u64,
    call_wait: Duration,
    plan: Mutex<Plan>,
}

struct Kind {
    work: Work,
    uri: Uri,
}

/// Which call comes next. One for all users, so that a seed repeats the sequence of functions
/// however fast each user is.
struct Plan {
    rng: Pcg64,
    remaining: u64,
}

type Connection = Option<SendRequest<Full<Bytes>>>;

impl Shared {
    fn new(load: Load) -> Result<Self, LoadError> {
        let Load { targets, users, requests, work, seed, call_wait } = load;
        if targets.is_empty() {
            return Err(LoadError::NoTargets);
        }
        if !(1..=USERS_MAX).contains(&users) {
            return Err(LoadError::Users(users));
        }
        let weights = work.iter().map(|work| u64::from(work.weight)).sum();
        if weights == 0 {
            return Err(LoadError::NoWork);
        }
        let host = |target: &SocketAddr| HeaderValue::try_from(target.to_string()).ok();
        Ok(Self {
            hosts: targets.iter().filter_map(host).collect(),
            targets,
            kinds: work.into_iter().map(Kind::new).collect::<Result<_, _>>()?,
            weights,
            call_wait,
            plan: Mutex::new(Plan {
                rng: Pcg64::seed_from_u64(seed),
                remaining: requests.unwrap_or(u64::MAX),
            }),
        })
    }

    fn end(&self) {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).remaining = 0;
    }

    fn next_kind(&self) -> Option<&Kind> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.remaining = plan.remaining.checked_sub(1)?;
        let mut drawn = plan.rng.random_range(0..self.weights);
        self.kinds.iter().find(|kind| {
            let weight = u64::from(kind.work.weight);
            let found = drawn < weight;
            drawn = drawn.saturating_sub(weight);
            found
        })
    }

    async fn call(&self, connection: &mut Connection, target: usize, kind: &Kind) -> Finished {
        let started = Instant::now();
        let exchange = self.exchange(connection, target, kind.request(&self.hosts[target]));
        let outcome = tokio::time::timeout(self.call_wait, exchange).await;
        let latency = started.elapsed();
        let (result, headers) = match outcome {
            Ok(Ok((status, headers))) => (Ok(status), headers),
            Ok(Err(error)) => (Err(error.to_string()), HeaderMap::new()),
            Err(_) => (Err(format!("no answer within {:?}", self.call_wait)), HeaderMap::new()),
        };
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Finished {
            function: kind.work.function,
            target,
            latency,
            result,
            node: text(NODE).and_then(|id| NodeId::new(id).ok()),
            architecture: text(ARCHITECTURE).and_then(|name| name.parse().ok()),
            hop: text(HOP).and_then(|hop| hop.parse().ok()),
        }
    }

    /// Sends `request` and reads the answer to its end. The connection is put back only when it
    /// can be used again.
    async fn exchange(
        &self,
        connection: &mut Connection,
        target: usize,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, HeaderMap), ClientError> {
        if let Some(mut sender) = connection.take()
            && sender.ready().await.is_ok()
        {
            match sender.try_send_request(request).await {
                Ok(response) => return read(connection, sender, response).await,
                // The server closed it before any of the request was sent: no harm in a new one.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut sender = connect(self.targets[target]).await?;
        let response = sender.send_request(request).await?;
        read(connection, sender, response).await
    }
}

async fn read(
    connection: &mut Connection,
    sender: SendRequest<Full<Bytes>>,
    response: hyper::Response<hyper::body::Incoming>,
) -> Result<(StatusCode, HeaderMap), ClientError> {
    let (head, mut body) = response.into_parts();
    // Thrown away as it comes, so that its size does not matter.
    while let Some(frame) = body.frame().await {
        frame?;
    }
    *connection = Some(sender);
    Ok((head.status, head.headers))
}

impl Kind {
    fn new(work: Work) -> Result<Self, LoadError> {
        let mark = if work.query.is_empty() { "" } else { "?" };
        let uri = format!("/function/{}{mark}{}", work.function, work.query);
        let uri = Uri::try_from(uri).map_err(|_| LoadError::Query(work.query.clone()))?;
        Ok(Self { work, uri })
    }

    fn request(&self, host: &HeaderValue) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.work.payload.clone()));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, host.clone());
        headers.insert(EXPLAIN, HeaderValue::from_static("1"));
        if let Some(content_type) = &self.work.content_type {
            headers.insert(CONTENT_TYPE, content_type.clone());
        }
        request
    }
}

#[cfg(test)]
mod tests;
