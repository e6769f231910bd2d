//! The moving parts of `bench/testbed` that must not be late: the network between its nodes, a
//! gateway whose functions take the time they would take on a node of its own, and the users.
//!
//! Each is one process in a network namespace that `bench/testbed` has made. They are told what to
//! do while they run by lines of JSON on their standard input, and answer in lines of JSON.

mod client;
mod functions;
mod gateway;
mod lateness;
mod processor;
mod router;
mod users;

use clap::Parser;

/// The parts of `bench/testbed`.
#[derive(Debug, Parser)]
enum Command {
    /// Passes packets from TUN device to TUN device, each after its delay.
    Router,
    /// Answers as OpenFaaS does, as fast as a node with so many cores.
    Gateway(gateway::Options),
    /// So many users, each of whom waits for an answer before the next call.
    Users(users::Options),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Router => router::run(),
        Command::Gateway(options) => gateway::run(options),
        Command::Users(options) => users::run(options),
    }
}
