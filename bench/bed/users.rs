//! The users: each calls, waits for the answer, and calls again.
//!
//! Which entry an invocation takes, and how much it demands, follows from its number and the seed,
//! whatever the policy. One line per invocation goes to a file; a summary to standard output.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::Request;
use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::json;
use tokio::task::LocalSet;

use crate::client::Client;
use crate::lateness::Lateness;

/// Before a user calls again after a failure, as in the simulator.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_millis(10);
/// Numbers of invocations that only warm up.
const WARM_UP_NUMBERS: u64 = 1 << 32;

/// The users.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where invocations come in; several are taken evenly, by chance.
    #[arg(long, required = true, num_args = 1..)]
    entry: Vec<SocketAddr>,
    /// What is called.
    #[arg(long, default_value = "basic")]
    function: String,
    /// How many users.
    #[arg(long)]
    users: usize,
    /// Invocations that count.
    #[arg(long)]
    invocations: u64,
    /// What is issued before so many seconds have passed does not count.
    #[arg(long, default_value_t = 5.0)]
    warm_up: f64,
    /// How long a user waits for an answer, in seconds.
    #[arg(long, default_value_t = 30.0)]
    patience: f64,
    /// From which entries are drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to write a line per invocation.
    #[arg(long)]
    out: PathBuf,
}

struct Load {
    options: Options,
    began: Instant,
    warm_until: Instant,
    /// Of those that warm up, and of those that count.
    issued: [Cell<u64>; 2],
    failed: Cell<u64>,
    /// When the first that counts was issued, and when the last was answered.
    counted: Cell<Option<(Instant, Instant)>>,
    out: RefCell<BufWriter<File>>,
}

pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, drive(options))
}

async fn drive(options: Options) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut out = BufWriter::new(File::create(&options.out)?);
    writeln!(out, "number,entry,issued_s,ms,status,node")?;
    let load = Rc::new(Load {
        began,
        warm_until: began + Duration::from_secs_f64(options.warm_up),
        issued: Default::default(),
        failed: Cell::default(),
        counted: Cell::default(),
        out: RefCell::new(out),
        options,
    });
    let lateness = Rc::new(RefCell::new(Lateness::default()));
    let ticking = tokio::task::spawn_local(tick(Rc::clone(&lateness)));
    let users: Vec<_> = (0..load.options.users)
        .map(|_| tokio::task::spawn_local(use_it(Rc::clone(&load))))
        .collect();
    for user in users {
        user.await??;
    }
    ticking.abort();
    load.out.borrow_mut().flush()?;
    let took = load.counted.get().map_or(0.0, |(from, to)| (to - from).as_secs_f64());
    let [warm_up, counted] = [0, 1].map(|kind: usize| load.issued[kind].get());
    println!(
        "{}",
        json!({
            "warm_up": warm_up, "invocations": counted, "failed": load.failed.get(),
            "seconds": took, "lateness": lateness.borrow_mut().take(),
        })
    );
    Ok(())
}

/// How late a task of this process runs shows whether what it measures can be trusted.
async fn tick(lateness: Rc<RefCell<Lateness>>) {
    loop {
        let due = Instant::now() + TICK;
        tokio::time::sleep_until(due.into()).await;
        lateness.borrow_mut().note(due.elapsed());
    }
}

/// One user, with connections of its own.
async fn use_it(load: Rc<Load>) -> anyhow::Result<()> {
    let clients: Vec<_> = load.options.entry.iter().map(|to| Client::new(*to)).collect();
    while let Some(number) = load.next_number() {
        // The stream's own number keeps this draw apart from that of the demand.
        let mut rng = Pcg64::new(u128::from(number), u128::from(load.options.seed) << 64 | 0xe);
        let entry = rng.random_range(0..clients.len());
        let request = Request::post(format!("/function/{}", load.options.function))
            .header("host", load.options.entry[entry].to_string())
            .header("bed-number", number)
            .body(Full::from("{}"))?;
        let issued = Instant::now();
        let patience = Duration::from_secs_f64(load.options.patience);
        let called = tokio::time::timeout(patience, clients[entry].call(request)).await;
        let (status, node) = match &called {
            Ok(Ok(answer)) => {
                let node = answer.headers().get("bed-node").and_then(|node| node.to_str().ok());
                (answer.status().as_u16(), node.unwrap_or_default())
            }
            _ => (0, ""),
        };
        load.note(number, entry, issued, status, node)?;
        if status != 200 {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
    Ok(())
}

impl Load {
    fn next_number(&self) -> Option<u64> {
        let counts = Instant::now() >= self.warm_until;
        let issued = &self.issued[usize::from(counts)];
        let number = issued.get();
        if counts && number >= self.options.invocations {
            return None;
        }
        issued.set(number + 1);
        Some(if counts { number } else { WARM_UP_NUMBERS + number })
    }

    fn note(
        &self,
        number: u64,
        entry: usize,
        issued: Instant,
        status: u16,
        node: &str,
    ) -> anyhow::Result<()> {
        let now = Instant::now();
        if number < WARM_UP_NUMBERS {
            let from = self.counted.get().map_or(issued, |(from, _)| from.min(issued));
            self.counted.set(Some((from, now)));
            self.failed.set(self.failed.get() + u64::from(status != 200));
        }
        let (at, took) = (issued - self.began, now - issued);
        let (at, ms) = (at.as_secs_f64(), took.as_secs_f64() * 1e3);
        writeln!(self.out.borrow_mut(), "{number},{entry},{at:.3},{ms:.3},{status},{node}")?;
        Ok(())
    }
}
