"""What every abuse has: a sidecar before a gateway, on loopback, and a result with its origin."""

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "system"))

from support.hopwise import Hopwise, resident_bytes, single_node  # noqa: E402
from support.wait import accepts, eventually, free_port  # noqa: E402
from support.wire import fetch  # noqa: E402, F401

RESULTS = ROOT / "bench" / "results" / "abuse"
GATEWAY_HOST = "127.0.0.1"
MIB = 1 << 20

Result = dict[str, Any]


@contextlib.contextmanager
def gateway(*arguments: str) -> Iterator[tuple[str, int]]:
    """`gateway.py` as a process of its own."""
    port = free_port(GATEWAY_HOST)
    program = str(Path(__file__).with_name("gateway.py"))
    command = [sys.executable, program, "--port", str(port), *arguments]
    process = subprocess.Popen(command)
    try:
        eventually(lambda: accepts(GATEWAY_HOST, port), "the gateway listens")
        yield GATEWAY_HOST, port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def sidecar(address: tuple[str, int], **config: Any) -> Iterator[Hopwise]:
    """hopwise before the gateway at `address`; it must still run, and not have panicked, at the end."""
    with tempfile.TemporaryDirectory() as directory:
        started = Hopwise(single_node(address, **config), Path(directory))
        try:
            yield started
            assert started.process.is_running(), started.output()
            assert "panicked" not in started.output(), started.output()
        finally:
            started.stop()


def resident_mib(hopwise: Hopwise) -> float:
    return resident_bytes(hopwise.process.pid) / MIB


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of all values do not exceed; NaN where there are none."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def machine() -> Result:
    model = "unknown"
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": commit,
    }


def report(
    name: str, once: Callable[[argparse.Namespace, int], Result], parser: argparse.ArgumentParser
) -> None:
    """Runs `once` for each run, writes down all results, and fails if one misses its goal.

    A result has `figures` and `goals`: a figure's name, its comparison and its bound.
    """
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json")
    arguments = parser.parse_args()
    runs, missed = [], []
    for number in range(arguments.runs):
        begun = time.monotonic()
        result = once(arguments, arguments.seed + number)
        figures = result["figures"] | {"seconds": round(time.monotonic() - begun, 1)}
        for figure, (comparison, bound) in result["goals"].items():
            value = figures[figure]
            good = value <= bound if comparison == "<=" else value >= bound
            if not good:
                missed.append(f"run {number}: {figure} = {value}, wanted {comparison} {bound}")
        runs.append(figures)
        print(json.dumps(figures), flush=True)
    worst = {
        figure: (max if comparison == "<=" else min)(run[figure] for run in runs)
        for figure, (comparison, _) in result["goals"].items()
    }
    document = {
        "machine": machine(),
        "command": " ".join(["python3", *sys.argv]),
        "goals": {f: f"{comparison} {bound}" for f, (comparison, bound) in result["goals"].items()},
        "worst": worst,
        "runs": runs,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(document, indent=2) + "\n")
    if missed:
        sys.exit("\n".join(missed))
