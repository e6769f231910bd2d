//! hopwise decides, invocation by invocation, where a function should run.

pub mod config;
pub mod problem;
pub mod scheduling;
pub mod topology;
