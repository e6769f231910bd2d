//! The cores of a node: a fixed number of threads, and a bounded queue before them.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::demo::functions::{BadInput, Function, Input, Output};

/// What a gateway is doing, for whoever draws it. Filled in by the gateway it is given to.
#[derive(Debug, Default)]
pub struct Activity {
    queued: AtomicUsize,
    running: AtomicUsize,
    calls: [AtomicU64; Function::ALL.len()],
}

impl Activity {
    /// Invocations that wait for a core.
    pub fn queued(&self) -> usize {
        self.queued.load(Relaxed)
    }

    /// Invocations that hold a core.
    pub fn running(&self) -> usize {
        self.running.load(Relaxed)
    }

    /// Invocations here that have not ended.
    pub fn in_flight(&self) -> usize {
        self.queued() + self.running()
    }

    /// How often `function` was begun. One that left the queue before its turn never was.
    pub fn calls(&self, function: Function) -> u64 {
        self.calls[function.index()].load(Relaxed)
    }
}

/// Why an invocation has no output.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error(transparent)]
    BadInput(#[from] BadInput),
    #[error("the function broke off: this is a fault of the demonstration, please report it")]
    Panicked,
    #[error("this gateway is shutting down: call another node")]
    Stopped,
}

/// The queue is full.
#[derive(Debug, thiserror::Error)]
#[error("{0} invocations wait for a core here already: try again in a second, or elsewhere")]
pub(super) struct QueueFull(usize);

type Reply = Result<Output, CallError>;

struct Job {
    id: u64,
    function: Function,
    input: Input,
    reply: oneshot::Sender<Reply>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    running: usize,
    jobs: u64,
    stopped: bool,
}

struct Shared {
    state: Mutex<State>,
    /// There is a job, or no more will come.
    work: Condvar,
    /// No sleep is worth finishing.
    halt: Condvar,
    cores: usize,
    queue_max: usize,
    activity: Arc<Activity>,
}

/// Runs functions on its own threads, as many at once as there are cores. Dropping it ends them.
pub(super) struct Pool {
    shared: Arc<Shared>,
    ended: mpsc::Receiver<()>,
}

impl Pool {
    pub(super) fn new(cores: usize, queue_max: usize, activity: Arc<Activity>) -> io::Result<Self> {
        let state = Mutex::default();
        let (work, halt) = Default::default();
        let shared = Arc::new(Shared { state, work, halt, cores, queue_max, activity });
        // Nothing is ever sent: the channel closes when the last thread has ended.
        let (alive, ended) = mpsc::channel(1);
        let pool = Self { shared, ended };
        for core in 0..cores {
            let (shared, alive) = (Arc::clone(&pool.shared), alive.clone());
            std::thread::Builder::new().name(format!("demo-core-{core}")).spawn(move || {
                shared.work();
                drop(alive);
            })?;
        }
        Ok(pool)
    }

    /// Where to submit.
    pub(super) fn submitter(&self) -> Submitter {
        Submitter { shared: Arc::clone(&self.shared) }
    }

    /// Forgets what waits, cuts sleeps short, and waits until every thread has ended.
    pub(super) async fn stop(mut self) {
        self.shared.stop();
        self.ended.recv().await;
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// Puts invocations into the queue of a [`Pool`].
#[derive(Clone)]
pub(super) struct Submitter {
    shared: Arc<Shared>,
}

impl Submitter {
    /// Queues a call. It is computed unless the ticket is dropped before its turn.
    pub(super) fn submit(&self, function: Function, input: Input) -> Result<Ticket, QueueFull> {
        let shared = &self.shared;
        let (reply, receiver) = oneshot::channel();
        let mut state = shared.lock();
        let id = state.jobs;
        // After the end the reply is dropped at once, which the ticket reports as `Stopped`.
        if !state.stopped {
            let idle = shared.cores - state.running;
            if state.waiting.len() >= shared.queue_max + idle {
                return Err(QueueFull(shared.queue_max));
            }
            state.jobs += 1;
            state.waiting.push_back(Job { id, function, input, reply });
            shared.publish(&state);
            shared.work.notify_one();
        }
        drop(state);
        Ok(Ticket { id, shared: Arc::clone(shared), receiver })
    }
}

/// A place in the queue; dropping it gives the place up.
pub(super) struct Ticket {
    id: u64,
    shared: Arc<Shared>,
    receiver: oneshot::Receiver<Reply>,
}

impl Ticket {
    /// The function's output, when it has had its turn.
    pub(super) async fn wait(mut self) -> Reply {
        (&mut self.receiver).await.unwrap_or(Err(CallError::Stopped))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        // Ids rise along the queue.
        if let Ok(place) = state.waiting.binary_search_by_key(&self.id, |job| job.id) {
            state.waiting.remove(place);
            self.shared.publish(&state);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: &State) {
        self.activity.queued.store(state.waiting.len(), Relaxed);
        self.activity.running.store(state.running, Relaxed);
    }

    fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.waiting.clear();
        self.publish(&state);
        self.work.notify_all();
        self.halt.notify_all();
    }

    fn work(&self) {
        while let Some(job) = self.next_job() {
            let Job { function, input, reply, .. } = job;
            let pause = |duration| self.pause(duration);
            let call = AssertUnwindSafe(|| function.call(&input, &pause));
            let result = catch_unwind(call).map_or(Err(CallError::Panicked), |r| Ok(r?));
            // The core is free before the caller hears of it, so that a caller who counts cores
            // never finds one missing.
            let mut state = self.lock();
            state.running -= 1;
            self.publish(&state);
            drop(state);
            let _ = reply.send(result);
        }
    }

    fn next_job(&self) -> Option<Job> {
        let state = self.lock();
        let idle = |state: &mut State| state.waiting.is_empty() && !state.stopped;
        let mut state = self.work.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
        let job = state.waiting.pop_front()?;
        state.running += 1;
        self.publish(&state);
        self.activity.calls[job.function.index()].fetch_add(1, Relaxed);
        Some(job)
    }

    fn pause(&self, duration: Duration) {
        let state = self.lock();
        let _ = self.halt.wait_timeout_while(state, duration, |state| !state.stopped);
    }
}
