"""A gateway and sidecars as real processes, in namespaces of their own."""

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.hopwise import REPOSITORY, Config, Hopwise
from support.process import Process
from support.wait import accepts, eventually

GATEWAY = ("127.0.0.1", 31112)


@contextmanager
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="hopwise-changes-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def gateway(at: Path, address: tuple[str, int] = GATEWAY, name: str = "gateway") -> Iterator[Process]:
    script = REPOSITORY / "tests" / "system" / "origin.py"
    command = [sys.executable, str(script), "--listen", f"{address[0]}:{address[1]}"]
    started = Process(name, command, at)
    try:
        eventually(lambda: accepts(*address), "the gateway listens")
        yield started
    finally:
        started.kill()


@contextmanager
def sidecar(config: Config, at: Path, **options: Any) -> Iterator[Hopwise]:
    started = Hopwise(config, at, **options)
    try:
        yield started
    finally:
        started.stop()


class Notifications:
    """What a service manager hears of its processes, which are nobody else's children."""

    def __init__(self, at: Path) -> None:
        self.path = str(at / "notify.sock")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(60)

    def next(self) -> list[str]:
        return self.socket.recv(4096).decode().split()

    def until(self, start: str) -> str:
        """The rest of the first word that begins with `start`."""
        while True:
            for word in self.next():
                if word.startswith(start):
                    return word.removeprefix(start)


def has_ended(pid: int) -> bool:
    """Whether `pid` is gone, or is only waited for."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
