"""The load tools that people use, for some seconds, against a real sidecar."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from origin import Origin
from support.cluster import Cluster
from support.hopwise import REPOSITORY, Hopwise

LOAD = REPOSITORY / "tests" / "load"
INVOCATIONS = 300
SHORT = {"config": {"phases": [{"duration": 4, "arrivalRate": 10, "maxVusers": 40}]}}


def run(*command: object) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def address(node: Hopwise) -> str:
    return f"http://{node.data[0]}:{node.data[1]}"


def artillery() -> str | None:
    """Where `tests/run` has put it, or anywhere else."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    own = target / "artillery" / "node_modules" / ".bin" / "artillery"
    return str(own) if own.exists() else shutil.which("artillery")


def test_locust_is_the_experiments_users(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(architecture="dynamic")
    entries = [address(cluster.nodes[id]) for id in ("edge1", "edge2", "edge3", "edge4")]
    told = run(
        sys.executable, "-m", "locust", "-f", LOAD / "locustfile.py", "--headless", "--json",
        "--users", "10", "--spawn-rate", "10", "--host", entries[0], "--entries", *entries,
        "--invocations", INVOCATIONS, "--stop-timeout", "10", "--run-time", "60s",
    )  # fmt: skip
    (total,) = json.loads(told)
    assert (total["name"], total["num_requests"], total["num_failures"]) == ("basic", INVOCATIONS, 0)
    assert all(cluster.gateways[id].received for id in ("edge1", "edge2", "edge3", "edge4"))


def test_artillery_runs_as_documented(
    origin: Origin, before_origin: Hopwise, tmp_path: Path
) -> None:
    program = artillery()
    if program is None:
        pytest.skip("ARTILLERY IS NOT TESTED: npm is not here, or reaches no registry")
    report = tmp_path / "report.json"
    run(
        program, "run", "--quiet", "--target", address(before_origin), "--output", report,
        "--overrides", json.dumps(SHORT), LOAD / "basic-load.yml",
    )  # fmt: skip
    counters = json.loads(report.read_text())["aggregate"]["counters"]
    assert counters["vusers.failed"] == 0
    assert counters["http.codes.200"] == counters["http.requests"] == 40
