"""Five nodes, each a sidecar and a gateway of its own, as processes that can be killed."""

import signal
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))

from support.cluster import PLACES  # noqa: E402
from support.hopwise import Config, Hopwise  # noqa: E402
from support.process import Process  # noqa: E402
from support.wait import accepts, eventually  # noqa: E402

DATA, ADMIN, GATEWAY = 31113, 31114, 31112
IDEMPOTENT, OTHER = "twice", "once"


class Collector:
    """Hears of every invocation that a gateway has begun."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.bind(("127.0.0.1", 0))
        self.begun: Counter[str] = Counter()
        threading.Thread(target=self.listen, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def listen(self) -> None:
        while True:
            self.begun[self.socket.recv(100).decode()] += 1


class Fleet:
    def __init__(self, directory: Path, seconds: float, **changes: object) -> None:
        self.collector = Collector()
        self.nodes: dict[str, Hopwise] = {}
        self.gateways: dict[str, Process] = {}
        topology = [
            {"id": p.id, "role": p.role, "zone": p.zone, "address": p.host,
             "port": DATA, "gateway_port": GATEWAY}
            for p in PLACES
        ]  # fmt: skip
        script = str(Path(__file__).with_name("gateway.py"))
        try:
            for place in PLACES:
                self.gateways[place.id] = Process(
                    f"gateway-{place.id}",
                    [sys.executable, script, place.host, str(GATEWAY), str(seconds),
                     str(self.collector.port)],
                    directory,
                )  # fmt: skip
                config: Config = {
                    "architecture": "dynamic",
                    "node": {"id": place.id},
                    "topology": topology,
                    "listen": {"data": f"{place.host}:{DATA}", "admin": f"{place.host}:{ADMIN}"},
                    "gateway": f"{place.host}:{GATEWAY}",
                    "functions": {IDEMPOTENT: {"idempotent": True}},
                    "workers": 1,
                    **changes,
                }
                self.nodes[place.id] = Hopwise(config, directory, name=place.id, wait=False)
            for place in PLACES:
                self.nodes[place.id].wait_ready()
                eventually(lambda host=place.host: accepts(host, GATEWAY), "the gateway listens")
        except BaseException:
            self.stop()
            raise

    def address(self, node: str) -> tuple[str, int]:
        return next(p.host for p in PLACES if p.id == node), DATA

    def kill(self, *nodes: str) -> None:
        """As if the machine had lost its power, apart from that its kernel goes on."""
        for node in nodes:
            self.nodes[node].process.signal(signal.SIGKILL)
            self.gateways[node].signal(signal.SIGKILL)

    def fail(self, node: str) -> None:
        host, _ = self.address(node)
        with socket.create_connection((host, GATEWAY)) as wire:
            wire.sendall(b"POST /fail HTTP/1.1\r\n\r\n")
            assert wire.recv(100).startswith(b"HTTP/1.1 200")

    def stop(self) -> None:
        for node in self.nodes.values():
            node.process.kill()
        for gateway in self.gateways.values():
            gateway.kill()


class Watch:
    """When the nodes that are left last met the one that is not, by their own count."""

    def __init__(self, fleet: Fleet, nodes: list[str]) -> None:
        self.fleet = fleet
        self.nodes = nodes
        self.changed = 0.0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()

    def met(self) -> float:
        outcomes = ("unreachable", "lost")
        names = [f'hopwise_outcomes_total{{outcome="{outcome}"}}' for outcome in outcomes]
        metrics = [self.fleet.nodes[node].metrics() for node in self.nodes]
        return sum(found.get(name, 0.0) for found in metrics for name in names)

    def look(self) -> None:
        before = self.met()
        while not self.ended.wait(0.1):
            now, met = time.monotonic(), self.met()
            if met != before:
                before, self.changed = met, now

    def stop(self) -> None:
        self.ended.set()
        self.thread.join()
