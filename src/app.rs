//! The composition root: sockets, threads, timers, drain.

mod descriptors;
mod handover;
mod pulse;
pub mod serve;
mod service_manager;
pub mod sockets;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand_pcg::Pcg64;
use socket2::{Domain, Socket, Type};
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::access_log::AccessLog;
use crate::api::Api;
use crate::config::{Interception, Snapshot};
use crate::host_load::{SAMPLE_INTERVAL, Sampler};
use crate::proxy::Context;
use crate::proxy::client::Port;
use crate::proxy::listener::{Intake, Listener};
use crate::record::Recorder;
use crate::state::{Order, State};
use crate::traces::Traces;

use pulse::Pulse;
use sockets::{Sockets, shared_out};

/// Admin connections at once; operators are few.
const ADMIN_CONNECTIONS_MAX: usize = 256;

/// How often the files of certificates are looked at.
const CERTIFICATES_INTERVAL: Duration = Duration::from_secs(2);

/// A sidecar with its threads.
#[derive(Debug)]
pub struct Sidecar {
    /// What its threads share.
    pub state: Arc<State>,
    /// Where it serves clients and peers.
    pub data_address: SocketAddr,
    /// Where it serves operators.
    pub admin_address: SocketAddr,
    intake: watch::Sender<Intake>,
    admin_intake: watch::Sender<Intake>,
    workers: Vec<JoinHandle<()>>,
    admin: Option<JoinHandle<()>>,
    pulse: Option<Arc<Pulse>>,
}

impl Sidecar {
    /// Starts a sidecar that runs by `snapshot`, re-reads `source` on demand and draws from `rng`.
    pub fn start(snapshot: Snapshot, source: Option<&Path>, rng: Pcg64) -> anyhow::Result<Self> {
        Self::start_recorded(snapshot, source, rng, None)
    }

    /// The same, with a record of every decision.
    pub fn start_recorded(
        snapshot: Snapshot,
        source: Option<&Path>,
        rng: Pcg64,
        recorder: Option<Recorder>,
    ) -> anyhow::Result<Self> {
        let sockets = Sockets::bind(&snapshot)?;
        Self::start_on(sockets, snapshot, source, rng, recorder)
    }

    /// The same, on `sockets`.
    pub fn start_on(
        sockets: Sockets,
        snapshot: Snapshot,
        source: Option<&Path>,
        rng: Pcg64,
        recorder: Option<Recorder>,
    ) -> anyhow::Result<Self> {
        if let Some(Interception { mark }) = snapshot.interception {
            try_mark(mark)?;
        }
        let workers = snapshot.workers.get();
        let access_log = AccessLog::open(&snapshot.access_log);
        let access_log = access_log.map_err(|problem| anyhow::anyhow!("{problem}"))?;
        let state = Arc::new(State::new(snapshot, source.map(Path::to_owned), rng));
        state.access_log.follow(access_log);
        if let Some(traces) = Traces::from_environment(state.snapshot().site.node().id.as_str()) {
            let _ = state.traces.set(traces);
        }
        if let Some(recorder) = recorder {
            state.record_with(recorder);
        }
        // The first sample is there before anyone can ask for it.
        let mut sampler = sampler();
        if let Some(sampler) = &mut sampler {
            state.host_load.publish(sampler.sample());
        }
        let (data_address, admin_address) = sockets.addresses()?;
        let mut sidecar = Self {
            data_address,
            admin_address,
            state,
            intake: watch::Sender::new(Intake::Open),
            admin_intake: watch::Sender::new(Intake::Open),
            workers: Vec::with_capacity(workers),
            admin: None,
            pulse: service_manager::watch().map(|watch| Pulse::new(workers + 1, watch)),
        };
        for (index, sockets) in shared_out(sockets.data, workers)?.into_iter().enumerate() {
            let intake = sidecar.intake.subscribe();
            let worker =
                sidecar.spawn(index, format!("hopwise-{index}"), move |state| async move {
                    let context = Context::new(state);
                    let api = Api::new(std::rc::Rc::clone(&context));
                    let port = Port::Data;
                    let (clients, connections_max) = (Arc::clone(&context.state.clients), None);
                    Listener { sockets, port, context, api, clients, connections_max, intake }
                        .run()
                        .await
                })?;
            sidecar.workers.push(worker);
        }
        sidecar.admin = Some(sidecar.spawn_admin(sockets.admin, sampler)?);
        Ok(sidecar)
    }

