"""The figures to reach, and whether they are reached."""

import statistics
from dataclasses import dataclass

from .ratios import spread
from .special import CHAIN

SUBJECTS = ["hopwise", "hopwise-41", "hopwise-proper", "hopwise-plain"]
# What no proxy on hyper can undercut: no subject of a demand, but it tells which can be met.
FLOORS = ["floor", "floor-proper"]
CPU = "cpu_us_per_request"
CPU_FIGURES = [("haproxy", 0.95, 1.0), ("nginx", 1.0, 1.0), ("envoy", 0.40, 0.50)]
# The least of the 1.5 to 2 ms that a call cost the earlier Python agent.
EARLIER_US = 1500


@dataclass
class Figure:
    """One demand: values of the rounds, of which the median is to keep a bound."""

    title: str
    subject: str
    values: list
    bound: float
    at_least: bool = False
    digits: int = 2

    @property
    def met(self):
        middle = statistics.median(self.values)
        return middle >= self.bound if self.at_least else middle <= self.bound

    def line(self):
        sign = "≥" if self.at_least else "≤"
        missed_by = abs(statistics.median(self.values) / self.bound - 1)
        verdict = "**met**" if self.met else f"**missed** by {missed_by:.0%}"
        return [self.title, self.subject, f"{sign} {self.bound:.{max(self.digits, 2)}f}",
                spread(self.values, self.digits), len(self.values), verdict]


def cpu_figures(rows):
    for other, saturated, paced in CPU_FIGURES:
        for scenario, what, bound in [("saturated", "saturated", saturated),
                                      ("paced", "at 1 000 requests/s", paced)]:
            for subject in SUBJECTS + FLOORS:
                values = rows.ratios(scenario, CPU, subject, other)
                yield Figure(f"CPU per request, {what}, × {other}", subject, values, bound)


def extra(rows, kind):
    """CPU that `kind` needs beyond one pass, by turn."""
    one, both = (rows.values("hop", peer, CPU) for peer in ["one pass", kind])
    return {turn: both[turn] - one[turn] for turn in both if turn in one}


def per_core(rows, subject, other):
    """How many more connections `subject` takes in the same CPU time, also where neither was
    saturated: the generator, which shares its core with the gateway, is the first to be."""
    found = {}
    for row in rows.all:
        if row["scenario"] == "connections":
            found.setdefault(row["round"], {})[row["peer"]] = row[CPU]
    return [cpu[other] / cpu[subject] for cpu in found.values() if {subject, other} <= set(cpu)]


def other_figures(rows):
    for subject in SUBJECTS:
        cpu = rows.values("saturated", subject, CPU).values()
        yield Figure("CPU per request, saturated, × earlier Python agent (1.5 ms)", subject,
                     [value / EARLIER_US for value in cpu], 1 / 80, digits=4)
    for subject in SUBJECTS:
        memory = rows.values("memory", subject, "idle_clients_kib").values()
        yield Figure("memory with 1 000 idle clients, MB", subject,
                     [value * 1024 / 1e6 for value in memory], 30, digits=1)
    for subject in SUBJECTS:
        yield Figure("new connections/s, × haproxy", subject,
                     rows.ratios("connections", "requests_per_s", subject, "haproxy"), 1.0,
                     at_least=True)
    for subject in SUBJECTS + FLOORS:
        yield Figure("new connections per second of CPU time, × haproxy", subject,
                     per_core(rows, subject, "haproxy"), 1.0, at_least=True)
    yield Figure("CPU per request with 50 000 samples, × with few", "hopwise",
                 rows.ratios("burst", CPU, "50 000 samples", "few samples"), 1.05)
    yield Figure("requests/s of two workers, × one", "hopwise",
                 rows.ratios("scaling", "requests_per_s", "two workers", "one worker"), 1.8,
                 at_least=True)
    for kind in ["two passes", "two passes, signed"]:
        both = rows.ratios("hop", CPU, kind, "one pass")
        subject = kind.replace("two passes", "hopwise")
        yield Figure("CPU of one extra hop, × one pass alone on its core", subject,
                     [value - 1 for value in both], 1.1)
        hop, more = extra(rows, kind), extra(rows, CHAIN)
        yield Figure("CPU of one extra hop, × one more pass on the same core", subject,
                     [hop[turn] / more[turn] for turn in hop if turn in more], 1.1)


def all_of(rows):
    return [figure for maker in (cpu_figures, other_figures) for figure in maker(rows)
            if figure.values]
