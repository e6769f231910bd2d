"""Invocations at a constant rate, however long the answers take."""

import asyncio
import socket
import time
from dataclasses import dataclass, field

# Clients are on no node's address, or they would be taken for sidecars.
CLIENT = "127.0.0.99"
PATIENCE_S = 10.0


@dataclass
class Sample:
    run: str
    function: str
    begun: float
    took: float = 0.0
    status: int = 0
    node: str = ""
    why: str = ""


@dataclass
class Load:
    """So many invocations per second, in turn at each of `entries`, and of each of `functions`."""

    entries: list[tuple[str, int]]
    functions: tuple[str, ...]
    rate: float
    samples: list[Sample] = field(default_factory=list)
    behind_s: float = 0.0

    def __post_init__(self) -> None:
        self.idle: dict[tuple[str, int], list[Connection]] = {e: [] for e in self.entries}

    async def run(self, seconds: float) -> None:
        began = time.monotonic()
        tasks = []
        for number in range(int(seconds * self.rate)):
            due = began + number / self.rate
            wait = due - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            else:
                self.behind_s = max(self.behind_s, -wait)
            entry = self.entries[number % len(self.entries)]
            function = self.functions[number // len(self.entries) % len(self.functions)]
            sample = Sample(f"r{number}", function, time.monotonic())
            self.samples.append(sample)
            tasks.append(asyncio.create_task(self.invoke(entry, sample)))
        await asyncio.gather(*tasks)

    async def invoke(self, entry: tuple[str, int], sample: Sample) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                idle = self.idle[entry]
                connection = idle.pop() if idle else await Connection.open(entry)
                await connection.exchange(sample)
                idle.append(connection)
        except (OSError, EOFError, TimeoutError) as error:
            sample.status, sample.why = 0, repr(error)
        sample.took = time.monotonic() - sample.begun


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, entry: tuple[str, int]) -> "Connection":
        reader, writer = await asyncio.open_connection(*entry, local_addr=(CLIENT, 0))
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(reader, writer)

    async def exchange(self, sample: Sample) -> None:
        self.writer.write(
            f"POST /function/{sample.function} HTTP/1.1\r\nHost: load\r\nhopwise-explain: 1\r\n"
            f"X-Run: {sample.run}\r\nContent-Length: 4\r\n\r\nbody".encode()
        )
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        lines = head.split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if line)
        body = await self.reader.readexactly(int(fields.get("content-length", 0)))
        sample.status = int(lines[0].split(" ")[1])
        sample.why = "" if sample.status == 200 else body.decode()
        sample.node = fields.get("hopwise-node", "")
