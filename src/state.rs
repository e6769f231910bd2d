//! What all threads share: the clock, the snapshot, the scheduler, and the one path on which
//! configuration changes.

mod refused;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rand_pcg::Pcg64;
use tokio::sync::watch;

use crate::access_log::AccessLog;
use crate::clients::Clients;
use crate::config::{Change, Digest, Snapshot};
use crate::decisions::{Decisions, Explained};
use crate::host_load::HostLoad;
use crate::metrics::{Metrics, StepKind};
use crate::problem::Problem;
use crate::record::{Core, Recorder};
use crate::scheduling::estimate::LoadReport;
use crate::scheduling::limit::Sample;
use crate::scheduling::queue::Caller;
use crate::scheduling::route::{Decision, Invocation, Invoked, Outcome, Step, Ticket, Why};
use crate::scheduling::{FunctionName, Time};
use crate::topology::{NodeIndex, Slot};
use crate::traces::Traces;
use crate::turns::{Asked, Started, Turns};

use refused::Refused;

/// Everything that outlives a request.
#[derive(Debug)]
pub struct State {
    clock: Clock,
    current: ArcSwap<Snapshot>,
    scheduler: Mutex<Core>,
    /// What clients of the data port take.
    pub clients: Arc<Clients>,
    /// Who runs at this node's gateway, and who waits.
    pub turns: Turns,
    writing: Mutex<()>,
    source: Option<PathBuf>,
    draining: AtomicBool,
    failing: AtomicBool,
    refused: Refused,
    orders: watch::Sender<Order>,
    /// A line for each request, if they are wanted.
    pub access_log: AccessLog,
    /// What makes spans of requests, if that is wanted; set at the start or never.
    pub traces: OnceLock<Traces>,
    /// The last decisions.
    pub decisions: Decisions,
    /// Counters and gauges.
    pub metrics: Metrics,
    /// The load of this host.
    pub host_load: HostLoad,
}

/// What operators tell this process to do, the later the more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// To take connections.
    Serve,
    /// To take no more of them, and to stay.
    Drain,
    /// To drain and end.
    Quit,
}

/// Where the core's [`Time`] comes from.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn now(&self) -> Time {
        Time::after_origin(self.0.elapsed())
    }

    /// What this clock shows at `instant`.
    pub fn time_of(&self, instant: Instant) -> Time {
        Time::after_origin(instant.saturating_duration_since(self.0))
    }
}

impl State {
    /// The state of a node that starts with `snapshot`, which was read from `source`, and draws
    /// from `rng`.
    pub fn new(snapshot: Snapshot, source: Option<PathBuf>, rng: Pcg64) -> Self {
        let scheduler = Core::new(&snapshot, snapshot.cores.get(), rng);
        let turns = Turns::new(snapshot.cores.get(), snapshot.limits.functions);
        let decisions = Decisions::new(snapshot.limits.decisions);
        let metrics = Metrics::new(snapshot.limits.metric_names);
        Self {
            clock: Clock::start(),
            current: ArcSwap::from_pointee(snapshot),
            scheduler: Mutex::new(scheduler),
            clients: Arc::default(),
            turns,
            writing: Mutex::new(()),
            source,
            draining: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            refused: Refused::default(),
            orders: watch::Sender::new(Order::Serve),
            access_log: AccessLog::default(),
            traces: OnceLock::new(),
            decisions,
            metrics,
            host_load: HostLoad::default(),
        }
    }

    /// Notes all that is asked of the scheduler; to be called before anything is.
    pub fn record_with(&self, recorder: Recorder) {
        self.scheduler().record_with(recorder);
    }

    /// Ends the record, if there is one, and waits until it is written.
    pub fn end_record(&self) {
        // Nobody waits for the scheduler while this waits for the disk.
        let recorder = self.scheduler().take_recorder();
        drop(recorder);
    }

    /// The configuration in force. An invocation asks once and keeps the answer to its end.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Time since the start.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// What [`State::now`] was at `instant`.
    pub fn time_of(&self, instant: Instant) -> Time {
        self.clock.time_of(instant)
    }

    /// What to do with an invocation under `snapshot`.
    pub fn decide(&self, snapshot: &Snapshot, invocation: &Invocation<'_>) -> Decision {
        let cpu_share = self.host_load.cpu_share();
        let now = self.now();
        let decision = self.scheduler().decide(snapshot, invocation, cpu_share, now);
        self.count(&decision);
        decision
    }

    /// The same, with what the decision went by, where somebody asks or one is to be kept.
    pub fn decide_and_explain(
        &self,
        snapshot: &Snapshot,
        invocation: &Invocation<'_>,
        asked: bool,
    ) -> (Decision, Option<Arc<Explained>>) {
        let now = self.now();
        let kept = self.decisions.wants(now);
        let cpu_share = self.host_load.cpu_share();
        if !asked && !kept {
            let decision = self.scheduler().decide(snapshot, invocation, cpu_share, now);
            self.count(&decision);
            return (decision, None);
        }
        let (decision, explanation) =
            self.scheduler().decide_explained(snapshot, invocation, cpu_share, now);
        self.count(&decision);
        let explained = explanation.map(|explanation| {
            Arc::new(Explained::new(&snapshot.site, invocation, &decision, explanation))
        });
        if let Some(explained) = &explained {
            self.decisions.keep(Arc::clone(explained));
        }
        (decision, explained)
    }

