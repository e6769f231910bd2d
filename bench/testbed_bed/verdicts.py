"""Whether the figures to reach are reached."""

from . import balancers, policies

#: P95 in ms of the reference implementation's dynamic mode at single entry (DESIGN 4.4).
REFERENCE_MS = {2: 255, 6: 669, 10: 1049, 15: 1368, 20: 1691, 30: 1635}
#: The same with the antagonist, at 20 users.
REFERENCE_ANTAGONIST_MS = 3294
BEST_FIXED, BEST_BALANCER, CLAIRVOYANT, REFERENCE, ANTAGONIST = 1.10, 1.0, 1.15, 0.5, 1 / 3


def line(what, found):
    """`found`: for each place, how many times as much as allowed it is, and how it is said."""
    if not found:
        return f"- {what}: not measured"
    missed = [said for times, said in found if times > 1]
    verdict = "reached" if not missed else f"missed at {len(missed)} of {len(found)}"
    worst = max(found)[1]
    return f"- {what}: **{verdict}**; worst {worst}" + (
        f"; missed: {'; '.join(missed)}" if len(missed) > 1 else "")


def said(place, mine, other, whose):
    function, fault, entry, users = place
    fault = "" if fault == "none" else f", {fault}"
    return f"{mine:.0f} against {other:.0f} ms ({whose}) for {function}, {entry}, {users} users{fault}"


def against(cells, places, other_of, allowed):
    """Dynamic's P95 against another's."""
    found = []
    for place in places:
        mine, other = cells.median(place, "dynamic", "p95_ms"), other_of(place)
        if mine and other:
            found.append((mine / other[0] / allowed, said(place, mine, *other)))
    return found


def of(cells, virtual):
    """One line per figure."""
    places = list(dict.fromkeys(cells.place(row) for row in cells.rows))
    steady = [place for place in places if place[1] == "none"]
    shaken = [place for place in places if place[1] == "antagonist"]

    def fixed(place):
        return cells.best(place, policies.FIXED)

    def balancer(place):
        return cells.best(place, balancers.NAMES)

    def clairvoyant(place):
        value = virtual.median(place, "clairvoyant", "p95_ms")
        return (value, "simulated clairvoyant") if value else None

    def reference(place):
        known = place[0] == "basic" and place[2] == "single" and place[3] >= 10
        value = REFERENCE_MS.get(place[3]) if known else None
        return (value, "reference") if value else None

    def slowed(place):
        return (REFERENCE_ANTAGONIST_MS, "reference") if place[3] == 20 else None

    failed = [(2, f"{row['failed']} of {said_of(row)}") for row in cells.rows
              if row["fault"] == "none" and row["failed"] and row["policy"] in policies.HOPWISE]
    return [
        line("dynamic's P95 at most 1.10 × the best fixed architecture's",
             against(cells, steady, fixed, BEST_FIXED)),
        line("dynamic's P95 at most the best balancer's",
             against(cells, steady, balancer, BEST_BALANCER)),
        line("dynamic's P95 within 1.15 × of the simulated clairvoyant's",
             against(cells, steady, clairvoyant, CLAIRVOYANT)),
        line("from 10 users on, at least 2 × lower than the reference implementation's",
             against(cells, steady, reference, REFERENCE)),
        line("with the antagonist, at least 3 × lower than the reference implementation's",
             against(cells, shaken, slowed, ANTAGONIST)),
        "- no failed invocation without faults: " + (
            "**reached**" if not failed else f"**missed**: {'; '.join(what for _, what in failed)}"),
    ]


def said_of(row):
    return f"{row['policy']}, {row['function']}, {row['entry']}, {row['users']} users"
