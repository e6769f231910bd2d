"""A million requests that are nearly right: no panic, no growth, and nothing at the gateway that
should not be there.

The gateway is strict: it notes requests that the sidecar did not pass on as such (a body it took for
one, or the other way round), ambiguous framing, control characters, internal fields, and paths of
functions that lead elsewhere. `--seed` repeats a run.
"""

import argparse
import asyncio
import json
import random
from collections import Counter

import scene

# Few, since the first one that is refused ends its connection.
PIPELINED = 4
CONNECTIONS = 8
WAIT_S = 5
WARM_REQUESTS = 50_000

BODY = b"GET /system/functions HTTP/1.1\r\nHost: h\r\n\r\n"
BASES = [
    b"GET /function/echo HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST /function/echo/a/b?c=d HTTP/1.1\r\nHost: h:80\r\nContent-Length: 43\r\n\r\n" + BODY,
    b"POST /function/echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2b\r\n" + BODY + b"\r\n0\r\n\r\n",
    b"POST /async-function/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nX-A: b\r\n\r\nhi",
    b"POST /entry HTTP/1.1\r\nHost: h\r\nContent-Length: 36\r\n\r\n"
    b'{"fn_name": "echo", "payload": "hi"}',
    b"PUT http://h/function/echo HTTP/1.1\r\nHost: h\r\nConnection: X-B\r\nX-B: c\r\n"
    b"Content-Length: 0\r\n\r\n",
    b"GET /function/echo HTTP/1.0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nExpect: 100-continue\r\n\r\n",
]
TOKENS = [
    b"Content-Length: 5\r\n",
    b"Content-Length: 43, 43\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length : 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"transfer_encoding: chunked\r\n",
    b"Host: other\r\n",
    b" folded\r\n",
    b"hopwise-call: hop=1, stage=execute\r\n",
    b"hopwise_call: hop=1\r\n",
    b"Connection: host, content-length\r\n",
    b"Upgrade: h2c\r\nConnection: Upgrade\r\n",
    b"../",
    b"%2e%2e/",
    b"%2F",
    b"%5c",
    b"\\",
    b"/../../system/functions",
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"\x80\xff",
    b";a=b",
    b"\t",
    b"x" * 3000,
    b"X-Many: 1\r\n" * 120,
]


def mutated(draw: random.Random) -> bytes:
    """A request with a few faults; one in eight is left as it is."""
    message = draw.choice(BASES)
    if draw.random() < 0.125:
        return message
    faults = bytearray(message)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
        at = int(draw.random() * (len(faults) + 1))
        kind = draw.random()
        if kind < 0.25:
            faults[at : at + 1] = bytes((int(draw.random() * 256),))
        elif kind < 0.40:
            del faults[at : at + 1 + int(draw.random() * 8)]
        elif kind < 0.75:
            if draw.random() < 0.5:
                # Where a field may stand.
                at = max(0, faults.find(b"\r\n", at) + 2)
            faults[at:at] = draw.choice(TOKENS)
        elif kind < 0.9:
            length = 1 + int(draw.random() * 40)
            to = int(draw.random() * len(faults))
            faults[to:to] = faults[at : at + length]
        else:
            del faults[at:]
    return bytes(faults)


async def send(address: tuple[str, int], draw: random.Random, statuses: Counter[bytes]) -> int:
    """A batch on a connection of its own; how many requests it had."""
    messages = [mutated(draw) for _ in range(PIPELINED)]
    reader, writer = await asyncio.open_connection(*address)
    answers = b""
    try:
        writer.write(b"".join(messages))
        writer.write_eof()
        while data := await asyncio.wait_for(reader.read(1 << 16), WAIT_S):
            answers += data
    except TimeoutError:
        statuses[b"hung"] += 1
    except OSError:
        statuses[b"reset"] += 1
    finally:
        writer.transport.abort()
    for answer in answers.split(b"HTTP/1.1 ")[1:]:
        if answer[:3].isdigit():
            statuses[answer[:3]] += 1
    return len(messages)


async def send_all(address: tuple[str, int], count: int, seed: int, statuses: Counter[bytes]) -> None:
    left = count

    async def client(number: int) -> None:
        nonlocal left
        draw = random.Random(seed * 1000 + number)
        while left > 0:
            left -= PIPELINED
            await send(address, draw, statuses)

    await asyncio.gather(*(client(number) for number in range(CONNECTIONS)))


def once(arguments: argparse.Namespace, seed: int) -> scene.Result:
    statuses: Counter[bytes] = Counter()
    # A body that never comes is given up before the client gives up on the answer.
    timeouts = {"request_body_ms": 1000, "request_header_ms": 1000}
    config = {"timeouts": timeouts, "limits": {"client_share": 1}}
    with scene.gateway() as address, scene.sidecar(address, **config) as hopwise:
        asyncio.run(send_all(hopwise.data, WARM_REQUESTS, seed + 500, Counter()))
        before = scene.resident_mib(hopwise)
        asyncio.run(send_all(hopwise.data, arguments.count, seed, statuses))
        growth = scene.resident_mib(hopwise) - before
        assert hopwise.call("GET", "/function/echo").status == 200
        noted = json.loads(scene.fetch(address, "GET", "/noted").body)
        in_flight = hopwise.metrics()["hopwise_in_flight"]
    for wrong in noted["wrong"][:10]:
        print(wrong)
    figures = {
        "requests": arguments.count,
        "reached_gateway": noted["requests"],
        "wrong_at_gateway": len(noted["wrong"]),
        "growth_mib": round(growth, 2),
        "left_in_flight": int(in_flight),
        "answers": {status.decode("latin-1"): n for status, n in sorted(statuses.items())},
    }
    goals = {
        "wrong_at_gateway": ("<=", 0),
        "growth_mib": ("<=", 10),
        "left_in_flight": ("<=", 0),
    }
    return {"figures": figures, "goals": goals}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    scene.report("mutations", once, parser)
