//! Sidecars with real sockets on ports of the system's choosing.

#![allow(clippy::unwrap_used, reason = "clippy takes only functions marked #[test] for tests")]

mod deadline;
mod entry;
mod hedge;
mod manage;
mod queue;
mod record;
mod retries;
mod scripted;
mod simulate;
mod support;
