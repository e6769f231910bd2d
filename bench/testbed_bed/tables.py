"""Medians over runs, and tables of them."""

import csv
import gzip
import json
import statistics
from collections import defaultdict

from . import figures, rows

PLACE = ("function", "fault", "entry", "users")


class Cells:
    """Rows by place and policy."""

    def __init__(self, found):
        self.rows = found
        self.by_place = defaultdict(list)
        for row in found:
            self.by_place[self.place(row) + (row["policy"],)].append(row)

    @staticmethod
    def place(row):
        return tuple(row[name] for name in PLACE)

    def values(self, name, **wanted):
        """Distinct values of a column among rows that match, in order of size or of appearance."""
        found = dict.fromkeys(row[name] for row in self.rows
                              if all(row[key] == value for key, value in wanted.items()))
        return sorted(found) if name == "users" else list(found)

    def of(self, place, policy):
        return self.by_place.get((*place, policy), [])

    def median(self, place, policy, column):
        found = [row[column] for row in self.of(place, policy) if row.get(column) is not None]
        return statistics.median(found) if found else None

    def best(self, place, policies, column="p95_ms"):
        """The least median, and whose it is."""
        known = [(self.median(place, policy, column), policy) for policy in policies]
        return min(((value, policy) for value, policy in known if value is not None), default=None)


def table(head, lines):
    rules = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in [head, rules, *lines])


def number(value, form="{:.0f}"):
    return "–" if value is None else form.format(value)


def over_users(cells, function, fault, entry, column, policies, form="{:.0f}"):
    """A policy per line, users as columns."""
    users = cells.values("users", function=function, fault=fault, entry=entry)
    lines = []
    for policy in policies:
        found = [cells.median((function, fault, entry, count), policy, column) for count in users]
        if any(value is not None for value in found):
            lines.append([policy, *[number(value, form) for value in found]])
    return table([f"{entry} entry", *users], lines)


def deadlines(cells, policies):
    """For each function and entry: the mean P95 over these policies and cells with users enough."""
    found = defaultdict(list)
    for row in cells.rows:
        if row["policy"] in policies and row["fault"] == "none" \
                and row["users"] >= figures.DEADLINE_USERS and row["p95_ms"]:
            found[row["function"], row["entry"]].append(row["p95_ms"])
    return {key: statistics.mean(values) for key, values in found.items()}


def note_misses(out, found, limits):
    """Adds to every row the share of its invocations that failed or took longer than the deadline,
    and how many had no answer at all from where they came in.

    Invocations were written cell by cell, in the order of rows.json, as many as a row counts.
    """
    chosen = {id(row): row for row in found}
    by_text = {json.dumps(row, sort_keys=True): row for row in chosen.values()}
    path = out / rows.SAMPLES
    if not path.exists():
        return
    with gzip.open(path, "rt", encoding="utf-8", newline="") as text:
        lines = csv.reader(text)
        for line in (out / rows.ROWS).read_text(encoding="utf-8").splitlines():
            written = json.loads(line)
            block = [next(lines) for _ in range(written["invocations"])]
            row = by_text.get(json.dumps(written, sort_keys=True))
            limit = limits.get((written["function"], written["entry"]))
            if row is not None:
                row["unanswered"] = sum(sample[10] == "0" for sample in block)
            if row is not None and limit:
                missed = sum(sample[10] != "200" or float(sample[9]) > limit for sample in block)
                row["missed"] = missed / len(block)
