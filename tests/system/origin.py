"""A gateway on raw sockets: answers with exact, scripted bytes and keeps the exact bytes it got.

One thread per connection, because a script reads top to bottom: take the head, say 100, take the
body, answer. A test scripts a single exchange by its `X-Run` field; without a script the function
named in the path behaves as `FUNCTIONS` says. Also runs alone: `origin.py --listen HOST:PORT`.
"""

import argparse
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from support import netns
from support.wire import Closed, Headers, Wire, values

ZEROS = bytes(1 << 20)
EVENT_SECONDS = 0.1


@dataclass
class Received:
    """A request as it came. `body_bytes` counts where `body` is not kept."""

    start: bytes
    headers: Headers
    started: float
    body: bytes = b""
    body_bytes: int = 0
    trailers: Headers = field(default_factory=list)
    cut: bool = False
    complete: bool = False
    client_left: bool = False
    answered: bool = False

    @property
    def method(self) -> str:
        return self.start.split(b" ")[0].decode("latin-1")

    @property
    def target(self) -> str:
        return self.start.split(b" ")[1].decode("latin-1")

    @property
    def function(self) -> str:
        parts = self.target.partition("?")[0].split("/")
        named = len(parts) > 2 and parts[1] in ("function", "async-function")
        return parts[2] if named else ""

    def query(self, name: str, default: str) -> str:
        return parse_qs(self.target.partition("?")[2]).get(name, [default])[0]

    def value(self, name: str) -> str | None:
        found = values(self.headers, name)
        return found[0].decode("latin-1") if found else None


# Talks to the client after the head; answers whether the connection can go on.
Script = Callable[[Wire, Received], bool]


def read_body(wire: Wire, received: Received, keep: bool = True) -> None:
    """Takes the body in whatever framing; a body that ends early is noted, not raised."""
    length = received.value("content-length")
    try:
        if "chunked" in (received.value("transfer-encoding") or "").lower():
            while data := wire.chunk():
                received.body_bytes += len(data)
                received.body += data if keep else b""
            received.trailers = wire.fields()
        elif length is not None and keep:
            received.body = wire.exactly(int(length))
            received.body_bytes = len(received.body)
        elif length is not None:
            received.body_bytes = wire.skip(int(length))
            received.cut = received.body_bytes < int(length)
    except (Closed, OSError):
        received.body_bytes += len(wire.buffer)
        received.cut = True
    received.complete = not received.cut


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    """A response with just these fields and Content-Length."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def scripted(response: bytes, keep_alive: bool = True) -> Script:
    """Takes the whole request, then sends `response`."""

    def run(wire: Wire, received: Received) -> bool:
        read_body(wire, received)
        wire.send(response)
        return keep_alive

    return run


def json_answer(document: object) -> bytes:
    return answer("200 OK", "Content-Type: application/json", body=json.dumps(document).encode())


class Origin:
    """Listens until `stop`, which ends open connections too.

    `received` holds every request, `by_run` those with an X-Run field.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        name: str = "origin",
        namespace: str | None = None,
    ) -> None:
        self.name = name
        self.scripts: dict[str, Script] = {}
        self.by_run: dict[str, list[Received]] = {}
        self.received: list[Received] = []
        self.wires: set[Wire] = set()
        self.lock = threading.Lock()

        def listen() -> socket.socket:
            return socket.create_server((host, port), backlog=1024)

        self.listener = listen() if namespace is None else netns.within(namespace, listen)
        self.host, self.port = self.listener.getsockname()[:2]
        self.stopped = False
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    def stop(self) -> None:
        if self.stopped:
            return
        self.stopped = True
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for wire in self.wires:
                wire.cut()

    def seen(self, run: str) -> Received:
        """The one request of this run."""
        found = self.by_run.get(run, [])
        assert len(found) == 1, f"run {run} reached {self.name} {len(found)} times"
        return found[0]

    def accept(self) -> None:
        while not self.stopped:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(Wire(sock),), daemon=True).start()

    def serve(self, wire: Wire) -> None:
        with self.lock:
            self.wires.add(wire)
        with wire:
            try:
                while not self.stopped and self.exchange(wire):
                    pass
            except (Closed, OSError, ValueError, IndexError):
                pass  # it left, or talks no HTTP
            with self.lock:
                self.wires.discard(wire)

    def exchange(self, wire: Wire) -> bool:
        start, headers = wire.head()
        received = Received(start, headers, time.monotonic())
        run = received.value("x-run") or ""
        with self.lock:
            self.received.append(received)
            self.by_run.setdefault(run, []).append(received)
        script = self.scripts.get(run) or FUNCTIONS.get(received.function)
        going_on = (script or self.tell)(wire, received)
        received.answered = True
        asked_to_close = "close" in (received.value("connection") or "").lower()
        return going_on and not asked_to_close and b"HTTP/1.0" not in start

    def tell(self, wire: Wire, received: Received) -> bool:
        """Who answered, and what it was asked."""
        read_body(wire, received)
        document = {
            "node": self.name,
            "method": received.method,
            "target": received.target,
            "headers": [[n.decode("latin-1"), v.decode("latin-1")] for n, v in received.headers],
            "body": received.body.decode("latin-1"),
        }
        wire.send(json_answer(document))
        return not received.cut


def sleep(wire: Wire, received: Received) -> bool:
    read_body(wire, received)
    time.sleep(float(received.query("seconds", "0.2")))
    wire.send(json_answer({"slept": True}))
    return True


def status(wire: Wire, received: Received) -> bool:
    read_body(wire, received)
    code = int(received.body or received.query("code", "500"))
    wire.send(answer(f"{code} Status", body=b"as asked"))
    return True


def sse(wire: Wire, received: Received) -> bool:
    """Events for as long as the client listens."""
    read_body(wire, received)
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
    wire.send(b"Transfer-Encoding: chunked\r\n\r\n")
    number = 0
    try:
        while True:
            event = f"id: {number}\ndata: tick\n\n".encode()
            wire.send(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            number += 1
            time.sleep(EVENT_SECONDS)
    except OSError:
        received.client_left = True
    return False


def zeros(wire: Wire, received: Received) -> bool:
    """As many zero bytes as asked."""
    read_body(wire, received)
    left = int(received.query("bytes", "0"))
    wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n".encode())
    view = memoryview(ZEROS)
    try:
        while left > 0:
            part = view[: min(left, len(ZEROS))]
            wire.sock.sendall(part)
            left -= len(part)
    except OSError:
        received.client_left = True
        return False
    return True


def sink(wire: Wire, received: Received) -> bool:
    """Counts what comes and says how much it was."""
    read_body(wire, received, keep=False)
    if received.cut:
        return False
    wire.send(json_answer({"bytes": received.body_bytes}))
    return True


FUNCTIONS: dict[str, Script] = {f.__name__: f for f in (sleep, status, sse, zeros, sink)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--name", default="origin")
    arguments = parser.parse_args()
    host, _, port = arguments.listen.rpartition(":")
    Origin(host, int(port), arguments.name)
    threading.Event().wait()


if __name__ == "__main__":
    main()
