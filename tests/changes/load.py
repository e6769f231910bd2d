"""Clients at a steady rate, who notice every request that is lost."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.hopwise import CLIENT
from support.wire import Closed, Wire, connect, request

CLIENTS = 16
BODY = b"x" * 100
FAILURES_TOLD = 5


@dataclass
class Tally:
    """What all clients met."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    connections: int = 0
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def summary(self) -> dict[str, Any]:
        ordered = sorted(self.latencies)
        return {
            "requests": len(ordered),
            "requests_per_second": round(len(ordered) / self.seconds, 1),
            "connections": self.connections,
            "failed": len(self.failures),
            "failures": self.failures[:FAILURES_TOLD],
            "p50_ms": round(1000 * ordered[len(ordered) // 2], 2),
            "p99_ms": round(1000 * ordered[len(ordered) * 99 // 100], 2),
            "slowest_ms": round(1000 * ordered[-1], 1),
        }


class Client:
    """Posts at a steady rate. A keeper of connections keeps each until an answer is the last on
    it; if it breaks before, a request is lost, for nobody may repeat a POST."""

    def __init__(self, address: tuple[str, int], tally: Tally, keeps: bool, path: str) -> None:
        self.address = address
        self.tally = tally
        self.keeps = keeps
        fields = () if keeps else ("Connection: close",)
        self.request = request("POST", path, *fields, body=BODY)
        self.wire: Wire | None = None

    def ask(self) -> str:
        """Why there was no answer; empty if there was one."""
        try:
            if self.wire is None:
                self.wire = connect(self.address, CLIENT)
                with self.tally.lock:
                    self.tally.connections += 1
            self.wire.send(self.request)
            response = self.wire.response()
            last = (response.value("connection") or "").lower() == "close"
            if last:
                self.leave()
            return "" if response.status == 200 else f"{response.start!r} {response.body!r}"
        except (Closed, OSError) as error:
            self.leave()
            return repr(error)

    def leave(self) -> None:
        if self.wire is not None:
            self.wire.close()
            self.wire = None

    def run(self, interval: float, offset: float, done: threading.Event) -> None:
        due = time.monotonic() + offset
        while not done.wait(max(0.0, due - time.monotonic())):
            begun = time.monotonic()
            problem = self.ask()
            with self.tally.lock:
                self.tally.latencies.append(time.monotonic() - begun)
                if problem:
                    self.tally.failures.append(problem)
            # Whoever is late asks at once, and does not make up for what it has not asked.
            due = max(due + interval, begun)
        self.leave()


@contextmanager
def under_load(
    address: tuple[str, int], rate: float = 500.0, path: str = "/function/echo"
) -> Iterator[Tally]:
    """Three quarters of the clients keep their connections."""
    tally, done = Tally(), threading.Event()
    interval = CLIENTS / rate
    threads = [
        threading.Thread(
            target=Client(address, tally, keeps=i % 4 != 0, path=path).run,
            args=(interval, interval * i / CLIENTS, done),
        )
        for i in range(CLIENTS)
    ]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    try:
        yield tally
    finally:
        done.set()
        for thread in threads:
            thread.join()
        tally.seconds = time.monotonic() - begun
