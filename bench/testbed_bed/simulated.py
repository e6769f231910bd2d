"""The same cells in the simulator, for comparison."""

import itertools
import json
import subprocess
import tempfile
from pathlib import Path

from . import policies
from .faults import SLOWED, TURN_S, Cut, Killed
from .hosts import BETWEEN_ZONES_MS, EDGE, NODES, TO_CLOUD_MS, WITHIN_ZONE_MS

SEEDS = range(1, 6)
DEMAND = {"lognormal": {"mean_ms": 200, "sigma": 0.15}}
#: How long the picture is on its way to a node: what answers of `data_local` with 2 to 6 users take
#: there longer than at edge1, whose store it is, less the way of the invocation. Two to three round
#: trips, for it does not fit into the first window of a connection.
FETCH_MS = {"edge2": 50, "edge3": 98, "edge4": 98, "cloud": 183}
FUNCTIONS = {"basic": {"name": "basic", "demand": DEMAND},
             "data_local": {"name": "data_local", "demand": DEMAND, "waits_ms": FETCH_MS}}
NAME_OF = {name: policy for policy, name in policies.SIMULATED.items()}
EDGE_NAMES = [node.name for node in EDGE]
FAULTS = {
    "none": [],
    "antagonist": [{"nodes": EDGE_NAMES, "kind": "slowed", "factor": SLOWED, "lasts_s": TURN_S,
                    "in_turn": True}],
    "killed": [{"node": Killed.node.name, "kind": "stopped", "at_s": Killed.first,
                "lasts_s": Killed.lasts, "every_s": Killed.every}],
    "cut": [{"zone": Cut.zone, "kind": "partitioned", "at_s": Cut.first, "lasts_s": Cut.lasts,
             "every_s": Cut.every}],
}


def scenario(function, faults, users):
    return {
        "name": "testbed-live",
        "nodes": [{"id": n.name, "role": n.role, "zone": n.zone, "cores": n.cores} for n in NODES],
        "delays_ms": {"within_zone": WITHIN_ZONE_MS, "between_zones": BETWEEN_ZONES_MS,
                      "to_cloud": TO_CLOUD_MS},
        "functions": [FUNCTIONS[function]],
        "cells": [{"name": fault, "faults": FAULTS[fault]} for fault in faults],
        "entries": [{"name": "single", "node": "edge1"}, {"name": "distributed", "uniform": "edge"}],
        "loads": {"closed": {"concurrency": users}},
        "length": {"invocations": 2000, "seconds": 60, "warm_up_seconds": 5},
    }


def run(program, measured):
    """Rows of every cell that was measured, with each seed."""
    found = []
    for function, fault in itertools.product(FUNCTIONS, FAULTS):
        users = sorted({row["users"] for row in measured
                        if row["fault"] == fault and row["function"] == function})
        if not users:
            continue
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "scenario.yaml"
            path.write_text(json.dumps(scenario(function, [fault], users)))
            command = ["nice", "-n", "19", program, "simulate", "--scenario", path, "--json"]
            for name in policies.SIMULATED.values():
                command += ["--policy", name]
            for seed in SEEDS:
                command += ["--seed", str(seed)]
            done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE)
        for row in json.loads(done.stdout):
            found.append({"policy": NAME_OF[row["policy"]], "fault": fault, "function": function,
                          "entry": row["entry"], "users": int(row["concurrency"]),
                          "run": row["seed"], "p50_ms": row["p50_ms"], "p95_ms": row["p95_ms"]})
    return found


def write(out, found):
    (out / "simulated.json").write_text("".join(json.dumps(row) + "\n" for row in found))


def read(out):
    path = out / "simulated.json"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
