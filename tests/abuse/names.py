"""Two million functions, each called once: what is remembered of them must not grow for ever."""

import argparse
import asyncio
import random

import scene

PIPELINED = 50
CONNECTIONS = 8
WARM_NAMES = 20_000


async def call(address: tuple[str, int], names: list[str]) -> int:
    """Calls each of `names`; how many answers were not 200."""
    reader, writer = await asyncio.open_connection(*address, limit=1 << 20)
    wrong = 0
    for start in range(0, len(names), PIPELINED):
        part = names[start : start + PIPELINED]
        writer.write(b"".join(b"GET /function/%s HTTP/1.1\r\nHost: h\r\n\r\n" % n.encode() for n in part))
        for _ in part:
            wrong += not (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 ")
    writer.close()
    return wrong


async def call_all(address: tuple[str, int], first: int, count: int, seed: int) -> int:
    """Calls functions numbered from `first` on, under names of many lengths."""
    draw = random.Random(seed)
    wrong = 0
    batch = CONNECTIONS * 1000
    for start in range(first, first + count, batch):
        names = [
            f"f{number}{'-' * draw.randrange(40)}"
            for number in range(start, min(start + batch, first + count))
        ]
        parts = [names[i::CONNECTIONS] for i in range(CONNECTIONS)]
        wrong += sum(await asyncio.gather(*(call(address, part) for part in parts)))
    return wrong


def once(arguments: argparse.Namespace, seed: int) -> scene.Result:
    with scene.gateway() as address, scene.sidecar(address) as hopwise:
        # The table of functions fills, and connections have the buffers they need.
        wrong = asyncio.run(call_all(hopwise.data, 0, WARM_NAMES, seed))
        before = scene.resident_mib(hopwise)
        wrong += asyncio.run(call_all(hopwise.data, WARM_NAMES, arguments.count, seed))
        figures = {
            "names": arguments.count,
            "wrong_answers": wrong,
            "resident_before_mib": round(before, 2),
            "growth_mib": round(scene.resident_mib(hopwise) - before, 2),
            "functions_listed": len(hopwise.json("GET", "/arch_metrics", admin=True)["functions"]),
        }
    goals = {"wrong_answers": ("<=", 0), "growth_mib": ("<=", 32), "functions_listed": ("<=", 1000)}
    return {"figures": figures, "goals": goals}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2_000_000)
    scene.report("names", once, parser)
