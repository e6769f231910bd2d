"""Three times more than a gateway can do: it must go on at its best, and the rest hear so at once.

The gateway has slots, each of which takes 20 ms. Clients call at a fixed rate, whatever comes of it:
first at the capacity, then at three times as much, then at half. Goodput under overload must be at
least 90 % of the best, a refusal must come within 10 ms (P99), and within 2 s of the end of the
overload everything must be as usual again.
"""

import argparse
import asyncio
import time
from dataclasses import dataclass

import scene

SERVICE_MS = 20
REQUEST = b"POST /function/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"
WINDOW_S = 0.25


@dataclass
class Call:
    due: float
    begun: float
    ended: float
    status: int


class Clients:
    """Open-loop clients over kept connections; nobody waits for somebody else's answer."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.calls: list[Call] = []
        self.running: set[asyncio.Task[None]] = set()

    async def call(self, due: float) -> None:
        pair = self.idle.pop() if self.idle else await asyncio.open_connection(*self.address)
        reader, writer = pair
        begun = time.monotonic()
        writer.write(REQUEST)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head[9:12])
            lower = head.lower()
            length = int(lower.split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            self.idle.append(pair)
        except (OSError, asyncio.IncompleteReadError):
            status = 0
            writer.close()
        self.calls.append(Call(due, begun, time.monotonic(), status))

    async def at_rate(self, rate: float, seconds: float) -> tuple[float, float]:
        """Calls at `rate`; when this began and ended."""
        begun = time.monotonic()
        for number in range(int(rate * seconds)):
            due = begun + number / rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            task = asyncio.ensure_future(self.call(due))
            self.running.add(task)
            task.add_done_callback(self.running.discard)
        return begun, time.monotonic()

    async def settle(self) -> None:
        while self.running:
            await asyncio.sleep(0.01)


def goodput(calls: list[Call], begun: float, ended: float) -> float:
    """Good answers per second."""
    return sum(c.status == 200 and begun <= c.ended < ended for c in calls) / (ended - begun)


def recovered_after(calls: list[Call], since: float, usual_s: float) -> float:
    """From when on every call due is answered well and not much later than usual."""
    bad = [c.due for c in calls if c.due >= since and (c.status != 200 or c.ended - c.begun > usual_s)]
    # A late one now and then is the machine's doing: what counts is a window with several.
    windows: dict[int, int] = {}
    for due in bad:
        windows[int((due - since) / WINDOW_S)] = windows.get(int((due - since) / WINDOW_S), 0) + 1
    in_window = [c for c in calls if since <= c.due < since + WINDOW_S]
    late = [w for w, count in windows.items() if count > max(1, len(in_window) // 20)]
    return (max(late) + 1) * WINDOW_S if late else 0.0


async def load(
    hopwise: scene.Hopwise, capacity: float, seconds: float
) -> tuple[scene.Result, Clients]:
    clients = Clients(hopwise.data)
    await clients.at_rate(capacity, 3)
    calm = await clients.at_rate(capacity * 0.98, seconds)
    over = await clients.at_rate(capacity * 3, seconds)
    after = await clients.at_rate(capacity / 2, seconds)
    await clients.settle()
    calls = clients.calls
    peak = max(goodput(calls, *calm), goodput(calls, *over))
    refused = [c.ended - c.begun for c in calls if c.status == 503 and over[0] <= c.due < over[1]]
    good = [c.ended - c.begun for c in calls if c.status == 200 and over[0] <= c.due < over[1]]
    other = sum(c.status not in (200, 503) for c in calls)
    figures = {
        "capacity_per_s": capacity,
        "offered_per_s": round(sum(over[0] <= c.due < over[1] for c in calls) / (over[1] - over[0])),
        "goodput_calm_per_s": round(goodput(calls, *calm), 1),
        "goodput_overload_per_s": round(goodput(calls, *over), 1),
        "goodput_share_of_peak": round(goodput(calls, *over) / peak, 3),
        "goodput_share_of_capacity": round(goodput(calls, *over) / capacity, 3),
        "good_p99_ms": round(scene.percentile(good, 0.99) * 1000, 1),
        "refused": len(refused),
        "refusal_p50_ms": round(scene.percentile(refused, 0.50) * 1000, 2),
        "refusal_p99_ms": round(scene.percentile(refused, 0.99) * 1000, 2),
        "recovered_s": recovered_after(calls, after[0], 3 * SERVICE_MS / 1000),
        "other_answers": other,
    }
    return figures, clients


def once(arguments: argparse.Namespace, _seed: int) -> scene.Result:
    queue = {"enabled": True, "running": arguments.slots, "waiting": arguments.slots}
    if arguments.adaptive:
        queue |= {"running": 2, "adaptive": True}
    capacity = arguments.slots * 1000 / SERVICE_MS
    slots = ("--slots", str(arguments.slots), "--service-ms", str(SERVICE_MS))
    with scene.gateway(*slots) as address, scene.sidecar(address, queue=queue) as hopwise:
        figures, _ = asyncio.run(load(hopwise, capacity, arguments.seconds))
        figures["running_max"] = int(hopwise.metrics()["hopwise_running_max"])
    goals = {
        "goodput_share_of_peak": (">=", 0.9),
        "goodput_share_of_capacity": (">=", 0.9),
        "refusal_p99_ms": ("<=", 10),
        "recovered_s": ("<=", 2.0),
        "other_answers": ("<=", 0),
    }
    return {"figures": figures, "goals": goals}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=6, help="each of the three loads")
    parser.add_argument("--adaptive", action="store_true", help="let it find the slots itself")
    scene.report("overload", once, parser)
