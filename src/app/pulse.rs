//! Whether all threads still turn, for a service manager that wants to be told (WATCHDOG_USEC).
//!
//! A ping by the thread that only waits for signals would tell nothing of those that serve. So each
//! of them beats, and the ping is sent only if all have: one that hangs has the process restarted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Beats in the time that the manager allows between two pings.
const BEATS_PER_WATCH: u32 = 4;

/// What a thread shows in place of a beat once it has ended as it should.
const ENDED: u64 = u64::MAX;

/// The last beat of every thread, in milliseconds from the beginning.
#[derive(Debug)]
pub(super) struct Pulse {
    begun: Instant,
    watch: Duration,
    beats: Vec<AtomicU64>,
}

impl Pulse {
    /// The pulse of `threads`, where a manager waits at most `watch` for a ping.
    pub(super) fn new(threads: usize, watch: Duration) -> Arc<Self> {
        let beats = (0..threads).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { begun: Instant::now(), watch, beats })
    }

    /// How often threads beat, and pings are sent.
    pub(super) fn interval(&self) -> Duration {
        (self.watch / BEATS_PER_WATCH).max(Duration::from_millis(1))
    }

    /// Beats for the thread at `index` while `life` lasts, and answers with what came of it.
    pub(super) async fn beat_during<F: Future>(&self, index: usize, life: F) -> F::Output {
        let mut interval = tokio::time::interval(self.interval());
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut life = std::pin::pin!(life);
        let ended = loop {
            tokio::select! {
                ended = &mut life => break ended,
                _ = interval.tick() => self.note(index, self.now_ms()),
            }
        };
        self.note(index, ENDED);
        ended
    }

    /// Whether every thread has beaten within half of the watch, or ended.
    pub(super) fn is_regular(&self) -> bool {
        let least = self.now_ms().saturating_sub(self.watch.as_millis() as u64 / 2);
        self.beats.iter().all(|beat| beat.load(Ordering::Relaxed) >= least)
    }

    fn note(&self, index: usize, beat: u64) {
        if let Some(last) = self.beats.get(index) {
            last.store(beat, Ordering::Relaxed);
        }
    }

    fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_hangs_is_seen_and_one_that_has_ended_is_not() {
        let pulse = Pulse::new(2, Duration::from_millis(200));
        pulse.beat_during(0, async {}).await;
        let turning = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(pulse.is_regular(), "one turns, the other has ended");
            // The runtime cannot turn meanwhile, as when a handler never returns.
            std::thread::sleep(Duration::from_millis(150));
            assert!(!pulse.is_regular(), "it hangs");
        };
        pulse.beat_during(1, turning).await;
        assert!(pulse.is_regular(), "both have ended");
    }
}
