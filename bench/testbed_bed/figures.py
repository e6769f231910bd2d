"""What is said of a cell, from its invocations."""

import csv
from collections import Counter

#: Deadlines are reckoned from cells with so many users or more.
DEADLINE_USERS = 5


def quantile(ordered, share):
    """Of a sorted list: the smallest value that so large a share does not exceed."""
    if not ordered:
        return None
    place = max(0, min(len(ordered) - 1, int(-(-share * len(ordered) // 1)) - 1))
    return ordered[place]


def samples(path, first_warm_up=1 << 32):
    """Those that count, as (number, entry, issued_s, ms, status, node)."""
    with open(path, newline="", encoding="utf-8") as lines:
        rows = csv.DictReader(lines)
        return [row for row in rows if int(row["number"]) < first_warm_up]


def summed_up(found):
    """Quantiles and where they ran."""
    good = sorted(float(row["ms"]) for row in found if row["status"] == "200")
    nodes = Counter(row["node"] for row in found if row["status"] == "200")
    at = {name: quantile(good, share) for name, share in [
        ("p5_ms", 0.05), ("p25_ms", 0.25), ("p50_ms", 0.5), ("p75_ms", 0.75), ("p95_ms", 0.95),
        ("p99_ms", 0.99)]}
    ratio = at["p95_ms"] / at["p50_ms"] if good else None
    return {**at, "max_ms": good[-1] if good else None, "ratio": ratio,
            "mean_ms": sum(good) / len(good) if good else None,
            "nodes": {name: count / len(good) for name, count in sorted(nodes.items())}}
