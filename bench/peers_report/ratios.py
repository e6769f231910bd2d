"""Ratios round by round, so that what the machine did to both cancels out."""

import statistics

# A proxy that used less of its core than this was not saturated: others on the machine had held up
# the generator or the gateway, and how much a proxy does per wakeup is then another matter.
SATURATED_FROM = 0.9
CALM = {"paced", "memory", "instructions"}


def counts(row):
    """Whether the row is what its load says: decided by the share of the core, not the outcome."""
    return (row["scenario"] in CALM or row["peer"] == "direct"
            or row["proxy_busy"] >= SATURATED_FROM)


class Rows:
    """What the rounds saw, by scenario and peer."""

    def __init__(self, rows):
        self.of = {}
        self.all = rows
        for row in filter(counts, rows):
            turn = (row["round"], row.get("turn", 0))
            self.of.setdefault((row["scenario"], row["peer"]), {})[turn] = row

    def peers(self, scenario):
        return [peer for found, peer in self.of if found == scenario]

    def values(self, scenario, peer, key):
        rows = self.of.get((scenario, peer), {})
        return {turn: row[key] for turn, row in rows.items() if key in row}

    def median(self, scenario, peer, key):
        values = self.values(scenario, peer, key)
        return statistics.median(values.values()) if values else None

    def pairs(self, scenario, key, peer, other, join):
        """`join` of both values of each turn in which there are both."""
        mine, its = self.values(scenario, peer, key), self.values(scenario, other, key)
        return [join(mine[turn], its[turn]) for turn in mine if its.get(turn)]

    def ratios(self, scenario, key, peer, other):
        return self.pairs(scenario, key, peer, other, lambda mine, its: mine / its)

    def added(self, scenario, key, peer):
        return self.pairs(scenario, key, peer, "direct", lambda mine, floor: mine - floor)


def spread(values, digits=2):
    if not values:
        return "–"
    middle, least, most = (
        f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least} – {most})"
