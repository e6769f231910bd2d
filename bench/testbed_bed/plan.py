"""Which cells are measured, and in which order."""

import argparse
import random
from dataclasses import asdict, dataclass
from pathlib import Path

from . import balancers, faults, policies

USERS = [2, 4, 6, 8, 10, 12, 15, 20, 30, 40]
FUNCTIONS = ["basic", "data_local"]
ENTRIES = ["single", "distributed"]
#: Enough to see that everything works, in a few minutes.
QUICK = {"users": [6, 20], "invocations": 150, "functions": FUNCTIONS, "runs": 1, "beds": 3,
         "warm_up": 2.0,
         "policies": ["centralized", "federated", "decentralized", "dynamic", "nginx least_conn"]}


@dataclass(frozen=True)
class Job:
    """One cell, once."""

    policy: str
    function: str
    entry: str
    users: int
    fault: str
    run: int
    invocations: int
    warm_up: float

    def key(self):
        return tuple(value for name, value in asdict(self).items()
                     if name not in ("invocations", "warm_up"))

    def __str__(self):
        fault = "" if self.fault == "none" else f", {self.fault}"
        return (f"{self.function}, {self.entry}, {self.users} users{fault}, run {self.run}: "
                f"{self.policy}")


def arguments(description, root):
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--quick", action="store_true", help="few cells and invocations, to see that all works")
    add("--policies", nargs="+", choices=policies.ALL, metavar="NAME",
        help=f"some of: {', '.join(policies.ALL)}")
    add("--functions", nargs="+", choices=FUNCTIONS, help="(both)")
    add("--entries", nargs="+", choices=ENTRIES, default=ENTRIES, help="(both)")
    add("--users", nargs="+", type=int, metavar="N", help=f"({' '.join(map(str, USERS))})")
    add("--invocations", type=int, help="that count, per cell (2000)")
    add("--warm-up", type=float, help="seconds before them (5)")
    add("--runs", type=int, help="of every cell (3)")
    add("--faults", nargs="+", choices=faults.NAMES, default=["none"],
        help="what goes wrong; a cell for each")
    add("--beds", type=int, help="cells at once, each with nodes of its own (2)")
    add("--seed", type=int, default=1, help="of demands and entries")
    add("--compute", action="store_true",
        help="compute in earnest; for machines with more cores than the beds' 12 each")
    add("--out", type=Path, help="where to write (bench/results/testbed)")
    add("--resume", action="store_true", help="measure only what is not in --out yet")
    add("--possible", action="store_true", help="only say whether a testbed can be made here")
    add("--from-rows", action="store_true", help="make tables and plots of what was measured")
    given = parser.parse_args()
    usual = {"users": USERS, "invocations": 2000, "functions": FUNCTIONS, "runs": 3, "beds": 2,
             "warm_up": 5.0, "policies": policies.ALL}
    for name, value in (QUICK if given.quick else usual).items():
        if getattr(given, name) is None:
            setattr(given, name, value)
    # A quick look must not replace what a full run has found.
    given.out = given.out or root / ("target/testbed-quick" if given.quick
                                     else "bench/results/testbed")
    return given


def jobs(given):
    """Policies of the same cell next to each other, so that drift of the machine falls on all."""
    shuffle, found = random.Random(1), []
    for run in range(1, given.runs + 1):
        for function in given.functions:
            for fault in given.faults:
                for users in given.users:
                    for entry in given.entries:
                        order = list(given.policies)
                        shuffle.shuffle(order)
                        found += [Job(policy, function, entry, users, fault, run,
                                      given.invocations, given.warm_up) for policy in order]
    return found


def wants_balancers(given):
    return [name for name in given.policies if name in balancers.NAMES]
