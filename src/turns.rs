//! Turns at this node's gateway: the queue of the core, with somebody to wake for each who waits.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::scheduling::Time;
use crate::scheduling::queue::{Admission, Bounds, Place, Queue, Turn};

/// Who runs at this node's gateway, and who waits for it.
#[derive(Debug, Default)]
pub struct Turns(Mutex<Queue<oneshot::Sender<()>>>);

/// The answer to somebody who would like to run.
#[derive(Debug)]
pub enum Asked {
    /// It runs, and ends with [`Turns::end`].
    Runs,
    /// It waits until the receiver gets word, or hears that it has to go. Whoever goes away before
    /// that says so with [`Turns::leave`].
    Waits(Place, oneshot::Receiver<()>),
    /// There is no room.
    Full,
}

impl Turns {
    /// Lets somebody run, or wait to start by `start_by`.
    pub fn ask(&self, bounds: Bounds, start_by: Time) -> Asked {
        let (turn, word) = oneshot::channel();
        match self.queue().enter(bounds, start_by, turn) {
            Admission::Runs(_) => Asked::Runs,
            // Dropping the other end tells the one that has to go.
            Admission::Waits(place, _displaced) => Asked::Waits(place, word),
            Admission::Full(_) => Asked::Full,
        }
    }

    /// Lets somebody run if it need not wait.
    pub fn ask_at_once(&self, bounds: Bounds) -> bool {
        self.queue().enter_at_once(bounds)
    }

    /// Ends the turn of one that ran.
    pub fn end(&self, bounds: Bounds, now: Time) {
        let mut queue = self.queue();
        queue.end();
        advance(&mut queue, bounds, now);
    }

    /// Lets those run who may under new `bounds`.
    pub fn follow(&self, bounds: Bounds, now: Time) {
        advance(&mut self.queue(), bounds, now);
    }

    /// Takes out one that goes away; whether its turn had come.
    pub fn leave(&self, place: Place, word: &mut oneshot::Receiver<()>) -> bool {
        self.queue().leave(place).is_none() && word.try_recv().is_ok()
    }

    /// How many run, and how many wait.
    pub fn counts(&self) -> (u32, usize) {
        let queue = self.queue();
        (queue.running(), queue.waiting())
    }

    fn queue(&self) -> MutexGuard<'_, Queue<oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn advance(queue: &mut Queue<oneshot::Sender<()>>, bounds: Bounds, now: Time) {
    while let Some(turn) = queue.next(bounds, now) {
        // Whoever went away this very moment leaves the turn to the next.
        if let Turn::Runs(who) = turn
            && who.send(()).is_err()
        {
            queue.end();
        }
    }
}
