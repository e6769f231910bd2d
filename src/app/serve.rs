//! The life of one process: it serves, follows signals, and makes room for the next.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rand::SeedableRng;
use rand_pcg::Pcg64;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::descriptors::raise_limit;
use super::handover::{Handover, Predecessor};
use super::service_manager;
use super::sockets::Sockets;
use super::{DRAIN_POLL, Sidecar};
use crate::config::Snapshot;
use crate::record::{Header, Recorder};
use crate::state::Order;

/// What to run.
#[derive(Debug)]
pub struct Options {
    /// The configuration, as `source` has it.
    pub snapshot: Snapshot,
    /// Its text.
    pub text: String,
    /// Its file, which is read again on demand.
    pub source: PathBuf,
    /// The node that was asked for in place of the one in the file.
    pub node: Option<String>,
    /// What is drawn at random.
    pub seed: u64,
    /// Where every decision is written down.
    pub record: Option<PathBuf>,
}

/// Why a process stops taking connections.
enum End {
    /// It was told to.
    Told,
    /// Another one has its sockets and serves.
    Succeeded,
}

/// Runs a sidecar until it is told to end, or another process has taken over.
pub fn serve(options: Options) -> anyhow::Result<ExitCode> {
    raise_limit(options.snapshot.limits.connections);
    let held = Sockets::from_service_manager(&options.snapshot.listen)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(options, held))
}

async fn run(options: Options, held: Sockets) -> anyhow::Result<ExitCode> {
    // Signals are caught before anyone can connect and send one.
    let mut signals = Signals::catch()?;
    let path = options.snapshot.handover.clone();
    let predecessor = path.as_deref().map(Predecessor::ask).transpose()?.flatten();
    let (predecessor, sockets) = match predecessor {
        Some((predecessor, sockets)) => (Some(predecessor), sockets.at(&options.snapshot.listen)),
        None => (None, held),
    };
    let sockets = sockets.completed(&options.snapshot)?;
    let mut handover = match path.as_deref() {
        Some(path) => Some((Handover::prepare(path)?, sockets.try_clone()?)),
        None => None,
    };
    let sidecar = start(options, sockets, predecessor.is_some())?;
    if let Some(predecessor) = predecessor {
        predecessor.dismiss()?;
        tracing::info!("took over from the process before");
    }
    // Only now, so that one that fails leaves whoever runs where it can be found.
    if let Some((handover, _)) = &mut handover {
        handover.publish();
    }
    service_manager::ready();
    sidecar.ping_manager();
    let end = signals.follow(&sidecar, handover.as_ref()).await;
    drop(handover);
    leave(&sidecar, end, &mut signals).await;
    sidecar.state.end_record();
    sidecar.state.access_log.end();
    if let Some(traces) = sidecar.state.traces.get() {
        traces.end();
    }
    Ok(ExitCode::SUCCESS)
}

fn start(options: Options, sockets: Sockets, takes_over: bool) -> anyhow::Result<Sidecar> {
    let Options { snapshot, text, source, node, seed, record } = options;
    let recorder = match record {
        Some(file) if takes_over && file.exists() => bail!(
            "--record: {} is there already, and the process before may be writing it; name \
             another file",
            file.display()
        ),
        Some(file) => {
            let header = Header { seed, cores: snapshot.cores.get(), node, configuration: text };
            let recorder = Recorder::start(&file, &header);
            Some(recorder.with_context(|| format!("--record: cannot write {}", file.display()))?)
        }
        None => None,
    };
    let rng = Pcg64::seed_from_u64(seed);
    let sidecar = Sidecar::start_on(sockets, snapshot, Some(&source), rng, recorder)?;
    tracing::info!(
        node = %sidecar.state.snapshot().site.node().id,
        data = %sidecar.data_address,
        admin = %sidecar.admin_address,
        seed,
        "listening"
    );
    Ok(sidecar)
}

/// Stops taking connections and waits for those that are open.
async fn leave(sidecar: &Sidecar, end: End, signals: &mut Signals) {
    let succeeded = matches!(end, End::Succeeded);
    match end {
        End::Told => {
            service_manager::stopping();
            sidecar.drain();
        }
        End::Succeeded => sidecar.make_room(),
    }
    let within = sidecar.state.snapshot().timeouts.drain;
    tracing::info!(?within, "draining; a second signal ends at once");
    tokio::select! {
        drained = drained(sidecar, within) => {
            if !drained {
                tracing::warn!("the drain deadline has passed with requests still running");
            }
        }
        () = async {
            if succeeded {
                // To it this is the first: whoever ends a service tells all of its processes.
                signals.ended().await;
            }
            signals.ended().await;
        } => tracing::warn!("ended by a second signal"),
    }
}

async fn drained(sidecar: &Sidecar, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    while !sidecar.is_drained() {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(DRAIN_POLL).await;
    }
    true
}

/// What the process is told from outside.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    replace: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            replace: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits to be told to end.
    async fn ended(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Does as told, until `sidecar` is to end.
    async fn follow(&mut self, sidecar: &Sidecar, handover: Option<&(Handover, Sockets)>) -> End {
        let mut successor = Successor::default();
        let given = async {
            match handover {
                Some((handover, sockets)) => handover.given(sockets).await,
                None => std::future::pending().await,
            }
        };
        let mut given = std::pin::pin!(given);
        let mut orders = sidecar.state.orders();
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    service_manager::reloading();
                    // A refusal is logged and counted where it happens.
                    let _ = sidecar.state.reload();
                    service_manager::ready();
                }
                _ = self.replace.recv() => match handover {
                    Some(_) => successor.start(),
                    None => tracing::error!(
                        "SIGUSR2 asks for a newer process, which would find nobody to take over \
                         from; set handover.socket and start again"
                    ),
                },
                () = &mut given => return End::Succeeded,
                Ok(_) = orders.wait_for(|order| *order == Order::Quit) => return End::Told,
                _ = self.terminate.recv() => return End::Told,
                _ = self.interrupt.recv() => return End::Told,
            }
        }
    }
}

/// The process started in place of this one, from the same path with the same arguments.
#[derive(Default)]
struct Successor {
    waiting: Option<JoinHandle<()>>,
}

impl Successor {
    fn start(&mut self) {
        if self.waiting.as_ref().is_some_and(|waiting| !waiting.is_finished()) {
            tracing::warn!("a newer process is about to take over; SIGUSR2 starts no other");
            return;
        }
        match start_again(std::env::args_os()) {
            Ok(waiting) => self.waiting = Some(waiting),
            Err(error) => tracing::error!(%error, "no newer process; this one goes on"),
        }
    }
}

/// Starts what `arguments` say, and waits for its end on a thread.
fn start_again(mut arguments: impl Iterator<Item = OsString>) -> std::io::Result<JoinHandle<()>> {
    let program = arguments.next().unwrap_or_default();
    // It is another process than the one that the service manager watched so far.
    let mut child = Command::new(&program).args(arguments).env_remove("WATCHDOG_PID").spawn()?;
    let process = child.id();
    tracing::info!(program = %Path::new(&program).display(), process, "started to take over");
    let waiting = std::thread::Builder::new().name("hopwise-successor".to_owned());
    waiting.spawn(move || match child.wait() {
        Ok(status) => tracing::error!(process, %status, "the newer process has ended"),
        Err(error) => tracing::error!(process, %error, "cannot wait for the newer process"),
    })
}