    /// After how long an invocation of `function` that comes in now takes long, if that matters.
    pub fn hedge_after(&self, snapshot: &Snapshot, function: FunctionName) -> Option<Duration> {
        let now = self.now();
        self.scheduler().hedge_after(snapshot, function, now)
    }

    /// Where a second copy of `first` goes, if there is one.
    pub fn hedge(
        &self,
        snapshot: &Snapshot,
        invocation: &Invocation<'_>,
        first: Invoked,
    ) -> Option<Decision> {
        let cpu_share = self.host_load.cpu_share();
        let now = self.now();
        let decision = self.scheduler().hedge(snapshot, invocation, first, cpu_share, now)?;
        self.count(&decision);
        Some(decision)
    }

    /// Whether an invocation of `function` that has this much time `left` need not be tried.
    pub fn is_hopeless(&self, function: FunctionName, left: Duration) -> bool {
        let now = self.now();
        self.scheduler().is_hopeless(function, left, now)
    }

    /// How long to wait before a node is asked again that has failed this invocation.
    pub fn wait_again(&self, snapshot: &Snapshot, failures: u32) -> Duration {
        self.scheduler().wait_again(snapshot, failures)
    }

    /// Whether the owner of `slot` is left alone for now.
    pub fn is_left_alone(&self, slot: Slot) -> bool {
        let now = self.now();
        self.scheduler().is_left_alone(slot, now)
    }

    /// Notes that the owner of `slot` may be gone, since it ended a connection.
    pub fn doubt(&self, slot: Slot) {
        self.scheduler().doubt(slot);
    }

    /// A lost or doubted node that should be probed now, if there is one, and the time to tell it by.
    pub fn next_probe(&self, snapshot: &Snapshot) -> Option<(NodeIndex, Time)> {
        let now = self.now();
        Some((self.scheduler().next_probe(snapshot, now)?, now))
    }

    /// Learns what came of a probe that was begun at `started`.
    pub fn probed(&self, slot: Slot, found: bool, started: Time) {
        self.metrics.count_probe(found);
        let now = self.now();
        self.scheduler().probed(slot, found, started, now);
    }

    fn count(&self, decision: &Decision) {
        if decision.why == Why::RetriesSpent {
            self.metrics.retries_refused.inc();
        }
        let kind = match decision.step {
            Step::RunHere => StepKind::RunHere,
            Step::Offload(_) => StepKind::Offload,
            Step::Delegate(_) => StepKind::Delegate,
            Step::Refuse(_) => StepKind::Refuse,
        };
        self.metrics.count_decision(kind, decision.architecture, decision.fallback_from);
    }

    /// Learns from how a step ended at `now`, and from what the node asked said of itself, or the node
    /// that ran it where that is another. A `status` of 0 is none.
    pub fn record(
        &self,
        ticket: Ticket,
        outcome: Outcome,
        report: Option<LoadReport>,
        ran: Option<(Slot, LoadReport)>,
        status: u16,
        now: Time,
    ) {
        self.metrics.count_outcome(outcome);
        let topology = || Arc::clone(&self.current.load().site.topology);
        self.metrics.nodes.record(topology, &ticket, outcome, status, now);
        self.scheduler().record_placed(ticket, outcome, report, ran, now);
    }

    /// Learns what a node said of itself with a request.
    pub fn hear(&self, slot: Slot, report: LoadReport) {
        let now = self.now();
        self.scheduler().hear(slot, report, now);
    }

    /// Lets an invocation of `function` run at this node's gateway, or wait; also the time by which
    /// it must start.
    pub fn ask_turn(
        &self,
        snapshot: &Snapshot,
        function: FunctionName,
        caller: Caller,
        deadline: Option<Instant>,
    ) -> (Asked, Instant) {
        let rule = &snapshot.site.policy.queue;
        let now = self.now();
        let deadline = deadline.map(|deadline| self.clock.time_of(deadline));
        let start_by = self.scheduler().start_by(rule, function, deadline, now);
        let asked = self.turns.ask(rule, caller, start_by, now);
        (asked, Instant::now() + start_by.since(now))
    }

    /// Lets an invocation run at this node's gateway if it need not wait.
    pub fn ask_turn_at_once(&self, snapshot: &Snapshot) -> Option<Started> {
        self.turns.ask_at_once(&snapshot.site.policy.queue, self.now())
    }

    /// Ends the turn of an invocation that ran here, and begins the next.
    pub fn end_turn(&self, sample: Option<Sample>) {
        let current = self.current.load();
        self.turns.end(&current.site.policy.queue, sample, self.now());
    }

    /// Notes that the invocation of `ticket` waits for its turn here.
    pub fn hold(&self, ticket: &mut Ticket) {
        let now = self.now();
        self.scheduler().hold(ticket, now);
    }

