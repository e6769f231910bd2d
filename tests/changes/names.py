"""A resolver that is gone for ten minutes, or answers nothing, while every call needs a new
connection to a node that is known by its name.

Names are fresh for a second here, not for 30, so that each is asked for again and again meanwhile:
60 s of this are 20 times as many questions in vain as ten minutes by default.
"""

import time
from typing import Any

from changes.load import under_load
from changes.scene import directory, gateway, sidecar
from support.hopwise import single_node
from support.resolver import Resolver
from support.wait import eventually

GOAL = "no request fails; a name that is asked for the first time is not needed"
NAME = "gateway.test"
AT = ("127.0.0.7", 31112)
OUTAGE_SECONDS = 60.0


def run(scale: float) -> dict[str, Any]:
    outage = max(6.0, OUTAGE_SECONDS * scale)
    with directory() as at, gateway(at, AT):
        resolver = Resolver(AT[0])
        config = single_node((NAME, AT[1]))
        config["timeouts"] = {"name_fresh_ms": 1000}
        config["limits"] = {"idle_connections": 0}
        command = resolver.command(at)
        with sidecar(config, at, wrapper=command) as proxy, under_load(proxy.data) as tally:
            eventually(lambda: len(tally.latencies) > 500, "there was load")
            answered = resolver.asked
            resolver.silent = True
            time.sleep(outage * 2 / 3)
            in_vain = resolver.asked - answered
            # From now on it is not even there: the kernel refuses.
            resolver.close()
            time.sleep(outage / 3)
            connects = proxy.metrics()["hopwise_upstream_connects_total"]
    return {
        "outage_seconds": outage,
        "asked_before": answered,
        "asked_in_vain": in_vain,
        "connections_upstream": connects,
        "load": tally.summary(),
        "passed": not tally.failures and in_vain > 0 and connects > 1000 * min(1.0, scale),
    }
