"""A resolver that is gone for ten minutes, or answers nothing, while every call needs a new
connection to a node that is known by its name.

Names are fresh for a second here, not for 30, so that each is asked for again and again meanwhile:
60 s of this are 20 times as many questions in vain as ten minutes by default.
"""

import socket
import struct
import threading
import time
from typing import Any

from changes.load import under_load
from changes.scene import directory, gateway, sidecar
from support.hopwise import single_node
from support.wait import eventually

GOAL = "no request fails; a name that is asked for the first time is not needed"
NAME = "gateway.test"
RESOLVER = "127.0.0.53"
AT = ("127.0.0.7", 31112)
OUTAGE_SECONDS = 60.0
GONE_SECONDS = 20.0


class Resolver:
    """Answers any question with one address, while it is not silent."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((RESOLVER, 53))
        self.silent = False
        self.asked = 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                query, client = self.socket.recvfrom(512)
            except OSError:
                return
            self.asked += 1
            if not self.silent:
                self.socket.sendto(answer(query), client)

    def close(self) -> None:
        self.socket.close()


def answer(query: bytes) -> bytes:
    end = query.index(b"\0", 12) + 5
    is_ipv4 = query[end - 4 : end - 2] == b"\0\1"
    head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, int(is_ipv4), 0, 0)
    address = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton(AT[0])
    return head + query[12:end] + (address if is_ipv4 else b"")


def run(scale: float) -> dict[str, Any]:
    outage = max(6.0, OUTAGE_SECONDS * scale)
    with directory() as at, gateway(at, AT):
        resolver = Resolver()
        config = single_node((NAME, AT[1]))
        config["timeouts"] = {"name_fresh_ms": 1000}
        config["limits"] = {"idle_connections": 0}
        with sidecar(config, at) as proxy, under_load(proxy.data) as tally:
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
