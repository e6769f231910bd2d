//! Load without pauses.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::Load;
use crate::message::{Answer, BUFFER_BYTES};
use crate::tally::{Tally, run_time};

/// What the connections of one thread share.
struct Shared {
    to: SocketAddr,
    request: Vec<u8>,
    reconnect: bool,
    until: Instant,
    left: Cell<u64>,
    tally: RefCell<Tally>,
}

pub(crate) fn run(
    load: &Load,
    requests: Option<u64>,
    reconnect: bool,
    threads: usize,
) -> io::Result<()> {
    let began = Instant::now();
    let until = began + load.time();
    let share = requests.map_or(u64::MAX, |requests| requests.div_ceil(threads as u64));
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let load = load.clone();
            let connections = load.connections.div_ceil(threads);
            thread::spawn(move || work(&load, connections, share, reconnect, until))
        })
        .collect();
    let (mut tally, mut busiest) = (Tally::default(), Duration::ZERO);
    for worker in workers {
        let (part, ran) = worker.join().map_err(|_| io::Error::other("a thread died"))??;
        tally.add(part);
        busiest = busiest.max(ran);
    }
    let elapsed = began.elapsed();
    tally.print(elapsed, busiest.as_secs_f64() / elapsed.as_secs_f64());
    Ok(())
}

fn work(
    load: &Load,
    connections: usize,
    share: u64,
    reconnect: bool,
    until: Instant,
) -> io::Result<(Tally, Duration)> {
    let shared = Rc::new(Shared {
        to: load.to,
        request: load.request(reconnect),
        reconnect,
        until,
        left: Cell::new(share),
        tally: RefCell::default(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let local = LocalSet::new();
    for _ in 0..connections {
        local.spawn_local(keep_busy(Rc::clone(&shared)));
    }
    runtime.block_on(local);
    Ok((shared.tally.take(), run_time()))
}

async fn keep_busy(shared: Rc<Shared>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut kept = None;
    while shared.left.get() > 0 {
        let started = Instant::now();
        if started >= shared.until {
            break;
        }
        shared.left.set(shared.left.get() - 1);
        let result = exchange(&shared, kept.take(), &mut buffer).await;
        let mut tally = shared.tally.borrow_mut();
        match result {
            Ok(stream) => {
                tally.answered(started.elapsed());
                kept = stream;
            }
            Err(error) => tally.failed(&error),
        }
    }
}

/// One request and its answer; the connection, if it stays open.
async fn exchange(
    shared: &Shared,
    kept: Option<TcpStream>,
    buffer: &mut [u8],
) -> io::Result<Option<TcpStream>> {
    let mut stream = match kept {
        Some(stream) => stream,
        None => connect(shared.to).await?,
    };
    stream.write_all(&shared.request).await?;
    let mut answer = Answer::default();
    loop {
        let read = stream.read(buffer).await?;
        if answer.take_in(&buffer[..read])? {
            break;
        }
    }
    if !answer.closes && !shared.reconnect {
        return Ok(Some(stream));
    }
    // The end is awaited, so that whoever closes does all of its work; then a reset takes the
    // place of TIME_WAIT, or a minute of this would use up all ports.
    while stream.read(buffer).await? > 0 {}
    stream.set_zero_linger()?;
    Ok(None)
}

async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
