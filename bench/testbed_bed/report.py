"""README.md, CSV and plots of what was measured."""

import csv
import json
import os
import re
from pathlib import Path
from statistics import median

from . import plots, policies, rows, simulated, verdicts
from .tables import Cells, deadlines, note_misses, number, over_users, table

ARCHITECTURES = [*policies.FIXED, "dynamic"]
NOTES = "NOTES.md"
COLUMNS = ["policy", "function", "fault", "entry", "users", "run", "invocations", "failed",
           "unanswered", "seconds", "p50_ms", "p95_ms", "p99_ms", "max_ms", "mean_ms", "ratio", "missed",
           "disturbed"]


def note(out, about, resume):
    """On what it was measured; with --resume, there are several."""
    path = out / "machine.json"
    before = json.loads(path.read_text()) if resume and path.exists() else []
    path.write_text(json.dumps([*before, about], indent=1) + "\n")


def failed(out):
    """Invocations through hopwise that failed where nothing was wrong."""
    return sum(row["failed"] for row in rows.read(out)
               if row["fault"] == "none" and row["policy"] in policies.HOPWISE)


def write(given, root):
    out = given.out
    found = rows.read(out)
    if not found:
        raise OSError(f"nothing was measured in {out}")
    cells = Cells(found)
    limits = deadlines(cells, ARCHITECTURES)
    note_misses(out, found, limits)
    program = Path(os.environ.get("HOPWISE_BIN", root / "target/release/hopwise"))
    if program.exists():
        simulated.write(out, simulated.run(program, found))
    virtual = Cells(simulated.read(out))
    write_csv(out, found)
    drawn = draw(out, cells)
    about = json.loads((out / "machine.json").read_text())
    judged = verdicts.of(cells, virtual)
    (out / "README.md").write_text(readme(out, about, cells, virtual, limits, drawn, judged))
    print("\n".join(judged))
    print(f"\ntables and plots: {out / 'README.md'}")


def write_csv(out, found):
    nodes = sorted({name for row in found for name in row["nodes"]})
    with open(out / "cells.csv", "w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow([*COLUMNS, *[f"at_{name}" for name in nodes],
                        *[f"decided_{name}" for name in policies.FIXED]])
        for row in found:
            decided = row.get("architectures", {})
            total = sum(decided.values()) or 1
            shares = [number(decided.get(name, 0) / total if decided else None, "{:.4f}")
                      for name in policies.FIXED]
            lines.writerow([row.get(name, "") for name in COLUMNS]
                           + [row["nodes"].get(name, 0) for name in nodes] + shares)


def medians(cells, function, column, policies_shown):
    series = {}
    for entry in cells.values("entry", function=function, fault="none"):
        users = cells.values("users", function=function, fault="none", entry=entry)
        for policy in policies_shown:
            points = [(count, cells.median((function, "none", entry, count), policy, column))
                      for count in users]
            points = [point for point in points if point[1] is not None]
            if points:
                series.setdefault(entry, {})[policy] = points
    return series


def draw(out, cells):
    """The plots, with what they show."""
    drawn = []
    for function in cells.values("function", fault="none"):
        p95 = medians(cells, function, "p95_ms", policies.ALL)
        plots.lines(out / f"p95-{function}.svg", f"P95, {function}", p95, "ms")
        ratio = medians(cells, function, "ratio", policies.ALL)
        plots.lines(out / f"ratio-{function}.svg", f"P95 / P50, {function}", ratio, "P95 / P50")
        users = cells.values("users", function=function, fault="none")
        busy = min(users, key=lambda count: abs(count - 20))
        box, took = {}, {}
        for entry in p95:
            place = (function, "none", entry, busy)
            for policy in policies.ALL:
                found = cells.of(place, policy)
                if found:
                    box.setdefault(entry, {})[policy] = found[0]
                    took.setdefault(entry, {})[policy] = cells.median(place, policy, "seconds")
        plots.boxes(out / f"boxes-{function}.svg", f"{function}, {busy} users", box)
        count = found_invocations(cells, function, busy)
        plots.bars(out / f"completion-{function}.svg",
                   f"{function}, {busy} users: {count} invocations", took, "seconds")
        drawn += [f"p95-{function}.svg", f"ratio-{function}.svg", f"boxes-{function}.svg",
                  f"completion-{function}.svg"]
    return drawn


def found_invocations(cells, function, users):
    return max(row["invocations"] for row in cells.rows
               if row["function"] == function and row["users"] == users and row["fault"] == "none")


def readme(out, about, cells, virtual, limits, drawn, judged):
    parts = ["# The testbed", "", machine(about, cells), ""]
    notes = out / NOTES
    parts += [notes.read_text(encoding="utf-8")] if notes.exists() else []
    parts += ["## The figures to reach", "", *judged, ""]
    for function in cells.values("function", fault="none"):
        parts += [f"## {function}", "", f"![P95](p95-{function}.svg)", ""]
        entries = cells.values("entry", function=function, fault="none")
        for title, column, form in [("P95 in ms", "p95_ms", "{:.0f}"), ("P50 in ms", "p50_ms", "{:.0f}"),
                                    ("Mean in ms", "mean_ms", "{:.0f}"),
                                    ("P99 in ms", "p99_ms", "{:.0f}"), ("P95 / P50", "ratio", "{:.2f}"),
                                    ("Completion time in s", "seconds", "{:.1f}"),
                                    ("Deadlines missed, in %", "missed", "{:.1%}")]:
            limit = "; ".join(f"{entry} {limits[function, entry]:.0f} ms" for entry in entries
                              if (function, entry) in limits)
            title += f" (deadline: {limit})" if column == "missed" else ""
            parts += [f"### {title}", ""]
            for entry in entries:
                parts += [over_users(cells, function, "none", entry, column, policies.ALL, form), ""]
        parts += [shares(cells, function), ""]
    parts += [faults(cells), agreement(cells, virtual), lateness(cells)]
    parts += ["## Plots", "", *[f"![{name}]({name})" for name in drawn], ""]
    return "\n".join(parts)