    /// Notes that its turn has come.
    pub fn resume(&self, ticket: &mut Ticket) {
        let now = self.now();
        self.scheduler().resume(ticket, now);
    }

    /// What this node says of itself, to whoever sent it the invocation of `ticket`.
    pub fn report(&self, snapshot: &Snapshot, ticket: Option<&Ticket>) -> LoadReport {
        let now = self.now();
        self.scheduler().report(snapshot.site.node().slot, ticket, now)
    }

    /// Invocations running at this node's gateway.
    pub fn in_flight(&self, snapshot: &Snapshot) -> u32 {
        self.scheduler().in_flight(snapshot.site.node().slot)
    }

    /// Whether anybody wants to be told of requests once they are over.
    pub fn follows_requests(&self) -> bool {
        self.access_log.is_on() || self.traces.get().is_some()
    }

    /// Makes `/ready` say that no more is to be sent here.
    pub fn begin_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether this sidecar is on its way out.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Makes `/ready` say that this sidecar is unwell, or well again; nothing else changes.
    pub fn fail_health_check(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    /// Whether somebody wants health checks to fail.
    pub fn is_failing_health_check(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Tells whoever runs this process to do as `order` says; none is taken back.
    pub fn order(&self, order: Order) {
        self.orders.send_if_modified(|given| {
            let more = order > *given;
            *given = order.max(*given);
            more
        });
    }

    /// For whoever follows orders.
    pub fn orders(&self) -> watch::Receiver<Order> {
        self.orders.subscribe()
    }

    /// Makes `change`, or says all that stands against it and leaves everything as it was.
    ///
    /// This is the only writer: SIGHUP, `/reload`, `/update_threshold` and drains all come here.
    pub fn apply(&self, change: &Change) -> Result<Arc<Snapshot>, Vec<Problem>> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.snapshot();
        let next = current.with(change).map_err(|problems| self.refuse(change, problems))?;
        if matches!(change, Change::Text(_)) {
            let sink = AccessLog::open(&next.access_log);
            self.access_log.follow(sink.map_err(|problem| self.refuse(change, vec![problem]))?);
        }
        let next = Arc::new(next);
        // The scheduler knows the new nodes before anyone can ask for them.
        self.scheduler().follow(change, &next);
        self.current.store(Arc::clone(&next));
        self.turns.follow(&next.site.policy.queue, self.now());
        self.decisions.bound(next.limits.decisions);
        self.metrics.follow(&next.site.topology, next.limits.metric_names);
        self.metrics.config_reloads.inc();
        self.note_reload(change, false);
        self.metrics.config_generation.set(i64::try_from(next.generation).unwrap_or(i64::MAX));
        tracing::info!(generation = next.generation, mode = %next.site.policy.mode, "configured");
        for warning in next.warnings() {
            tracing::warn!(%warning, "invocations will fall back to another architecture");
        }
        if matches!(change, Change::Text(_)) {
            for key in next.restart_needed() {
                tracing::warn!(key, "changed, but takes effect only at the next start");
            }
        }
        Ok(next)
    }

    /// Reads the configuration file again and follows it, if all of it is good.
    pub fn reload(&self) -> Result<Arc<Snapshot>, Vec<Problem>> {
        let Some(source) = &self.source else {
            let fault = "this sidecar was not started from a file";
            return Err(vec![Problem::new("config", "", fault, "say what to change")]);
        };
        match std::fs::read_to_string(source) {
            Ok(text) => self.apply(&Change::Text(text)),
            Err(error) => {
                let file = source.display();
                let remedy = "put the file back and reload again";
                let problem =
                    Problem::new("config", file, format!("cannot be read: {error}"), remedy);
                Err(self.refuse(&Change::Text(String::new()), vec![problem]))
            }
        }
    }

    /// Follows the files of certificates if others are in them now than in the configuration, and
    /// than were `tried` last; answers with what was tried now.
    pub fn follow_certificates(&self, tried: Option<Digest>) -> Option<Digest> {
        let current = self.snapshot();
        let found = current.tls.digest_of_files();
        if found != current.tls.digest() && found != tried {
            // A refusal is logged and counted where it happens, and tried once.
            let _ = self.apply(&Change::Certificates);
        }
        found
    }

    fn refuse(&self, change: &Change, problems: Vec<Problem>) -> Vec<Problem> {
        self.metrics.config_reload_failures.inc();
        self.note_reload(change, true);
        for problem in &problems {
            tracing::error!(%problem, "configuration refused, nothing changed");
        }
        problems
    }

    /// Tells by the metrics whether the files as they were read last are good: a process that starts
    /// again finds those, whatever else was changed meanwhile.
    fn note_reload(&self, change: &Change, refused: bool) {
        if let Some(good) = self.refused.note(change, refused) {
            self.metrics.config_last_reload_successful.set(i64::from(good));
        }
    }

    /// The scheduler, for a moment: the lock is never held across an await.
    pub fn scheduler(&self) -> MutexGuard<'_, Core> {
        self.scheduler.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
