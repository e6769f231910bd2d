"""Rows: had from the simulator, kept as JSON with one row per line, and summed up over seeds."""

import json
import statistics
import subprocess
from collections import defaultdict


class Simulator:
    """The program, and how it is called."""

    def __init__(self, program, root, threads):
        self.program = program
        self.root = root
        self.threads = threads

    def command(self, scenario, policies=(), seeds=(), more=(), threads=None):
        file = self.root / "config" / "sim" / f"{scenario}.yaml"
        command = [self.program, "simulate", "--scenario", str(file), *more]
        for policy in policies:
            command += ["--policy", policy]
        for seed in seeds:
            command += ["--seed", str(seed)]
        return [*command, "--threads", str(threads or self.threads)]

    def rows(self, study, seeds):
        more = ("--json", *study.filter)
        command = self.command(study.scenario, study.policies, range(1, seeds + 1), more)
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout)

    def plot(self, chart, seeds, out):
        more = ("--plot", str(out / chart.file), *chart.filter)
        command = self.command(chart.scenario, chart.policies, range(1, seeds + 1), more)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def path(out, study):
    return out / f"{study.scenario}.json"


def write(out, study, rows):
    """One row per line, so that a comparison shows the trials that changed."""
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    path(out, study).write_text(f"[\n{lines}\n]\n")


def read(out, study):
    return Table(json.loads(path(out, study).read_text()))


def median(values):
    """Of what there is; none where there is nothing."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def quotient(above, below):
    return above / below if above is not None and below else None


def ratios(above, below):
    """Of two lists of one value per seed, seed by seed."""
    both = (quotient(a, b) for a, b in zip(above, below))
    return [ratio for ratio in both if ratio is not None]


class Table:
    """The rows of one scenario, by cell, entry, load and policy."""

    def __init__(self, rows):
        self.rows = rows
        self.trials = defaultdict(list)
        for row in rows:
            self.trials[self.place(row) + (row["policy"],)].append(row)
        self.places = list(dict.fromkeys(self.place(row) for row in rows))
        self.policies = list(dict.fromkeys(row["policy"] for row in rows))
        self.seeds = list(dict.fromkeys(row["seed"] for row in rows))

    @staticmethod
    def place(row):
        return (row["cell"], row["entry"], row["concurrency"])

    def each(self, place, policy, column="p95_ms"):
        """One value per seed."""
        return [row[column] for row in self.trials.get((*place, policy), [])]

    def median(self, place, policy, column="p95_ms"):
        return median(self.each(place, policy, column))

    def total(self, place, policy, column):
        return sum(self.each(place, policy, column))

    def best(self, place, policies, column="p95_ms"):
        """The policy with the least median; none where no policy has answers."""
        medians = [(self.median(place, policy, column), policy) for policy in policies]
        known = [(value, policy) for value, policy in medians if value is not None]
        return min(known, key=lambda pair: pair[0])[1] if known else None

    def phases(self, place, policy):
        """Per phase: when it begins, and its P95 with each seed."""
        found = defaultdict(list)
        for row in self.trials.get((*place, policy), []):
            for phase in row.get("phases", []):
                found[phase["from_s"]].append(phase["p95_ms"])
        return dict(found)
