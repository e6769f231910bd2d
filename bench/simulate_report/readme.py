"""README.md of the results: where they are from, the demands, and what the rows say of each."""

from . import demands, plan, tables

HEAD = """# Figures of the simulator

Made on {date} by `{command}`; run that again rather than change anything here.
`bench/simulate --from-rows --no-speed` makes the tables anew without simulating.

- Program: commit {commit}{changed}{given}, {rustc}
- Machine: {cpu}, {cores} cores seen, Linux {kernel}. Only the section on speed depends on it.
- Rows: {rows}.
  One row per line; no time of the machine is in them, so two runs of one program are equal byte
  by byte, with any number of threads, and a difference is a decision.
- All ratios are of medians over seeds. What was issued in the warm-up (the first 10 s, in
  `cold-starts` 30 s, in `fleet-1000` 5 s) is left out, and told apart below. A ratio in bold
  misses its demand.

"""


def seeds_told(studies, found):
    def one(study):
        seeds = len(found[study.scenario].seeds)
        return f"`{study.scenario}.json` ({seeds} seed{'s' if seeds > 1 else ''})"
    return ", ".join(map(one, studies))


def head(about, studies, found):
    return HEAD.format(
        **{
            **about,
            "changed": " with changes that are not committed" if about["changed"] else "",
            "given": f" (or whatever {about['given']} is made of)" if about["given"] else "",
            "rows": seeds_told(studies, found),
        }
    )


def summary(checked):
    lines = [[demand.title, demand.verdict()] for demand in checked]
    return tables.table(["demand", "cells"], lines)


def verdicts(found):
    """For who waits at the terminal."""
    return "".join(f"{demand.title}: {demand.verdict()}\n" for demand in demands.all_of(found))


def other_selections(found):
    text = ""
    for scenario, table in found.items():
        checked = [(s, demands.no_regret(scenario, table, s)) for s in plan.SELECTIONS]
        if sum(bool(demand.cells) for _, demand in checked) > 1:
            text += tables.of_selections(scenario, checked) + "\n"
    return text


def quantiles(found):
    text = ""
    for scenario, loads in [("testbed", (10, 30)), ("fleet-41", (80, 160))]:
        for cell in dict.fromkeys(place[0] for place in found[scenario].places) \
                if scenario in found else ():
            text += f"### `{scenario}`, {cell}\n\n"
            text += tables.of_quantiles(found[scenario], cell, loads) + "\n"
    return text


def charts(out):
    drawn = [chart for chart in plan.CHARTS if (out / chart.file).exists()]
    return "".join(f"![{chart.scenario}]({chart.file})\n\n" for chart in drawn)


def render(about, studies, found, speed, out):
    checked = demands.all_of(found)
    parts = [head(about, studies, found), "## Demands\n\n", summary(checked), "\n"]
    for demand in checked:
        parts += [f"### {demand.title}\n\n", tables.of_demand(demand), "\n"]
    parts += ["## All that misses\n\nWith the range over seeds, each compared with itself.\n\n",
              tables.of_misses(checked), "\n"]
    selections = other_selections(found)
    if selections:
        parts += ["## `adaptive` with each way to select\n\n", selections]
    extras = tables.of_extras(found)
    if extras:
        parts += ["## Hedges and turns\n\nWhat is off by default: P50 / P95 / P99 in ms without it "
                  "and with it, and the invocations that failed, all seeds together. Those that "
                  "did are not in the quantiles.\n\n", extras, "\n"]
    parts += ["## Architectures and selections\n\nP50 / P95 / P99 in ms.\n\n", quantiles(found)]
    parts += ["## The warm-up\n\nP95 in ms of what was issued before its end.\n\n",
              tables.of_warm_up(found), "\n"]
    parts += ["## Failures\n\nInvocations that were not answered well, all seeds together, where "
              "there are any.\n\n", tables.of_failures(found), "\n"]
    if speed:
        parts += ["## Speed\n\nOne thread, one seed; invocations of the warm-up are not counted.\n\n",
                  tables.of_speed(speed), "\n"]
    drawn = charts(out)
    if drawn:
        parts += ["## Charts\n\n", drawn]
    return "".join(parts).rstrip("\n") + "\n"
