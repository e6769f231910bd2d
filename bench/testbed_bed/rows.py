"""What was measured: a row per cell, and every invocation."""

import csv
import gzip
import json
import threading
from dataclasses import asdict

from . import figures

ROWS, SAMPLES = "rows.json", "invocations.csv.gz"
#: A cell whose parts were later than this in one of a hundred cases is measured once more.
LATE_MS = 10.0
#: So is one whose deciders waited longer than this for a core, for each invocation.
WAITED_MS = 2.0


def is_disturbed(row):
    return row["waited_ms"] > WAITED_MS or any(row["lateness"][part]["p99_ms"] > LATE_MS for part in ("router", "gateways", "users"))


class Rows:
    """Written as they come, so that what ends early leaves what it has."""

    def __init__(self, out, resume):
        self.out, self.lock = out, threading.Lock()
        out.mkdir(parents=True, exist_ok=True)
        self.done = {key_of(row) for row in read(out)} if resume else set()
        if not resume:
            for name in (ROWS, SAMPLES):
                (out / name).unlink(missing_ok=True)

    def add(self, job, said, path):
        """The row; its invocations are read from `path`."""
        found = figures.samples(path)
        row = {**said, **asdict(job), **figures.summed_up(found),
               "failed": sum(sample["status"] != "200" for sample in found)}
        row["disturbed"] = is_disturbed(row)
        with self.lock:
            with open(self.out / ROWS, "a", encoding="utf-8") as out:
                out.write(json.dumps(rounded(row)) + "\n")
            # A gzip file may have several members, one after the other.
            with gzip.open(self.out / SAMPLES, "at", encoding="utf-8", newline="") as out:
                lines = csv.writer(out)
                for sample in found:
                    lines.writerow([*job.key(), *sample.values()])
        return row


def rounded(value):
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return value


def key_of(row):
    return tuple(row[name] for name in ("policy", "function", "entry", "users", "fault", "run"))


def read(out):
    """One row per cell and run: of a cell that was measured again, the one that was less late."""
    path, found = out / ROWS, {}
    if not path.exists():
        return []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        before = found.get(key_of(row))
        if before is None or before["disturbed"]:
            found[key_of(row)] = row
    return list(found.values())
