"""HTTP/1 on a raw socket: exactly the bytes we want out, exactly what came in."""

import contextlib
import socket
from dataclasses import dataclass, field

from support import netns

Headers = list[tuple[bytes, bytes]]

CHUNK_BYTES = 1 << 18
NO_BODY_STATUS = (204, 304)


class Closed(Exception):
    """The other end closed before the message was complete."""


@dataclass
class Response:
    start: bytes
    headers: Headers
    body: bytes = b""
    trailers: Headers = field(default_factory=list)
    informational: list["Response"] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.start.split(b" ", 2)[1])

    def values(self, name: str) -> list[bytes]:
        return values(self.headers, name)

    def value(self, name: str) -> str | None:
        found = self.values(name)
        return found[0].decode("latin-1") if found else None


def values(headers: Headers, name: str) -> list[bytes]:
    wanted = name.lower().encode()
    return [value for key, value in headers if key.lower() == wanted]


class Wire:
    """A socket with a buffer; reads by line, by count, by chunk or to the end."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""

    def fill(self) -> None:
        data = self.sock.recv(CHUNK_BYTES)
        if not data:
            raise Closed
        self.buffer += data

    def line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            self.fill()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self.fill()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def rest(self) -> bytes:
        parts = [self.buffer]
        self.buffer = b""
        while data := self.sock.recv(CHUNK_BYTES):
            parts.append(data)
        return b"".join(parts)

    def skip(self, count: int) -> int:
        """Reads and forgets up to `count` bytes; fewer where the other end closes."""
        taken = min(len(self.buffer), count)
        self.buffer = self.buffer[taken:]
        scratch = bytearray(CHUNK_BYTES * 4)
        while taken < count:
            got = self.sock.recv_into(scratch, min(len(scratch), count - taken))
            if not got:
                break
            taken += got
        return taken

    def fields(self) -> Headers:
        found: Headers = []
        while line := self.line():
            name, _, value = line.partition(b":")
            found.append((name, value.strip(b" \t")))
        return found

    def head(self) -> tuple[bytes, Headers]:
        start = self.line()
        return start, self.fields()

    def chunk(self) -> bytes:
        """The next chunk; empty for the last, after which the trailer fields follow."""
        size = int(self.line().partition(b";")[0], 16)
        if size == 0:
            return b""
        data = self.exactly(size)
        assert self.exactly(2) == b"\r\n", "a chunk ends with CRLF"
        return data

    def chunked(self) -> tuple[bytes, Headers]:
        body = b""
        while data := self.chunk():
            body += data
        return body, self.fields()

    def response_head(self) -> Response:
        """The head of the final response; informational ones are kept beside it."""
        informational: list[Response] = []
        while True:
            response = Response(*self.head())
            if response.status >= 200 or response.status == 101:
                response.informational = informational
                return response
            informational.append(response)

    def response(self, method: str = "GET") -> Response:
        response = self.response_head()
        self.read_body(response, method)
        return response

    def read_body(self, response: Response, method: str = "GET") -> None:
        coding = b",".join(response.values("transfer-encoding")).lower()
        length = response.values("content-length")
        if method == "HEAD" or response.status in NO_BODY_STATUS:
            return
        if b"chunked" in coding:
            response.body, response.trailers = self.chunked()
        elif length:
            response.body = self.exactly(int(length[0]))
        else:
            response.body = self.rest()

    def is_closed_by_peer(self) -> bool:
        """Whether the next thing that comes is the end of the connection."""
        try:
            return not self.buffer and self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def is_closed_or_alerted(self) -> bool:
        """Whether the other end has given up, after no more than a TLS alert."""
        try:
            return self.rest()[:1] in (b"", b"\x15")
        except ConnectionResetError:
            return True

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def close(self) -> None:
        self.sock.close()

    def cut(self) -> None:
        """Ends the connection for both sides, from any thread."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(
    address: tuple[str, int],
    source: str | None = None,
    timeout: float = 20.0,
    namespace: str | None = None,
) -> Wire:
    bind = (source, 0) if source else None

    def dial() -> socket.socket:
        return socket.create_connection(address, timeout=timeout, source_address=bind)

    sock = dial() if namespace is None else netns.within(namespace, dial)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Wire(sock)


HOST = "gateway.example"


def request(
    method: str, target: str, *headers: str, body: bytes = b"", host: str = HOST
) -> bytes:
    """A request with just these fields: Host, `headers`, and Content-Length for a body."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def raw_head(method: str, target: str, *headers: str) -> bytes:
    """The head alone, for a body that is sent bit by bit."""
    return request(method, target, *headers)


def fetch(
    address: tuple[str, int],
    method: str,
    target: str,
    *headers: str,
    body: bytes = b"",
    host: str = HOST,
    source: str | None = None,
    timeout: float = 20.0,
    namespace: str | None = None,
) -> Response:
    """One exchange on a connection of its own."""
    with connect(address, source, timeout, namespace) as wire:
        wire.send(request(method, target, *headers, body=body, host=host))
        return wire.response(method)
