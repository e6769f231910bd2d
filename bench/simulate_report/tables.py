"""Tables in Markdown."""

from . import plan


def table(head, lines):
    """The first column to the left, the others to the right."""
    marks = ["---", *["--:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in [head, marks, *lines])


def number(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def milliseconds(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def shown(cell):
    text = number(cell.ratio)
    if not cell.met:
        text = f"**{text}**"
    return f"{text} ({cell.note})" if cell.note else text


def of_demand(demand):
    """A table of ratios, those that miss in bold, and how many there are of each."""
    columns = list(dict.fromkeys(cell.column for cell in demand.cells))
    rows = list(dict.fromkeys(cell.row for cell in demand.cells))
    at = {(cell.row, cell.column): cell for cell in demand.cells}
    lines = []
    for row in rows:
        cells = [at.get((row, column)) for column in columns]
        lines.append([row, *[shown(cell) if cell else "" for cell in cells]])
    return f"{demand.told}\n\n{table(['', *columns], lines)}\n{demand.verdict()}.\n"


def of_misses(demands):
    """What misses, with the values behind it and its range over seeds."""
    lines = []
    for demand in demands:
        for cell in demand.cells:
            if cell.met:
                continue
            seeds = f"{number(min(cell.per_seed))} to {number(max(cell.per_seed))}" \
                if cell.per_seed else "-"
            limit = f"{'≤' if cell.at_most else '≥'} {cell.limit:g}"
            if cell.bound is not None and cell.bound < cell.limit:
                limit += f" (`{plan.CLAIRVOYANT}` itself: {number(cell.bound)})"
            values = f"{milliseconds(cell.above)} / {milliseconds(cell.below)}"
            lines.append([f"{cell.scenario}: {cell.row}", cell.column, limit, number(cell.ratio, 3),
                          seeds, values])
    if not lines:
        return "No cell misses its demand.\n"
    return table(["cell", "load", "demand", "ratio", "over seeds", "P95 in ms"], lines)


def of_quantiles(scenario_table, cell, loads):
    """P50, P95 and P99 of every policy."""
    places = [p for p in scenario_table.places if p[0] == cell and p[2] in loads]
    head = ["", *[f"{entry}, C = {load}" for _, entry, load in places]]
    lines = []
    for policy in scenario_table.policies:
        columns = ["p50_ms", "p95_ms", "p99_ms"]
        values = [[scenario_table.median(place, policy, c) for c in columns] for place in places]
        lines.append([policy, *[" / ".join(map(milliseconds, each)) for each in values]])
    return table(head, lines)


def of_warm_up(found):
    """The first seconds, which the other tables leave out."""
    lines = []
    for scenario, rows in found.items():
        for place in rows.places:
            column = "warm_up_p95_ms"
            best = rows.best(place, plan.fixed("predictive"), column)
            policies = [plan.CLAIRVOYANT, best, plan.ADAPTIVE, plan.REFERENCE]
            values = [rows.median(place, policy, column) if policy else None for policy in policies]
            cell, entry, load = place
            lines.append([f"{scenario}: {cell}, {entry}", load, *map(milliseconds, values)])
    head = ["", "C", "`clairvoyant`", "best fixed, `predictive`", "`adaptive`, `predictive`",
            f"`{plan.REFERENCE}`"]
    return table(head, lines)


def of_failures(found):
    """Invocations that were not answered well, summed over seeds, where there are any."""
    policies = plan.FEW
    lines = []
    for scenario, rows in found.items():
        for place in rows.places:
            totals = [rows.total(place, policy, "failed") for policy in policies]
            if any(totals):
                cell, entry, load = place
                lines.append([f"{scenario}: {cell}, {entry}", load, *totals])
    return table(["", "C", *[f"`{policy}`" for policy in policies]], lines)


def of_extras(found):
    """Policies with something that is off by default beside the same without it."""
    lines = []
    for scenario, rows in found.items():
        pairs = [(policy.rpartition("+")[0], policy) for policy in rows.policies]
        pairs = [(base, policy) for base, policy in pairs if base in rows.policies]
        for place in rows.places:
            for base, policy in pairs:
                columns = ["p50_ms", "p95_ms", "p99_ms"]
                values = [[rows.median(place, p, column) for column in columns]
                          for p in (base, policy)]
                told = [" / ".join(map(milliseconds, each)) for each in values]
                failed = [rows.total(place, p, "failed") for p in (base, policy)]
                cell, entry, load = place
                lines.append([f"{scenario}: {cell}, {entry}", load, f"`{policy}`", *told, *failed])
    if not lines:
        return ""
    return table(["", "load", "policy", "without", "with", "failed without", "with"], lines)


def of_selections(scenario, demands):
    """How each way to select fares with `adaptive`: cells met, and the worst of them."""
    lines = []
    for selection, demand in demands:
        known = [cell.ratio for cell in demand.cells if cell.ratio is not None]
        if known:
            met = sum(cell.met for cell in demand.cells)
            lines.append([f"{scenario}, `{selection}`", f"{met} of {len(demand.cells)}",
                          number(max(known)), number(sum(known) / len(known))])
    return table(["", "cells that meet 1.05", "worst", "mean"], lines)


def of_speed(found):
    lines = []
    for one in found:
        what = f"{one['scenario']} {one['filter']}".strip()
        if "failure" in one:
            lines.append([what, one["policy"], one["failure"], "", ""])
        else:
            rate = f"{one['invocations_per_minute'] / 1e6:.2f}"
            lines.append([what, one["policy"], one["invocations"], one["took_s"], rate])
    return table(["", "policy", "invocations", "took in s", "million invocations per minute"], lines)
