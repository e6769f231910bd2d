"""The demands of issue 3, cell by cell: which ratio there is, and which there may be."""

from dataclasses import dataclass, field

from . import plan
from .rows import median, quotient, ratios


@dataclass
class Cell:
    """One cell of a table of ratios."""

    scenario: str
    row: str
    column: str
    above: float
    below: float
    per_seed: list
    limit: float
    at_most: bool = True
    note: str = ""
    #: The ratio that no scheduler could exceed, where there is one.
    bound: float = None

    @property
    def ratio(self):
        return quotient(self.above, self.below)

    @property
    def met(self):
        if self.ratio is None:
            return False
        return self.ratio <= self.limit if self.at_most else self.ratio >= self.limit


@dataclass
class Demand:
    """What is asked, and the cells it is asked of."""

    title: str
    told: str
    cells: list = field(default_factory=list)

    def verdict(self):
        met = sum(cell.met for cell in self.cells)
        return f"{met} of {len(self.cells)} cells meet it"


def ratio(scenario, table, place, above, below, limit, **more):
    """P95 of one policy over that of another, medians over seeds."""
    cell, entry, load = place
    return Cell(
        scenario=scenario,
        row=f"{cell}, {entry}",
        column=f"C = {load}",
        above=table.median(place, above),
        below=table.median(place, below),
        per_seed=ratios(table.each(place, above), table.each(place, below)),
        limit=limit,
        **more,
    )


def short(policy):
    """The first letter of the architecture."""
    return policy[0]


def near_clairvoyant(scenario, table, limit):
    demand = Demand(
        f"`predictive` against `clairvoyant` in `{scenario}`",
        f"P95 of the best of the three architectures with `predictive`, over P95 of "
        f"`clairvoyant`: at most {limit:.2f}. Which is the best: **d**ecentralized, "
        "**f**ederated or **c**entralized.".replace("**", "_"),
    )
    for place in table.places:
        best = table.best(place, plan.fixed("predictive"))
        if best is None:
            continue
        cell = ratio(scenario, table, place, best, plan.CLAIRVOYANT, limit, note=short(best))
        demand.cells.append(cell)
    return demand


def no_regret(scenario, table, selection="predictive", limit=1.05):
    demand = Demand(
        f"`adaptive` against the best fixed architecture in `{scenario}`, `{selection}`",
        f"P95 of `{plan.adaptive(selection)}`, over the least P95 of the three fixed architectures "
        f"with the same selection: at most {limit:.2f}.",
    )
    for place in table.places:
        best = table.best(place, plan.fixed(selection))
        adaptive = plan.adaptive(selection)
        if best is None or table.median(place, adaptive) is None:
            continue
        cell = ratio(scenario, table, place, adaptive, best, limit, note=short(best))
        demand.cells.append(cell)
    return demand


def after_step(scenario, table, limit=1.2, length_s=10):
    """Every phase but the first, which is the warm-up."""
    demand = Demand(
        f"`adaptive` after a step in load in `{scenario}`",
        f"P95 of `{plan.ADAPTIVE}` in the {length_s} s after a change of the number of clients, "
        "and from then on up to the next change, over the least of the fixed architectures in the "
        f"same stretch: at most {limit:.2f}.",
    )
    for place in table.places:
        own = table.phases(place, plan.ADAPTIVE)
        others = {policy: table.phases(place, policy) for policy in plan.fixed("predictive")}
        for from_s, values in own.items():
            if from_s < length_s:
                continue
            below = {policy: median(phases.get(from_s, [])) for policy, phases in others.items()}
            below = {policy: value for policy, value in below.items() if value is not None}
            if not below:
                continue
            best = min(below, key=below.get)
            demand.cells.append(Cell(
                scenario=scenario,
                row=f"{place[0]}, {place[1]}",
                column=f"from {from_s:g} s",
                above=median(values),
                below=below[best],
                per_seed=ratios(values, others[best][from_s]),
                limit=limit,
                note=short(best),
            ))
    return demand


def below_reference(scenario, table, load_min=10, limit=2.5, limit_antagonist=4.0):
    demand = Demand(
        f"`{plan.REFERENCE}` against `adaptive` in `{scenario}`",
        f"P95 of `{plan.REFERENCE}`, over P95 of `{plan.ADAPTIVE}`: at least {limit:g} from C = "
        f"{load_min} on, {limit_antagonist:g} with the antagonist. In parentheses: over P95 of "
        "`clairvoyant`, which sees everything but what an invocation will need.",
    )
    for place in table.places:
        if place[2] < load_min:
            continue
        least = limit_antagonist if place[0] == "antagonist" else limit
        reference = table.median(place, plan.REFERENCE)
        bound = quotient(reference, table.median(place, plan.CLAIRVOYANT))
        cell = ratio(
            scenario, table, place, plan.REFERENCE, plan.ADAPTIVE, least,
            at_most=False, bound=bound, note=f"{bound:.2f}" if bound else "",
        )
        demand.cells.append(cell)
    return demand


def all_of(found):
    """The demands that can be checked with the rows there are, in the order of the issue."""
    demands = []
    for scenario, limit in [("testbed", 1.10), ("fleet-41", 1.30)]:
        if scenario in found:
            demands.append(near_clairvoyant(scenario, found[scenario], limit))
    for scenario, table in found.items():
        demands.append(no_regret(scenario, table))
    if "steps" in found:
        demands.append(after_step("steps", found["steps"]))
    if "testbed" in found:
        demands.append(below_reference("testbed", found["testbed"]))
    return demands
