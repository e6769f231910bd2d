"""Steps of the wall clock by an hour, forth and back, while requests and deadlines run.

The process sees a clock of its own (libfaketime), of which only CLOCK_REALTIME is moved, as it is
when an operator or NTP sets the time.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from changes.load import under_load
from changes.scene import GATEWAY, directory, gateway, sidecar
from support.hopwise import Hopwise, single_node
from support.wait import eventually

GOAL = "no request fails or is slow, and a deadline is met by the clock that is set"
STEPS = (3600, 0, -3600, 0, 3600, -3600, 3600, 0)
BETWEEN_SECONDS = 2.0
TOLERANCE_SECONDS = 5.0
# Longer than any request takes here, and far from an hour.
SLOW_MS = 2000


def stamp(proxy: Hopwise) -> float:
    """The time as the sidecar sees it."""
    return float(proxy.json("GET", "/load")["timestamp"])


def entered(proxy: Hopwise, deadline: float) -> int:
    body = json.dumps({"fn_name": "echo", "payload": "x", "deadline": deadline}).encode()
    return proxy.call("POST", "/entry", body=body).status


def run(scale: float) -> dict[str, Any]:
    wrong: list[str] = []
    with directory() as at, gateway(at):
        offset = at / "offset"
        offset.write_text("+0")
        library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        os.environ.update(environment)
        config = single_node(GATEWAY, queue={"enabled": True, "running": 64})
        config["functions"] = {"echo": {"idempotent": True, "deadline_ms": 5000}}
        with sidecar(config, at) as proxy:
            for name in environment:
                del os.environ[name]
            with under_load(proxy.data) as tally:
                for step in STEPS:
                    beside = at / "offset.new"
                    beside.write_text(f"{step:+d}")
                    beside.replace(offset)
                    eventually(
                        lambda step=step: abs(stamp(proxy) - time.time() - step)
                        < TOLERANCE_SECONDS,
                        f"the clock is {step:+d} s off",
                    )
                    now = stamp(proxy)
                    for deadline, expected in ((now + 60, 200), (now - 60, 504)):
                        if (found := entered(proxy, deadline)) != expected:
                            wrong.append(f"{step:+d}: deadline {deadline - now:+.0f}: {found}")
                    time.sleep(BETWEEN_SECONDS * min(1.0, scale))
    summary = tally.summary()
    return {
        "steps_seconds": STEPS,
        "wrong": wrong,
        "load": summary,
        "passed": not tally.failures and not wrong and summary["slowest_ms"] < SLOW_MS,
    }
