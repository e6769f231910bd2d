"""A gateway that trusts nobody: strict about what it is sent, and it notes what should not come.

`--slots N --service-ms T` lets N requests at a time take T each; others wait in line. `GET /noted`
tells what was wrong with the requests so far.
"""

import argparse
import asyncio
import json
import re

HEAD_BYTES_MAX = 1 << 20
# A function's name, and a path below it that leads nowhere else.
FUNCTION = re.compile(rb"/(?:async-)?function/([-a-zA-Z0-9_.]{1,63})(/[^?#]*)?(?:\?.*)?")
LEADS_OUT = re.compile(rb"%2f|%5c|%00|(?:^|[/\\])(?:\.|%2e){1,2}(?:[/\\]|$)", re.IGNORECASE)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Notes:
    """What was seen, and what was wrong with it."""

    def __init__(self) -> None:
        self.requests = 0
        self.wrong: list[str] = []

    def check(self, head: bytes) -> str | None:
        """What is wrong with a request, if anything is."""
        start, _, fields = head.partition(b"\r\n")
        parts = start.split(b" ")
        if len(parts) != 3 or parts[2] != b"HTTP/1.1":
            return "start line"
        lower = b"\r\n" + fields.lower()
        # The sidecar writes it on every request it passes on: without it, the sidecar took this
        # one for part of another's body.
        if lower.count(b"\r\nx-forwarded-for:") != 1:
            return "passed nobody"
        if lower.count(b"\r\nhost:") != 1:
            return "host"
        if b"\0" in head or b"\n" in head.replace(b"\r\n", b"") or b"\r" in head.replace(b"\r\n", b""):
            return "control characters"
        if b"\r\nhopwise-" in lower:
            return "internal field"
        lengths = lower.count(b"\r\ncontent-length:")
        if lengths > 1 or (lengths and b"\r\ntransfer-encoding:" in lower):
            return "framing"
        path = parts[1]
        if path.startswith((b"/function/", b"/async-function/")):
            named = FUNCTION.fullmatch(path)
            if named is None:
                bare = path.partition(b"?")[0] in (b"/function/", b"/async-function/")
                return None if bare else "name"
            if named[1] in (b".", b"..") or LEADS_OUT.search(named[2] or b""):
                return "path"
        return None


class Serve(asyncio.Protocol):
    """One connection; requests come one by one, since the sidecar pipelines nothing."""

    def __init__(self, notes: Notes, slots: asyncio.Semaphore | None, service: float) -> None:
        self.notes, self.slots, self.service = notes, slots, service
        self.buffer = b""
        self.past = b""  # what came before, to be told beside what is wrong
        self.left: int | None = 0  # bytes of a body still to come; none within chunks
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self.buffer += data
        self.past = (self.past + data)[-2000:]
        while self.buffer and self.advance():
            pass

    def advance(self) -> bool:
        """Takes the next piece out of the buffer, if all of it is there."""
        if self.left is None:
            return self.skip_chunk()
        if self.left:
            taken = min(self.left, len(self.buffer))
            self.buffer, self.left = self.buffer[taken:], self.left - taken
            if not self.left:
                self.answer()
            return True
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            if len(self.buffer) > HEAD_BYTES_MAX:
                self.note("endless head", self.buffer[:200])
            return False
        self.buffer = rest
        self.take(head)
        return True

    def skip_chunk(self) -> bool:
        line, found, rest = self.buffer.partition(b"\r\n")
        if not found:
            return False
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            self.note("chunk", line)
            return False
        if size == 0:
            trailers, found, after = self.buffer.partition(b"\r\n\r\n")
            if not found:
                return False
            self.buffer, self.left = after, 0
            self.answer()
            return True
        if len(rest) < size + 2:
            return False
        self.buffer = rest[size + 2 :]
        return True

    def take(self, head: bytes) -> None:
        self.notes.requests += 1
        if head.startswith(b"GET /noted HTTP"):
            body = json.dumps({"requests": self.notes.requests, "wrong": self.notes.wrong}).encode()
            answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            self.transport.write(answer + body)
            return
        if wrong := self.notes.check(head):
            self.note(wrong, head)
            return
        lower = head.lower()
        if b"\r\ntransfer-encoding:" in lower:
            self.left = None
            return
        length = re.search(rb"\r\ncontent-length:[ \t]*([0-9]+)", lower)
        self.left = int(length[1]) if length else 0
        if not self.left:
            self.answer()

    def note(self, wrong: str, what: bytes) -> None:
        if len(self.notes.wrong) < 100:
            self.notes.wrong.append(f"{wrong}: {what[:500]!r} after {self.past!r}")
        # What follows cannot be told from what belongs to it.
        self.buffer = b""
        self.transport.abort()

    def answer(self) -> None:
        if self.slots is None:
            self.transport.write(ANSWER)
        else:
            self.task = asyncio.ensure_future(self.work(self.slots))

    async def work(self, slots: asyncio.Semaphore) -> None:
        async with slots:
            await asyncio.sleep(self.service)
        self.transport.write(ANSWER)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, default=0)
    parser.add_argument("--service-ms", type=float, default=20)
    arguments = parser.parse_args()
    notes = Notes()
    slots = asyncio.Semaphore(arguments.slots) if arguments.slots else None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Serve(notes, slots, arguments.service_ms / 1000),
        "127.0.0.1",
        arguments.port,
        backlog=4096,
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
