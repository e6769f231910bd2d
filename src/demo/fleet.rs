//! The demonstration's nodes: five sidecars, each in front of a gateway of its own.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use rand::SeedableRng;
use rand_pcg::Pcg64;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::gateway::{self, Activity};
use crate::app::{DRAIN_POLL, Sidecar};
use crate::config::{self, Change, Snapshot};
use crate::scheduling::policy::Mode;
use crate::topology::{Address, NodeId};

/// Id, role, zone and cores of each node; the n-th lives on 127.0.0.n.
const NODES: [(&str, &str, &str, usize); 5] = [
    ("cloud", "cloud-controller", "cloud", 4),
    ("edge1", "edge-controller", "edge-A", 2),
    ("edge2", "worker", "edge-A", 2),
    ("edge3", "edge-controller", "edge-B", 2),
    ("edge4", "worker", "edge-B", 2),
];

/// Tries to find a port that is free on all five addresses.
const PORT_TRIES_MAX: usize = 16;

/// Five nodes at work.
pub struct Fleet {
    nodes: Vec<RunningNode>,
    gateways: Option<JoinHandle<()>>,
    stop_gateways: watch::Sender<bool>,
}

struct RunningNode {
    id: NodeId,
    sidecar: Sidecar,
    activity: Arc<Activity>,
}

/// The ports that all nodes share, each on its own address.
#[derive(Debug, Clone, Copy)]
struct Ports {
    gateway: u16,
    data: u16,
    admin: u16,
}

impl Fleet {
    /// Brings all nodes up, on the standard ports where those are free.
    pub fn start(mode: Mode, seed: u64) -> anyhow::Result<Self> {
        let ports = Ports {
            gateway: free_port(Address::GATEWAY_PORT_DEFAULT)?,
            data: free_port(Address::PORT_DEFAULT)?,
            admin: free_port(config::Listen::ADMIN_DEFAULT.port())?,
        };
        let (stop_gateways, stopped) = watch::channel(false);
        let activities: Vec<Arc<Activity>> = NODES.iter().map(|_| Arc::default()).collect();
        let gateways = start_gateways(ports, &activities, seed, stopped)?;
        let nodes = activities.into_iter().enumerate().map(|(index, activity)| {
            let id = NODES[index].0;
            let yaml = configuration(index, mode, ports);
            let snapshot = Snapshot::from_yaml(&yaml, None)
                .map_err(|problems| anyhow!(config::render(&problems, "demo")))?;
            let rng = Pcg64::seed_from_u64(seed.wrapping_add(index as u64));
            let sidecar = Sidecar::start(snapshot, None, rng)
                .with_context(|| format!("cannot start node {id}"))?;
            Ok(RunningNode { id: NodeId::new(id)?, sidecar, activity })
        });
        let nodes = nodes.collect::<anyhow::Result<_>>()?;
        Ok(Self { nodes, gateways: Some(gateways), stop_gateways })
    }

    /// The nodes' ids, in their order.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.iter().map(|node| node.id.clone())
    }

    /// Data and admin address of each node.
    pub fn addresses(&self) -> impl Iterator<Item = (&NodeId, SocketAddr, SocketAddr)> {
        self.nodes.iter().map(|node| {
            let Sidecar { data_address, admin_address, .. } = node.sidecar;
            (&node.id, data_address, admin_address)
        })
    }

    /// Where the demonstration's users are: at the edge.
    pub fn entries(&self) -> Vec<SocketAddr> {
        self.nodes.iter().skip(1).map(|node| node.sidecar.data_address).collect()
    }

    /// Invocations that `id` runs or has queued.
    pub fn in_flight(&self, id: &NodeId) -> usize {
        let node = self.nodes.iter().find(|node| node.id == *id);
        node.map_or(0, |node| node.activity.in_flight())
    }

    /// Switches every node to `mode`, live.
    pub fn switch(&self, mode: Mode) {
        for node in &self.nodes {
            if let Err(problems) = node.sidecar.state.apply(&Change::Mode(mode)) {
                tracing::error!(node = %node.id, ?problems, "cannot switch");
            }
        }
    }

    /// Lets what is running end, then ends the gateways.
    pub fn stop(mut self, within: Duration) {
        self.nodes.iter().for_each(|node| node.sidecar.drain());
        let deadline = Instant::now() + within;
        while !self.nodes.iter().all(|node| node.sidecar.is_drained()) && Instant::now() < deadline
        {
            std::thread::sleep(DRAIN_POLL);
        }
        self.stop_gateways.send_replace(true);
        if let Some(gateways) = self.gateways.take() {
            // A gateway that panicked has said so.
            let _ = gateways.join();
        }
    }
}

fn ip(index: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, index as u8 + 1))
}

/// `wanted`, or another port that is free on the addresses of all nodes.
fn free_port(wanted: u16) -> anyhow::Result<u16> {
    let is_free = |port: u16| {
        let bind = |index| TcpListener::bind((ip(index), port));
        (0..NODES.len()).map(bind).collect::<Result<Vec<_>, _>>().is_ok()
    };
    if is_free(wanted) {
        return Ok(wanted);
    }
    for _ in 0..PORT_TRIES_MAX {
        let port = TcpListener::bind((ip(0), 0))?.local_addr()?.port();
        if is_free(port) {
            return Ok(port);
        }
    }
    Err(anyhow!("no port is free on all of 127.0.0.1 to 127.0.0.5; end what holds {wanted}"))
}

/// What the node at `index` is configured to do. All nodes share the host's cores, so the share of
/// CPU in use says nothing of any one of them, and only invocations in flight make it offload.
fn configuration(index: usize, mode: Mode, ports: Ports) -> String {
    let Ports { gateway, data, admin } = ports;
    let here = ip(index);
    let id = NODES[index].0;
    let mut yaml = format!(
        "architecture: {mode}\nnode: {{ id: {id} }}\nworkers: 1\n\
         listen: {{ data: \"{here}:{data}\", admin: \"{here}:{admin}\" }}\n\
         gateway: \"{here}:{gateway}\"\ntopology:\n"
    );
    for (index, (id, role, zone, cores)) in NODES.into_iter().enumerate() {
        let address = ip(index);
        // Writing to a String cannot fail.
        let _ = writeln!(
            yaml,
            "  - {{ id: {id}, role: {role}, zone: {zone}, address: {address}, port: {data}, \
             gateway_port: {gateway}, offload: {{ cpu_thresh: 1.0, load_thresh: {cores} }} }}"
        );
    }
    yaml
}

/// Starts all gateways on one thread; each computes on threads of its own.
fn start_gateways(
    ports: Ports,
    activities: &[Arc<Activity>],
    seed: u64,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut gateways = JoinSet::new();
    for (index, activity) in activities.iter().enumerate() {
        let listener = TcpListener::bind((ip(index), ports.gateway))?;
        listener.set_nonblocking(true)?;
        let _entered = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let options = gateway::Options {
            cores: NODES[index].3,
            seed: seed.wrapping_add(index as u64),
            activity: Arc::clone(activity),
            ..gateway::Options::default()
        };
        let mut stopped = stopped.clone();
        let until_stopped = async move {
            // An error means that the fleet is gone, which is as good a reason to end.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        gateways.spawn_on(gateway::serve(listener, options, until_stopped), runtime.handle());
    }
    let thread = std::thread::Builder::new().name("demo-gateways".to_owned());
    Ok(thread.spawn(move || {
        while let Some(ended) = runtime.block_on(gateways.join_next()) {
            if let Ok(Err(error)) = ended {
                tracing::error!(%error, "a gateway ended");
            }
        }
    })?)
}
