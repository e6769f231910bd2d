//! hopwise decides, invocation by invocation, where a function should run.

pub mod api;
pub mod app;
pub mod config;
pub mod host_load;
pub mod metrics;
pub mod problem;
pub mod proxy;
pub mod scheduling;
pub mod state;
pub mod topology;
