"""What goes wrong while the users call, from a few seconds after their start on, again and again."""

import itertools
import time

from .hosts import BY_NAME, EDGE, kill_all

SLOWED = 3
TURN_S = 8


class Antagonist:
    """Somebody else uses the machines: each edge node in turn is slower for a while."""

    def __init__(self):
        self.next_at, self.slow, self.turns = time.monotonic(), None, itertools.cycle(EDGE)

    def step(self, bed):
        if time.monotonic() < self.next_at:
            return
        self.next_at += TURN_S
        self.end(bed)
        self.slow = next(self.turns)
        bed.gateways[self.slow].ask(slow=SLOWED)

    def end(self, bed):
        if self.slow:
            bed.gateways[self.slow].ask(slow=1)
        self.slow = None


class Intervals:
    """On after `first` seconds, off after `lasts`, on again after `every` from the last time."""

    first, lasts, every = 7, 4, 12

    def __init__(self):
        self.on_at, self.off_at = time.monotonic() + self.first, None

    def step(self, bed):
        now = time.monotonic()
        if self.off_at is None and now >= self.on_at:
            self.off_at, self.on_at = now + self.lasts, now + self.every
            self.begin(bed)
        elif self.off_at is not None and now >= self.off_at:
            self.end(bed)

    def end(self, bed):
        if self.off_at is not None:
            self.off_at = None
            self.undo(bed)


class Killed(Intervals):
    """The processes of a node are killed, and started again."""

    node = BY_NAME["edge2"]

    def __init__(self, policy):
        super().__init__()
        self.policy = policy

    def begin(self, bed):
        self.had_decider = self.node in bed.deciders
        # All of them: some balancers work in children.
        kill_all(bed.hosts.name(self.node))
        for process in [bed.gateways[self.node], bed.deciders.get(self.node)]:
            if process:
                process.popen.wait()

    def undo(self, bed):
        bed.start_gateway(self.node)
        if self.had_decider:
            bed.start_decider(self.node, self.policy)


class Cut(Intervals):
    """Nothing passes between a zone and the others. Users reach the nodes of their entry."""

    zone = "edge-B"

    def begin(self, bed):
        bed.hosts.cut(self.zone)

    def undo(self, bed):
        bed.hosts.cut(None)


NAMES = ["none", "antagonist", "killed", "cut"]


def of(name, policy):
    if name == "none":
        return None
    return Killed(policy) if name == "killed" else {"antagonist": Antagonist, "cut": Cut}[name]()
