"""All other nodes of the topologies: 50 ms away and idle, so that placing here is right."""

import asyncio
import sys

ANSWER = (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
          b"hopwise-report: in-flight=1, cores=2, execution-ms=0.200, service-ms=0.200\r\n\r\nok")
WAY_S = 0.05


async def converse(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    await reader.readexactly(int(line.split(b":")[1]))
            await asyncio.sleep(WAY_S)
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main():
    server = await asyncio.start_server(converse, "0.0.0.0", int(sys.argv[1]), limit=1 << 20)
    await server.serve_forever()


asyncio.run(main())
