//! The load of `bench/peers`, and the gateway it ends at: as little work per request as can be, so
//! that neither is the limit where a proxy is measured.
//!
//! `closed` keeps every connection busy, `paced` sends at a constant rate, `serve` is the gateway.
//! The first two print what they saw as one line of JSON, with their own share of their cores.

mod client;
mod message;
mod paced;
mod serve;
mod tally;

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;

/// Load for `bench/peers`.
#[derive(Debug, Parser)]
// The last of an option given twice counts: a script appends what differs.
#[command(args_override_self = true)]
enum Command {
    /// Answers every request, once it has been read whole.
    Serve {
        /// Where to listen.
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Sends the next request as soon as the last one is answered.
    Closed {
        #[command(flatten)]
        load: Load,
        /// Ends after so many requests, if that is before the time is over.
        #[arg(long)]
        requests: Option<u64>,
        /// Opens a connection for every request.
        #[arg(long)]
        reconnect: bool,
        /// Threads, each with its share of the connections.
        #[arg(long, default_value_t = 1)]
        threads: usize,
    },
    /// Sends so many requests per second, however long the answers take.
    Paced {
        #[command(flatten)]
        load: Load,
        /// Requests per second, over all connections.
        #[arg(long)]
        rate: u32,
    },
}

/// What both kinds of load need.
#[derive(Debug, Clone, clap::Args)]
struct Load {
    /// Where to.
    #[arg(long)]
    to: SocketAddr,
    /// The path asked for.
    #[arg(long, default_value = "/function/echo")]
    path: String,
    /// Connections at once.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// How long.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Bytes of body; with none, requests are GET.
    #[arg(long, default_value_t = 0)]
    body_bytes: usize,
}

impl Load {
    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    fn request(&self, close: bool) -> Vec<u8> {
        message::request(&self.path, self.to, self.body_bytes, close)
    }
}

fn main() -> std::io::Result<()> {
    match Command::parse() {
        Command::Serve { listen } => serve::run(listen),
        Command::Closed { load, requests, reconnect, threads } => {
            client::run(&load, requests, reconnect, threads)
        }
        Command::Paced { load, rate } => paced::run(&load, rate),
    }
}
