//! An OpenFaaS-like gateway with functions built in.
//!
//! It answers `/function/NAME`, `/async-function/NAME`, `/healthz`, `/system/functions` and
//! `/system/info` as OpenFaaS does. At most [`Options::cores`] invocations run at once, on threads
//! of their own, and the others wait in order: a node that gets too much really is slow. Whoever
//! goes away while waiting is never computed.

mod callback;
mod pool;
mod routes;

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use rand::SeedableRng;
use rand_pcg::Pcg64;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub use pool::Activity;
use pool::Pool;
use routes::Routes;
pub use routes::{ASYNC_MAX, BODY_BYTES_MAX};

/// Most cores of a node.
pub const CORES_MAX: usize = 256;
/// Most invocations that wait for a core, where [`Options`] do not say.
pub const QUEUE_MAX: usize = 1000;
/// Most connections; past that no more are accepted until one ends.
pub const CONNECTIONS_MAX: usize = 4096;
/// How long invocations under way may take to end, where [`Options`] do not say.
pub const DRAIN_WAIT: Duration = Duration::from_secs(5);

/// How long a connection may stay without a whole request head, idle ones included.
const HEAD_WAIT: Duration = Duration::from_secs(60);
/// How long to wait after a failed accept: what is lacking then, such as files, comes back with
/// time only.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What an embedded gateway is like.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many invocations it can run at once: from 1 to [`CORES_MAX`], or brought into that.
    pub cores: usize,
    /// Most invocations that wait for a core; the next is answered 429.
    pub queue_max: usize,
    /// How long invocations under way may take to end after the shutdown. Then they are dropped.
    pub drain_wait: Duration,
    /// Seeds the call ids that it makes up.
    pub seed: u64,
    /// Where it counts what it is doing. Each gateway needs its own.
    pub activity: Arc<Activity>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cores: 2,
            queue_max: QUEUE_MAX,
            drain_wait: DRAIN_WAIT,
            seed: 0,
            activity: Arc::default(),
        }
    }
}

/// Serves on `listener` until `shutdown` is done; then ends what is under way, within
/// [`Options::drain_wait`].
///
/// Dropping the future drops the connections with it. Fails only where threads cannot be made.
pub async fn serve(
    listener: TcpListener,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let Options { cores, queue_max, drain_wait, seed, activity } = options;
    let cores = cores.clamp(1, CORES_MAX);
    let pool = Pool::new(cores, queue_max, Arc::clone(&activity))?;
    let routes = Arc::new(Routes {
        cores,
        submitter: pool.submitter(),
        activity,
        call_ids: Mutex::new(Pcg64::seed_from_u64(seed)),
        background: Mutex::default(),
    });
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                match accepted {
                    Ok((stream, _)) => spawn_connection(&mut connections, stream, &routes, &graceful),
                    Err(error) => {
                        tracing::warn!(%error, "gateway cannot accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }
    // New clients are refused while the others finish.
    drop(listener);
    if tokio::time::timeout(drain_wait, drain(graceful, &routes)).await.is_err() {
        tracing::warn!("gateway dropped invocations that did not end in time");
    }
    connections.shutdown().await;
    // Computing cannot be interrupted; a thread that is still at it ends by itself, as every
    // function is bounded.
    let _ = tokio::time::timeout(drain_wait, pool.stop()).await;
    Ok(())
}

fn spawn_connection(
    connections: &mut JoinSet<()>,
    stream: TcpStream,
    routes: &Arc<Routes>,
    graceful: &GracefulShutdown,
) {
    // Answers are small and whole: waiting to fill a segment only delays them.
    let _ = stream.set_nodelay(true);
    let routes = Arc::clone(routes);
    let service = service_fn(move |request| Arc::clone(&routes).handle(request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    connections.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a client's connection to the gateway broke");
        }
    });
}

async fn drain(graceful: GracefulShutdown, routes: &Routes) {
    graceful.shutdown().await;
    // With no connection left, nothing can be added.
    let background = {
        let mut background = routes.background.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *background)
    };
    background.join_all().await;
}

#[cfg(test)]
mod tests;