def machine(about, cells):
    last = about[-1]
    versions = {name: text for run in about for name, text in run["versions"].items()}
    runs = sorted({row["run"] for row in cells.rows})
    counts = sorted({row["invocations"] for row in cells.rows})
    lines = [f"{last['date']}, {last['cpu']}, {last['cores']} cores, kernel {last['kernel']}, "
             f"{last['rustc']}. Medians of up to {len(runs)} runs of {counts[0]} to {counts[-1]} "
             "invocations after a warm-up of a few seconds; raw data in `rows.json` and "
             "`invocations.csv.gz` (policy, function, entry, users, fault, run, number, entry, "
             "issued in s, ms, status, node).", "", "Commands:", "", "```sh",
             *dict.fromkeys(run["command"] for run in about), "```", "",
             "Commits: " + ", ".join(dict.fromkeys(run["commit"][:12] for run in about)) + ". "
             + "; ".join(re.sub(r"^\S*/envoy\s+version: \w+/", "Envoy ", text)
                         for text in versions.values()) + "."]
    return "\n".join(lines)


def shares(cells, function):
    """Who decided, and where it ran, with dynamic."""
    lines = []
    for entry in cells.values("entry", function=function, fault="none"):
        for users in cells.values("users", function=function, fault="none", entry=entry):
            found = cells.of((function, "none", entry, users), "dynamic")
            if not found:
                continue
            decided = found[0].get("architectures", {})
            total = sum(decided.values()) or 1
            lines.append([f"{entry}, {users} users",
                          *[f"{decided.get(name, 0) / total:.0%}" for name in policies.FIXED],
                          *[f"{found[0]['nodes'].get(name, 0):.0%}"
                            for name in ("edge1", "edge2", "edge3", "edge4", "cloud")]])
    head = ["dynamic", *policies.FIXED, "edge1", "edge2", "edge3", "edge4", "cloud"]
    return "### Who decided, and where it ran\n\n" + table(head, lines)


def faults(cells):
    parts = []
    for fault in [name for name in cells.values("fault") if name != "none"]:
        lines = []
        for place in dict.fromkeys(Cells.place(row) for row in cells.rows if row["fault"] == fault):
            for policy in policies.ALL:
                if not cells.of(place, policy):
                    continue
                failed = sum(row["failed"] for row in cells.of(place, policy))
                lost = sum(row.get("unanswered", 0) for row in cells.of(place, policy))
                total = sum(row["invocations"] for row in cells.of(place, policy))
                lines.append([f"{place[0]}, {place[2]}, {place[3]} users: {policy}",
                              *[number(cells.median(place, policy, column))
                                for column in ("p50_ms", "p95_ms", "p99_ms")], f"{failed}/{total}",
                              lost or ""])
        parts += [f"## Fault: {fault}", "",
                  table(["", "P50 in ms", "P95 in ms", "P99 in ms", "failed", "of these: no answer"], lines), ""]
    return "\n".join(parts)


def agreement(cells, virtual):
    """Measured and simulated, side by side."""
    lines = []
    for place in dict.fromkeys(Cells.place(row) for row in cells.rows):
        for policy in policies.HOPWISE:
            both = [(cells.median(place, policy, column), virtual.median(place, policy, column))
                    for column in ("p50_ms", "p95_ms")]
            if any(value is None for pair in both for value in pair):
                continue
            off = both[1][0] / both[1][1] - 1
            fault = "" if place[1] == "none" else f", {place[1]}"
            lines.append([f"{place[0]}, {place[2]}, {place[3]} users{fault}: {policy}",
                          *[number(value) for pair in both for value in pair],
                          f"{off:+.0%}" + (" **" if abs(off) > 0.15 else "")])
    if not lines:
        return ""
    head = ["", "P50", "simulated", "P95", "simulated", "difference"]
    return ("## Simulator and testbed\n\nMedians in ms; the simulator's of five seeds with 2000 "
            "invocations. `**` marks more than 15 %.\n\n" + table(head, lines) + "\n")


def lateness(cells):
    """How far the bed itself can be trusted."""
    lines = []
    for part in ("router", "gateways", "users"):
        found = [row["lateness"][part] for row in cells.rows]
        lines.append([part, *[number(sorted(row[key] for row in found)[len(found) // 2], "{:.2f}")
                              for key in ("p50_ms", "p99_ms", "max_ms")],
                      number(max(row["p99_ms"] for row in found), "{:.2f}"),
                      number(max(row["max_ms"] for row in found), "{:.1f}")])
    waited = [row["waited_ms"] for row in cells.rows]
    disturbed = sum(row["disturbed"] for row in cells.rows)
    dropped = sum(row["lateness"]["dropped"] for row in cells.rows if row["fault"] == "none")
    head = ["late by, in ms", "P50", "P99", "largest", "worst P99", "worst of all"]
    return ("## The bed's own lateness\n\nMedians over cells, then the worst cell. Packets after "
            "they were due, answers after their work was done, and a timer of the users (whose "
            f"grain is 1 ms). {disturbed} of {len(cells.rows)} cells were disturbed (a P99 beyond "
            f"{rows.LATE_MS:.0f} ms, or deciders that waited more than {rows.WAITED_MS:.0f} ms for a "
            f"core for each invocation, twice); {dropped} packets were dropped. Deciders waited "
            f"{number(median(waited), '{:.2f}')} ms for each, {number(max(waited), '{:.2f}')} at "
            "most.\n\n"
            + table(head, lines) + "\n")
