"""1 000 changes of the configuration in 60 s, by SIGHUP and POST /reload in turn."""

import time
from typing import Any

from changes.load import under_load
from changes.scene import GATEWAY, directory, gateway, sidecar
from support.hopwise import Config, single_node
from support.wait import eventually

GOAL = "no request fails, and each change is in force: one generation each"
SECONDS = 60.0
MODES = ("centralized", "federated", "decentralized", "dynamic")
SELECTIONS = ("predictive", "weighted", "least_request", "random", "peak_ewma")


def changed(config: Config, number: int) -> Config:
    """No two in a row are alike, in anything."""
    soft = 1.0 + number / 1e4
    return {
        **config,
        "architecture": MODES[number % len(MODES)],
        "selection": SELECTIONS[number % len(SELECTIONS)],
        "tail_scheduler": {"soft_d2f_threshold": soft, "hard_d2f_threshold": soft + 1},
        "limits": {"idle_connections": 64 + number % 100, "functions": 100 + number % 50},
        "timeouts": {"idle_ms": 20_000 + number},
    }


def run(scale: float) -> dict[str, Any]:
    count = max(20, round(1000 * scale))
    with directory() as at, gateway(at):
        config = single_node(GATEWAY, role="cloud-controller")
        with sidecar(config, at) as proxy:
            first = proxy.json("GET", "/configuration")["generation"]
            with under_load(proxy.data) as tally:
                begun = time.monotonic()
                for number in range(count):
                    proxy.write(changed(config, number))
                    if number % 2:
                        proxy.json("POST", "/reload")
                    else:
                        proxy.reload_by_signal()
                        # Signals that come too fast are one; each of these is to count.
                        eventually(
                            lambda wanted=first + number + 1: proxy.json("GET", "/configuration")[
                                "generation"
                            ]
                            == wanted,
                            "SIGHUP reads the file",
                            poll=0.002,
                        )
                    due = begun + (number + 1) * SECONDS * scale / count
                    time.sleep(max(0.0, due - time.monotonic()))
                seconds = time.monotonic() - begun
            last = proxy.json("GET", "/configuration")["generation"]
            refused = proxy.metrics()["hopwise_config_reload_failures_total"]
    return {
        "changes": count,
        "seconds": round(seconds, 1),
        "in_force": last - first,
        "refused": refused,
        "load": tally.summary(),
        "passed": not tally.failures and last - first == count and refused == 0,
    }
