"""Hosts of our own: network namespaces that reach each other and nothing else."""

import ctypes
import os
import secrets
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000


def run(*arguments: str) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
    return done.stdout


def command(namespace: str) -> list[str]:
    return ["ip", "netns", "exec", namespace]


def within(namespace: str, action: Callable[[], T]) -> T:
    """`action` on a thread inside `namespace`. Sockets it makes stay there for good."""
    answers: list[T] = []
    errors: list[BaseException] = []

    def enter() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            with Path(f"/var/run/netns/{namespace}").open() as handle:
                if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number))
            answers.append(action())
        except BaseException as error:  # handed on below
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return answers[0]


class TwoHosts:
    """`client` and `node` on one wire. No route leads out of it."""

    CLIENT = "10.77.0.1"
    NODE = "10.77.0.2"

    def __init__(self) -> None:
        mark = secrets.token_hex(3)
        self.client = f"hw-client-{mark}"
        self.node = f"hw-node-{mark}"
        self.wires = (f"hwc{mark}", f"hwn{mark}")

    def __enter__(self) -> "TwoHosts":
        try:
            for namespace in (self.client, self.node):
                run("ip", "netns", "add", namespace)
                run("ip", "-n", namespace, "link", "set", "lo", "up")
            one, other = self.wires
            run("ip", "link", "add", one, "netns", self.client, "type", "veth",
                "peer", "name", other, "netns", self.node)  # fmt: skip
            ends = ((self.client, one, self.CLIENT), (self.node, other, self.NODE))
            for namespace, wire, address in ends:
                run("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", wire)
                run("ip", "-n", namespace, "link", "set", wire, "up")
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """Removing a namespace removes its end of the wire, and with it the other."""
        for namespace in (self.client, self.node):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)

    def on_node(self, *arguments: str) -> str:
        return run(*command(self.node), *arguments)
