//! The demonstration: nodes on loopback addresses, each with an embedded gateway that runs real
//! functions, and real load through them.
//!
//! - [`functions`]: what the gateways run. Pure computing, bounded, no IO.
//! - [`gateway`]: an OpenFaaS-like gateway with a fixed number of cores and a bounded queue, so
//!   that a busy node really is slow.
//! - [`load`]: users who call one function after another and report each answer.
//! - [`tally`]: adds the reports up in bounded memory.
//! - [`table`]: draws what was added up. Pure: numbers in, text out.
//! - [`fleet`]: the five nodes, each a real sidecar in front of such a gateway.
//! - [`run`]: the demonstration itself.
//! - [`summary`]: the same numbers for a program to read.
//!
//! Only [`fleet`] and [`run`] know a sidecar: the gateway is a plain HTTP server and the load a
//! plain HTTP client, so what the demonstration shows is what any client of a real gateway would see.

mod client;
pub mod fleet;
pub mod functions;
pub mod gateway;
pub mod load;
pub mod run;
pub mod summary;
pub mod table;
pub mod tally;
