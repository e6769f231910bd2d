//! Connections that nodes keep to one another, and what it takes to open one.

use std::collections::BTreeMap;

use super::call::MachineId;
use super::queue::Nanos;

/// When each connection was last used; nothing where connections are kept for good.
#[derive(Debug)]
pub(super) struct Connections {
    idle_max: Option<Nanos>,
    used: BTreeMap<(MachineId, MachineId), Nanos>,
}

impl Connections {
    /// Connections that are closed after `idle_max` without a message.
    pub(super) fn new(idle_max: Option<Nanos>) -> Self {
        Self { idle_max, used: BTreeMap::new() }
    }

    /// Uses the connection from one node to another; false if it had to be opened for this.
    pub(super) fn take(&mut self, from: MachineId, to: MachineId, now: Nanos) -> bool {
        let Some(idle_max) = self.idle_max.filter(|_| from != to) else { return true };
        let before = self.used.insert((from, to), now);
        before.is_some_and(|used| now.saturating_sub(used) <= idle_max)
    }

    /// An answer comes back on the connection from one node to another.
    pub(super) fn touch(&mut self, from: MachineId, to: MachineId, now: Nanos) {
        if let Some(used) = self.used.get_mut(&(from, to)) {
            *used = now;
        }
    }

    /// A machine has stopped: whatever was open to it and from it is not any more.
    pub(super) fn lose(&mut self, machine: MachineId) {
        self.used.retain(|(from, to), _| *from != machine && *to != machine);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_open_until_it_has_been_idle_for_too_long() {
        let mut connections = Connections::new(Some(10));
        assert!(!connections.take(0, 1, 5), "the first message");
        assert!(!connections.take(1, 0, 5), "the other way is another connection");
        assert!(connections.take(0, 1, 15));
        connections.touch(0, 1, 20);
        assert!(connections.take(0, 1, 30), "an answer came at 20");
        assert!(!connections.take(0, 1, 41));
        assert!(connections.take(2, 2, 41), "nobody connects to itself");
    }

    #[test]
    fn a_machine_that_stops_loses_its_connections() {
        let mut connections = Connections::new(Some(10));
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            connections.take(from, to, 0);
        }
        connections.lose(1);
        assert!(!connections.take(0, 1, 1));
        assert!(!connections.take(1, 2, 1));
        assert!(connections.take(2, 0, 1));
    }

    #[test]
    fn connections_are_kept_for_good_where_nothing_is_said() {
        let mut connections = Connections::new(None);
        assert!(connections.take(0, 1, 0));
        assert!(connections.take(0, 1, Nanos::MAX));
        assert!(connections.used.is_empty());
    }
}