    fn spawn_admin(
        &self,
        sockets: Vec<TcpListener>,
        sampler: Option<Sampler>,
    ) -> anyhow::Result<JoinHandle<()>> {
        let intake = self.admin_intake.subscribe();
        let data_intake = self.intake.clone();
        let index = self.workers.len();
        self.spawn(index, "hopwise-admin".to_owned(), move |state| async move {
            let keeping = keep_time(Arc::clone(&state), sampler);
            let sampling = tokio::task::spawn_local(keeping);
            let following = follow_orders(Arc::clone(&state), data_intake);
            let following = tokio::task::spawn_local(following);
            let context = Context::new(state);
            let probing = tokio::task::spawn_local(std::rc::Rc::clone(&context).probe_lost());
            let api = Api::new(std::rc::Rc::clone(&context));
            let (clients, connections_max) = (Arc::default(), Some(ADMIN_CONNECTIONS_MAX));
            let port = Port::Admin;
            let listener =
                Listener { sockets, port, context, api, clients, connections_max, intake };
            let ended = listener.run().await;
            sampling.abort();
            following.abort();
            probing.abort();
            ended
        })
    }

    /// Runs `task` on a thread of its own, the one at `index`, with a runtime of its own.
    fn spawn<T, F>(&self, index: usize, name: String, task: T) -> anyhow::Result<JoinHandle<()>>
    where
        T: FnOnce(Arc<State>) -> F + Send + 'static,
        F: Future<Output = std::io::Result<()>> + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (state, pulse) = (Arc::clone(&self.state), self.pulse.clone());
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let ended = LocalSet::new().block_on(&runtime, async move {
                match pulse {
                    Some(pulse) => pulse.beat_during(index, task(state)).await,
                    None => task(state).await,
                }
            });
            if let Err(error) = ended {
                tracing::error!(%error, "a worker ended");
            }
            runtime.shutdown_background();
        })?;
        Ok(thread)
    }

    /// Tells the service manager that all threads turn for as long as they do, if it wants to know.
    fn ping_manager(&self) {
        let Some(pulse) = self.pulse.clone() else { return };
        tokio::spawn(async move {
            let mut interval = tokio::time::interval(pulse.interval());
            loop {
                interval.tick().await;
                if pulse.is_regular() {
                    service_manager::turning();
                } else {
                    tracing::error!("a thread hangs; the service manager is not told otherwise");
                }
            }
        });
    }

    /// Takes no more connections; those that are open end with their last answer. The admin port
    /// goes on to answer, so that probes see it.
    pub fn drain(&self) {
        self.state.begin_draining();
        self.intake.send_replace(Intake::Closed);
    }

    /// The same, but another process has the sockets of both ports, with whoever waits in them.
    pub fn make_room(&self) {
        self.state.begin_draining();
        self.intake.send_replace(Intake::HandedOver);
        self.admin_intake.send_replace(Intake::HandedOver);
    }

    /// Whether all connections have ended after [`Self::drain`] or [`Self::make_room`].
    pub fn is_drained(&self) -> bool {
        let admin = self.admin.iter().filter(|_| *self.admin_intake.borrow() != Intake::Open);
        self.workers.iter().chain(admin).all(JoinHandle::is_finished)
    }
}

/// Whether this process may mark its connections. Without marks, it would redirect itself.
fn try_mark(mark: u32) -> anyhow::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_mark(mark).with_context(|| {
        format!(
            "interception.mark: cannot mark connections with {mark:#x}; run as root or with \
             CAP_NET_ADMIN, or set interception.enabled to false"
        )
    })
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.drain();
        self.admin_intake.send_replace(Intake::Closed);
    }
}

fn sampler() -> Option<Sampler> {
    let warn = |error: &_| {
        tracing::warn!(%error, "this host's load cannot be sampled; decisions go without it");
    };
    Sampler::new().inspect_err(warn).ok()
}

/// Samples the host, lets old measurements go, and follows certificates that are replaced, for as long as the sidecar runs.
async fn keep_time(state: Arc<State>, mut sampler: Option<Sampler>) {
    let mut interval = tokio::time::interval(SAMPLE_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut looked, mut tried) = (Instant::now(), None);
    loop {
        interval.tick().await;
        if let Some(sampler) = &mut sampler {
            state.host_load.publish(sampler.sample());
        }
        if looked.elapsed() >= CERTIFICATES_INTERVAL {
            looked = Instant::now();
            tried = state.follow_certificates(tried);
        }
        let now = state.now();
        state.scheduler().tick(now);
    }
}

/// Drains when an operator says so.
async fn follow_orders(state: Arc<State>, intake: watch::Sender<Intake>) {
    let mut orders = state.orders();
    if orders.wait_for(|order| *order >= Order::Drain).await.is_ok() {
        tracing::info!("told to take no more connections");
        state.begin_draining();
        // Whoever has handed the sockets over is past this.
        intake.send_if_modified(|intake| {
            let open = *intake == Intake::Open;
            if open {
                *intake = Intake::Closed;
            }
            open
        });
    }
}

/// How often a draining sidecar is looked at.
pub const DRAIN_POLL: Duration = Duration::from_millis(10);
