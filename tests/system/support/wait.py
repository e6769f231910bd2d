"""Waiting for a fact, never for a time; ports nobody uses."""

import random
import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.02
# Below the kernel's ephemeral range, so that no outgoing connection takes a port before we do.
PORTS = range(20_000, 31_000)


def eventually(
    check: Callable[[], T], what: str, timeout: float = 20.0, poll: float = POLL_SECONDS
) -> T:
    """The first true answer of `check`; its last failure explains a time-out."""
    deadline = time.monotonic() + timeout
    last: object = None
    while time.monotonic() < deadline:
        try:
            answer = check()
            if answer:
                return answer
            last = answer
        except (OSError, AssertionError, ValueError, KeyError) as error:
            last = error
        time.sleep(poll)
    raise AssertionError(f"not within {timeout} s: {what} (last seen: {last!r})")


def is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str = "127.0.0.1", preferred: int | None = None) -> int:
    """`preferred` where it is free, else a random free one."""
    if preferred is not None and is_free(host, preferred):
        return preferred
    for port in random.sample(PORTS, 200):
        if is_free(host, port):
            return port
    raise AssertionError(f"no free port on {host}")


def accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
