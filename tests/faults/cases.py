"""What goes wrong, what must hold then, and how that is measured."""

import asyncio
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet import IDEMPOTENT, OTHER, Fleet, Watch
from load import Load, Sample

Row = dict[str, Any]

# Seconds a function takes, and those before and after the fault.
SERVICE_S = 0.015
BEFORE_S = 6.0
AFTER_S = 8.0
WINDOW_S = 1.0
STEP_S = 0.1
# By how much P99 of a window may exceed the highest before the fault.
RECOVERED = 1.5
# Failures told one by one.
FAILURES_SHOWN = 10


def drop(host: str) -> None:
    """No packet reaches the host or leaves it any more, and nobody is told."""
    for direction in ("--destination", "--source"):
        subprocess.run(["iptables", "-I", "INPUT", direction, host, "-j", "DROP"], check=True)


def undrop() -> None:
    subprocess.run(["iptables", "-F", "INPUT"], check=True)


@dataclass
class Case:
    name: str
    victims: tuple[str, ...]
    entries: tuple[str, ...]
    strike: Callable[[Fleet, tuple[str, ...]], None]
    # What of a row must be at most so much.
    bounds: dict[str, float] = field(default_factory=dict)


def kill(fleet: Fleet, victims: tuple[str, ...]) -> None:
    fleet.kill(*victims)


def black_hole(fleet: Fleet, victims: tuple[str, ...]) -> None:
    for victim in victims:
        drop(fleet.address(victim)[0])


def fail_fast(fleet: Fleet, victims: tuple[str, ...]) -> None:
    for victim in victims:
        fleet.fail(victim)


LOST = {
    "failed_idempotent": 0,
    "failed_others": 20,
    "ran_twice_others": 0,
    "ejected_s": 1.0,
    "p99_recovered_s": 2.0,
}
CASES = (
    Case("one_killed", ("edge4",), ("cloud", "edge1", "edge2"), kill, LOST),
    Case("two_killed", ("edge3", "edge4"), ("cloud", "edge1", "edge2"), kill, LOST),
    Case(
        "all_others_killed",
        ("cloud", "edge2", "edge3", "edge4"),
        ("edge1",),
        kill,
        {"failed_idempotent": 0, "failed_others": 20, "ran_twice_others": 0, "failed_later": 0},
    ),
    Case(
        "black_holed",
        ("edge4",),
        ("cloud", "edge1", "edge2"),
        black_hole,
        # A second, and what the fallback takes.
        {"failed_idempotent": 0, "ran_twice_others": 0, "longest_s": 1.0 + 0.25},
    ),
    Case(
        "failing_fast",
        ("edge4",),
        ("cloud", "edge1", "edge2"),
        fail_fast,
        {"victims_share_later": 0.01, "ran_twice_others": 0},
    ),
)


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def p99_windows(samples: list[Sample], begin: float, end: float) -> list[tuple[float, float]]:
    """The begin and P99 of each window of a second between two times, one every tenth."""
    windows = []
    at = begin
    while at + WINDOW_S <= end:
        within = [s.took for s in samples if at <= s.begun < at + WINDOW_S]
        windows.append((at, quantile(within, 0.99)))
        at += STEP_S
    return windows


def recovered_after(samples: list[Sample], began: float, struck: float, end: float) -> float:
    """From when on P99 stays near what it was."""
    usual = max(p99 for _, p99 in p99_windows(samples, began + 2.0, struck))
    late = [at for at, p99 in p99_windows(samples, struck, end) if p99 > RECOVERED * usual]
    return max(late) + STEP_S - struck if late else 0.0


def measured(case: Case, fleet: Fleet, load: Load, began: float, struck: float, last: float) -> Row:
    samples = load.samples
    end = began + BEFORE_S + AFTER_S
    failed = [s for s in samples if s.status != 200]
    later = [s for s in samples if s.begun > struck + 1.0]
    earlier = [s for s in samples if began + 2.0 < s.begun < struck]
    at_victims = lambda some: sum(s.node in case.victims for s in some) / max(len(some), 1)  # noqa: E731
    begun = fleet.collector.begun
    others = [s for s in samples if s.function == OTHER]
    return {
        "invocations": len(samples),
        "generator_behind_s": round(load.behind_s, 4),
        "victims_share_before": round(at_victims(earlier), 4),
        "victims_share_later": round(at_victims(later), 5),
        "failed_before": sum(s.begun < struck - 1.0 for s in failed),
        "failed_idempotent": sum(s.function == IDEMPOTENT for s in failed),
        "failed_others": sum(s.function == OTHER for s in failed),
        "failed_later": sum(s.begun > struck + 1.0 for s in failed),
        "ran_twice_others": sum(begun[s.run] > 1 for s in others),
        "ejected_s": round(max(last - struck, 0.0), 3),
        "p99_before_s": round(quantile([s.took for s in earlier], 0.99), 4),
        "p99_later_s": round(quantile([s.took for s in later], 0.99), 4),
        "p99_recovered_s": round(recovered_after(samples, began, struck, end), 3),
        "failures": [
            f"{s.begun - struck:.3f} s: {s.function} {s.status} {s.why.strip()}"
            for s in failed[:FAILURES_SHOWN]
        ],
        "longest_s": round(max(s.took for s in samples if s.begun > struck - 1.0), 4),
    }


def run(case: Case, directory: Path, rate: float, config: dict[str, Any]) -> Row:
    """One run of `case`: what was measured, and what of it does not hold."""
    fleet = Fleet(directory, SERVICE_S, **config)
    watch = Watch(fleet, list(case.entries))
    try:
        entries = [fleet.address(entry) for entry in case.entries]
        load = Load(entries, (IDEMPOTENT, OTHER), rate)

        async def strike() -> float:
            await asyncio.sleep(BEFORE_S)
            await asyncio.to_thread(case.strike, fleet, case.victims)
            return time.monotonic()

        async def both() -> tuple[float, float]:
            began = time.monotonic()
            struck, _ = await asyncio.gather(strike(), load.run(BEFORE_S + AFTER_S))
            return began, struck

        began, struck = asyncio.run(both())
        row = measured(case, fleet, load, began, struck, watch.changed)
    finally:
        watch.stop()
        undrop()
        fleet.stop()
    row["missed"] = [name for name, most in case.bounds.items() if row[name] > most]
    return row
