//! The network: hosts are TUN devices, and each packet arrives after the delay of its way.
//!
//! Standard input is a Unix socket. The first message carries one open TUN device per host, and
//! says in JSON which addresses they have and how long a packet takes from each to each. Then
//! `{"cut": [[0, 3]]}` drops all packets between these hosts, until the next such line, and
//! `{"stats": true}` asks how late packets were.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::Deserialize;
use serde_json::json;

use crate::lateness::Lateness;

const HOSTS_MAX: usize = 8;
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Larger than any packet that the devices let through.
const PACKET_BYTES_MAX: usize = 2048;
/// Packets under way; a link that is full drops what comes then.
const PACKETS_MAX: usize = 100_000;

/// The hosts, in the order of their devices.
#[derive(Debug, Deserialize)]
struct Network {
    addresses: Vec<Ipv4Addr>,
    delays_us: Vec<Vec<u64>>,
}

/// What can be asked while it runs.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Order {
    cut: Option<Vec<[usize; 2]>>,
    stats: bool,
}

/// A packet under way. Ordered by when it is due; those due together keep their order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    due: Instant,
    number: u64,
    to: usize,
    bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    under_way: BinaryHeap<Reverse<Packet>>,
    packets: u64,
    dropped: u64,
    cut: Vec<[usize; 2]>,
    lateness: Lateness,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// A packet is due before all others.
    earlier: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn run() -> anyhow::Result<()> {
    let orders = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (network, devices) = receive(&orders).context("cannot receive the devices")?;
    let hosts = devices.len();
    let square = network.delays_us.iter().all(|row| row.len() == hosts);
    ensure!(network.addresses.len() == hosts && network.delays_us.len() == hosts && square);
    let shared = Arc::new(Shared::default());
    let devices: Arc<Vec<File>> = Arc::new(devices.into_iter().map(File::from).collect());
    let number_of: HashMap<[u8; 4], usize> =
        network.addresses.iter().enumerate().map(|(i, a)| (a.octets(), i)).collect();
    for (from, delays) in network.delays_us.iter().enumerate() {
        let delays = delays.iter().map(|us| Duration::from_micros(*us)).collect();
        let way = Ways { from, delays, number_of: number_of.clone() };
        let (shared, devices) = (Arc::clone(&shared), Arc::clone(&devices));
        thread::spawn(move || take_in(&way, &devices[from], &shared));
    }
    let sender = Arc::clone(&shared);
    thread::spawn(move || deliver(&devices, &sender));
    obey(&orders, &shared)
}

/// The first message, with the devices.
fn receive(stream: &UnixStream) -> anyhow::Result<(Network, Vec<OwnedFd>)> {
    let mut text = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HOSTS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut text)], &mut control, flags)?;
    let devices = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(devices) => Some(devices),
        _ => None,
    });
    Ok((serde_json::from_slice(&text[..received.bytes])?, devices.flatten().collect()))
}

/// What leads away from one host.
struct Ways {
    from: usize,
    delays: Vec<Duration>,
    number_of: HashMap<[u8; 4], usize>,
}

/// Reads what a host sends, and notes when it is due where.
fn take_in(ways: &Ways, mut device: &File, shared: &Shared) {
    let mut buffer = [0; PACKET_BYTES_MAX];
    // It ends when the device is gone.
    while let Ok(length) = device.read(&mut buffer) {
        let sent = Instant::now();
        // IPv4 only; bytes 16 to 19 are the destination.
        let to = buffer[..length].get(16..20).filter(|_| buffer[0] >> 4 == 4);
        let Some(&to) = to.and_then(|to| ways.number_of.get(to)) else { continue };
        let due = sent + ways.delays[to];
        let bytes = buffer[..length].to_vec();
        let mut state = shared.lock();
        let is_cut = state
            .cut
            .iter()
            .any(|[a, b]| [*a, *b] == [ways.from, to] || [*b, *a] == [ways.from, to]);
        if is_cut || state.under_way.len() >= PACKETS_MAX {
            state.dropped += 1;
            continue;
        }
        let number = state.packets;
        state.packets += 1;
        let earliest = state.under_way.peek().is_none_or(|Reverse(first)| due < first.due);
        state.under_way.push(Reverse(Packet { due, number, to, bytes }));
        drop(state);
        if earliest {
            shared.earlier.notify_one();
        }
    }
}

/// Hands over each packet when it is due.
fn deliver(devices: &[File], shared: &Shared) {
    let mut state = shared.lock();
    loop {
        let now = Instant::now();
        let Some(Reverse(first)) = state.under_way.peek() else {
            state = shared.earlier.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        if first.due > now {
            let wait = first.due - now;
            state = match shared.earlier.wait_timeout(state, wait) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
            continue;
        }
        if let Some(Reverse(packet)) = state.under_way.pop() {
            state.lateness.note(now - packet.due);
            drop(state);
            // A host that is down takes nothing; that is its affair.
            let _ = (&devices[packet.to]).write(&packet.bytes);
            state = shared.lock();
        }
    }
}

/// Until standard input ends.
fn obey(orders: &UnixStream, shared: &Shared) -> anyhow::Result<()> {
    for line in BufReader::new(orders).lines() {
        let order: Order = serde_json::from_str(&line?)?;
        let mut state = shared.lock();
        if let Some(cut) = order.cut {
            state.cut = cut;
        }
        if order.stats {
            let (packets, dropped) = (state.packets, state.dropped);
            let told = json!({
                "packets": packets, "dropped": dropped, "lateness": state.lateness.take(),
            });
            drop(state);
            writeln!(&mut &*orders, "{told}")?;
        }
    }
    Ok(())
}
