"""Clients who notice whatever is lost when one process takes the place of another."""

import fcntl
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.hopwise import CLIENT, Hopwise, binary
from support.process import Process
from support.wire import Closed, Wire, connect, request


@dataclass
class Tally:
    """What clients met."""

    answered: int = 0
    connections: int = 0
    failed: list[str] = field(default_factory=list)
    slowest: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


def client(address: tuple[str, int], tally: Tally, done: threading.Event, pause: float) -> None:
    """Posts over a connection that it keeps until it is told that an answer was the last: what
    breaks a connection between that and the next answer has lost a request."""
    wire: Wire | None = None
    while not done.is_set():
        begun = time.monotonic()
        try:
            if wire is None:
                wire = connect(address, CLIENT)
                with tally.lock:
                    tally.connections += 1
            wire.send(request("POST", "/function/echo", body=b"x" * 100))
            response = wire.response()
            problem = "" if response.status == 200 else f"{response.start!r} {response.body!r}"
            if (response.value("connection") or "").lower() == "close":
                wire.close()
                wire = None
        except (Closed, OSError) as error:
            problem, wire = repr(error), None
        with tally.lock:
            tally.answered += 1
            tally.slowest = max(tally.slowest, time.monotonic() - begun)
            if problem:
                tally.failed.append(problem)
        done.wait(pause)
    if wire is not None:
        wire.close()


@contextmanager
def under_load(
    address: tuple[str, int], clients: int = 8, pause: float = 0.005
) -> Iterator[Tally]:
    tally, done = Tally(), threading.Event()
    threads = [
        # One in four leaves time enough for its connection to be closed under it.
        threading.Thread(target=client, args=(address, tally, done, pause * (40 if i % 4 else 1)))
        for i in range(clients)
    ]
    for thread in threads:
        thread.start()
    try:
        yield tally
    finally:
        done.set()
        for thread in threads:
            thread.join()


def handover_path() -> str:
    """Short enough for a Unix socket, whatever the test is called."""
    return str(Path(tempfile.mkdtemp(prefix="hw-")) / "handover.sock")


def successor(running: Hopwise, name: str, wait: bool = True) -> Process:
    """Another process with the file of `running`, as an operator would start it."""
    command = [binary(), "run", "--config", str(running.file)]
    started = Process(name, command, running.directory, env={"NO_COLOR": "1"})
    if wait:
        assert running.process.wait(40) == 0, running.output()
        running.process = started
    return started


class ServiceManager:
    """Holds listening sockets for a process, as systemd does, and hears how it is."""

    def __init__(self, directory: Path, data: tuple[str, int], admin: tuple[str, int]) -> None:
        self.directory = directory
        self.sockets = [socket.create_server(address, backlog=4096) for address in (data, admin)]
        self.path = str(Path(tempfile.mkdtemp(prefix="hw-")) / "notify.sock")
        self.notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notifications.bind(self.path)
        self.notifications.settimeout(20)

    def start(
        self, name: str, *arguments: str, names: str = "data:admin", watch_us: int = 0
    ) -> Process:
        # Numbers that are in nobody's way; the shell becomes the process, whose LISTEN_PID it knows.
        passed = [fcntl.fcntl(held, fcntl.F_DUPFD, 10) for held in self.sockets]
        moves = "".join(f"exec {3 + i}<&{number}; " for i, number in enumerate(passed))
        environment = {
            "NO_COLOR": "1",
            "NOTIFY_SOCKET": self.path,
            "LISTEN_FDS": str(len(passed)),
            "LISTEN_FDNAMES": names,
        }
        if watch_us:
            environment["WATCHDOG_USEC"] = str(watch_us)
        script = moves + 'LISTEN_PID=$$ exec "$@"'
        command = ["bash", "-c", script, "bash", binary(), "run", *arguments]
        try:
            return Process(name, command, self.directory, env=environment, pass_fds=passed)
        finally:
            for number in passed:
                os.close(number)

    def heard(self) -> list[str]:
        """The next notification."""
        return self.notifications.recv(4096).decode().split()

    def close(self) -> None:
        for held in [*self.sockets, self.notifications]:
            held.close()

