//! Sidecars with real sockets on ports of the system's choosing.

mod entry;
mod manage;
mod support;
