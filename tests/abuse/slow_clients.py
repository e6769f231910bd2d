"""Clients that begin and do not go on: a thousand that stall in a head, in a body, and after an answer.

While they hang there, others must be served without an error; each must be let go a second after
its bound at the latest, and may cost 32 KiB of resident memory until then.
"""

import argparse
import asyncio
import time

import scene

BOUND_S = 6.0
KINDS = {
    "header": b"GET /function/echo HTTP/1.1\r\nHost: h\r\nX-Slow: ",
    "body": b"POST /function/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nbegun",
    "idle": b"GET /function/echo HTTP/1.1\r\nHost: h\r\n\r\n",
}
REQUEST = b"POST /function/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"
OPENING_AT_ONCE = 50


async def hang(kind: str, address: tuple[str, int], opening: asyncio.Semaphore) -> float:
    """Begins and waits to be let go; by how many seconds the end differed from the bound."""
    async with opening:
        reader, writer = await asyncio.open_connection(*address, limit=1024)
        writer.write(KINDS[kind])
        begun = time.monotonic()
        if kind == "idle":
            await reader.readuntil(b"\r\n\r\nok")
            begun = time.monotonic()
    try:
        while await asyncio.wait_for(reader.read(1024), 3 * BOUND_S):
            pass
    except ConnectionResetError:
        pass
    finally:
        writer.close()
    return time.monotonic() - begun - BOUND_S


async def serve_others(address: tuple[str, int], stop: asyncio.Event, times: list[float]) -> int:
    """Calls all the time on one connection; how many calls went wrong."""
    errors = 0
    reader, writer = await asyncio.open_connection(*address)
    while not stop.is_set():
        begun = time.monotonic()
        writer.write(REQUEST)
        try:
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\nok"), 5)
            errors += not answer.startswith(b"HTTP/1.1 200 ")
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            errors += 1
            reader, writer = await asyncio.open_connection(*address)
        times.append(time.monotonic() - begun)
        await asyncio.sleep(0.005)
    writer.close()
    return errors


async def attack(hopwise: scene.Hopwise, count: int) -> tuple[scene.Result, list[float]]:
    stop, times = asyncio.Event(), list[float]()
    others = [asyncio.ensure_future(serve_others(hopwise.data, stop, times)) for _ in range(4)]
    # What serving takes for itself does not count.
    await asyncio.sleep(2)
    before = scene.resident_mib(hopwise)
    opening = asyncio.Semaphore(OPENING_AT_ONCE)
    hanging = [
        asyncio.ensure_future(hang(kind, hopwise.data, opening))
        for kind in KINDS
        for _ in range(count)
    ]
    most, open_most = before, 0
    while not all(task.done() for task in hanging):
        await asyncio.sleep(0.2)
        most = max(most, scene.resident_mib(hopwise))
        open_most = max(open_most, sum(not task.done() for task in hanging))
    late = [task.result() for task in hanging]
    stop.set()
    errors = sum([await task for task in others])
    figures = {
        "errors_of_others": errors,
        "calls_of_others": len(times),
        "latest_end_s": round(max(late), 3),
        "earliest_end_s": round(min(late), 3),
        "kib_per_connection": round((most - before) * 1024 / len(hanging), 2),
        "open_at_once": open_most,
    }
    return figures, times


def once(arguments: argparse.Namespace, _seed: int) -> scene.Result:
    bound_ms = int(BOUND_S * 1000)
    timeouts = {
        "request_header_ms": bound_ms,
        "request_body_ms": bound_ms,
        "keep_alive_ms": bound_ms,
    }
    limits = {"client_share": 1}
    with (
        scene.gateway() as address,
        scene.sidecar(address, timeouts=timeouts, limits=limits) as hopwise,
    ):
        figures, times = asyncio.run(attack(hopwise, arguments.count))
        figures["p99_of_others_ms"] = round(scene.percentile(times, 0.99) * 1000, 2)
    goals = {
        "errors_of_others": ("<=", 0),
        "latest_end_s": ("<=", 1.0),
        "kib_per_connection": ("<=", 32),
    }
    return {"figures": figures, "goals": goals}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="connections of each kind")
    scene.report("slow_clients", once, parser)
