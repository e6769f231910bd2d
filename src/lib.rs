//! hopwise stands next to a FaaS gateway and decides, invocation by invocation, where a function
//! should run.
//!
//! # The map
//!
//! A *decision* is a value that pure code computes from the facts of an invocation. A shell asks
//! for it, carries it out and reports back what came of it.
//!
//! | module | what it is |
//! |---|---|
//! | [`problem`] | a fault in what somebody wrote: key, value, remedy, line |
//! | [`topology`] | pure: nodes, roles, zones, addresses |
//! | [`scheduling`] | pure: who decides, where it runs, what is learned |
//! | [`sim`] | pure: machines, network, clients and faults in virtual time, around the same scheduler |
//! | [`config`] | YAML as written, and the one validated [`config::Snapshot`] |
//! | [`logging`] | what this process logs, changed while it runs |
//! | [`access_log`] | a line for each request, written behind its back |
//! | [`metrics`] | Prometheus families in one table |
//! | [`clients`] | what clients take, all together and each |
//! | [`host_load`] | the load of this host, sampled on a timer |
//! | [`record`] | the scheduler with a record of what it is asked, and its replay |
//! | [`traces`] | spans of requests, and their way to a collector |
//! | [`turns`] | who runs at this node's gateway, and who waits |
//! | [`state`] | what threads share, and the one writer of configuration |
//! | [`proxy`] | the data path; its stack of layers is on one screen |
//! | [`api`] | our own paths on the data and the admin port |
//! | [`app`] | the composition root: sockets, threads, timers, drain |
//! | [`cli`] | the command line: what runs here, and what asks a sidecar that runs |
//! | [`demo`] | five sidecars and their gateways in one process |
//! | `fuzzing` | what `fuzz/` calls |
//! | [`simulate`] | scenarios from YAML through [`sim`] on all cores, to tables and charts |
//!
//! Arrows point one way: `problem, topology < scheduling < config < state < proxy < api < app <
//! demo, simulate, fuzzing < cli`. `access_log`, `clients`, `decisions`, `logging`, `metrics`, `host_load`, `record`, `traces` and `turns` stand below `state`, and `sim` beside
//! them: it uses [`config`] for the changes it simulates, and nothing that lives.
//!
//! # What holds
//!
//! 1. `topology`, `scheduling` and `sim` hold no async, IO, clock, entropy, logging, serde, threads or
//!    globals, and iterate over no hash map: same seed, same decisions.
//! 2. The core cannot fail at run time. A refusal is a decision with its reason; constructors fail
//!    instead, and name all problems at once.
//! 3. There is one `ArcSwap`, read once per invocation: none ever sees two configurations.
//! 4. SIGHUP, `/reload`, `/update_threshold` and drains of nodes take one path, [`state::State::apply`]. A refused
//!    change leaves everything as it was, and says so.
//! 5. Everything is bounded by a named constant or a configuration key.
//! 6. No lock is held across an await, and the cost of an invocation does not depend on history.

pub mod access_log;
pub mod api;
pub mod app;
pub mod cli;
pub mod clients;
pub mod config;
pub mod decisions;
pub mod demo;
#[doc(hidden)]
pub mod fuzzing;
pub mod host_load;
pub mod logging;
pub mod metrics;
pub mod problem;
pub mod proxy;
pub mod record;
pub mod scheduling;
pub mod sim;
pub mod simulate;
pub mod state;
pub mod topology;
pub mod traces;
pub mod turns;
