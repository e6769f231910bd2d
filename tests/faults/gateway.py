"""A gateway whose functions take a while without using a core, and that tells what it begins.

    gateway.py HOST PORT SECONDS COLLECTOR_PORT

Each invocation that begins is told to the collector as a datagram, so that what a killed gateway
had begun is known. `POST /fail` makes every function fail at once from then on.
"""

import asyncio
import socket
import sys

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ngood\n"
BAD = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\nbad\n"


class Gateway(asyncio.Protocol):
    fails = False

    def __init__(self, seconds: float, collector: tuple[str, int], told: socket.socket) -> None:
        self.seconds = seconds
        self.collector = collector
        self.told = told
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end].decode("latin-1")
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:])
            length = int(fields.get("content-length", 0))
            if len(self.received) < end + 4 + length:
                return
            self.received = self.received[end + 4 + length :]
            if head.startswith("POST /fail "):
                Gateway.fails = True
                self.transport.write(GOOD)
                continue
            self.told.sendto(fields.get("x-run", "").encode(), self.collector)
            if Gateway.fails:
                self.transport.write(BAD)
            else:
                asyncio.get_running_loop().call_later(self.seconds, self.answer)

    def answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(GOOD)


async def main() -> None:
    host, port, seconds, collector = sys.argv[1:]
    told = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    loop = asyncio.get_running_loop()

    def connected() -> Gateway:
        return Gateway(float(seconds), ("127.0.0.1", int(collector)), told)

    server = await loop.create_server(connected, host, int(port))
    await server.serve_forever()


asyncio.run(main())
