//! Load at a constant rate.
//!
//! Each connection has a thread of its own that sleeps until its next request is due: the timers of
//! an event loop are too coarse for latencies of some ten microseconds.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::Load;
use crate::message::{Answer, BUFFER_BYTES};
use crate::tally::{Tally, run_time};

pub(crate) fn run(load: &Load, rate: u32) -> io::Result<()> {
    let gap = Duration::from_secs(1) / rate;
    // All are connected before the first is due.
    let began = Instant::now() + Duration::from_millis(50);
    let workers: Vec<_> = (0..load.connections)
        .map(|number| {
            let load = load.clone();
            let first = began + gap * number as u32;
            let every = gap * load.connections as u32;
            thread::spawn(move || work(&load, first, every, began + load.time()))
        })
        .collect();
    let (mut tally, mut ran) = (Tally::default(), Duration::ZERO);
    for worker in workers {
        let (part, its) = worker.join().map_err(|_| io::Error::other("a thread died"))??;
        tally.add(part);
        ran += its;
    }
    let elapsed = began.elapsed();
    // They take turns on one core.
    tally.print(elapsed, ran.as_secs_f64() / elapsed.as_secs_f64());
    Ok(())
}

fn work(
    load: &Load,
    first: Instant,
    every: Duration,
    until: Instant,
) -> io::Result<(Tally, Duration)> {
    let request = load.request(false);
    let mut tally = Tally::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut stream = TcpStream::connect(load.to)?;
    stream.set_nodelay(true)?;
    let mut due = first;
    while due < until {
        let waiting = due.saturating_duration_since(Instant::now());
        thread::sleep(waiting);
        // Where the last answer has made this request late, it has waited since it was due; where
        // the timer has, that is no fault of the proxy.
        let started = if waiting.is_zero() { due } else { Instant::now() };
        match exchange(&mut stream, &request, &mut buffer) {
            Ok(()) => tally.answered(started.elapsed()),
            Err(error) => {
                tally.failed(&error);
                stream = TcpStream::connect(load.to)?;
                stream.set_nodelay(true)?;
            }
        }
        due += every;
    }
    Ok((tally, run_time()))
}

fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut [u8]) -> io::Result<()> {
    stream.write_all(request)?;
    let mut answer = Answer::default();
    loop {
        let read = stream.read(buffer)?;
        if answer.take_in(&buffer[..read])? {
            return Ok(());
        }
    }
}
